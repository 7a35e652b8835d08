"""Printed tables and definitions."""

from typing import Any

import pytest

from seampack.commands.report import definitions, row_text, table


def test_a_table_aligns_numbers_to_the_right() -> None:
    rows: list[dict[str, Any]] = [
        {"name": "a", "count": 1234, "fill": 0.5, "secret": 1},
        {"name": "long", "count": 5, "fill": 0.25, "secret": 2},
    ]
    assert table(rows, {"name": "name", "count": "n", "fill": "fill"}) == (
        "name      n      fill\n"
        "a     1,234  50.0000%\n"
        "long      5  25.0000%"
    )  # fmt: skip
    assert table([], {"name": "name"}) == "name"


def test_definitions_are_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = definitions("Options", [("rate", "word " * 30), ("x", "short")]).splitlines()
    assert lines[0] == "Options:"
    assert lines[1].startswith("  rate  word word")
    assert lines[-1] == "  x     short"
    assert max(map(len, lines)) <= 60


def test_a_row_shows_its_segments_and_padding() -> None:
    row = {"doc_ids": [7], "doc_starts": [3], "seq_lengths": [2, 1], "repeated": [1], "input_ids": [5, 6, 0]}
    of_version_1 = {**row, "seq_lengths": [2]}
    for padded in (row, of_version_1):
        assert row_text(padded, None) == (
            "──┤ document 7, tokens 3..4, 1 repeated ├──\n5 6\n──┤ 1 tokens of padding ├──"
        )  # fmt: skip
    assert "five six" in row_text(row, lambda ids: "five six" if ids == [5, 6] else "")

"""``seampack models list``, and the options of ``--config`` and ``--set``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

import pytest

from seampack.commands import models
from seampack.config import option, seed_option
from seampack.errors import ConfigError
from seampack.models.options import MethodConfig, Scope
from seampack.models.registry import METHODS, Method
from tests.conftest import Run


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleConfig(MethodConfig):
    """One option of each kind."""

    columns: ClassVar[Mapping[str, str]] = {"text": "A text."}
    fixed: ClassVar[tuple[str, ...]] = ("rate",)
    per_run: ClassVar[tuple[str, ...]] = ("checkpoint", "plot")

    rate: float = option(0.9, "Share of masked words.", low=0, below=1)
    rows: int = option(10, "Size of a batch.", low=1, high=4000, unit="rows")
    colour: str = option("red", "Colour of the mask.", choices=Colour)
    name: str = option("x", "Name.", empty=False)
    checkpoint: str | None = option(None, "Folder of the checkpoints.")
    plot: bool = option(True, "Draw the curve.")
    sizes: tuple[int, ...] = option((1, 2), "Sizes.", low=1, high=9)
    words: tuple[str, ...] = option((), "Words.")
    seed: int = seed_option("Seed.")


@pytest.fixture(autouse=True)
def sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "sample", Method("mask words", f"{__name__}:SampleConfig", "none"))


def test_the_methods(call: Run) -> None:
    assert {row["method"] for row in json.loads(call("models", "list", "--json").stdout)} == set(METHODS)
    assert b"sample          mask words" in call("models", "list").stdout


def test_options_are_shown_with_their_accepted_values(call: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    lines = call("models", "list", "sample").stdout.decode().splitlines()
    assert lines == [
        "sample: mask words",
        "",
        "Columns:",
        "  text  A text.",
        "",
        "Options:",
        "  rate        Share of masked words.  [default: 0.9; number, 0 to below 1; fixed]",
        "  rows        Size of a batch.  [default: 10; integer, 1 to 4,000 rows]",
        "  colour      Colour of the mask.  [default: \"red\"; one of red, blue]",
        "  name        Name.  [default: \"x\"; text]",
        "  checkpoint  Folder of the checkpoints.  [default: none; text; per run]",
        "  plot        Draw the curve.  [default: true; true or false; per run]",
        "  sizes       Sizes.  [default: [1, 2]; list of integers, each 1 to 9]",
        "  words       Words.  [default: []; list of texts]",
        "  seed        Seed.  [default: 0; integer, 0 to 2,147,483,647]",
        "",
        "Marks:",
        "  fixed    set by training; evaluate accepts no other value",
        "  per run  not inherited from training; evaluate starts from the default",
    ]  # fmt: skip


def test_json_has_the_metadata(call: Run) -> None:
    listed = json.loads(call("models", "list", "sample", "--json").stdout)
    assert listed["columns"] == [{"column": "text", "help": "A text."}]
    options = {option.pop("option"): option for option in listed["options"]}
    assert options["rate"] == {
        "kind": "number",
        "list": False,
        "default": 0.9,
        "low": 0,
        "high": None,
        "below": 1,
        "choices": None,
        "unit": "",
        "accepts": "number, 0 to below 1",
        "scope": "fixed",
        "help": "Share of masked words.",
    }
    assert options["colour"]["choices"] == ["red", "blue"]
    assert (options["rows"]["low"], options["rows"]["high"], options["rows"]["unit"]) == (1, 4000, "rows")
    assert (options["sizes"]["kind"], options["sizes"]["list"], options["sizes"]["default"]) == (
        "integer",
        True,
        [1, 2],
    )
    assert [options[name]["scope"] for name in ("seed", "rate", "plot")] == ["saved", "fixed", "per run"]


def test_each_scope_is_explained() -> None:
    assert list(models._SCOPES) == [scope.value for scope in Scope]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("rate=0.5", {"rate": 0.5}),
        ("rate = 0.5", {"rate": 0.5}),
        ("rows=7", {"rows": 7}),
        ("colour=blue", {"colour": "blue"}),
        ("name=5", {"name": "5"}),
        ("name=a=b", {"name": "a=b"}),
        ("checkpoint=2024", {"checkpoint": "2024"}),
        ("checkpoint=some/folder", {"checkpoint": "some/folder"}),
        ("plot=false", {"plot": False}),
        ("sizes=[3, 4]", {"sizes": (3, 4)}),
        ("sizes=3", {"sizes": (3,)}),
        ('words=["a", "b"]', {"words": ("a", "b")}),
        ("words=a b", {"words": ("a b",)}),
        ("words=5", {"words": ("5",)}),
    ],
)
def test_set(change: str, expected: dict[str, Any]) -> None:
    assert models._changed(SampleConfig(), None, (change,)) == SampleConfig(**expected)


def test_set_overrides_the_file_and_the_last_one_wins(tmp_path: Path) -> None:
    path = tmp_path / "options.toml"
    path.write_text('rate = 0.1\nrows = 3\nwords = ["a"]\n')
    changed = models._changed(SampleConfig(), str(path), ("rows=4", "rows=5"))
    assert changed == SampleConfig(rate=0.1, rows=5, words=("a",))


@pytest.mark.parametrize(
    ("text", "changes", "message"),
    [
        ("rate = ", (), "options.toml: not TOML: "),
        ("rates = 1", (), "options.toml: rates: no such option; did you mean rate?"),
        ("nonsense = 1", (), "options.toml: nonsense: no such option; expected one of rate, rows, colour, "),
        ("rows = 1.5", (), "options.toml: rows: expected an integer from 1 to 4,000; got 1.5"),
        ("rate = 0.5\nsizes = [10]", ("rate=0.1",), "options.toml: sizes: expected an integer from 1 to 9; got 10"),
        ("[rate]\nlow = 1", (), "options.toml: [rate]: expected options without a section, NAME = VALUE"),
        ("[sample]\nrate = 1", (), "options.toml: [sample]: expected options without a section, NAME = VALUE"),
        ("", ("rate",), "--set rate: expected NAME=VALUE"),
        ("", ("colours=red",), "colours: no such option; did you mean colour?"),
        ("", ("sizes=5,7",), "--set sizes=5,7: write a list in brackets: --set 'sizes=[5,7]'"),
        ("", ("rate=1",), "rate: expected a number from 0 to below 1; got 1"),
        ("", ("rate=high",), "rate: expected a number from 0 to below 1; got 'high'"),
        ("", ("colour=green",), "colour: expected one of red, blue; got 'green'"),
        ("", ("plot=1",), "plot: expected true or false; got 1"),
        ("", ("sizes=[10]",), "sizes: expected an integer from 1 to 9; got 10"),
        ("", ("name=",), "name: expected text; got none"),
    ],
)
def test_wrong_options(tmp_path: Path, text: str, changes: tuple[str, ...], message: str) -> None:
    path = tmp_path / "options.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        models._changed(SampleConfig(), str(path), changes)
    assert message in str(error.value)

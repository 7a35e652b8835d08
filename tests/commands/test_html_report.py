"""``pack --report`` and ``inspect --html``: from the command line to a page."""

import json
from pathlib import Path

import pytest

from seampack.errors import ShardError
from seampack.packer import report_page
from tests.conftest import CORPUS, Run
from tests.faulty import UNFRAMED, failed

SMALL = (*UNFRAMED, "--seq-len", 256, "--tokenizer", "bundled")


def test_a_run_writes_its_report(run: Run, tmp_path: Path) -> None:
    packed = run("pack", CORPUS, "-o", "out", *SMALL, "--report", "report.html")
    assert (packed.returncode, packed.stderr) == (0, b"")
    page = (tmp_path / "report.html").read_text("utf-8")
    for line in packed.stdout.decode().splitlines()[:9]:  # the accounting
        number = line[13:].split()[0]
        assert f">{number}<" in page, line
    assert "Packed rows: out" in page
    assert "<h4>document " in page


def test_inspect_writes_the_same_page(call: Run, tmp_path: Path) -> None:
    assert not call("pack", CORPUS, "-o", "out", *SMALL, "--report", "first.html").returncode
    shown = call("inspect", "out", "--html", "second.html")
    assert (tmp_path / "first.html").read_bytes() == (tmp_path / "second.html").read_bytes()
    assert shown.stdout.endswith(b"report      second.html\n")
    as_json = call("inspect", "out", "--html", "second.html", "--compare", "--json")
    assert json.loads(as_json.stdout) == json.loads((tmp_path / "out/manifest.json").read_text())
    page = (tmp_path / "second.html").read_text("utf-8")
    assert all(f">{name}</th>" in page for name in ("concat", "best_fit", "ffd", "pad", "paper"))


def test_a_report_without_its_tokenizer_shows_ids(call: Run, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_bytes((CORPUS.parent / "tokenizer.json").read_bytes())
    assert not call("pack", CORPUS, "-o", "out", *SMALL, "--tokenizer", "t.json").returncode
    (tmp_path / "t.json").unlink()
    shown = call("inspect", "out", "--html", "report.html")
    assert shown.returncode == 0
    assert b"the rows are shown as ids: t.json: no such tokenizer" in shown.stderr
    assert "as token ids" in (tmp_path / "report.html").read_text("utf-8")
    assert not call("inspect", "out", "--html", "report.html", "--tokenizer", "bundled").stderr
    assert "as token ids" not in (tmp_path / "report.html").read_text("utf-8")


def test_a_report_in_a_wrong_place_is_refused_before_the_run(call: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("mine")
    for place in ("mine.html", "out/report.html", "nowhere/report.html", "s3://bucket/report.html"):
        assert place in failed(call("pack", CORPUS, "-o", "out", *SMALL, "--report", place))
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "mine.html").read_text() == "mine"
    wrong = call("pack", CORPUS, "-o", "out", *SMALL, "--report", "r.html", "--partition", "0/2")
    assert wrong.returncode == 2
    assert b"after seampack merge" in wrong.stderr
    assert call("inspect", "out", "--compare").returncode == 2


def test_a_run_whose_report_fails_still_shows_the_accounting(
    call: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_the_disk(*arguments: object) -> None:
        raise ShardError("report.html: cannot be written: No space left on device")

    monkeypatch.setattr(report_page, "report", fill_the_disk)
    monkeypatch.setattr(report_page, "facts_of", lambda *_, **__: None)
    result = call("pack", CORPUS, "-o", "out", *SMALL, "--report", "report.html")
    assert result.returncode == 1
    assert b"tokens out" in result.stdout
    assert result.stderr == b"seampack: report.html: cannot be written: No space left on device\n"
    assert (tmp_path / "out/manifest.json").exists()
    assert not (tmp_path / "report.html").exists()

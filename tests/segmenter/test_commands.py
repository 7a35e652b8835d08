"""The commands of ``seampack segment`` as real processes or calls: output, errors on one line, wrong usage."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from seampack.commands.segment import _progress, _show_trained
from tests.conftest import Run


def test_commands(run: Run, tmp_path: Path) -> None:
    (tmp_path / "gold.txt").write_text("研究 生命 的 起源\n", "utf-8")
    done = run("segment", "eval", "--gold", "gold.txt", "--json", stdin="研究生命 的 起源\n".encode())
    assert json.loads(done.stdout)["words"]["right"] == 2, done.stderr
    done = run("segment", "eval", "--gold", "gold.txt", stdin="研究生命 的 起源\n".encode())
    assert "研究 生命  研究生命" in done.stdout.decode()
    (tmp_path / "known.txt").write_text("研究 的\n", "utf-8")
    known = ("--known", "known.txt")
    done = run("segment", "eval", "--gold", "gold.txt", "--json", *known, stdin="研究生命 的 起源\n".encode())
    assert json.loads(done.stdout)["unknown_words"]["recall"] == 0.5, done.stderr
    done = run("segment", "eval", "--gold", "gold.txt", *known, stdin="研究生命 的 起源\n".encode())
    assert "unknown words" in done.stdout.decode()
    spaced = "研究 生命 的 起源\n".encode()
    done = run("segment", "eval", "--gold", "gold.txt", "--known", "gold.txt", stdin=spaced)
    assert "unknown words                        -         -        -     0" in done.stdout.decode()
    done = run("segment", "restore", stdin=b"ab c   d\nx")
    assert done.stdout == b"abc d\nx"
    done = run("segment", "restore", stdin=b"a b\na\tb\n")
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"seampack: standard input:2: character 2: expected one space" in done.stderr
    done = run("segment", "apply", "-m", "none.model", stdin=b"a\n")
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (1, b"", 1)
    assert b"none.model: no such segmenter; expected a folder, or a bundled one: zh, th, ja; train one" in done.stderr


def test_usage(call: Run, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("研究\n", "utf-8")
    for options in (("--posteriors", "--output", "words"), ("--n-best", "2", "--output", "text")):
        done = call("segment", "apply", "in.txt", *options)
        assert (done.returncode, done.stdout) == (2, b"")
        assert f"{options[0]} and --output {options[-1]}: give one of the two".encode() in done.stderr
    done = call("segment", "apply", "in.txt", "--threshold", "nan")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"'--threshold': expected a number from 0 to 1; got 'nan'" in done.stderr
    done = call("segment", "apply", "in.txt", "--decoder", "magic")
    assert (done.returncode, done.stdout) == (2, b"")
    (tmp_path / "empty.txt").write_bytes(b"\n \n")
    (tmp_path / "gold.txt").write_text("研究 生命\n", "utf-8")
    for command in (("eval", "empty.txt"), ("compare",)):
        done = call("segment", *command, "--gold", "empty.txt")
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"empty.txt: no words; expected one text per line" in done.stderr
    done = call("segment", "eval", "in.txt", "--gold", "gold.txt", "--threshold", "0")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"need a model: -m" in done.stderr
    done = call("segment", "apply", "in.txt", "--on-bad", "quarantine")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"seampack: --on-bad quarantine writes a file next to the output; expected" in done.stderr
    done = call("segment", "lexicon", "in.txt", "-o", "m")
    assert b"at least 2 times; got 1 word in all; give more text, or a lower --least-count" in done.stderr
    done = call("segment", "compare", "-m", "zh", "-m", "th", "--gold", "gold.txt")
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"models of the scripts th and zh: compare models of one script" in done.stderr


@pytest.mark.parametrize(
    ("kappa", "units_per_word", "reason"),
    [
        (0.5, {"forward": 1.84, "backward": 1.69}, "(1.84 forward, 1.69 backward) means that the text or the epochs"),
        (0.5, {"forward": 1.84, "backward": 1.21}, "means that at least one direction makes most units words"),
        (None, {"forward": 1.0, "backward": 1.0}, "means that at least one direction makes most units words"),
        (0.8, {"forward": 1.84, "backward": 1.69}, ""),
    ],
)
def test_the_reason_of_low_agreement(
    kappa: float | None, units_per_word: dict[str, float], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = {"units": 9, "parts": [], "config": {"longest": 3}, "agreement": kappa, "units_per_word": units_per_word}
    _show_trained("m", facts, 1.0, as_json=False)
    shown = capsys.readouterr().err
    assert reason in shown
    assert bool(reason) == ("warning" in shown)


# The longest word, units per word of a direction at its validations, and whether it warns. The first values come from
# runs on PKU (3) and phonemes (8): kappa was low in those with the values that warn, and above .78 in the others.
VALIDATIONS = [
    (3, [1.23, 1.7], True),
    (3, [1.60, 1.2], False),
    (3, [1.68], False),
    (8, [1.49], True),
    (8, [1.57], True),
    (8, [2.66], False),
    (1, [1.0], False),
]


@pytest.mark.parametrize(("longest", "units_per_word", "warns"), VALIDATIONS)
@pytest.mark.parametrize("retry", [0, 1])
def test_training_without_words_warns_at_the_first_validation(
    longest: int, units_per_word: list[float], warns: bool, retry: int, capsys: pytest.CaptureFixture[str]
) -> None:
    show = _progress(longest, retry)
    for value in units_per_word:
        for direction, units in (("forward", 3.0), ("backward", value)):
            report = SimpleNamespace(direction=direction, seed=0, units_per_word=units, step=1, steps=9)
            report.characters_per_second = report.train_nats = report.validation_nats = 1.0
            show(report)
    shown = capsys.readouterr().err
    assert shown.count("warning: backward: ") == shown.count("warning") == warns
    assert shown.count("--retry decides" if retry else "--word-cost 0.25 or more, or with --retry 2") == warns

"""The documentation matches the program: its examples, commands, options and files."""

import dataclasses
import doctest
import re
from pathlib import Path

import click
import pytest

import seampack
from examples import readme, strategies
from seampack.models import METHODS, get
from seampack.packer import gather, planning, streaming
from seampack.training import order
from tests.conftest import commands

DOCS = Path(seampack.__file__).parent.parent / "docs"
SEGMENTER = (DOCS / "segmenter.md").read_text("utf-8")
README = (Path(seampack.__file__).parent.parent / "README.md").read_text("utf-8")


COMMANDS = {" ".join(path): each for path, each in commands().items() if not isinstance(each, click.Group)}


def test_examples_are_current() -> None:
    """After a change: python -m examples.readme."""
    assert strategies.table() in README
    assert readme.demo() in README


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme(name: str) -> None:
    assert re.search(rf"seampack {name}[ `]", README)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_page(method: str) -> None:
    page = (DOCS / f"{method}.md").read_text("utf-8")
    assert f"docs/{method}.md" in README
    assert f"seampack models train {method} " in page
    assert f"seampack models evaluate {method} " in page
    assert "\n## Measured" in page
    known = {field.name for field in dataclasses.fields(get(method).config)}
    assert set(re.findall(r"--set (\w+)=", page)) <= known
    for picture in re.findall(r"\]\((pictures/[^)]+)\)", page):
        assert (DOCS / picture).exists(), picture


def test_options_in_the_readme_exist() -> None:
    options = [option for command in COMMANDS.values() for option in command.params]
    known = {flag for option in options for flag in (*option.opts, *option.secondary_opts)}
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README + SEGMENTER))
    assert used
    assert used <= known


@pytest.mark.parametrize("path", sorted(Path(planning.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_every_file_is_on_the_map(path: Path) -> None:
    assert path.name in README or path.name in ("__init__.py", "_jit.py", "documents.py", "train_tokenizer.py")


@pytest.mark.parametrize("module", [planning, gather, streaming, order])
def test_docstrings(module: object) -> None:
    result = doctest.testmod(module, extraglobs={"pa": gather.pa, "plan": planning.plan})  # type: ignore[arg-type]
    assert result.attempted
    assert not result.failed


def test_every_test_that_is_named_exists() -> None:
    """The page of what was tried names a test in each row."""
    sources = [path.read_text("utf-8") for path in Path(__file__).parent.rglob("*.py")]
    tests = {name for source in sources for name in re.findall(r"^ *def (test_\w+)\(", source, re.MULTILINE)}
    page = (DOCS / "what_was_tried.md").read_text("utf-8")
    assert "docs/what_was_tried.md" in README
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith(("| tried", "| ---"))]
    assert rows
    for row in rows:
        named = set(re.findall(r"`(test_\w+)`", row.split(" | ")[-1]))
        assert named, row
        assert named <= tests, row


def test_changelog_knows_the_version() -> None:
    changelog = (Path(seampack.__file__).parent.parent / "CHANGELOG.md").read_text("utf-8")
    assert f"## {seampack.__version__}" in changelog

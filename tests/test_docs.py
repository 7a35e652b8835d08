"""The documentation matches the program: its examples, commands, options and files."""

import dataclasses
import doctest
import re
from pathlib import Path

import click
import pytest

import seampack
from seampack.models import METHODS, get
from seampack.packer import gather, planning, streaming
from seampack.training import order
from tests.conftest import commands

DOCS = Path(seampack.__file__).parent.parent / "docs"
README = (DOCS.parent / "README.md").read_text("utf-8")
PAGES = {path: path.read_text("utf-8") for path in (DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md")))}
COMMANDS = {" ".join(path): each for path, each in commands().items() if not isinstance(each, click.Group)}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_on_a_page_and_in_the_reference(name: str) -> None:
    assert f"## seampack {name}\n" in PAGES[DOCS / "reference/command_line.md"]
    pages = [text for path, text in PAGES.items() if path.parent.name != "reference"]
    assert any(re.search(rf"seampack {name}[ `]", text) for text in pages)


@pytest.mark.parametrize("name", [name for name in seampack.__all__ if not name.startswith("__")])
def test_every_public_name_has_a_docstring(name: str) -> None:
    assert (getattr(seampack, name).__doc__ or "").strip()
    assert f"### {name}\n" in PAGES[DOCS / "reference/python.md"]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_page(method: str) -> None:
    page = (DOCS / f"{method}.md").read_text("utf-8")
    assert f"({method}.md)" in PAGES[DOCS / "methods.md"]
    assert f"seampack models train {method} " in page
    assert f"seampack models evaluate {method} " in page
    assert "\n## Measured" in page
    known = {field.name for field in dataclasses.fields(get(method).config)}
    assert set(re.findall(r"--set (\w+)=", page)) <= known
    for picture in re.findall(r"\]\((pictures/[^)]+)\)", page):
        assert (DOCS / picture).exists(), picture


OWN_FOLDERS = ("how-to", "coming-from", "problems", "concepts")
OWN_PAGES = ("README.md", "index.md", "packing.md", "methods.md", "guarantees.md", "segmenter.md")
OF_OTHERS = {
    "--data-path",
    "--seq-length",
    "--reset-position-ids",
    "--reset-attention-mask",
    "--eod-mask-loss",
    "--requeue",
}
"""Options of trainers and of Slurm that pages name."""


def test_options_on_the_pages_exist() -> None:
    options = [option for command in COMMANDS.values() for option in command.params]
    known = {flag for option in options for flag in (*option.opts, *option.secondary_opts)} | {"--version", "--help"}
    own = [text for path, text in PAGES.items() if path.parent.name in OWN_FOLDERS or path.name in OWN_PAGES]
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "\n".join(own)))
    assert len(used) > 40
    assert used <= known | OF_OTHERS


@pytest.mark.parametrize("path", sorted(Path(planning.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_every_file_is_on_the_map(path: Path) -> None:
    known = ("__init__.py", "_jit.py", "documents.py", "train_tokenizer.py")
    assert path.name in PAGES[DOCS / "map.md"] or path.name in known


def test_every_entry_of_a_manifest_and_every_column_is_described(tmp_path: Path) -> None:
    page = PAGES[DOCS / "reference/file_format.md"]
    manifest = seampack.pack(iter(["a text"]), out=tmp_path / "packed", seq_len=8, labels=True)
    for name in (*manifest.to_dict(), *manifest.columns):
        assert f"`{name}`" in page


@pytest.mark.parametrize("module", [planning, gather, streaming, order])
def test_docstrings(module: object) -> None:
    result = doctest.testmod(module, extraglobs={"pa": gather.pa, "plan": planning.plan})  # type: ignore[arg-type]
    assert result.attempted
    assert not result.failed


def names_of_tests(folder: Path) -> set[str]:
    sources = [path.read_text("utf-8") for path in folder.rglob("*.py")]
    return {name for source in sources for name in re.findall(r"^ *def (test_\w+)\(", source, re.MULTILINE)}


def test_every_test_that_is_named_exists() -> None:
    """The page of what was tried names a test in each row; other pages name some."""
    tests = names_of_tests(Path(__file__).parent)
    for path, text in PAGES.items():
        if path.stem in METHODS:  # their options have such names too
            continue
        assert set(re.findall(r"`(?:[\w/.]+::)?(test_\w+)`", text)) <= tests, path
    assert "docs/what_was_tried.md" in README
    page = PAGES[DOCS / "what_was_tried.md"]
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith(("| tried", "| ---"))]
    assert rows
    for row in rows:
        assert re.findall(r"`(test_\w+)`", row.split(" | ")[-1]), row


def test_links_lead_somewhere() -> None:
    """Within the repository; the anchors of headings too."""
    for path, text in {**PAGES, DOCS.parent / "BENCHMARKS.md": (DOCS.parent / "BENCHMARKS.md").read_text()}.items():
        links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"src(?:set)?=\"([^\"]+)\"", text)
        for link in links:
            if link.startswith(("http:", "https:")):
                continue
            name, _, anchor = link.partition("#")
            target = (path.parent / name).resolve() if name else path
            assert target.exists(), f"{path}: {link}"
            if anchor:
                headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
                slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
                assert anchor in slugs, f"{path}: {link}"


def test_every_page_is_on_the_site() -> None:
    site = (DOCS.parent / "mkdocs.yml").read_text("utf-8").split("\nnav:")[1]
    listed = re.findall(r"[\w/-]+\.md$", site, re.MULTILINE)
    made = {"benchmarks.md", "changelog.md", "tutorial.md"}  # by docs/hooks.py
    assert sorted(listed) == sorted({str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")} | made)


@pytest.mark.parametrize("folder", ["how-to", "coming-from", "concepts", "problems"])
def test_every_page_is_in_the_readme(folder: str) -> None:
    for path in (DOCS / folder).glob("*.md"):
        assert f"(docs/{folder}/{path.name})" in README


def test_changelog_knows_the_version() -> None:
    """In the form of Keep a Changelog."""
    changelog = (DOCS.parent / "CHANGELOG.md").read_text("utf-8")
    assert f"\n## [{seampack.__version__}] - 20" in changelog
    assert "\n## [Unreleased]\n" in changelog
    kinds = set(re.findall(r"^### (.*)$", changelog, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}

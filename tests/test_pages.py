"""The commands and the Python of the pages run, in order, and print what the pages show.

A block is run unless a comment before it says why not. A block of text is the output of the one before it; a line
``...`` in it is any number of lines. UPDATE_PAGES=1 writes the output into the pages instead.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import seampack
from benchmarks import chart
from examples import pictures, readme, reference, strategies
from tests.conftest import CORPUS, DATA, Run
from tests.s3 import put

TOP = Path(seampack.__file__).parent.parent
FOLDERS = ("how-to", "coming-from", "concepts", "problems")
PAGES = [
    TOP / "README.md",
    TOP / "docs/index.md",
    *(page for each in FOLDERS for page in (TOP / "docs" / each).glob("*.md")),
]
BLOCK = re.compile(
    r"(?:<!-- (?P<comment>[^>]*) -->\n)?```(?P<kind>sh|python)\n(?P<code>.*?)```\n(?:\n```text\n(?P<shown>.*?)```\n)?",
    re.DOTALL,
)
TRAINERS = (TOP / "docs/trainers.md").read_text("utf-8")


def commands_of(code: str) -> list[str]:
    """The commands of a block: continued lines are joined, and a here-document is part of its command."""
    lines = iter(code.replace("\\\n", " ").splitlines())
    found = []
    for line in lines:
        if here := re.search(r"<<'(\w+)'", line):
            parts = [line]
            for following in lines:
                parts.append(following)
                if following == here[1]:
                    break
            line = "\n".join(parts) + "\n"
        found.append(line)
    return found


SEAMPACK = re.compile(
    r"(?:(?P<before>[^|]*) \| )?seampack (?P<given>[^|<>]*?)"
    r"(?: < (?P<read>\S+))?(?: > (?P<write>\S+))?(?: \| (?P<after>.*))?"
)


class Shell:
    """Run commands: seampack within this process, all others by bash."""

    def __init__(self, call: Run) -> None:
        self.call = call

    def run(self, command: str) -> bytes:
        """Run a command line, and return its standard output. It must succeed."""
        parts = SEAMPACK.fullmatch(command)
        if parts is None:
            return self.bash(command)
        given = Path(parts["read"]).read_bytes() if parts["read"] else self.bash(parts["before"] or "true")
        done = self.call(*shlex.split(parts["given"]), stdin=given)
        assert done.returncode == 0, f"{command}\n{done.stderr.decode()}"
        if parts["write"]:
            Path(parts["write"]).write_bytes(done.stdout)
            return b""
        return self.bash(parts["after"], done.stdout) if parts["after"] else done.stdout

    def bash(self, command: str, given: bytes = b"") -> bytes:
        """Run a command line by bash."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # python and seampack of this environment
        done = subprocess.run(
            ["bash", "-c", command], input=given, capture_output=True, check=False, env=os.environ | {"PATH": path}
        )
        assert done.returncode == 0, f"{command}\n{done.stderr.decode()}"
        return done.stdout


def matches(output: str, shown: str) -> bool:
    """Whether an output is as shown, where a line ``...`` is any number of lines."""
    parts = [re.escape(part.strip("\n")) for part in re.split(r"^\.\.\.$", shown, flags=re.MULTILINE)]
    return re.fullmatch(r"(?s:.*)".join(parts), output.strip("\n")) is not None


@pytest.mark.filterwarnings("ignore")  # of torch, datasets and others
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs(
    page: Path, call: Run, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], request: pytest.FixtureRequest
) -> None:
    text = page.read_text("utf-8")
    for source in (CORPUS, DATA / "tokenizer.json"):
        shutil.copy(source, tmp_path)
    (tmp_path / "seampack").symlink_to(TOP / "seampack")  # the README is read at the top of a checkout
    if "<!-- needs: s3 -->" in text:
        request.getfixturevalue("bucket")
        server = request.getfixturevalue("s3")
        for name, data in {"corpora": b"", "packed": b"", "corpora/corpus.jsonl.zst": CORPUS.read_bytes()}.items():
            put(f"{server}/{name}", data)
    shell, names = Shell(call), dict[str, Any]()

    def checked(match: re.Match[str]) -> str:
        comment, code, shown = match["comment"] or "", match["code"], match["shown"]
        if comment.startswith("not run: "):
            return match[0]
        if comment.startswith("run by the test of trainers.md"):
            assert f"<!-- run: {page.stem} -->\n```python\n{code}```" in TRAINERS
            return match[0]
        if match["kind"] == "sh" and "data=$(" not in code:
            output = b"".join(map(shell.run, commands_of(code)))
        elif match["kind"] == "sh":  # variables: one process
            output = shell.bash(code)
        else:
            capfdbinary.readouterr()
            exec(compile(code, page.name, "exec"), names)
            output = capfdbinary.readouterr().out
        if shown is None or matches(output.decode(), shown):
            return match[0]
        assert os.environ.get("UPDATE_PAGES"), f"{code}printed\n{output.decode()}\nexpected\n{shown}"
        return match[0].replace(f"```text\n{shown}```", f"```text\n{output.decode().rstrip()}\n```")

    now = BLOCK.sub(checked, text)
    if now != text:
        page.write_text(now, encoding="utf-8")


def test_few_blocks_are_not_run() -> None:
    blocks = [match for page in PAGES for match in BLOCK.finditer(page.read_text("utf-8"))]
    assert len(blocks) > 50
    assert sum((match["comment"] or "").startswith("not run: ") for match in blocks) < 10


@pytest.mark.parametrize("made", [pictures.pictures, chart.pictures], ids=["examples.pictures", "benchmarks.chart"])
def test_pictures_are_current(made: Callable[[], dict[str, str]]) -> None:
    """After a change: python -m examples.pictures, python -m benchmarks.chart."""
    for name, content in made().items():
        assert (TOP / "docs/pictures" / name).read_text("utf-8") == content, name


def test_examples_are_current() -> None:
    """After a change: python -m examples.readme."""
    assert strategies.table() in (TOP / "docs/strategies.md").read_text("utf-8")
    assert readme.demo() in (TOP / "README.md").read_text("utf-8")


def test_the_reference_is_current() -> None:
    """After a change: python -m examples.reference."""
    page = TOP / "docs/reference"
    code = "import sys; from examples import reference; sys.stdout.buffer.write(reference.command_line().encode())"
    fresh = subprocess.run([sys.executable, "-c", code], cwd=TOP, capture_output=True, check=True)  # click caches help
    assert (page / "command_line.md").read_text("utf-8") == fresh.stdout.decode()
    assert (page / "python.md").read_text("utf-8") == reference.python()


def test_the_readme_is_short() -> None:
    assert len((TOP / "README.md").read_text("utf-8").split()) < 900

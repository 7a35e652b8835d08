"""Write the output of the small examples into the pages: ``python -m examples.readme``."""

import contextlib
import tempfile
from pathlib import Path

from click.testing import CliRunner

from benchmarks.measure import write_between
from examples import strategies
from seampack.cli import main

TOP = Path(__file__).parent.parent
SKIPPED, LONGEST = ("seampack: no --tokenizer", "seampack: begin token"), 10

INPUT = "seampack/data/corpus.jsonl.zst"
SESSION = (
    f"pack {INPUT} --seq-len 1024 -o packed/",
    f"verify packed/ --against {INPUT}",
    "inspect packed/ --row 300",
    "unpack packed/ -o documents.jsonl.zst",
)


def demo() -> str:
    """Return a session of commands with their output; dots replace the time, the notes of a first run are omitted."""
    shown = []
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        (Path(folder) / "seampack").symlink_to(TOP / "seampack")
        for line in SESSION:
            name, *arguments = line.split()
            done = CliRunner().invoke(main.commands[name], arguments, catch_exceptions=False)
            notes = [note for note in done.output.splitlines() if not note.startswith(SKIPPED)]
            shown += [f"$ seampack {line}", *notes[:LONGEST], *["..."] * (len(notes) > LONGEST), ""]
    return "\n".join(["```text", *shown[:-1], "```"])


if __name__ == "__main__":
    write_between(TOP / "README.md", "demo", demo())
    write_between(TOP / "docs" / "strategies.md", "strategies", strategies.table())

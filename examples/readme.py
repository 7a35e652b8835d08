"""Write the output of the small examples into the README: ``python -m examples.readme``."""

import tempfile
from pathlib import Path

import seampack
from benchmarks.measure import write_between
from examples import strategies
from seampack.commands.report import accounting_lines

TOP = Path(__file__).parent.parent
CORPUS = TOP / "seampack" / "data" / "corpus.jsonl.zst"


def demo() -> str:
    """Return the report of the demo, without its last lines, which give the time."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = seampack.pack(CORPUS, out=f"{folder}/demo", seq_len=1024)
    return f"```\n{accounting_lines(manifest.accounting.to_dict())}\n```"


if __name__ == "__main__":
    write_between(TOP / "README.md", "demo", demo())
    write_between(TOP / "README.md", "strategies", strategies.table())

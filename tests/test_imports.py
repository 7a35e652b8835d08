"""A run imports only what it uses, also where everything is installed. Each test is a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

UNUSED = (
    "pandas",
    "jinja2",
    "scipy",
    "numba",
    "torch",
    "datasets",
    "transformers",
    "matplotlib",
    "sklearn",
    "numpy.f2py",
)
LINES = '{"id": "a", "text": "some words"}\n{"id": "b", "text": "more of them"}\n'


def imported(folder: Path, code: str) -> set[str]:
    """Return the top-level modules, and numpy.f2py, that a process has imported after it ran some code."""
    report = "import atexit, sys; atexit.register(lambda: open('modules', 'w').write(' '.join(sys.modules)))"
    subprocess.run([sys.executable, "-c", f"{report}\n{code}"], cwd=folder, check=True, capture_output=True)
    names = (folder / "modules").read_text().split()
    return {name.split(".")[0] for name in names} | {name for name in names if name == "numpy.f2py"}


def command(*arguments: str) -> str:
    return f"import sys; sys.argv[1:] = {list(arguments)!r}\nfrom seampack.cli import main; main()"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("imports")
    (folder / "corpus.jsonl").write_text(LINES)
    (folder / "corpus.csv").write_text("id,text\na,some words\n")
    pq.write_table(pa.table({"text": ["some words"]}), folder / "corpus.parquet")
    imported(folder, command("pack", "corpus.jsonl", "-o", "once"))
    return folder


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="kernels are not compiled")
@pytest.mark.parametrize(
    "arguments",
    [
        ["pack", "corpus.jsonl", "--overwrite", "-o", "packed"],
        [
            "pack",
            "corpus.jsonl",
            "--id-column",
            "id",
            "--labels",
            "--pad",
            "<|endoftext|>",
            "--overwrite",
            "-o",
            "packed",
        ],
        ["pack", "corpus.csv", "--strategy", "concat", "--overwrite", "-o", "packed"],
        ["pack", "corpus.parquet", "--output-format", "parquet", "--overwrite", "-o", "packed"],
        ["compare", "corpus.jsonl"],
        ["inspect", "once", "--verify", "--row", "0"],
        ["inspect", "once", "--html", "report.html", "--compare"],
        ["verify", "once", "--against", "corpus.jsonl"],
        ["unpack", "once", "--overwrite", "-o", "back.jsonl"],
        ["unpack", "once", "--ids", "--overwrite", "-o", "back.parquet"],
        ["tokenizer", "train", "corpus.jsonl", "--vocab-size", "300", "--overwrite", "-o", "tokenizer.json"],
    ],
    ids=lambda arguments: " ".join(arguments[:3]),
)
def test_a_command_imports_only_what_it_uses(folder: Path, arguments: list[str]) -> None:
    if imported(folder, command(*arguments)) & set(UNUSED):  # it may have compiled kernels that were not in the cache
        assert not sorted(imported(folder, command(*arguments)) & set(UNUSED))


def test_a_small_input_does_not_load_the_fast_tokenizer(folder: Path) -> None:
    assert "fastokens" not in imported(folder, command("pack", "corpus.jsonl", "-o", "packed", "--overwrite"))
    (folder / "large.jsonl").write_text(LINES * 20_000)
    assert "fastokens" in imported(folder, command("pack", "large.jsonl", "-o", "packed", "--overwrite"))


def test_pandas_is_still_found_where_a_table_is_converted(folder: Path) -> None:
    code = """
from seampack._pandas import leave_out_pandas
leave_out_pandas()
import pyarrow as pa
frame = pa.table({"a": [1, 2]}).to_pandas()
assert pa.Table.from_pandas(frame)["a"].to_pylist() == [1, 2]
"""
    assert "pandas" in imported(folder, code)

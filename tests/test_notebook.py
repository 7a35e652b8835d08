"""The notebook of docs/ runs from its first cell to its last, and prints what it shows.

UPDATE_PAGES=1 writes the output into the notebook instead.
"""

import os
from pathlib import Path
from typing import Any

import pytest

import seampack

NOTEBOOK = Path(seampack.__file__).parent.parent / "docs/tutorial.ipynb"


def printed(notebook: Any) -> list[list[str]]:
    """The text that each cell with code has printed."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [["".join(output.get("text", "")) for output in cell.outputs] for cell in cells]


@pytest.mark.filterwarnings("ignore")  # of Jupyter
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ipykernel")
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # other tests use the cores too
    shown = nbformat.read(NOTEBOOK, as_version=4)
    now = nbformat.from_dict(shown)
    nbclient.NotebookClient(now, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    if printed(now) == printed(shown):
        return
    assert os.environ.get("UPDATE_PAGES"), f"{printed(now)}\n{printed(shown)}"
    for cell in now.cells:
        cell.metadata.clear()  # the times of this run
        for output in cell.get("outputs", []):
            assert output.output_type == "stream", output
    NOTEBOOK.write_text(nbformat.writes(now) + "\n", encoding="utf-8")

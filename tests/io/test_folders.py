"""Folders as inputs: every file that can be read, once and in a fixed order; nothing is skipped silently."""

import os
import warnings
from pathlib import Path

import pytest
from datasets import Dataset

from seampack.errors import DataError
from seampack.io.sources import expand
from seampack.models import data
from seampack.packer.config import PackConfig
from seampack.packer.readers import read_blocks
from seampack.segmenter.inputs import texts


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    for name in ("b/2.jsonl", "b/1.txt.gz", "a.csv", "c.TXT", ".hidden/x.txt", "b/.x.txt", "b/.1.txt.partial-7"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text\n")
    return folder


def names(folder: Path) -> list[str]:
    return [os.path.relpath(path, str(folder).rstrip("/*")) for path in expand(folder)]


def test_known_files_are_found_in_sorted_order(folder: Path) -> None:
    with warnings.catch_warnings(action="error"):
        assert names(folder) == ["a.csv", "b/1.txt.gz", "b/2.jsonl", "c.TXT"]


def test_links_are_followed_once(folder: Path) -> None:
    (folder / "b/up").symlink_to("..")
    (folder / "b/twin").symlink_to(folder / "b")
    (folder / "d.txt").symlink_to(folder / "c.TXT")
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "z.txt").write_text("z\n")
    (folder / "e").symlink_to(outside)
    assert names(folder) == ["a.csv", "b/1.txt.gz", "b/2.jsonl", "c.TXT", "d.txt", "e/z.txt"]


@pytest.mark.parametrize("pattern", ["", "b/*", "**"])
def test_a_link_to_nothing_is_refused(pattern: str, folder: Path) -> None:
    (folder / "b/.dead.txt").symlink_to("nowhere")
    expand(folder / pattern)
    (folder / "b/dead.txt").symlink_to("nowhere")
    with pytest.raises(DataError, match=r"b/dead\.txt: a link to a file that does not exist; correct or remove it$"):
        expand(folder / pattern)


def test_folders_that_a_glob_matches_are_named(folder: Path) -> None:
    with pytest.warns(
        UserWarning, match=rf"^{folder}/\*: 1 folder\(s\) are skipped: {folder}/b; give their names to read"
    ):
        assert names(folder / "*") == ["a.csv", "c.TXT"]
    with warnings.catch_warnings(action="error"):
        assert len(names(folder / "**")) == 4


def test_files_of_unknown_kinds_are_named_once(folder: Path) -> None:
    for name in ("LICENSE", "b/a.pdf", "x.gz", "y.bin"):
        (folder / name).write_text("a")
    message = (
        rf"^{folder}: 4 file\(s\) with an unknown ending are skipped: {folder}/LICENSE, {folder}/b/a.pdf, "
        rf"{folder}/x.gz, \.\.\.; give their names to read them$"
    )
    with pytest.warns(UserWarning, match=message) as caught:
        assert len(names(folder)) == len(names(folder)) == 4
    with warnings.catch_warnings(record=True, action="default") as caught:
        expand(folder)
        expand(str(folder))
    assert len(caught) == 1


def test_a_folder_without_known_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".a.txt").write_text("a\n")
    with pytest.raises(DataError, match=r"expected files with a known ending, such as \.jsonl .*; it has no files$"):
        expand(tmp_path)
    (tmp_path / "a.pdf").write_text("a\n")
    with pytest.raises(DataError, match=rf"; got {tmp_path}/a\.pdf$"):
        expand(tmp_path)


def test_a_saved_dataset_in_a_folder_is_read_by_its_own_list(folder: Path) -> None:
    Dataset.from_dict({"text": ["a", "b"]}).save_to_disk(folder / "saved")
    (folder / "saved/cache-1.arrow").write_bytes(b"a cache of datasets")
    assert names(folder)[-1] == "saved/data-00000-of-00001.arrow"


def test_a_packed_folder_inside_is_refused(folder: Path) -> None:
    import seampack

    for output_format in ("arrow", "parquet"):
        seampack.pack(folder / "c.TXT", out=folder / "packed", output_format=output_format, overwrite=True)
        with pytest.raises(DataError, match="packed: packed rows, not documents; restore them"):
            list(read_blocks(expand(folder), PackConfig()))


def test_all_parts_read_folders(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("text\nb\n")
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    assert [text for batch in texts(tmp_path) for text in batch] == ["a", "b"]
    assert data.load(str(tmp_path))["text"][:] == ["a", "b"]
    packed = [block.decode() for block in read_blocks(expand(tmp_path), PackConfig())]
    assert [text for batch in packed for text in batch.texts] == ["a", "b"]  # type: ignore[union-attr]

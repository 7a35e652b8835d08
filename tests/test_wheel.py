"""The wheel: one top-level name, its data files, no links, and only declared dependencies."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import seampack

TOP = Path(seampack.__file__).parent.parent


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and the source distribution with the build backend of the project."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(out)], cwd=TOP, check=True, capture_output=True
    )
    return out


def files_of(folder: str) -> set[str]:
    """The files in a folder of the project, relative to its top."""
    paths = (path for path in (TOP / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(TOP).as_posix() for path in paths}


def test_wheel(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert {name.split("/")[0] for name in names} == {"seampack", f"seampack-{seampack.__version__}.dist-info"}
    assert {name for name in names if name.startswith("seampack/")} == files_of("seampack")
    assert len(names) == len(set(names))
    assert {"seampack/py.typed", "seampack/data/tokenizer.json", "seampack/data/corpus.jsonl.zst"} <= set(names)
    base = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert not any("torch" in line or "datasets" in line for line in base)
    assert "License-Expression: Apache-2.0" in metadata
    assert "License-File: NOTICE" in metadata


def test_source_distribution(built: Path) -> None:
    """It holds the package and all that its tests read, and no link."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    assert not [member.name for member in members if member.issym() or member.islnk()]
    top = {path.name for path in TOP.iterdir() if path.is_file() and not path.name.startswith((".", "cli.py"))}
    expected = top.union(*map(files_of, ("benchmarks", "docs", "examples", "seampack", "tests")))
    assert {member.name.split("/", 1)[1] for member in members} - {".gitignore", "PKG-INFO"} == expected - {"PKG-INFO"}


def test_installed_wheel_packs(built: Path, tmp_path: Path) -> None:
    """Pack with the files of the wheel alone, outside the checkout."""
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import sys; site = sys.argv[1]; sys.path.insert(0, site); import seampack;"
        "assert seampack.__file__.startswith(site);"
        "print(seampack.pack(site + '/seampack/data/corpus.jsonl.zst', out='packed')['accounting']['documents'])"
    )
    out = subprocess.run(
        [sys.executable, "-P", "-c", code, str(tmp_path / "site")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout.strip() == "3320"

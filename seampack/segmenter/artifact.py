"""A segmenter on disk: ``segmenter.json`` and its parts.

The parts are ``student.safetensors``, for exact decoding ``teacher.safetensors``, and ``lexicon.safetensors``, which
decides together with the student.
"""

import os
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seampack._version import __version__
from seampack.errors import ShardError
from seampack.io.artifact import ArtifactKind, to_bytes
from seampack.io.output import staged_path, writing
from seampack.segmenter.apply_config import Decoder
from seampack.segmenter.config import TrainConfig
from seampack.segmenter.scripts import HanForm

DESCRIPTION = "segmenter.json"
BUNDLED = ("zh", "th", "ja")
PARTS = ("student", "teacher", "lexicon")
_NAMES = {"student": "student", "teacher": "language models", "lexicon": "lexicon"}
_ADVICE = {
    "student": "make one with: seampack segment distill RAW --teacher MODEL",
    "teacher": "use its student (no --exact or --decoder), or train a segmenter: seampack segment train RAW",
    "lexicon": "make one with: seampack segment lexicon RAW -m MODEL",
}
REMEDY = "copy the model again, or train it again"
KIND = ArtifactKind("seampack segmenter", 1, DESCRIPTION, "seampack segment train RAW", REMEDY)
LEXICON_VERSION = 1
"""Value of ``format_version`` of the lexicon's facts in the description."""
DECODING = ("script", "longest", "hidden", "chunk_units", "forward_weight")
"""Training options that are needed to run a teacher."""

Arrays = dict[str, npt.NDArray[Any]]


def save(folder: Path, facts: dict[str, Any], parts: dict[str, Arrays]) -> None:
    """Write the parts (see ``PARTS``) and, last, the description, which makes the folder a segmenter.

    A segmenter already in the folder stays intact until all new parts are written. Raises ShardError if the new one
    cannot be written, ValueError or TypeError if JSON cannot express the facts.
    """
    content = {"seampack_version": __version__, **facts, "parts": sorted(parts)}
    KIND.encode(content)  # invalid facts must not destroy the existing segmenter
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as staged:  # the parts are renamed together, after all of them are written
            for part, arrays in parts.items():
                if part == "teacher":  # the parameters do not reveal K: segments of any length have a score
                    arrays = {**arrays, "longest": np.array([facts["config"]["longest"]])}
                staged.enter_context(staged_path(_part(folder, part))).write_bytes(to_bytes(arrays))
            (folder / DESCRIPTION).unlink(missing_ok=True)
        for part in PARTS:
            if part not in parts:
                _part(folder, part).unlink(missing_ok=True)
    KIND.write_description(folder, content)


def is_ours(name: str) -> bool:
    """Return whether ``save`` writes a file of this name."""
    return name == DESCRIPTION or name in (_part(Path(), part).name for part in PARTS)


def facts(description: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a description, as ``save`` takes them, without those of a lexicon.

    What a training was given is not among them: the segmenter that they are for is not its result.
    """
    own = ("format", "format_version", "seampack_version", "parts", "lexicon", "given")
    return {name: value for name, value in description.items() if name not in own}


def find(name: str | os.PathLike[str]) -> Path:
    """Return the folder of a segmenter, by path or by the name of a bundled one."""
    path = Path(name)
    if not path.exists() and str(name) in BUNDLED:
        return Path(str(files("seampack") / "data" / "segmenters" / str(name)))
    return path


def load_description(folder: Path) -> dict[str, Any]:
    """Read ``segmenter.json``.

    Raises ShardError if the file is missing, is of another kind or version, or lacks a field that segmenting needs.
    """
    if not folder.exists():
        raise ShardError(
            f"{folder}: no such segmenter; expected a folder, or a bundled one: {', '.join(BUNDLED)}; train one "
            f"with: {KIND.command} -o {folder}"
        )
    description = KIND.read_description(folder)
    try:
        _check_description(description)
    except (ValueError, TypeError) as error:
        raise KIND.damaged(folder / DESCRIPTION, error) from error
    return description


def _check_description(description: dict[str, Any]) -> None:
    """Raise ValueError unless the description has the fields that segmenting needs; ignore unknown training options."""
    script, parts, config = (description.get(name) for name in ("script", "parts", "config"))
    if not isinstance(script, str) or not script:
        raise ValueError(f"script: expected a preset or characters; got {script!r}")
    if not isinstance(parts, list) or not parts or any(part not in PARTS for part in parts):
        raise ValueError(f"parts: expected a list with some of {', '.join(PARTS)}; got {parts!r}")
    if description.get("han_form") not in (None, *HanForm):
        raise ValueError(f"han_form: expected {' or '.join(HanForm)} or null; got {description['han_form']!r}")
    if description.get("decoder") not in (None, *Decoder):
        raise ValueError(f"decoder: expected {', '.join(Decoder)} or nothing; got {description['decoder']!r}")
    if "lexicon" in parts:
        _check_lexicon(description)
    if "teacher" not in parts:
        return
    if not isinstance(config, dict):
        raise ValueError(f"config: expected the training options; got {config!r}")
    if missing := [name for name in DECODING if name not in config]:
        raise ValueError(f"config: expected {', '.join(DECODING)}; missing {', '.join(missing)}")
    if config["script"] != script:
        raise ValueError(f"script: expected {config['script']!r}, as in config; got {script!r}")
    TrainConfig.of_description(config)


def _check_lexicon(description: dict[str, Any]) -> None:
    """Raise ValueError unless the segmenter has a student, and a lexicon of the version that this program reads."""
    if "student" not in description["parts"]:
        raise ValueError(f"parts: expected a student next to the lexicon; got {description['parts']!r}")
    facts = description.get("lexicon")
    facts = facts if isinstance(facts, dict) else {}
    version = facts.get("format_version")
    if version != LEXICON_VERSION:
        raise ValueError(f"lexicon: expected format version {LEXICON_VERSION}; got {version!r}")
    characters = facts.get("characters", 0)
    if not isinstance(characters, int):
        raise ValueError(f"lexicon: characters: expected a number; got {characters!r}")


def load_part(folder: Path, part: str, description: dict[str, Any]) -> Arrays:
    """Read the arrays of a part.

    Raises ShardError if the description does not list the part, or if its file is missing, damaged or has numbers that
    are not finite.
    """
    path = _part(folder, part)
    if part not in description["parts"]:
        raise lacks(folder, part, description, _ADVICE[part])
    return KIND.read_arrays(path)


def lacks(folder: Path, part: str, description: dict[str, Any], advice: str) -> ShardError:
    """Return the error of a segmenter without a part."""
    parts = ", ".join(_NAMES[each] for each in description["parts"])
    return ShardError(f"{folder}: the segmenter has no {_NAMES[part]}; its parts: {parts}; {advice}")


def _part(folder: Path, part: str) -> Path:
    return folder / f"{part}.safetensors"

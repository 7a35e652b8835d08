"""What a finished training was given, so that the same command with ``--resume`` does not train again."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seampack.errors import ShardError
from seampack.segmenter import artifact

GIVEN = "given"
"""Name of these facts in the description. Its entries: fingerprints of the text and of the models from which training
started, the number of retries, and the options of the language models and the student."""


def finished(folder: Path, given: Mapping[str, Any], *, overwrite: bool) -> dict[str, Any] | None:
    """Return the description of the segmenter in the folder, or None if there is none.

    Raises ShardError if it was trained with something else, and ``overwrite`` is not set; with it, the result is None.
    """
    if not (folder / artifact.DESCRIPTION).exists():
        return None
    description = artifact.load_description(folder)
    changed = _changes(description.get(GIVEN), given)
    if not changed:
        return description
    if not overwrite:
        raise ShardError(
            f"{folder}: the segmenter in this folder is finished, but was trained on something else: "
            f"{'; '.join(changed)}; replace it with --overwrite, or choose another folder"
        )
    return None


def _changes(before: Any, now: Mapping[str, Any]) -> list[str]:
    """Return in words what differs between two runs; options decide how the text is divided, so it is compared last."""
    before = before if isinstance(before, dict) else {}
    changed = [*_different("", before.get("options"), now["options"])]
    changed += _different("student: ", before.get("student"), now["student"])
    changed += _different("", {"retry": before.get("retry")}, {"retry": now["retry"]})
    if before.get("init") != now["init"]:
        changed.append("other models of --init")
    if not changed and before.get("text") != now["text"]:
        changed.append("the text has changed")
    return changed


def _different(prefix: str, before: Any, now: Any) -> Iterator[str]:
    """Yield the options that differ, with both values."""
    before, now = before or {}, now or {}
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            yield f"{prefix}{name} was {before.get(name)}, is now {now.get(name)}"

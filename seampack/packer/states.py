"""The states of readers, which are saved with a checkpoint: a state is of one reader, and another refuses it."""

from collections.abc import Mapping, Sequence
from typing import Any

from seampack.errors import DataError


def checked_state(
    state: object,
    identity: Mapping[str, Any],
    entries: Sequence[str],
    *,
    added: Mapping[str, Any] | None = None,
    remedies: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return a state that a reader may go on from.

    Args:
        state: What ``state_dict`` returned in the earlier run.
        identity: Entries that must be those of the state, because the order of the rows depends on them.
        entries: Names of the other entries.
        added: Entries that states of earlier versions lack, with the value that they mean.
        remedies: What to do about an entry of the identity that differs; by default to give that of the earlier run.

    Raises DataError for another object, a missing entry or another reader.
    """
    if not isinstance(state, Mapping):
        raise DataError(
            f"state: expected what state_dict returned; got {state!r:.80}; give the entry of the checkpoint, or load "
            "no state to begin with the first row"
        )
    found = {**(added or {}), **state}
    if missing := [name for name in (*identity, *entries) if name not in found]:
        raise DataError(
            f"state: expected an entry {missing[0]}; got {', '.join(map(str, state)) or 'none'}; give what state_dict "
            "returned"
        )
    for name, value in identity.items():
        if found[name] != value:
            remedy = (remedies or {}).get(name, f"give the {name} of the earlier run")
            raise DataError(
                f"state: expected {name} {_shown(value)}, as now; got {_shown(found[name])}, from the earlier run; "
                f"{remedy}, or load no state to begin with the first row"
            )
    return found


def _shown(value: object) -> str:
    """Return a value in words: a pair is a number and how many there are, such as a rank."""
    return " of ".join(map(str, value)) if isinstance(value, list | tuple) and len(value) == 2 else str(value)

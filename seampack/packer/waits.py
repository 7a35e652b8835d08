"""What a run waits for: the stages run at the same time, and the slowest limits them all."""

from collections.abc import Iterable, Iterator
from enum import Enum, auto
from time import perf_counter
from typing import TypeVar

Item = TypeVar("Item")


class Wait(Enum):
    """What the thread that reads the input does or waits for."""

    READ = auto()
    """It reads and decompresses."""
    TOKENISE = auto()
    """It waits for the threads that decode and tokenise."""
    USE = auto()
    """It waits for what is done with the tokens, such as packing."""


class Waits:
    """The seconds of the thread that reads the input, by what they were spent on."""

    def __init__(self) -> None:
        self._last = perf_counter()
        self._seconds = dict.fromkeys(Wait, 0.0)

    def end(self, wait: Wait) -> None:
        """Count the time since the last end."""
        now = perf_counter()
        self._seconds[wait] += now - self._last
        self._last = now

    def until(self, items: Iterable[Item], wait: Wait) -> Iterator[Item]:
        """Yield the items, and count the time until each."""
        for item in items:
            self.end(wait)
            yield item

    @property
    def limit(self) -> Wait | None:
        """What limits the run; None in its first second.

        A thread that waits for a tenth of the time is not what limits: what it waits for most does.
        """
        seconds = sum(self._seconds.values())
        if seconds < 1:
            return None
        longest = max(Wait.TOKENISE, Wait.USE, key=self._seconds.__getitem__)
        return Wait.READ if self._seconds[Wait.READ] > 0.9 * seconds else longest

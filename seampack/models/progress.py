"""Progress of long loops, and the progress bars of datasets and transformers."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS = 30.0
"""Time between two lines of progress in a log file."""


@contextmanager
def progress(title: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show how far a loop is: a bar on a terminal, otherwise a line on standard error every 30 seconds.

    Yields a function that takes the number of finished units. A loop of less than a second shows no bar, one of less
    than 30 seconds no line.
    """
    if sys.stderr.isatty():
        from tqdm import tqdm

        with tqdm(total=total, desc=title, unit=unit, leave=False, delay=1) as bar:
            yield lambda finished: bar.update(finished) and None
        return
    begin = last = time.monotonic()
    done = 0

    def advance(finished: int) -> None:
        nonlocal done, last
        done += finished
        now = time.monotonic()
        if now - last >= SECONDS:
            last = now
            message = f"seampack: {title}: {done:,} of {total:,} {unit}s, {now - begin:,.0f} s"
            sys.stderr.write(f"{message}\n")
            sys.stderr.flush()

    yield advance


@contextmanager
def no_bars() -> Iterator[None]:
    """Disable the progress bars of datasets and transformers within the block, then restore them."""
    import datasets
    from transformers.utils import logging

    switches = [
        (datasets.is_progress_bar_enabled, datasets.disable_progress_bars, datasets.enable_progress_bars),
        (logging.is_progress_bar_enabled, logging.disable_progress_bar, logging.enable_progress_bar),
    ]
    enabled = [enable for is_enabled, _, enable in switches if is_enabled()]
    for _, disable, _ in switches:
        disable()
    try:
        yield
    finally:
        for enable in enabled:
            enable()


@contextmanager
def no_bars_in_files() -> Iterator[None]:
    """Disable progress bars unless standard error is a terminal, so that log files contain no bars."""
    if sys.stderr.isatty():
        yield
        return
    with no_bars():
        yield

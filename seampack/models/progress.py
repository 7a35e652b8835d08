"""Progress bars of datasets and transformers."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


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

"""Progress bars of other libraries, where nobody watches."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_bars_in_files() -> Iterator[None]:
    """Switch off the bars of datasets and transformers where standard error is no terminal, and on again behind it."""
    if sys.stderr.isatty():
        yield
        return
    import datasets
    from transformers.utils import logging

    reports = [
        (datasets.is_progress_bar_enabled, datasets.disable_progress_bars, datasets.enable_progress_bars),
        (logging.is_progress_bar_enabled, logging.disable_progress_bar, logging.enable_progress_bar),
    ]
    again = [enable for enabled, _, enable in reports if enabled()]
    for _, disable, _ in reports:
        disable()
    try:
        yield
    finally:
        for enable in again:
            enable()

"""The signals that stop a run: Ctrl-C, SIGTERM, and SIGHUP, which a terminal sends when it is closed."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

STOPPING = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def ignore_signals() -> dict[signal.Signals, object]:
    """Ignore all signals that stop a run, and return their earlier handlers."""
    return {number: signal.signal(number, signal.SIG_IGN) for number in STOPPING}


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore the signals that stop a run, for a clean-up or a rename; only the main thread receives them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = ignore_signals()
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)  # type: ignore[arg-type]  # None: not set by Python

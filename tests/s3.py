"""A server with the interface of S3, as a process of its own."""

import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SECONDS = 60


@contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """Start a server on a free port, and yield its address."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"], stdout=out, stderr=out
        )
    try:
        deadline = time.monotonic() + _SECONDS
        while not (match := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield match[0]
    finally:
        process.kill()
        process.wait()


def put(address: str, data: bytes = b"") -> None:
    """Make a bucket, or an object of it."""
    headers = {"Content-Type": "application/octet-stream"}  # the data of a form would be dropped
    urllib.request.urlopen(urllib.request.Request(address, data, headers, method="PUT")).close()

"""The file systems that addresses name: those of Arrow (s3, gs, abfs, hdfs), and of fsspec (hf, https, memory, ...).

Paths in addresses are read literally: ``%20`` is not a space. All requests are tried again a few times, then they fail.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from pyarrow import fs

from seampack.errors import DataError, MissingExtraError, RemoteError, SeampackError
from seampack.io.places import shown

_ATTEMPTS, _CONNECT_SECONDS, _REQUEST_SECONDS, _RETRY_SECONDS = 4, 10, 30, 20
_MESSAGE = 200
"""Number of characters of a server's message that are shown."""
_ARROW = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
_S3_OPTIONS = ("endpoint_override", "region", "scheme")
_WITHOUT_ACCESS = "access is denied: give credentials by environment variables or the server's own configuration"
_REASONS = {
    r"NO_SUCH_BUCKET": "no such bucket",
    r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE_DOES|CLIENT_TOKEN|EXPIRED|AUTHENTICATION|OAuth2": _WITHOUT_ACCESS,
    r"NETWORK_CONNECTION|curlCode|CURL error|could not connect|Name or service not known": "the server does not answer",
}
_SECRETS = re.compile(r"(?<=://)[^/@\s]+:[^/@\s]+@|(?<=\w)\?\S+")
"""Credentials and the query of an address in a message."""


@contextmanager
def asking(name: object) -> Iterator[None]:
    """Convert errors of a server to a RemoteError that names the file. FileNotFoundError stays."""
    try:
        yield
    except (FileNotFoundError, SeampackError):
        raise
    except Exception as error:  # each library has its own
        raise RemoteError(f"{name}: {reason_of(error)}") from error


def reason_of(error: Exception) -> str:
    """Return the reason of an error of a server in one line."""
    message = " ".join(_SECRETS.sub("", str(error)).split()) or type(error).__name__
    if isinstance(error, PermissionError):
        return _WITHOUT_ACCESS
    found = next((text for pattern, text in _REASONS.items() if re.search(pattern, message)), None)
    short = message if len(message) <= _MESSAGE else f"{message[:_MESSAGE]}..."
    return f"{found} ({short})" if found else short


def file_system(url: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of an address, and the path in it.

    Raises RemoteError or DataError for an address that none has, MissingExtraError if it needs another package.
    """
    address, _, query = url.partition("?")
    scheme, _, rest = address.partition("://")
    site, _, path = rest.partition("/")
    with asking(shown(url)):
        if scheme.lower() not in _ARROW:
            return _of_fsspec(url)
        if scheme.lower() in ("s3", "gs", "gcs") and ":" in site.rpartition("@")[2]:
            raise DataError(f"{scheme}://...: expected a bucket; got a name with a colon: write / in a secret as %2F")
        files, root = _of_arrow(scheme.lower(), site, query)
    return files, (f"{root.rstrip('/')}/{path}" if root else path).rstrip("/")


@lru_cache
def _of_arrow(scheme: str, site: str, query: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of Arrow at an address, and the path of its root in it."""
    if scheme == "s3":
        return _s3(site, query)
    if scheme in ("gs", "gcs") and "retry_limit_seconds" not in query:  # by default, it tries for 15 minutes
        query = "&".join(filter(None, (query, f"retry_limit_seconds={_RETRY_SECONDS}")))
    files, root = fs.FileSystem.from_uri(f"{scheme}://{site}" + (f"?{query}" if query else ""))
    return files, root or ("/" if scheme in ("hdfs", "viewfs") else "")


def _s3(site: str, query: str) -> tuple[fs.FileSystem, str]:
    """Return S3, with limits of time that an address cannot give, and the bucket."""
    from urllib.parse import parse_qsl, unquote

    credentials, _, bucket = site.rpartition("@")
    key, _, secret = credentials.partition(":")
    options = dict(parse_qsl(query))
    if unknown := [name for name in options if name not in _S3_OPTIONS]:
        raise DataError(f"s3://{bucket}: {unknown[0]}: expected an option of {', '.join(_S3_OPTIONS)}")
    endpoint = options.get("endpoint_override") or _environment("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    region = options.get("region") or _environment("AWS_REGION", "AWS_DEFAULT_REGION")
    if not region and not endpoint:
        region = fs.resolve_s3_region(bucket)
    if endpoint and "://" in endpoint:
        options["scheme"], _, endpoint = endpoint.partition("://")
    files = fs.S3FileSystem(
        access_key=unquote(key) or None,
        secret_key=unquote(secret) or None,
        region=region or None,
        scheme=options.get("scheme"),
        endpoint_override=endpoint or None,
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_REQUEST_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
    )
    return files, bucket


def _environment(*names: str) -> str | None:
    """Return the first environment variable that is set."""
    return next((value for name in names if (value := os.environ.get(name))), None)


def _of_fsspec(url: str) -> tuple[fs.FileSystem, str]:
    """Return a file system of fsspec, and the path of the address in it."""
    scheme = url.partition("://")[0]
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtraError("fsspec", "remote", f"{scheme}://") from error
    try:
        files, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        if scheme in ("http", "https"):
            raise MissingExtraError("aiohttp", "remote", f"{scheme}://") from error
        raise RemoteError(f"{shown(url)}: {scheme}:// needs another package: {error}") from error
    except ValueError as error:  # an unknown scheme
        raise RemoteError(f"{shown(url)}: {error}; expected s3, gs, abfs, hdfs, hf, or another of fsspec") from error
    return fs.PyFileSystem(fs.FSSpecHandler(files)), path

"""The folders of runs that several processes share: hidden and local, or at an address."""

import os
from collections.abc import Mapping
from typing import Any

from seampack._version import __version__
from seampack.errors import ConfigError, ShardError
from seampack.io.output import staging_of
from seampack.io.places import is_url, place_of, shown
from seampack.packer.config import PackConfig
from seampack.packer.journal import OUTPUT, Journal
from seampack.packer.manifest import is_manifest
from seampack.packer.names import MANIFEST
from seampack.packer.run_folder import PACKED, RunFolder, discard_finished


def shared_folder(
    out: str | os.PathLike[str], config: PackConfig, run: Mapping[str, Any], *, overwrite: bool
) -> RunFolder:
    """Return the folder of a run, in which other processes may work at the same time."""
    if is_url(out):
        from seampack.packer.uploaded_run import UploadedRun

        return UploadedRun(out, config, run, overwrite=overwrite)
    return RunFolder(out, config, run=run, overwrite=overwrite, shared=True)


def run_at_address(out: str | os.PathLike[str]) -> str | None:
    """Return the folder of a run that several processes share at an address; None if there is none that goes on."""
    if not is_url(out):
        return None
    from seampack.packer.uploaded_run import place_of_run, run_at

    return place_of_run(out) if run_at(out) is not None else None


def unfinished_folder(out: str | os.PathLike[str], *, overwrite: bool) -> RunFolder | None:
    """Return the folder of a run that is not merged yet; None if ``out`` is complete and there is no such run.

    Raises ShardError if there is neither; ConfigError if another version has packed the partitions.
    """
    if is_url(out):
        from seampack.packer.uploaded_run import UploadedRun, run_at

        if (run := run_at(out)) is not None:
            return UploadedRun(out, _config_of(run, out), run, overwrite=overwrite)
        where = shown(out)
    else:
        root = staging_of(out, PACKED, overwrite=True, inside=OUTPUT).root
        where = str(root)
        if (root / OUTPUT).is_dir():
            if not Journal.has_receipts(root):
                raise ShardError(f"{shown(out)}: no partition in {where} is finished; pack them with --partition")
            run = Journal(root, shown(out)).read_run()
            return RunFolder(out, _config_of(run, out), run=run, overwrite=overwrite, resume=True)
    if is_manifest(place_of(out) / MANIFEST):
        discard_finished(out)
        return None
    raise ShardError(f"{shown(out)}: no partitions to merge in {where}; pack them with --partition")


def _config_of(run: Mapping[str, Any], out: str | os.PathLike[str]) -> PackConfig:
    """Return the options of a run. Raise ConfigError if another version has begun it."""
    if (version := run["given"].get("seampack")) != __version__:
        raise ConfigError(
            f"{shown(out)}: seampack {version} has packed the partitions; expected {__version__}; merge them with the "
            "same version"
        )
    return PackConfig(**run["given"]["options"])

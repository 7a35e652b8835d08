"""What ``seampack doctor`` finds out: versions, extras, cores, memory, kernels, the tokenizer and folders."""

import importlib
import locale
import os
import platform
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

from seampack._version import __version__
from seampack.commands.machine import cpu_facts, memory_facts
from seampack.commands.packages import Requirement, missing_of_extras, requirements, version_of
from seampack.errors import SeampackError

_ALSO_SHOWN = ("llvmlite", "torch", "transformers", "trl", "datasets", "ray", "jinja2", "fsspec")


def diagnose(tokenizer: str | None) -> dict[str, Any]:
    """Return the facts about the installation and the machine, with ``advice`` and ``problems``, as JSON allows them.

    They name no variables of the environment; the home folder is shown as ~.
    """
    problems: list[str] = []
    advice: list[str] = []
    declared = requirements()
    cpu = cpu_facts()
    if cpu["cgroup_limit"] is not None and cpu["cgroup_limit"] < cpu["allowed"]:
        cores = max(1, int(cpu["cgroup_limit"]))
        advice.append(f"the control group allows the time of {cpu['cgroup_limit']:g} cores; give --threads {cores}")
    return {
        "seampack": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "platform": platform.platform(),
        "packages": _packages(declared, problems),
        "extras": None if declared is None else missing_of_extras(declared),
        "cpu": cpu,
        "memory": memory_facts(),
        "kernels": _kernels(problems, advice),
        "tokenizer": _tokenizer(tokenizer, problems),
        "temporary_folder": _temporary(problems),
        "text": {
            "stdout": getattr(sys.stdout, "encoding", None),
            "locale": locale.getpreferredencoding(False),
            "file_names": sys.getfilesystemencoding(),
        },
        "advice": advice,
        "problems": problems,
    }


def _packages(declared: list[Requirement] | None, problems: list[str]) -> dict[str, str | None]:
    """Return the versions of packages. Each that seampack cannot do without is imported."""
    needed = [each for each in declared or [] if not each.extra]
    for each in needed:
        if each.fault:
            problems.append(f"{each.fault}; pip install '{each.name}>={each.least}'")
            continue
        try:
            importlib.import_module(each.name)
        except Exception as error:  # noqa: BLE001  # a broken installation raises anything
            problems.append(f"{each.name} cannot be imported: {type(error).__name__}: {error}")
    return {name: version_of(name) for name in (*(each.name for each in needed), *_ALSO_SHOWN)}


def _kernels(problems: list[str], advice: list[str]) -> dict[str, Any]:
    """Plan one row; this compiles the kernels of planning unless they are in the cache."""
    facts: dict[str, Any] = {"folders": [], "seconds": None, "is_cached": None}
    try:
        from seampack import _jit
        from seampack.packer import planning

        folders = _jit.cache_folders(Path(planning.__file__))
        facts["folders"] = [{"folder": _shown(folder), "writable": _is_writable(folder)} for folder in folders]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            start, before = time.perf_counter(), "seampack._compiler" in sys.modules
            planning.plan([1]).account()
        facts["seconds"] = round(time.perf_counter() - start, 3)
        facts["is_cached"] = None if before else "seampack._compiler" not in sys.modules
        advice += [str(warning.message) for warning in caught]
    except Exception as error:  # noqa: BLE001  # as above
        problems.append(f"the kernels do not run: {type(error).__name__}: {error}")
    return facts


def _tokenizer(name: str | None, problems: list[str]) -> dict[str, Any]:
    """Load a tokenizer and its fast path."""
    facts: dict[str, Any] = {"name": name or "bundled", "vocab_size": None, "is_fast": None, "notes": []}
    try:
        from seampack.packer.tokenizing import TextTokenizer

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            tokenizer = TextTokenizer(facts["name"])
            facts |= {"vocab_size": tokenizer.vocab_size, "is_fast": tokenizer.trusts_fast([])}
        facts["notes"] = [str(warning.message) for warning in caught]
    except SeampackError as error:
        problems.append(str(error))
    except Exception as error:  # noqa: BLE001  # as above
        problems.append(f"{facts['name']}: the tokenizer does not load: {type(error).__name__}: {error}")
    return facts


def _temporary(problems: list[str]) -> dict[str, Any]:
    """Write a file into the temporary folder."""
    try:
        folder = tempfile.gettempdir()
        with tempfile.TemporaryFile() as file:
            file.write(b"x")
    except OSError as error:
        problems.append(f"the temporary folder cannot be written: {error.strerror or error}; set TMPDIR to another")
        return {"folder": None, "free_bytes": None}
    return {"folder": _shown(Path(folder)), "free_bytes": shutil.disk_usage(folder).free}


def _shown(path: Path) -> str:
    home = Path(os.path.expanduser("~"))
    return f"~/{path.relative_to(home)}" if home != Path("/") and path.is_relative_to(home) else str(path)


def _is_writable(folder: Path) -> bool:
    """Return whether the folder can be written, or made."""
    exists = next(each for each in (folder, *folder.parents) if each.exists())
    return os.access(exists, os.W_OK | os.X_OK)

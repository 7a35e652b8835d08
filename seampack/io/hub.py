"""The Hugging Face hub: one short attempt to reach it, then its cache.

The clients of the hub try again for 40 seconds and more if it is out of reach.
"""

from pathlib import Path

_SECONDS = 5
_NETWORK = ("httpx", "httpcore", "requests")
"""How the modules of errors of the network begin; errors of the hub itself are in a module of its library."""


def hub_problem(repository: str, kind: str = "model") -> Exception | None:
    """Return why the hub does not give a repository of a kind (``model``, ``dataset``), or None if it does."""
    from huggingface_hub import HfApi  # a dependency of tokenizers

    try:
        HfApi().repo_info(repository, repo_type=kind, timeout=_SECONDS)
    except Exception as error:  # noqa: BLE001  # of several libraries
        return error
    return None


def hub_reason(error: Exception) -> str:
    """Return the reason of an error of the hub on one line, with at most 200 characters of its message."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    is_of_network = type(error).__module__.startswith(_NETWORK)
    return f"{'it is out of reach: ' if is_of_network else ''}{lines[0][:200]}"


def hub_file(repository: str, name: str) -> Path:
    """Return a file of a repository, from the hub or, if the hub is out of reach, from its cache.

    Raises the error of the hub if neither has it: of the network, of authorisation, a missing file or repository.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url

    problem: Exception | None = None
    try:
        get_hf_file_metadata(hf_hub_url(repository, name), timeout=_SECONDS)
    except Exception as error:  # noqa: BLE001  # of several libraries
        problem = error
    try:
        return Path(hf_hub_download(repository, name, local_files_only=problem is not None))
    except Exception as error:
        raise problem or error from error


def hub_folder(repository: str) -> str:
    """Return the name of a repository of a model or, if the hub is out of reach, the folder of its cached files.

    Raises the error of the hub if neither has it.
    """
    from huggingface_hub import snapshot_download

    problem = hub_problem(repository)
    if problem is None:
        return repository
    try:
        return snapshot_download(repository, local_files_only=True)
    except Exception as error:
        raise problem from error

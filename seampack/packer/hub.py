"""Files of tokenizers on the Hugging Face hub."""

from pathlib import Path

_SECONDS = 5


def hub_file(repository: str, name: str) -> Path:
    """Return a file of a repository, from the hub or, if the hub is out of reach, from its cache.

    Raises the error of the hub if neither has it: of the network, of authorisation, a missing file or repository.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url  # a dependency of tokenizers

    problem: Exception | None = None
    try:
        # one attempt: a download from a hub out of reach is tried again and again for half a minute
        get_hf_file_metadata(hf_hub_url(repository, name), timeout=_SECONDS)
    except Exception as error:  # noqa: BLE001  # of several libraries
        problem = error
    try:
        return Path(hf_hub_download(repository, name, local_files_only=problem is not None))
    except Exception as error:
        raise problem or error from error

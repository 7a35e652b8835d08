"""What the files of a token store show: the lengths of its documents, and whether they are as its manifest says."""

from seampack.errors import ShardError
from seampack.packer.distributions import Distribution
from seampack.packer.documents import TokenBatch
from seampack.packer.names import QUARANTINE
from seampack.packer.store_manifest import MARKER, TOKENISE_AGAIN, is_stored_name
from seampack.packer.token_store import TokenStore
from seampack.packer.verification import check_quarantine


def lengths_of(store: TokenStore, *, verify: bool = False) -> Distribution:
    """Return the lengths of the documents of a store, partition by partition.

    ``verify``: whether to check every file: its checksum, and that the ids are in the vocabulary.

    Raises ShardError at the first file that is not as the manifest says.
    """
    lengths = Distribution()
    for batch in store.batches(checks=verify):
        lengths = lengths.plus(batch.lengths)
        if verify:
            _check_ids(batch, store)
    if verify:
        store.verify_other_files()
        _check_other_files(store)
    return lengths


def _check_ids(batch: TokenBatch, store: TokenStore) -> None:
    vocab_size = store.manifest.tokenizer.vocab_size
    if batch.ids.size and (largest := int(batch.ids.max())) >= vocab_size:
        path = store.paths[batch.origin.partition]
        raise ShardError(f"{path}: input_ids: expected ids below {vocab_size:,}; got {largest:,}; {TOKENISE_AGAIN}")


def _check_other_files(store: TokenStore) -> None:
    """Raise ShardError for another number of quarantined records, and for a file that the manifest does not list."""
    manifest = store.manifest
    if manifest.quarantined:
        check_quarantine(store.folder / QUARANTINE, manifest.quarantined, TOKENISE_AGAIN)
    listed = {MARKER, *(each.file for each in manifest.partitions), *(each.file for each in manifest.files)}
    for name in sorted(entry.name for entry in store.folder.iterdir()):
        if is_stored_name(name) and name not in listed:
            raise ShardError(f"{store.folder / name}: the manifest does not list this file; move it")

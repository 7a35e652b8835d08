"""A byte-level BPE tokenizer trained on a corpus, by the ``tokenizers`` library."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from seampack.errors import ConfigError, DataError, ShardError
from seampack.io.sources import expand
from seampack.packer.config import PackConfig
from seampack.packer.documents import Split, TokenBatch
from seampack.packer.packing import Inputs
from seampack.packer.readers import read_blocks


def train_tokenizer(
    source: Inputs,
    out: str | os.PathLike[str],
    *,
    vocab_size: int = 32_000,
    min_frequency: int = 2,
    special_tokens: Sequence[str] = ("<|endoftext|>",),
    config: PackConfig | None = None,
    split: Split | None = None,
    show_progress: bool = False,
) -> int:
    """Train a byte-level BPE vocabulary on the documents of ``source`` and write ``out`` (a tokenizer.json).

    ``split`` cuts texts into pieces that no token crosses, such as words (``Segmenter.pieces``). The same corpus,
    options and split give the same file. Special tokens take the first ids. Returns the vocabulary's size, which is
    below ``vocab_size`` where the corpus has no more pairs that occur ``min_frequency`` times.

    Raises ConfigError for options that cannot work, DataError for a corpus without text.
    """
    config = config or PackConfig()
    path = Path(out)
    if not path.name or path.is_dir():
        raise ConfigError(f"{out}: expected the name of a file to write; got a folder")
    least = 256 + len(special_tokens)
    if vocab_size < least:
        raise ConfigError(f"vocab_size: expected at least {least} (256 bytes and the special tokens); got {vocab_size}")
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=list(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=show_progress,
    )
    tokenizer.train_from_iterator(_texts(expand(source), config, split), trainer)
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(partial))
        partial.replace(path)
    except Exception as error:  # tokenizers raises plain Exception for a disk that is full or read-only
        partial.unlink(missing_ok=True)
        raise ShardError(f"{path}: cannot be written: {error}") from error
    return int(tokenizer.get_vocab_size())


def _texts(paths: Sequence[str], config: PackConfig, split: Split | None) -> Iterator[list[str]]:
    empty = True
    for block in read_blocks(paths, config):
        documents = block.decode()
        if documents.bad:
            raise documents.bad[0].error()
        if isinstance(documents, TokenBatch):
            raise DataError(f"expected text to train on; got token ids in column '{config.input_ids_column}'")
        empty = empty and not any(documents.texts)
        yield split(documents.texts)[0] if split is not None else documents.texts
    if empty:
        raise DataError("the corpus has no text to train on")

"""Training of byte-level BPE tokenizers by the ``tokenizers`` library."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from seampack.errors import ConfigError, DataError
from seampack.io.bad_records import Skipped
from seampack.io.output import refuse_existing, write_file, writing
from seampack.packer.config import OnBad, PackConfig
from seampack.packer.documents import SKIP_ADVICE, Split, Texts
from seampack.packer.memory_sources import MEMORY, MemorySource, opened
from seampack.packer.readers import read_blocks
from seampack.packer.tokenizer_config import TokenizerConfig
from seampack.packer.work import Inputs


def train_tokenizer(
    source: Inputs | Any,
    out: str | os.PathLike[str],
    config: TokenizerConfig | None = None,
    *,
    reading: PackConfig | None = None,
    split: Split | None = None,
    overwrite: bool = False,
    show_progress: bool = False,
    **options: Any,
) -> int:
    """Train a byte-level BPE vocabulary on a corpus, write it, and return its size.

    The same corpus, options and split give the same file.

    Args:
        source: Paths, globs, folders, or ``"-"`` for standard input.
        out: Output file, a ``tokenizer.json``.
        config: The options of training; by default ``TokenizerConfig()``.
        reading: The options of reading; by default ``PackConfig()``.
        split: Cuts texts into pieces that no token crosses, such as words (``Segmenter.pieces``).
        overwrite: Whether to replace an existing file.
        show_progress: Whether to show a progress bar.
        options: Fields of TokenizerConfig, such as ``vocab_size``; they override ``config``.

    Raises ConfigError for invalid options, DataError for a corpus without text, ShardError if ``out`` exists or
    cannot be written.
    """
    config = TokenizerConfig.given(config, **options)
    path = Path(out)
    if not path.name or path.is_dir():
        raise ConfigError(f"{out}: expected the name of a file to write; got a folder")
    refuse_existing(path, overwrite=overwrite)
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=config.min_frequency,
        special_tokens=list(config.special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=show_progress,
    )
    tokenizer.train_from_iterator(_texts(opened(source), PackConfig.given(reading), split), trainer)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, tokenizer.to_str(pretty=True).encode())
    return int(tokenizer.get_vocab_size())


def _texts(paths: Sequence[str] | MemorySource, config: PackConfig, split: Split | None) -> Iterator[list[str]]:
    empty = True
    skipped = Skipped()
    for block in read_blocks(paths, config):
        documents = block.decode()
        if documents.bad and config.on_bad == OnBad.STOP:
            raise documents.bad[0].error(SKIP_ADVICE)
        skipped.add(documents.bad)
        if not isinstance(documents, Texts):
            found = f"token ids in column '{config.input_ids_column}'" if not config.reads_chats else "conversations"
            raise DataError(f"expected text to train on; got {found}")
        empty = empty and not any(documents.texts)
        yield split(documents.texts)[0] if split is not None else documents.texts
    skipped.warn()
    if empty:
        names = MEMORY if isinstance(paths, MemorySource) else ", ".join(paths[:3])
        raise DataError(f"{names}: the corpus has no text to train on")

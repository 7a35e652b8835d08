"""Text to token ids: Hugging Face ``tokenizers`` is the reference; ``fastokens`` is used if it gives the same ids.

Loading ``fastokens`` takes three times as long as the reference, so it is loaded only for an input that is large.
"""

import hashlib
import os
import warnings
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.resources import files
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import tokenizers

from seampack.errors import ConfigError, DataError
from seampack.io.hub import hub_file, hub_reason
from seampack.io.ragged import lengths_of, offsets_of
from seampack.packer import _copy_kernels as kernels
from seampack.packer.columns import framed_columns
from seampack.packer.config import NONE, PackConfig
from seampack.packer.documents import Doubled, Split, Texts, TokenBatch, id_type
from seampack.packer.entries import TokenizerFacts
from seampack.packer.special_tokens import Vocabulary, begin_and_end

AnyTokenizer = str | os.PathLike[str] | Any
"""A tokenizer by its file, folder or name, or in memory; see ``TextTokenizer``."""
if TYPE_CHECKING:
    from seampack.packer.chats import ChatWriter

BUNDLED = "bundled"
IN_MEMORY = "a tokenizer in memory"
"""The name of a tokenizer that was given without one."""
_SETTINGS = ("bos_token", "eos_token", "cls_token", "sep_token", "add_bos_token", "chat_template")
_FILE = "tokenizer.json"
_CHECK_CHARACTERS = 1 << 15

# Loading the fast path costs as much as it saves on this many bytes of text for each byte of the tokenizer.json; about
# the same for vocabularies of 8,000 to 150,000 tokens (python -m benchmarks.startup).
_FAST_FROM = 0.3

# Text on which implementations of tokenizers have disagreed: white space, digits, contractions, scripts, composed and
# decomposed accents, emoji sequences, control characters, text that looks like a control token.
SAMPLE = [
    "",
    " ",
    "Hello, world! It's 3.14159 o'clock; we'll see\tTABS\r\n\r\n  and   spaces   \n\n\n",
    "def f(x):\n    return {'a': [x**2 for _ in range(10)]}  # comment\n",
    "1234567890 12,345.67 0x1F 1e-9 ١٢٣ ½",
    "café cafe\u0301 Ångström A\u030angstro\u0308m ﬁ ① naïve",
    "研究生命的起源 日本語の文章。 ภาษาไทย 한국어",
    "русский Ελληνικά עברית العربية हिन्दी",
    "👩\u200d👩\u200d👧\u200d👦 🇩🇪 👍🏽 ❤\ufe0f",
    "\x00\x01\x1b[0m\x7f\x85\xa0\u2003\u200b\u2028\ufeff",
    "<|endoftext|> text <|im_start|>user <s> </s> [CLS] [SEP] <unk> <pad> <|endoftext|><|endoftext|>",
    "https://example.org/a?b=c&d=%20#e  user@example.org  C:\\path\\file.txt",
    "a" * 300 + " " * 70 + "é" * 50 + "!" * 90,
]


class TextTokenizer:
    """A tokenizer that encodes batches of documents, with the size, id type and fingerprint of its vocabulary.

    ``name``: a ``tokenizer.json``, a folder that contains one, a name on the Hugging Face hub, or ``"bundled"``; or a
    ``tokenizers.Tokenizer`` or a fast tokenizer of transformers, which are copied.

    Without a config, no tokens are put around documents.

    Raises ConfigError if the tokenizer cannot be loaded or lacks a token that the config names.
    """

    def __init__(self, name: AnyTokenizer = BUNDLED, config: PackConfig | None = None, *, input_bytes: int = 0) -> None:
        config = config or PackConfig(bos=NONE, eos=NONE)
        settings = None
        if isinstance(name, str | os.PathLike):
            self.name = os.fspath(name)
            content = _tokenizer_json(self.name)
        else:
            self.name, content, settings = _described(name)
        self.fast_from = 1 + int(_FAST_FROM * len(content))
        """Bytes of text from which on the fast path pays for its loading."""
        self._json = content
        self._loading: Future[tuple[Any, str]] | None = None
        if input_bytes >= self.fast_from:  # both are slow to load and release the GIL
            self._loading = _in_thread(_load_fast, content)
        self.reference = _load_reference(content, self.name)
        if dropout := getattr(self.reference.model, "dropout", None):
            warnings.warn(
                f"{self.name}: its BPE dropout of {dropout:g} is switched off, because each run would give other ids",
                stacklevel=2,
            )
            self.reference.model.dropout = None
            self._json, self._loading = self.reference.to_str().encode(), None
        self._fast: Any = None
        self._has_loaded = False
        self.reference.no_truncation()
        self.reference.no_padding()
        self.reference.encode_special_tokens = not (config.special_tokens_in_text or config.reads_chats)
        self._split_special = not config.special_tokens_in_text
        self.vocab_size = _vocab_size(self.reference)
        self.dtype = id_type(self.vocab_size)
        folder = _folder_of(self.name) if settings is None else None
        vocabulary = Vocabulary(self.name, folder, content, self.reference.token_to_id, settings)
        self.bos, self.eos = begin_and_end(config, vocabulary)
        self.chats: ChatWriter | None = None
        if config.reads_chats:
            from seampack.packer.chats import chat_writer

            self.chats = chat_writer(config, vocabulary, self.reference)
        self.pad = -1 if config.pad is None else vocabulary.id_of("pad", config.pad)
        self.fingerprint = _fingerprint(content)

    @property
    def is_fast(self) -> bool:
        """Whether the fast path is in use."""
        return self._fast is not None

    def is_recorded_as(self, fingerprint: str) -> bool:
        """Return whether this tokenizer, as it is stored or as it would be after loading, has a fingerprint."""
        return fingerprint == self.fingerprint or fingerprint == _fingerprint(self.reference.to_str().encode())

    def trusts_fast(self, texts: list[str]) -> bool:
        """Return whether the fast path gives the same ids as the reference on the beginning of the user's texts.

        The first call loads the fast path, and compares the two on a sample. Warns if there is no fast path for this
        tokenizer, or if the two differ.
        """
        sample = _beginning(texts)
        if not self._has_loaded:
            self._has_loaded = True
            self._fast, reason = _load_fast(self._json) if self._loading is None else self._loading.result()
            added = [token.content for token in self.reference.get_added_tokens_decoder().values()]
            if reason:
                warnings.warn(f"{self.name}: {reason}; using tokenizers, which is far slower", stacklevel=2)
            elif not self._agree([*SAMPLE, *(f"a {token} b{token}" for token in added)]):
                self._fast = None
        return self._fast is not None and self._agree(sample)

    def _agree(self, sample: list[str]) -> bool:
        """Return whether both give the same ids. Warn if they do not."""
        try:
            fast, reference = self._encode_fast(sample), self._encode_reference(sample)
            agree = all(np.array_equal(a, b) for a, b in zip(fast, reference, strict=True))
        except Exception:  # noqa: BLE001  # the fast library failed on text that the reference can encode
            agree = False
        if not agree:
            warnings.warn(f"{self.name}: fastokens gives other ids than tokenizers; using tokenizers", stacklevel=3)
        return agree

    def encode(self, texts: Texts, split: Split | None = None, *, fast: bool = True) -> TokenBatch:
        """Encode a batch of documents, each between ``bos`` and ``eos`` if there are such tokens.

        ``split`` cuts each document into pieces that are encoded separately. ``fast``: whether the fast path, if it is
        loaded, may encode them.
        """
        pieces, firsts = split(texts.texts) if split is not None else (texts.texts, None)
        encode = self._encode_fast if fast and self.is_fast else self._encode_reference
        ids, offsets = encode(pieces)
        return self._framed(ids, offsets if firsts is None else offsets[firsts], texts)

    def adopt(self, batch: TokenBatch) -> TokenBatch:
        """Add ``bos`` and ``eos`` to tokenised documents, whose ids the readers have checked."""
        return self._framed(batch.ids, batch.offsets, batch)

    def decode(self, ids: npt.ArrayLike) -> str:
        """Return the text of token ids, including control tokens."""
        return str(self.reference.decode(np.asarray(ids).tolist(), skip_special_tokens=False))

    def _encode_fast(self, texts: list[str]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        ids, offsets = self._fast.encode_batch_flat(texts, split_special_tokens=self._split_special)
        return np.frombuffer(ids, np.uint32), np.frombuffer(offsets, np.uint64).astype(np.int64)

    def _encode_reference(self, texts: list[str]) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        encoded = [encoding.ids for encoding in self.reference.encode_batch_fast(texts, add_special_tokens=False)]
        offsets = offsets_of(lengths_of(encoded))
        return np.fromiter((i for ids in encoded for i in ids), np.uint32, int(offsets[-1])), offsets

    def check_ids(self, ids: npt.NDArray[Any]) -> None:
        """Raise DataError if an id that the tokenizer gave is outside of its vocabulary."""
        if ids.size and int(ids.max()) >= self.vocab_size:  # would wrap in the narrow type
            raise DataError(
                f"{self.name}: expected token ids of its vocabulary, 0 to {self.vocab_size - 1}; got {ids.max()}: "
                "a token that has no place in the vocabulary; correct the ids of its added_tokens"
            )

    def _framed(self, ids: npt.NDArray[Any], offsets: npt.NDArray[np.int64], batch: Texts | TokenBatch) -> TokenBatch:
        self.check_ids(ids)
        bos, eos = self.bos.id, self.eos.id
        columns = batch.columns if isinstance(batch, TokenBatch) else {}
        if bos < 0 and eos < 0:
            ids = ids.astype(self.dtype, copy=False)
            return TokenBatch(ids, offsets, batch.names, batch.bad, columns=columns, fields=batch.fields)
        out = np.empty(ids.size + ((bos >= 0) + (eos >= 0)) * (offsets.size - 1), self.dtype)
        ends = np.zeros_like(offsets)
        begun, ended = kernels.frame_documents(ids, offsets, bos, eos, out, ends[1:])
        as_text = self._framed_as_text(batch.texts) if isinstance(batch, Texts) and self._split_special else (0, 0)
        out = out[: ends[-1]]
        return TokenBatch(
            out,
            ends,
            batch.names,
            batch.bad,
            Doubled(int(begun), int(ended), *as_text),  # plain Python gives numpy integers
            columns=framed_columns(columns, ids, offsets, out, ends) if columns else {},
            fields=batch.fields,
        )

    def _framed_as_text(self, texts: list[str]) -> tuple[int, int]:
        """Return the number of texts that begin with the name of ``bos``, and that end with the name of ``eos``."""
        bos, eos = self.bos.name, self.eos.name
        begun = sum(map(str.startswith, texts, repeat(bos))) if bos is not None else 0
        return begun, sum(map(str.endswith, texts, repeat(eos))) if eos is not None else 0


def recorded_tokenizer(
    facts: TokenizerFacts,
    name: AnyTokenizer | None = None,
    config: PackConfig | None = None,
    *,
    exact: bool = True,
    input_bytes: int = 0,
) -> TextTokenizer:
    """Return the tokenizer that packed a folder, by its recorded name or by ``name``.

    Raises ConfigError if it cannot be loaded, or has another fingerprint; unless ``exact``, the latter is a warning.
    """
    tokenizer = TextTokenizer(facts.name if name is None else name, config, input_bytes=input_bytes)
    try:
        check_recorded(tokenizer, facts)
    except ConfigError as error:
        if exact:
            raise
        warnings.warn(str(error), stacklevel=2)
    return tokenizer


def check_recorded(tokenizer: TextTokenizer, facts: TokenizerFacts) -> None:
    """Raise ConfigError for another tokenizer than the one that packed a folder."""
    if not tokenizer.is_recorded_as(facts.fingerprint):
        raise ConfigError(
            f"{tokenizer.name}: expected the tokenizer that packed the folder, {facts.fingerprint}; got "
            f"{tokenizer.fingerprint}; name its file with --tokenizer"
        )


def _fingerprint(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _described(tokenizer: Any) -> tuple[str, bytes, dict[str, Any]]:
    """Return the name, the JSON and the settings of a tokenizer in memory. Raise ConfigError for another object."""
    plain = getattr(tokenizer, "backend_tokenizer", tokenizer)  # of transformers
    if not isinstance(plain, tokenizers.Tokenizer):
        raise ConfigError(
            "tokenizer: expected a tokenizer.json, a name on the Hugging Face hub, a tokenizers.Tokenizer or a fast "
            f"tokenizer of transformers; got {type(tokenizer).__name__}"
        )
    copied = tokenizers.Tokenizer.from_str(plain.to_str())
    copied.no_truncation()
    copied.no_padding()
    settings = {name: getattr(tokenizer, name, None) for name in _SETTINGS}
    settings["extra_special_tokens"] = getattr(tokenizer, "special_tokens_map", {})
    return getattr(tokenizer, "name_or_path", "") or IN_MEMORY, copied.to_str().encode(), settings


def _beginning(texts: list[str]) -> list[str]:
    """Return the first characters of a batch of texts."""
    sample: list[str] = []
    room = _CHECK_CHARACTERS
    for text in texts:
        if room <= 0:
            break
        sample.append(text[:room])
        room -= len(text)
    return sample


def _in_thread(function: Callable[[bytes], Any], content: bytes) -> "Future[Any]":
    """Call a function in a separate thread."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="load")
    future = pool.submit(function, content)
    pool.shutdown(wait=False)
    return future


def _vocab_size(tokenizer: tokenizers.Tokenizer) -> int:
    """Return the largest id of a vocabulary, plus 1."""
    tokens = tokenizer.get_vocab_size(with_added_tokens=True)
    if None not in map(tokenizer.id_to_token, range(tokens)):  # no gap; far cheaper than a dictionary of all tokens
        return tokens
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


def _load_fast(content: bytes) -> tuple[Any, str]:
    """Return the fast tokenizer and an empty text, or None and the reason why it cannot be used."""
    # One thread per call: the threads of the pipeline encode batches in parallel.
    os.environ.setdefault("FASTOKENS_BPE_THREADS", "1")
    try:
        import fastokens

        fast = fastokens.Tokenizer.from_json_str(content.decode())
        fast.no_truncation()
    except ImportError:
        return None, "fastokens is not installed"
    except Exception as error:  # noqa: BLE001  # a kind of model that the fast library does not support
        return None, f"fastokens cannot load this tokenizer ({error})"
    return fast, ""


def _folder_of(name: str) -> Path | None:
    """Return the folder of a tokenizer; None for a name on the Hugging Face hub."""
    if name == BUNDLED:
        return Path(str(files("seampack") / "data"))
    path = Path(name)
    return path if path.is_dir() else path.parent if path.is_file() else None


def _load_reference(content: bytes, name: str) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_buffer(content)
    except Exception as error:  # tokenizers raises plain Exception
        raise ConfigError(f"{name}: not a tokenizer.json of Hugging Face tokenizers: {error}") from error


def _tokenizer_json(name: str) -> bytes:
    """Return the JSON of a tokenizer by path or hub name. Raise ConfigError if it cannot be read."""
    if name == BUNDLED:
        return (files("seampack") / "data" / "tokenizer.json").read_bytes()
    if name == IN_MEMORY:
        raise ConfigError("the folder was packed with a tokenizer in memory; name its tokenizer.json with --tokenizer")
    path = Path(name)
    if path.is_dir():
        path = path / _FILE
    if path.is_file():
        try:
            return path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read as a tokenizer.json: {error}") from error
    if path.suffix == ".json" or path.is_absolute() or name.startswith("."):
        raise ConfigError(f"{path}: no such tokenizer; train one with: seampack tokenizer train CORPUS -o {path.name}")
    return _hub_json(name)


def _hub_json(name: str) -> bytes:
    """Return the JSON of a tokenizer on the Hugging Face hub. Raise ConfigError if the hub and its cache lack it."""
    try:
        return hub_file(name, _FILE).read_bytes()
    except Exception as error:
        raise ConfigError(
            f"{name}: no such file or folder, and no tokenizer of that name from the Hugging Face hub: "
            f"{hub_reason(error)}"
        ) from error

"""Token ids back to text: by a table of bytes for byte-level tokenizers, else by Hugging Face ``tokenizers``."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from seampack.errors import DataError
from seampack.io.ragged import lengths_of, offsets_of
from seampack.packer import _copy_kernels as kernels
from seampack.packer.rows import Int64
from seampack.packer.tokenizing import SAMPLE, TextTokenizer


class _Json(msgspec.Struct):
    """The part of a ``tokenizer.json`` that names the decoder."""

    decoder: dict[str, Any] | None = None


def _alphabet() -> dict[str, int]:
    """Return the byte of each character in which byte-level tokenizers write their tokens."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


class Decoder:
    """Decodes batches of documents as ``TextTokenizer.decode`` does, but many times faster where it can."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._bytes = np.empty(0, np.uint8)  # the bytes of all tokens, one after another
        self._starts = np.empty(0, np.int64)
        self._lengths = np.empty(0, np.int32)
        self.is_fast = self._load()

    def _load(self) -> bool:
        """Make the table of bytes. Return whether it gives the same text as the reference."""
        reference = self._tokenizer.reference
        decoder = msgspec.json.decode(reference.to_str(), type=_Json).decoder
        if decoder is None or decoder.get("type") != "ByteLevel":
            return False
        alphabet = _alphabet()
        table = [b""] * self._tokenizer.vocab_size
        for token, number in reference.get_vocab(with_added_tokens=True).items():
            try:
                table[number] = bytes([alphabet[character] for character in token])
            except KeyError:  # a token that was added as text
                table[number] = token.encode()
        self._lengths = lengths_of(table).astype(np.int32)
        self._starts = offsets_of(self._lengths)[:-1]
        self._bytes = np.frombuffer(b"".join(table), np.uint8)
        added = sorted(reference.get_added_tokens_decoder())
        samples = [*(encoding.ids for encoding in reference.encode_batch(SAMPLE)), added]
        samples += [sample[1:] for sample in samples] + [list(range(start, len(table), 97)) for start in range(3)]
        ids = np.concatenate([np.asarray(sample, self._tokenizer.dtype) for sample in samples])
        offsets = offsets_of(lengths_of(samples))
        texts: list[str] = self._by_table(ids, offsets).to_pylist()
        return texts == self._by_reference(ids, offsets)

    def decode(self, ids: npt.NDArray[Any], offsets: Int64) -> pa.Array:
        """Return the texts of the documents ``ids[offsets[d]:offsets[d + 1]]``, control tokens included.

        Bytes that are not UTF-8, such as those of a truncated document, become U+FFFD.

        Raises DataError for an id outside the vocabulary.
        """
        if ids.size and int(ids.max()) >= self._tokenizer.vocab_size:
            raise DataError(
                f"{self._tokenizer.name}: expected ids of its vocabulary, below {self._tokenizer.vocab_size}; got "
                f"{ids.max()}: another tokenizer packed the folder; name it with --tokenizer"
            )
        if self.is_fast:
            return self._by_table(ids, offsets)
        return pa.array(self._by_reference(ids, offsets), pa.large_string())

    def _by_reference(self, ids: npt.NDArray[Any], offsets: Int64) -> list[str]:
        documents: Sequence[Any] = [part.tolist() for part in np.split(ids, offsets[1:-1])]
        texts: list[str] = self._tokenizer.reference.decode_batch(documents, skip_special_tokens=False)
        return texts

    def _by_table(self, ids: npt.NDArray[Any], offsets: Int64) -> pa.Array:
        lengths = self._lengths[ids]
        ends = offsets_of(lengths)
        text = np.empty(int(ends[-1]), np.uint8)
        kernels.copy_segments(self._starts[ids] + self._bytes.ctypes.data, lengths, ends[:-1], 1, text.ctypes.data)
        texts = pa.LargeStringArray.from_buffers(offsets.size - 1, pa.py_buffer(ends[offsets]), pa.py_buffer(text))
        try:
            texts.validate(full=True)
        except pa.ArrowInvalid:
            raw = texts.cast(pa.large_binary()).to_pylist()
            return pa.array([each.decode(errors="replace") for each in raw], pa.large_string())
        return texts

"""Key-value retrieval: prompts that ask for the value of one key of a JSON object (arXiv 2307.03172)."""

import json
import random
import re
import uuid
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import xxhash
from datasets import Dataset

from seampack.errors import ConfigError, DataError
from seampack.models.data import require, require_text
from seampack.models.rope_scaling.config import Gold, RopeScalingConfig

TEMPLATE = (
    'Find the value that belongs to a key of this JSON object.\n\nJSON object:\n{records}\n\nKey: "{key}"\nValue: "'
)
"""Default template; it ends where the value begins, so that only the value's tokens are scored."""
PREPARED = ("example", "prompt", "answer", "gold_position")
MADE_WITH = ("pairs", "gold")
"""Columns with the options that a prompt was made with."""
SOURCE = "source"
"""Column with a hash of all records of a prompt's row, including records that the prompt does not show."""

Pair = tuple[str, str]
_FIELDS = re.compile(r"(\{records\}|\{key\})")


@dataclass(frozen=True, slots=True)
class KVRetrieval:
    """Build prompts of ``config.pairs`` records, with the gold record at each of ``config.positions``."""

    config: RopeScalingConfig
    template: str = TEMPLATE
    """Text with ``{records}`` and ``{key}``, including the markup of a chat model."""

    def __post_init__(self) -> None:
        """Raise ConfigError if the template lacks a field."""
        for name in ("{records}", "{key}"):
            if name not in self.template:
                raise ConfigError(f"template: expected text with {name}; got {self.template!r}")

    def prompts(self, dataset: Dataset, first_row: int = 0) -> Dataset:
        """Return one prompt per row and position: example, prompt, answer, gold_position, pairs, gold, source.

        Keys and values are encoded as JSON strings.

        Args:
            dataset: Rows with ``ordered_kv_records`` (lists of key and value), ``key`` and ``value``.
            first_row: Index of the dataset's first row in its file; numbers of examples and in messages start from it.

        Raises:
            DataError: A row has too few records, a repeated key, or a value that differs from its record.
        """
        require(dataset, ["ordered_kv_records", "key", "value"], "rename the columns")
        for column in ("key", "value"):
            require_text(dataset, column)
        kinds = dict(zip(PREPARED, (pa.int64(), pa.string(), pa.string(), pa.float64()), strict=True))
        kinds |= {"pairs": pa.int64(), "gold": pa.string(), SOURCE: pa.string()}
        columns: dict[str, list[Any]] = {name: [] for name in kinds}
        rows = zip(*(dataset[name][:] for name in ("ordered_kv_records", "key", "value")), strict=True)
        for example, (records, key, value) in enumerate(rows, first_row):
            pairs = self._checked(records, key, value, f"row {example + 1}")
            source = xxhash.xxh3_64_hexdigest(json.dumps(pairs).encode())
            for position in self.config.positions:
                context, gold = self._context(pairs, (key, value), position)
                columns["example"].append(example)
                columns["prompt"].append(self._prompt(context, gold[0]))
                columns["answer"].append(_quoted(gold[1])[1:-1])
                columns["gold_position"].append(float(position))
                columns["pairs"].append(self.config.pairs)
                columns["gold"].append(self.config.gold)
                columns[SOURCE].append(source)
        return Dataset(pa.table({name: pa.array(columns[name], kind) for name, kind in kinds.items()}))

    def _prompt(self, context: list[Pair], key: str) -> str:
        """Fill the template in one pass, so that a record that looks like a field is not replaced."""
        records = "{" + ",\n ".join(f"{_quoted(k)}: {_quoted(v)}" for k, v in context) + "}"
        fields = {"{records}": records, "{key}": _quoted(key)[1:-1]}
        return "".join(fields.get(part, part) for part in _FIELDS.split(self.template))

    def _context(self, records: list[Pair], own: Pair, position: float) -> tuple[list[Pair], Pair]:
        """Return the records of a prompt, and the gold record, which is at the index nearest to the position."""
        index = round(position * (self.config.pairs - 1))
        others = [record for record in records if record[0] != own[0]][: self.config.pairs - 1]
        if self.config.gold == Gold.MOVED:
            return [*others[:index], own, *others[index:]], own
        kept = {key for key, _ in others} | {own[0]}
        context = [record for record in records if record[0] in kept]
        return context, context[index]

    def _checked(self, records: Any, key: str, value: str, where: str) -> list[Pair]:
        """Return a row's records as pairs. Raise DataError if the records cannot be used."""
        good = isinstance(records, list) and all(
            isinstance(record, list) and len(record) == 2 and all(isinstance(cell, str) for cell in record)
            for record in records
        )
        if not good:
            raise DataError(f"{where}: ordered_kv_records: expected a list of [key, value], both text")
        pairs = [(record[0], record[1]) for record in records]
        values = dict(pairs)
        if len(values) < len(pairs):
            raise DataError(f"{where}: ordered_kv_records: expected distinct keys; a key is repeated")
        if len(pairs) < self.config.pairs:
            raise DataError(
                f"{where}: {len(pairs)} records; expected at least {self.config.pairs}; lower the option pairs"
            )
        if values.get(key) != value:
            raise DataError(f"{where}: key {key!r}: expected the value {value!r}; its record has {values.get(key)!r}")
        return pairs

    @staticmethod
    def generate(rows: int, pairs: int, seed: int = 0) -> Dataset:
        """Generate rows of random identifiers in the format of the standard files; equal seeds give equal rows."""
        rng = random.Random(seed)  # noqa: S311  # no secrets

        def identifier() -> str:
            return str(uuid.UUID(int=rng.getrandbits(128), version=4))

        generated = []
        for _ in range(rows):
            records = [[identifier(), identifier()] for _ in range(pairs)]
            key, value = rng.choice(records)
            generated.append({"ordered_kv_records": records, "key": key, "value": value})
        return Dataset.from_list(generated)


def _quoted(text: str) -> str:
    """Return text as a quoted JSON string; letters of all scripts are kept."""
    return json.dumps(text, ensure_ascii=False)

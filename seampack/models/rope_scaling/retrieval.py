"""Key-value retrieval: a JSON object of random identifiers, one key of which is asked for (arXiv 2307.03172)."""

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
"""Ends where the value begins, so that its tokens alone are scored."""
PREPARED = ("example", "prompt", "answer", "gold_position")
MADE_WITH = ("pairs", "gold")
"""Columns that say what a prompt was made with."""
SOURCE = "source"
"""Column with a hash of all records of the row that a prompt was made from, whatever the prompt shows of them."""

Pair = tuple[str, str]
_FIELDS = re.compile(r"(\{records\}|\{key\})")


@dataclass(frozen=True, slots=True)
class KVRetrieval:
    """Builds prompts of ``pairs`` records, with the record that is asked for at each of ``positions`` (0 to 1)."""

    pairs: int = 10
    positions: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    gold: str = Gold.MOVED
    template: str = TEMPLATE
    """Text with ``{records}`` and ``{key}``; markup of a chat model goes in here too."""

    def __post_init__(self) -> None:
        RopeScalingConfig(pairs=self.pairs, positions=self.positions, gold=self.gold)
        for name in ("{records}", "{key}"):
            if name not in self.template:
                raise ConfigError(f"template: expected {name} in it; got {self.template!r}")

    def prompts(self, dataset: Dataset, first_row: int = 0) -> Dataset:
        """One row for each row and position: example, prompt, answer, gold_position, pairs, gold, source.

        Needs the columns ``ordered_kv_records`` (lists of key and value), ``key`` and ``value``. ``first_row`` is the
        number of the dataset's first row in its file; examples and messages count on from it. Keys and values stand in
        prompts and answers as JSON writes them. Raises DataError where a row has too few records, a key twice, or
        another value for its key.
        """
        require(dataset, ["ordered_kv_records", "key", "value"], "rename the columns")
        for column in ("key", "value"):
            require_text(dataset, column)
        kinds = dict(zip(PREPARED, (pa.int64(), pa.string(), pa.string(), pa.float64()), strict=True))
        kinds |= {"pairs": pa.int64(), "gold": pa.string(), SOURCE: pa.string()}
        columns: dict[str, list[Any]] = {name: [] for name in kinds}
        cells = (dataset[name][:] for name in ("ordered_kv_records", "key", "value"))
        for example, (records, key, value) in enumerate(zip(*cells, strict=True), first_row):
            pairs = self._checked(records, key, value, f"row {example + 1}")
            source = xxhash.xxh3_64_hexdigest(json.dumps(pairs).encode())
            for position in self.positions:
                context, (asked, answer) = self._context(pairs, (key, value), position)
                text = "{" + ",\n ".join(f"{_quoted(k)}: {_quoted(v)}" for k, v in context) + "}"
                columns["example"].append(example)
                # in one pass, so that what a record says is never taken for a field of the template
                fields = {"{records}": text, "{key}": _quoted(asked)[1:-1]}
                columns["prompt"].append("".join(fields.get(part, part) for part in _FIELDS.split(self.template)))
                columns["answer"].append(_quoted(answer)[1:-1])
                columns["gold_position"].append(float(position))
                columns["pairs"].append(self.pairs)
                columns["gold"].append(str(self.gold))
                columns[SOURCE].append(source)
        return Dataset(pa.table({name: pa.array(columns[name], kind) for name, kind in kinds.items()}))

    def _context(self, records: list[Pair], own: Pair, position: float) -> tuple[list[Pair], Pair]:
        """The records of a prompt and the one that is asked for, at the index nearest to the position."""
        at = round(position * (self.pairs - 1))
        others = [record for record in records if record[0] != own[0]][: self.pairs - 1]
        if self.gold == Gold.MOVED:
            return [*others[:at], own, *others[at:]], own
        kept = {key for key, _ in others} | {own[0]}
        context = [record for record in records if record[0] in kept]
        return context, context[at]

    def _checked(self, records: Any, key: str, value: str, where: str) -> list[Pair]:
        good = isinstance(records, list) and all(
            isinstance(record, list) and len(record) == 2 and all(isinstance(cell, str) for cell in record)
            for record in records
        )
        if not good:
            raise DataError(f"{where}: ordered_kv_records: expected a list of [key, value], both text")
        pairs = [(record[0], record[1]) for record in records]
        found = dict(pairs)
        if len(found) < len(pairs):
            raise DataError(f"{where}: ordered_kv_records: a key stands in it twice; expected each once")
        if len(pairs) < self.pairs:
            raise DataError(f"{where}: {len(pairs)} records; expected at least {self.pairs}; lower the option pairs")
        if found.get(key) != value:
            raise DataError(f"{where}: key {key!r}: expected the value {value!r}; its record says {found.get(key)!r}")
        return pairs

    @staticmethod
    def generate(rows: int, pairs: int, seed: int = 0) -> Dataset:
        """Rows of random identifiers in the form of the standard files; the same seed gives the same rows."""
        draw = random.Random(seed)  # noqa: S311  # no secrets

        def identifier() -> str:
            return str(uuid.UUID(int=draw.getrandbits(128), version=4))

        made = []
        for _ in range(rows):
            records = [[identifier(), identifier()] for _ in range(pairs)]
            key, value = draw.choice(records)
            made.append({"ordered_kv_records": records, "key": key, "value": value})
        return Dataset.from_list(made)


def _quoted(text: str) -> str:
    """Text as JSON writes it, quotes around it; letters of all scripts stay."""
    return json.dumps(text, ensure_ascii=False)


def require_prepared(dataset: Dataset) -> None:
    """Raise DataError unless a dataset has the columns of ``KVRetrieval.prompts``."""
    require(dataset, PREPARED, "make them with prepare")
    for column in ("prompt", "answer"):
        require_text(dataset, column)

"""Every option has an effect: another value than the default changes the plan or the packed folder."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import seampack
from seampack.config import Config
from seampack.errors import DataError
from seampack.packer import text_blocks
from seampack.packer.config import PackConfig
from seampack.packer.folder import PackedFolder
from seampack.packer.manifest import Manifest
from seampack.packer.plan_config import PlanConfig
from seampack.packer.planning import plan
from seampack.packer.plans import PackPlan
from tests.packer.chats import TEMPLATES
from tests.packer.corpus import END, END_ID, TOKENIZER, UNFRAMED


@dataclass
class Option:
    """A value other than the default, and its effect: a relation between the results without and with the value."""

    value: Any
    is_effect: Callable[[Any, Any], bool]
    given: dict[str, Any] = field(default_factory=dict)
    """Other options of both runs. By default nothing is put around documents."""
    corpus: str = "texts"


LENGTHS = [9, 6, 25, 23, 5, 9, 9, 4, 4, 9, 9, 38, 4]


def rows(planned: PackPlan) -> list[tuple[int, ...]]:
    """Return the rows in the order of writing, each as the lengths of its segments."""
    bounds = planned.row_offsets
    return [tuple(planned.length[bounds[row] : bounds[row + 1]].tolist()) for row in planned.row_order.tolist()]


def spread(planned: PackPlan) -> list[int]:
    """Return the number of documents from the first of each row to its last."""
    bounds = planned.row_offsets.tolist()
    return [int(planned.doc[b - 1] - planned.doc[a]) for a, b in pairwise(bounds)]


def imbalance(planned: PackPlan) -> float:
    """Return the dearest row over the mean, in steps of 4 rows whose cost is that of attention alone."""
    return planned.imbalance(4, linear_cost=0) or 0.0


PLAN_OPTIONS = {
    "seq_len": Option(8, lambda before, after: max(map(sum, rows(before))) == 10 and max(map(sum, rows(after))) == 8),
    "strategy": Option("pad", lambda before, after: max(map(len, rows(before))) > max(map(len, rows(after))) == 1),
    "long": Option("drop", lambda before, after: after.account().documents_dropped == 3),
    "max_overlap": Option(0.0, lambda before, after: before.account().repeated > after.account().repeated == 0),
    "extra_tokens": Option(2, lambda before, after: after.account().dropped > before.account().dropped == 0),
    "extra_room": Option(
        "always",
        lambda before, after: after.account().dropped > before.account().dropped,
        given={"extra_tokens": 2},
    ),
    "leftover": Option(
        "fill",
        lambda before, after: before.account().padding - after.account().padding == 10,
        given={"strategy": "ffd"},
    ),
    "max_segments": Option(1, lambda before, after: max(map(len, rows(before))) > max(map(len, rows(after))) == 1),
    "rows_multiple_of": Option(8, lambda before, after: before.rows % 8 > 0 == after.rows % 8 and after.rows > 8),
    "rest": Option(
        "drop",
        lambda before, after: before.account().dropped == 0 < after.account().dropped and after.rows % 8 == 0,
        given={"rows_multiple_of": 8},
    ),
    "balance": Option(
        4,
        lambda before, after: sorted(rows(before)) == sorted(rows(after)) and imbalance(after) < imbalance(before),
        given={"max_overlap": 0.0, "linear_cost": 0},
    ),
    "linear_cost": Option(
        0,
        lambda before, after: rows(before) != rows(after) and sorted(rows(before)) == sorted(rows(after)),
        given={"balance": 2, "leftover": "pad", "shuffle": False},
    ),
    "look_back": Option(
        2,
        lambda before, after: before.rows < after.rows and max(spread(before)) > 2 >= max(spread(after)),
        given={"strategy": "keep_order"},
    ),
    "drop_last": Option(True, lambda before, after: before.account().padding > after.account().padding == 0),
    "shuffle": Option(
        False, lambda before, after: sorted(before.row_order) == list(after.row_order) != list(before.row_order)
    ),
    "seed": Option(
        1, lambda before, after: rows(before) != rows(after) and sorted(rows(before)) == sorted(rows(after))
    ),
}


@dataclass
class Packed:
    """A packed folder, or the error of the run."""

    manifest: Manifest | None
    folder: Path
    error: str = ""

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for table in PackedFolder(self.folder).tables() for row in table.to_pylist()]

    @property
    def documents(self) -> list[list[int]]:
        unpacked: list[list[int]] = PackedFolder(self.folder).unpack()["input_ids"].to_pylist()
        return unpacked

    def column(self, name: str) -> list[Any]:
        return [value for row in self.rows for value in row[name]]

    @property
    def endings(self) -> list[str]:
        return sorted(path.suffix for path in self.folder.glob("shard-*"))


def ids(text: str) -> list[int]:
    return TOKENIZER.reference.encode(text, add_special_tokens=False).ids  # type: ignore[no-any-return]


CORPORA = {
    "texts": "".join(json.dumps({"text": f"seam {n}", "body": "pack", "uid": f"d{n}"}) + "\n" for n in range(40)),
    "lines": "one line\nanother line\n\na paragraph\n",
    "ids": '{"input_ids": [1, 2, 3], "other": [7, 8, 9]}\n',
    "long": "".join(json.dumps({"text": f"{n} " + "seam " * (n % 60)}) + "\n" for n in range(900)),
    "broken": '{"text": "good"}\n{"text": 5}\n',
    "control": json.dumps({"text": END}) + "\n",
}
CORPORA["chats"] = json.dumps(
    {
        "messages": [{"role": role, "content": "a"} for role in ("user", "assistant", "user", "assistant")],
        "others": [{"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}],
        "functions": [{"type": "function", "function": {"name": "f"}}],
        "prompt": "a",
        "completion": "b",
        "answer": "c",
    }
)
FILES = {"lines": "corpus.txt"}
CHATS = {"messages_column": "messages", "chat_template": str(TEMPLATES / "plain.jinja"), "seq_len": 512}
PACK_OPTIONS = {
    "input_format": Option(
        "paragraphs", lambda before, after: (len(before.documents), len(after.documents)) == (3, 2), corpus="lines"
    ),
    "text_column": Option("body", lambda before, after: before.documents != after.documents == [ids("pack")] * 40),
    "input_ids_column": Option(
        "other", lambda before, after: (before.documents, after.documents) == ([[1, 2, 3]], [[7, 8, 9]]), corpus="ids"
    ),
    "id_column": Option("uid", lambda before, after: 0 in before.column("doc_ids") and "d0" in after.column("doc_ids")),
    "carry": Option(
        ("other:uint16",),
        lambda before, after: "other" not in before.rows[0] and after.column("other") == [7, 8, 9],
        corpus="ids",
    ),
    "messages_column": Option(
        "others",
        lambda before, after: before.documents != after.documents == [ids("### User:\nc\n\n### Assistant:\nd\n\n")],
        given=CHATS,
        corpus="chats",
    ),
    "prompt_column": Option(
        "answer",
        lambda before, after: before.documents == [ids("ab")] != after.documents == [ids("cb")],
        given={"prompt_column": "prompt"},
        corpus="chats",
    ),
    "completion_column": Option(
        "answer",
        lambda before, after: (before.documents, after.documents) == ([ids("ab")], [ids("ac")]),
        given={"prompt_column": "prompt"},
        corpus="chats",
    ),
    "tools_column": Option(
        "functions",
        lambda before, after: len(after.documents[0]) > len(before.documents[0]),
        given={**CHATS, "chat_template": str(TEMPLATES / "qwen3.jinja")},
        corpus="chats",
    ),
    "chat_template": Option(
        str(TEMPLATES / "chatml.jinja"),
        lambda before, after: before.documents != after.documents and before.manifest.notes != after.manifest.notes,
        given=CHATS,
        corpus="chats",
    ),
    "template_variables": Option(
        ("enable_thinking=false",),  # the model does not write the empty thoughts
        lambda before, after: (
            before.documents == after.documents and sum(before.column("loss_mask")) > sum(after.column("loss_mask")) > 0
        ),
        given={**CHATS, "train_on": "last", "chat_template": str(TEMPLATES / "qwen3.jinja")},
        corpus="chats",
    ),
    "train_on": Option(
        "last",
        lambda before, after: sum(before.column("loss_mask")) > sum(after.column("loss_mask")) > 0,
        given=CHATS,
        corpus="chats",
    ),
    "keep": Option(
        ("uid",), lambda before, after: "uid" not in before.rows[0] and set(after.column("uid")) > {"d0", "d1"}
    ),
    "on_bad": Option(
        "quarantine",
        lambda before, after: (
            "corpus.jsonl:2: " in before.error
            and after.manifest.quarantined == 1
            and json.loads((after.folder / "quarantine.jsonl").read_text())["raw"] == '{"text": 5}'
        ),
        corpus="broken",
    ),
    "max_document_bytes": Option(
        30,
        lambda before, after: not before.error and "corpus.jsonl:1: expected a document of at most 30" in after.error,
    ),
    "special_tokens_in_text": Option(
        True, lambda before, after: len(before.documents[0]) > 1 and after.documents == [[END_ID]], corpus="control"
    ),
    "bos": Option(
        END,
        lambda before, after: after.documents == [[END_ID, *tokens] for tokens in before.documents],
        given={"bos": "auto"},  # the bundled tokenizer puts nothing before a text
    ),
    "eos": Option(
        "none",
        lambda before, after: before.documents == [[*tokens, END_ID] for tokens in after.documents],
        given={"eos": "auto"},
    ),
    "pad": Option(
        END,
        lambda before, after: (
            [row["input_ids"] for row in after.rows]
            == [row["input_ids"] + [END_ID] * (8 - len(row["input_ids"])) for row in before.rows]
        ),
        given={"strategy": "pad"},
    ),
    "labels": Option(True, lambda before, after: "labels" not in before.rows[0] and "labels" in after.rows[0]),
    "window_tokens": Option(
        8,
        # in small windows, the first row has documents from the beginning of the corpus only
        lambda before, after: max(after.rows[0]["doc_ids"]) < 8 <= max(before.rows[0]["doc_ids"]),
        given={"seed": 3},
    ),
    "partition_bytes": Option(
        1 << 16,
        # the same documents in other rows: a partition begins with nothing carried
        lambda before, after: before.rows != after.rows and sorted(before.documents) == sorted(after.documents),
        corpus="long",
    ),
    "output_format": Option(
        "parquet", lambda before, after: (before.endings, after.endings) == ([".arrow"], [".parquet"])
    ),
    "shard_tokens": Option(
        16, lambda before, after: len(before.manifest.shards) == 1 and after.manifest.shards[0].rows == 2
    ),
}


@pytest.mark.parametrize("name", PLAN_OPTIONS)
def test_every_option_of_planning_reaches_the_plan(name: str) -> None:
    option = PLAN_OPTIONS[name]
    given = {"seq_len": 10, **option.given}
    config = PlanConfig(**given)
    assert getattr(config, name) != option.value
    before, after = plan(LENGTHS, config), plan(LENGTHS, config.replace(**{name: option.value}))
    assert option.is_effect(before, after)


@pytest.mark.parametrize("name", PACK_OPTIONS)
def test_every_option_of_packing_reaches_the_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 64)  # windows end at blocks
    option = PACK_OPTIONS[name]
    corpus = tmp_path / FILES.get(option.corpus, "corpus.jsonl")
    corpus.write_text(CORPORA[option.corpus])
    config = PackConfig(**{"seq_len": 8, "strategy": "ffd", **UNFRAMED, **option.given})
    assert getattr(config, name) != option.value == getattr(config.replace(**{name: option.value}), name)

    def run(config: PackConfig, out: str) -> Packed:
        try:
            return Packed(seampack.pack(corpus, config, tmp_path / out), tmp_path / out)
        except DataError as error:
            return Packed(None, tmp_path / out, str(error))

    before, after = run(config, "before"), run(config.replace(**{name: option.value}), "after")
    assert option.is_effect(before, after)


@pytest.mark.parametrize(
    ("config", "options"), [(PlanConfig, PLAN_OPTIONS), (PackConfig, {**PLAN_OPTIONS, **PACK_OPTIONS})]
)
def test_every_option_is_tried_with_another_value(config: type[Config], options: dict[str, Option]) -> None:
    fields = dataclasses.fields(config)  # type: ignore[arg-type]
    assert set(options) == {field.name for field in fields}
    assert all(options[field.name].value != field.default for field in fields)

"""Packed conversations: the mask survives splits and windows; bad ones are named; verify writes them again."""

import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import seampack
from seampack.errors import ConfigError, DataError, MissingExtraError
from seampack.io.tables import decoded_sizes
from seampack.packer import chat_environment
from seampack.packer.against import verify_against
from seampack.packer.chat_template import ChatTemplate
from seampack.packer.config import PackConfig
from seampack.packer.folder import PackedFolder
from tests.packer.chats import answers, chat_tokenizer, slow_mask, source, write_model
from tests.packer.corpus import STRATEGIES

QUESTION, ANSWER = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
CHATS = {"messages_column": "messages", "seq_len": 48, "window_tokens": 512, "long": "window"}


def sample(documents: int = 40) -> list[dict[str, Any]]:
    chance = random.Random(5)

    def text() -> str:
        return " ".join(chance.choices(["the", "answer", "is", "研究", "12\n"], k=chance.randint(0, 12)))

    return [
        {
            "id": f"c{number}",
            "source": "even" if number % 2 == 0 else "odd",
            "messages": [
                message
                for _ in range(chance.randint(1, 3))
                for message in ({"role": "user", "content": text()}, {"role": "assistant", "content": text()})
            ],
        }
        for number in range(documents)
    ]


RECORDS = sample()


def write_lines(path: Path, records: list[Any]) -> Path:
    path.write_text("".join((each if isinstance(each, str) else json.dumps(each)) + "\n" for each in records))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), "qwen3")


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_lines(tmp_path / "chats.jsonl", RECORDS)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [row for table in PackedFolder(folder).tables() for row in table.to_pylist()]


def expected(records: list[dict[str, Any]]) -> dict[str, tuple[list[int], list[int]]]:
    """Return the ids and the mask of each conversation, by its id: transformers' text, and a slow mask of it."""
    template = ChatTemplate(source("qwen3"))
    of_records = {}
    for record in records:
        text = template.render(record["messages"])
        encoded = chat_tokenizer().encode(text, add_special_tokens=False)
        of_records[record["id"]] = (encoded.ids, slow_mask(encoded.offsets, answers("qwen3", text)))
    return of_records


@STRATEGIES
def test_the_mask_survives_packing(model: Path, corpus: Path, tmp_path: Path, strategy: str) -> None:
    """Splits, windows, planning windows, padding and kept columns."""
    manifest = seampack.pack(
        corpus,
        out=tmp_path / "out",
        tokenizer=model,
        strategy=strategy,
        id_column="id",
        keep=("source",),
        labels=True,
        pad="</s>",
        **CHATS,
    )
    assert manifest.accounting.documents_split or strategy in ("best_fit", "ffd", "pad")
    documents = expected(RECORDS)
    seen = {name: np.zeros(len(ids), np.int64) for name, (ids, _) in documents.items()}
    for row in rows_of(tmp_path / "out"):
        end = 0
        segments = zip(
            row["doc_ids"], row["doc_starts"], row["repeated"], row["source"], row["seq_lengths"], strict=False
        )
        for name, start, repeated, kept, length in segments:
            ids, mask = (values[start : start + length] for values in documents[name])
            place = slice(end, end + length)
            assert row["input_ids"][place] == ids
            assert row["loss_mask"][place] == [0] * repeated + mask[repeated:]
            wanted = [token if is_trained else -100 for token, is_trained in zip(ids, mask, strict=True)]
            assert row["labels"][place] == [-100] * repeated + wanted[repeated:]
            assert kept == ("even" if int(name[1:]) % 2 == 0 else "odd")
            seen[name][start + repeated : start + length] += 1
            end += length
        assert set(row["loss_mask"][end:]) <= {0}
        assert set(row["labels"][end:]) <= {-100}
    assert all((counts == 1).all() for counts in seen.values())
    assert not verify_against(PackedFolder(tmp_path / "out"), corpus).differences


def test_all_formats_give_the_same_rows(model: Path, corpus: Path, tmp_path: Path) -> None:
    table = pa.Table.from_pylist(RECORDS)
    pq.write_table(table, tmp_path / "chats.parquet")
    with pa.ipc.new_stream(tmp_path / "chats.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    texts = [json.dumps(record["messages"]) for record in RECORDS]
    pyarrow.csv.write_csv(table.set_column(2, "messages", pa.array(texts)), tmp_path / "chats.csv")
    (tmp_path / "chats.json").write_text(json.dumps(RECORDS, indent=1))
    packed = []
    for name in ("chats.jsonl", "chats.parquet", "chats.arrow", "chats.csv", "chats.json"):
        out = tmp_path / f"out-{name}"
        seampack.pack(tmp_path / name, out=out, tokenizer=model, **{**CHATS, "window_tokens": 1 << 20})
        packed.append(rows_of(out))
        assert packed[-1] == packed[0], name
        assert not verify_against(PackedFolder(out), tmp_path / name).differences


def test_blocks_partitions_and_threads_change_no_document(
    model: Path, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size, threads in (("one", 1 << 20, 1), ("many", 500, 3)):
        monkeypatch.setattr("seampack.packer.text_blocks.BLOCK_BYTES", size)
        seampack.pack(
            corpus, out=tmp_path / name, tokenizer=model, threads=threads, **{**CHATS, "window_tokens": 1 << 20}
        )
    assert rows_of(tmp_path / "one") == rows_of(tmp_path / "many")


BAD = [
    ({"messages": []}, "messages: expected at least one message; got none"),
    ({"messages": [QUESTION]}, "no message of the assistant"),
    ({"other": 1}, "no field 'messages'; the record has 'other'; name another with --messages-column"),
    ({"messages": None}, "got null"),
    ('{"messages": ', "broken JSON"),
    ({"messages": [{"role": "critic", "content": "lost"}, ANSWER]}, "does not know the role 'critic'"),
]


@pytest.mark.parametrize("first_line", ["", "\n"], ids=["dense", "with a blank line"])
def test_a_bad_conversation_is_named(model: Path, tmp_path: Path, first_line: str) -> None:
    good = {"messages": [QUESTION, ANSWER]}
    path = write_lines(tmp_path / "a.jsonl", [part for bad, _ in BAD for part in (good, bad)])
    path.write_text(first_line + path.read_text())
    manifest = seampack.pack(path, out=tmp_path / "out", tokenizer=model, on_bad="quarantine", **CHATS)
    assert manifest.accounting.documents == manifest.quarantined == len(BAD)
    found = [json.loads(line) for line in (tmp_path / "out/quarantine.jsonl").read_text().splitlines()]
    for number, (record, (bad, reason)) in enumerate(zip(found, BAD, strict=True), 1):
        assert record["position"] == 2 * number + bool(first_line)
        assert reason in record["reason"]
        assert record["raw"] == (bad if isinstance(bad, str) else json.dumps(bad))
    with pytest.raises(DataError, match=rf"a\.jsonl:{2 + bool(first_line)}: .* --on-bad quarantine"):
        seampack.pack(path, out=tmp_path / "stopped", tokenizer=model, **CHATS)
    assert not (tmp_path / "stopped").exists()
    assert not verify_against(PackedFolder(tmp_path / "out"), path).differences


def test_a_bad_conversation_of_a_table_is_named(model: Path, tmp_path: Path) -> None:
    rows = [[QUESTION, ANSWER], None, [QUESTION], [QUESTION, ANSWER]]
    pq.write_table(pa.table({"messages": rows}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet, row 2: null"):
        seampack.pack(tmp_path / "a.parquet", out=tmp_path / "out", tokenizer=model, **CHATS)
    seampack.pack(tmp_path / "a.parquet", out=tmp_path / "out", tokenizer=model, on_bad="quarantine", **CHATS)
    found = [json.loads(line) for line in (tmp_path / "out/quarantine.jsonl").read_text().splitlines()]
    assert [(each["position"], each["reason"].split(":")[0]) for each in found] == [
        (2, "null instead of a document"),
        (3, "no message of the assistant"),
    ]
    with pytest.raises(DataError, match=r"no column 'chat'; the table has 'messages'; name another with --messages-c"):
        seampack.pack(tmp_path / "a.parquet", out=tmp_path / "no", tokenizer=model, messages_column="chat")
    with pytest.raises(DataError, match=r"or --messages-column for conversations"):
        seampack.pack(tmp_path / "a.parquet", out=tmp_path / "no", tokenizer=model)


def test_the_size_of_conversations_in_a_table_is_that_of_their_texts(model: Path, tmp_path: Path) -> None:
    rows = [[QUESTION, ANSWER], None, [], [{"role": "user", "content": "x" * 500}, ANSWER]]
    sizes = [sum(len(text) for message in row or () for text in message.values()) for row in rows]
    column = pa.array(rows)
    assert decoded_sizes(column).tolist() == sizes
    assert decoded_sizes(column.slice(1, 3)).tolist() == sizes[1:]
    assert decoded_sizes(pa.array([[["a", "b"]], [], None])).tolist() == [16, 0, 0]
    pq.write_table(pa.table({"messages": [rows[0], rows[3]]}), tmp_path / "a.parquet")
    options = {**CHATS, "max_document_bytes": 100}
    with pytest.raises(DataError, match=r"a\.parquet, row 2: expected a document of at most 100 bytes"):
        seampack.pack(tmp_path / "a.parquet", out=tmp_path / "out", tokenizer=model, **options)


def test_plain_text_has_no_conversations(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words\n")
    with pytest.raises(DataError, match="plain text has no field 'messages'; omit --messages-column"):
        seampack.pack(tmp_path / "a.txt", out=tmp_path / "out", tokenizer=model, **CHATS)


def test_pairs_of_text_have_a_begin_and_an_end_token(model: Path, tmp_path: Path) -> None:
    pairs = [{"prompt": "the answer", "completion": " is 12"}, {"prompt": "<s>a", "completion": "b</s>"}]
    path = write_lines(tmp_path / "a.jsonl", [*pairs, {"prompt": "", "completion": ""}])
    options = {"prompt_column": "prompt", "seq_len": 32, "strategy": "pad", "shuffle": False, "bos": "<s>"}
    with pytest.warns(UserWarning, match=r"1 document\(s\) begin with <s> and 1 document\(s\) end with </s> already"):
        seampack.pack(path, out=tmp_path / "out", tokenizer=model, **options)
    rows = {row["doc_ids"][0]: row for row in rows_of(tmp_path / "out")}
    token = chat_tokenizer().token_to_id
    for number, pair in enumerate(pairs):
        text = pair["prompt"] + pair["completion"]
        encoded = chat_tokenizer().encode(text, add_special_tokens=False)
        mask = slow_mask(encoded.offsets, [(len(pair["prompt"]), len(text))])
        is_framed = number == 0
        assert rows[number]["input_ids"] == [token("<s>")] * is_framed + encoded.ids + [token("</s>")] * is_framed
        assert rows[number]["loss_mask"] == [0] * is_framed + mask + [1] * is_framed
    assert (rows[2]["input_ids"], rows[2]["loss_mask"]) == ([token("<s>"), token("</s>")], [0, 1])
    with pytest.warns(UserWarning, match="already"):
        assert not verify_against(PackedFolder(tmp_path / "out"), path).differences


def test_pairs_of_text_need_no_template_and_no_jinja(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    chat_environment.environment_of_templates.cache_clear()
    model = write_model(tmp_path / "model", "chatml")
    path = write_lines(tmp_path / "a.jsonl", [{"prompt": "a", "completion": "b"}])
    seampack.pack(path, out=tmp_path / "out", tokenizer=model, prompt_column="prompt", seq_len=8)
    write_lines(path, [{"prompt": [QUESTION], "completion": [ANSWER]}])
    with pytest.raises(DataError, match=r"a\.jsonl:1: rendering chats needs jinja2, .* pip install 'seampack\[chat\]'"):
        seampack.pack(path, out=tmp_path / "no", tokenizer=model, prompt_column="prompt")
    with pytest.raises(MissingExtraError, match="rendering chats needs jinja2"):
        seampack.pack(path, out=tmp_path / "no", tokenizer=model, messages_column="prompt")


@pytest.mark.filterwarnings("ignore:.*of the tokens are dropped")
@pytest.mark.parametrize("long", ["truncate", "drop", "split", "window"])
def test_conversations_longer_than_a_row_are_refused_unless_chosen(
    model: Path, corpus: Path, tmp_path: Path, long: str
) -> None:
    options = {**CHATS, "long": "auto"}
    count = sum(len(ids) > 48 for ids, _ in expected(RECORDS).values())
    with pytest.raises(DataError, match=rf"at most seq_len, 48 tokens; .*, {count} are longer .* or --long window"):
        seampack.pack(corpus, out=tmp_path / "out", tokenizer=model, **{**options, "window_tokens": 1 << 20})
    manifest = seampack.pack(corpus, out=tmp_path / "out", tokenizer=model, **{**options, "long": long})
    accounting = manifest.accounting
    assert accounting.documents_truncated == (count if long in ("truncate", "drop") else 0)
    assert (accounting.repeated > 0) == (long == "window")
    assert not verify_against(PackedFolder(tmp_path / "out"), corpus).differences


def test_control_tokens_in_messages_are_counted(model: Path, tmp_path: Path) -> None:
    said = {"role": "user", "content": "say <|im_end|> twice <|im_end|>"}
    path = write_lines(tmp_path / "a.jsonl", [{"messages": [said, ANSWER]}, {"messages": [QUESTION, ANSWER]}])
    with pytest.warns(UserWarning, match=r"^1 conversation\(s\) have the name of a control token"):
        seampack.pack(path, out=tmp_path / "out", tokenizer=model, **CHATS)


def test_verify_finds_another_template_and_another_mask(model: Path, corpus: Path, tmp_path: Path) -> None:
    own = write_model(tmp_path / "model", "chatml")
    seampack.pack(corpus, out=tmp_path / "out", tokenizer=own, **CHATS)
    changed = write_lines(
        tmp_path / "changed.jsonl", [{**RECORDS[0], "messages": RECORDS[1]["messages"]}, *RECORDS[1:]]
    )
    assert verify_against(PackedFolder(tmp_path / "out"), changed).differences
    write_model(tmp_path / "model", "chatml_marked")
    with pytest.raises(ConfigError, match="expected the chat template that packed the folder, sha256:"):
        verify_against(PackedFolder(tmp_path / "out"), corpus)


def test_variables_of_the_template_are_recorded(model: Path, corpus: Path, tmp_path: Path) -> None:
    variables = {"enable_thinking": False}
    seampack.pack(corpus, out=tmp_path / "out", tokenizer=model, template_variables=variables, **CHATS)
    folder = PackedFolder(tmp_path / "out")
    assert folder.manifest.config["template_variables"] == ["enable_thinking=false"]
    assert not verify_against(folder, corpus).differences
    seampack.pack(corpus, out=tmp_path / "thinking", tokenizer=model, **CHATS)
    trained = [sum(sum(row["loss_mask"]) for row in rows_of(tmp_path / name)) for name in ("out", "thinking")]
    thoughts = len(chat_tokenizer().encode("<think>\n\n</think>\n\n").ids)
    repeated = [sum(sum(row["repeated"]) for row in rows_of(tmp_path / name)) for name in ("out", "thinking")]
    assert repeated[0] == repeated[1]
    assert trained[1] >= trained[0] + thoughts * len(RECORDS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"train_on": "last"}, "train_on: has an effect on conversations alone; give messages_column"),
        ({"template_variables": ["a=1"]}, "template_variables: has an effect on conversations alone"),
        ({"messages_column": "a", "prompt_column": "b"}, "expected one of them; got both"),
        ({"messages_column": "tools"}, "expected different fields; got 'tools' twice"),
        ({"messages_column": "m", "carry": ("x",)}, "carry: conversations have no token ids"),
        ({"messages_column": "m", "eos": "</s>"}, "eos: the chat template writes all begin and end tokens"),
        ({"messages_column": "m", "keep": ("m",)}, "expected columns that no other option names; got 'm'"),
    ],
)
def test_options_that_contradict_each_other(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PackConfig(**options)


def test_conversations_are_not_split_into_words(model: Path, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="omit --pre-segment"):
        seampack.pack(corpus, out=tmp_path / "out", tokenizer=model, split=lambda texts: (texts, np.arange(0)), **CHATS)

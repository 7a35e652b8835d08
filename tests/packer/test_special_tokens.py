"""The begin and end token: found in the files of tokenizers of many makes, put around each document once."""

import json
import re
from pathlib import Path
from typing import Any
from unittest import mock

import huggingface_hub
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tokenizers
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.processors import BertProcessing, ByteLevel, RobertaProcessing, Sequence, TemplateProcessing

import seampack
from seampack.errors import ConfigError
from seampack.packer import _copy_kernels as kernels
from seampack.packer import tokenizing
from seampack.packer.config import PackConfig
from seampack.packer.folder import PackedFolder
from seampack.packer.special_tokens import SpecialToken
from seampack.packer.tokenizing import TextTokenizer
from tests.conftest import Run
from tests.packer.corpus import END, END_ID, TOKENIZER, write_corpus

pytestmark = pytest.mark.filterwarnings("ignore:.*fastokens cannot load")  # it has no models of whole words

WORDS = ["hello", "world", "<unk>"]
CONFIG, PROCESSOR, WELL_KNOWN = "tokenizer_config.json", "its post-processor", "a well-known name"
NONE = (None, "")


def write_tokenizer(
    folder: Path, special: list[str], processor: Any = None, settings: dict[str, Any] | None = None
) -> Path:
    """Write a tokenizer of whole words with special tokens, whose ids begin at 3."""
    folder.mkdir(exist_ok=True)
    model = tokenizers.models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<unk>")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.add_special_tokens(special)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    if processor is not None:
        tokenizer.post_processor = processor
    tokenizer.save(str(folder / "tokenizer.json"))
    if settings is not None:
        (folder / CONFIG).write_text(json.dumps(settings))
    return folder


def load(folder: Path, **options: Any) -> TextTokenizer:
    return TextTokenizer(folder, PackConfig(**options))


def template(single: str, *special: str) -> Any:
    return TemplateProcessing(single=single, special_tokens=[(token, 3 + n) for n, token in enumerate(special)])


LLAMA_2 = ["<s>", "</s>"]
LLAMA_3 = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
GEMMA = ["<bos>", "<eos>", "</s>"]
BERT = ["[CLS]", "[SEP]", "<|endoftext|>"]
MADE: dict[str, tuple[list[str], Any, dict[str, Any] | None, tuple[Any, str], tuple[Any, str]]] = {
    "GPT-2": ([END], ByteLevel(), None, NONE, (END, WELL_KNOWN)),
    "GPT-2 with settings": ([END], None, {"bos_token": END, "eos_token": END}, NONE, (END, CONFIG)),
    "Llama 2": (LLAMA_2, template("<s> $A", *LLAMA_2), None, ("<s>", PROCESSOR), ("</s>", WELL_KNOWN)),
    "Llama 2 with settings": (
        LLAMA_2,
        template("<s> $A", *LLAMA_2),
        {"bos_token": {"content": "<s>"}, "eos_token": {"content": "</s>"}, "add_eos_token": False},
        ("<s>", CONFIG),
        ("</s>", CONFIG),
    ),
    "Llama 2 without begin": (
        LLAMA_2,
        template("<s> $A", *LLAMA_2),
        {"bos_token": "<s>", "eos_token": "</s>", "add_bos_token": False},
        NONE,
        ("</s>", CONFIG),
    ),
    "Llama 3": (
        LLAMA_3,
        Sequence([ByteLevel(), template("<|begin_of_text|> $A", *LLAMA_3)]),
        None,
        (LLAMA_3[0], PROCESSOR),
        (LLAMA_3[1], WELL_KNOWN),
    ),
    "Llama 3 for chats": (
        LLAMA_3,
        Sequence([ByteLevel(), template("<|begin_of_text|> $A", *LLAMA_3)]),
        {"bos_token": LLAMA_3[0], "eos_token": LLAMA_3[2]},
        (LLAMA_3[0], CONFIG),
        (LLAMA_3[2], CONFIG),
    ),
    "Qwen": ([END, "<|im_end|>"], None, {"bos_token": None, "add_bos_token": False}, NONE, (END, WELL_KNOWN)),
    "Gemma": (GEMMA, template("<bos> $A", *GEMMA), None, ("<bos>", PROCESSOR), ("<eos>", WELL_KNOWN)),
    "begin without a post-processor": (
        LLAMA_2,
        None,
        {"bos_token": "<s>", "add_bos_token": True},
        ("<s>", CONFIG),
        ("</s>", WELL_KNOWN),
    ),
    "begin without a name": (LLAMA_2, None, {"add_bos_token": True}, ("<s>", WELL_KNOWN), ("</s>", WELL_KNOWN)),
    "begin that is named but not put there": (LLAMA_2, None, {"bos_token": "<s>"}, NONE, ("</s>", WELL_KNOWN)),
    "T5": (["</s>"], template("$A </s>", "</s>"), None, NONE, ("</s>", PROCESSOR)),
    "BERT": (BERT, BertProcessing(("[SEP]", 4), ("[CLS]", 3)), None, NONE, NONE),
    "ModernBERT": (
        BERT,
        template("[CLS] $A [SEP]", *BERT),
        {"cls_token": "[CLS]", "sep_token": "[SEP]"},
        NONE,
        NONE,
    ),
    "encoder whose settings say so": (
        BERT,
        template("[CLS] $A [SEP]", *BERT),
        {"cls_token": "[CLS]", "bos_token": "[CLS]", "eos_token": "[SEP]"},
        ("[CLS]", CONFIG),
        ("[SEP]", CONFIG),
    ),
    "encoder with other names": (
        ["<a>", "<b>"],
        template("<a> $A <b>", "<a>", "<b>"),
        {"cls_token": "<a>", "sep_token": {"content": "<b>"}},
        NONE,
        NONE,
    ),
    "RoBERTa": (
        LLAMA_2,
        RobertaProcessing(("</s>", 4), ("<s>", 3)),
        None,
        ("<s>", PROCESSOR),
        ("</s>", PROCESSOR),
    ),
    "two tokens": (LLAMA_2, template("<s> </s> $A", *LLAMA_2), None, NONE, ("</s>", WELL_KNOWN)),
    "none": ([], None, None, NONE, NONE),
}


@pytest.mark.parametrize("name", MADE)
def test_tokens_are_found_where_a_tokenizer_names_them(tmp_path: Path, name: str) -> None:
    special, processor, settings, bos, eos = MADE[name]
    folder = write_tokenizer(tmp_path, special, processor, settings)
    for place in (folder, folder / "tokenizer.json"):
        found = load(place)
        for token, (expected, origin) in ((found.bos, bos), (found.eos, eos)):
            assert token == SpecialToken(expected, 3 + special.index(expected) if expected else -1, origin)


def test_named_tokens_and_none_override_what_would_be_found(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, LLAMA_2, template("<s> $A", *LLAMA_2))
    (folder / CONFIG).write_text("{")
    for none in ("none", None):
        found = load(folder, bos=none, eos="world")
        assert (found.bos, found.eos) == (SpecialToken(), SpecialToken("world", 1))
    with pytest.raises(ConfigError, match=r"tokenizer_config\.json: not the settings .*--bos and --eos, or none$"):
        load(folder)
    (folder / CONFIG).write_text("[]")
    with pytest.raises(ConfigError, match="not the settings of a tokenizer"):
        load(folder, bos="<s>")


def test_a_named_token_that_the_vocabulary_lacks_is_ignored_with_a_warning(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path, LLAMA_2, None, {"eos_token": "<|end|>"})
    with pytest.warns(UserWarning, match=r"eos_token: no token '<\|end\|>' in the vocabulary; it is ignored"):
        assert load(folder).eos == SpecialToken("</s>", 4, WELL_KNOWN)


def test_settings_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tokenizer(tmp_path, [END, "<|im_end|>"], None, {"eos_token": "<|im_end|>"})
    monkeypatch.setattr(tokenizing, "_tokenizer_json", lambda name: (folder / "tokenizer.json").read_bytes())
    ask, fetch = mock.Mock(), mock.Mock(return_value=str(folder / CONFIG))
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", ask)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    assert load(Path("owner/name")).eos.name == "<|im_end|>"
    assert fetch.call_args == mock.call("owner/name", CONFIG, local_files_only=False)
    ask.side_effect = ConnectionError("no network, but it is in the cache")
    assert load(Path("owner/name")).eos.name == "<|im_end|>"
    assert fetch.call_args == mock.call("owner/name", CONFIG, local_files_only=True)
    fetch.side_effect = LocalEntryNotFoundError("no network, and it is not in the cache")
    with pytest.warns(UserWarning, match=r"owner/name: tokenizer_config\.json cannot be fetched"):
        assert load(Path("owner/name")).eos.name == END
    ask.side_effect = EntryNotFoundError("no such file")
    assert load(Path("owner/name")).eos.name == END


@given(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=6), st.integers(-1, 3), st.integers(-1, 3))
def test_framing_equals_its_twin(content: list[list[int]], before: int, after: int) -> None:
    expected = []
    for ids in content:
        begin = [before] * (before >= 0 and ids[:1] not in ([before], []))
        end = [after] * (after >= 0 and ids[-1:] not in ([after], []))
        expected.append(begin + ids + end)
    offsets = np.cumsum([0, *map(len, content)])
    out, ends = np.zeros(99, np.uint16), np.zeros(len(content), np.int64)
    flat = np.array([i for ids in content for i in ids], np.uint32)
    counts = kernels.frame_documents(flat, offsets, before, after, out, ends)
    starts = [0, *ends[:-1]]
    assert [out[a:b].tolist() for a, b in zip(starts, ends, strict=False)] == expected
    assert counts == (sum(ids[:1] == [before] for ids in content), sum(ids[-1:] == [after] for ids in content))


def ids(text: str) -> list[int]:
    return TOKENIZER.reference.encode(text, add_special_tokens=False).ids  # type: ignore[no-any-return]


def packed(path: Path, out: Path, **options: Any) -> list[list[int]]:
    seampack.pack(path, out=out, seq_len=64, extra_tokens=0, **options)
    unpacked: list[list[int]] = PackedFolder(out).unpack()["input_ids"].to_pylist()
    return unpacked


def test_a_token_in_the_text_is_not_doubled(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "a.jsonl", ["seam", f"pack{END}", "", f"{END}the", END])
    begun, ended = f"2 document(s) begin with {END}", f"2 document(s) end with {END}"
    with pytest.warns(UserWarning, match=re.escape(f"{begun} and {ended} already; no second one was added")):
        documents = packed(corpus, tmp_path / "out", special_tokens_in_text=True, bos=END)
    assert documents == [
        [END_ID, *ids("seam"), END_ID],
        [END_ID, *ids("pack"), END_ID],
        [END_ID, *ids("the"), END_ID],
        [END_ID],
    ]


def test_a_token_that_stays_text_is_told(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "a.jsonl", ["seam", f"pack{END}"])
    with pytest.warns(
        UserWarning, match=r"^1 document\(s\) end with <\|endoftext\|> as plain text, next to the token; "
    ):
        documents = packed(corpus, tmp_path / "out")
    assert documents[0] == [*ids("seam"), END_ID]
    assert documents[1].index(END_ID) == len(documents[1]) - 1
    assert TOKENIZER.decode(documents[1][:-1]) == f"pack{END}"


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_token_ids_get_the_tokens_too(tmp_path: Path, ending: str) -> None:
    given = [[5, 6], [7, END_ID], []]
    path = tmp_path / f"ids.{ending}"
    if ending == "jsonl":
        path.write_text("".join(json.dumps({"input_ids": document}) + "\n" for document in given))
    else:
        pq.write_table(pa.table({"input_ids": given}), path)
    with pytest.warns(
        UserWarning, match=r"^1 document\(s\) end with <\|endoftext\|> already; no second one was added$"
    ):
        assert packed(path, tmp_path / "out") == [[5, 6, END_ID], [7, END_ID]]


def test_the_tokens_are_told_and_recorded(call: Run, tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "llama", LLAMA_2, template("<s> $A", *LLAMA_2), {"eos_token": "</s>"})
    (tmp_path / "a.txt").write_text("hello world\n")
    line = (
        "seampack: begin token: <s> (id 3, from its post-processor); "
        "end token: </s> (id 4, from tokenizer_config.json); choose others with --bos and --eos"
    )
    for command in (("pack", "a.txt", "-o", "out"), ("compare", "a.txt")):
        result = call(*command, "--tokenizer", folder)
        assert result.returncode == 0
        assert result.stderr.decode().splitlines().count(line) == 1
    facts = PackedFolder(tmp_path / "out").manifest.tokenizer
    assert (facts.bos, facts.bos_id, facts.eos, facts.eos_id) == ("<s>", 3, "</s>", 4)
    assert PackedFolder(tmp_path / "out").unpack()["input_ids"].to_pylist() == [[3, 0, 1, 4]]
    bert = write_tokenizer(tmp_path / "bert", BERT, template("[CLS] $A [SEP]", *BERT))
    assert "end token: none; a model does not learn to end a text without one: name one with --eos" in (
        call("compare", "a.txt", "--tokenizer", bert).stderr.decode()
    )
    quiet = call("pack", "a.txt", "-o", "quiet", "--tokenizer", folder, "--bos", "none", "--eos", "</s>")
    assert b"end token" not in quiet.stderr
    facts = PackedFolder(tmp_path / "quiet").manifest.tokenizer
    assert (facts.bos, facts.bos_id, facts.eos, facts.eos_id) == (None, None, "</s>", 4)

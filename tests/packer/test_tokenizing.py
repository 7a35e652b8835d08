"""The fast path gives the ids of the reference; if it does not, the reference is used."""

import json
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st

from seampack.errors import ConfigError, DataError
from seampack.packer import text_blocks, tokenizing
from seampack.packer.config import PackConfig
from seampack.packer.documents import Texts, TokenBatch
from seampack.packer.pipeline import known_bytes, ordered_map, token_batches
from seampack.packer.tokenizing import TextTokenizer
from tests.conftest import DATA

END = "<|endoftext|>"
REFERENCE = tokenizers.Tokenizer.from_file(str(DATA / "tokenizer.json"))
END_ID = REFERENCE.token_to_id(END)
odd = st.sampled_from([END, "'s", "\r\n", " " * 9, "١"])
pieces = st.one_of(st.text(st.characters(exclude_categories=["Cs"])), odd)
texts = st.lists(st.lists(pieces, max_size=6).map("".join), max_size=5)


def fast(name: str | Path = "bundled", config: PackConfig | None = None) -> TextTokenizer:
    """Return a tokenizer that has loaded its fast path, if it can."""
    tokenizer = TextTokenizer(name, config)
    tokenizer.trusts_fast([])
    return tokenizer


PLAIN = fast()
SPECIAL = fast(config=PackConfig(special_tokens_in_text=True, bos="none", eos="none"))


def documents(batch: TokenBatch) -> list[list[int]]:
    return [batch.ids[a:b].tolist() for a, b in zip(batch.offsets[:-1], batch.offsets[1:], strict=True)]


def encode(tokenizer: TextTokenizer, *content: str) -> list[list[int]]:
    return documents(tokenizer.encode(Texts(list(content))))


@pytest.mark.parametrize("special", [False, True])
@given(texts)
@example([f"a {END} b", "", END + END])
def test_both_paths_give_the_ids_of_tokenizers(special: bool, content: list[str]) -> None:
    tokenizer = SPECIAL if special else PLAIN
    assert tokenizer.is_fast
    REFERENCE.encode_special_tokens = not special
    expected = [REFERENCE.encode(text, add_special_tokens=False).ids for text in content]
    assert encode(tokenizer, *content) == expected
    with mock.patch.object(tokenizer, "_fast", None):
        assert encode(tokenizer, *content) == expected


def test_control_tokens_in_text_stay_text_unless_asked() -> None:
    (ids,) = encode(PLAIN, f"a{END}b")
    assert END_ID not in ids
    assert PLAIN.decode(ids) == f"a{END}b"
    (ids,) = encode(SPECIAL, f"a{END}b")
    assert ids.count(END_ID) == 1


@pytest.mark.parametrize("bos", [None, "none", END])
@pytest.mark.parametrize("eos", [None, "none", END, "a"])
def test_documents_are_framed(bos: str | None, eos: str | None) -> None:
    tokenizer = TextTokenizer(config=PackConfig(bos=bos, eos=eos))
    before, after = ([] if token in (None, "none") else [REFERENCE.token_to_id(token)] for token in (bos, eos))
    content = ["hello world", "", "x"]
    expected = [[*before, *ids, *after] if ids else [] for ids in encode(PLAIN, *content)]
    assert encode(tokenizer, *content) == expected
    ids, offsets = np.array([5, 6, 7]), np.array([0, 2, 2, 3])
    adopted = tokenizer.adopt(TokenBatch(ids, offsets))
    assert documents(adopted) == [[*before, 5, 6, *after], [], [*before, 7, *after]]
    assert adopted.ids.dtype == tokenizer.dtype


@pytest.mark.parametrize("option", ["bos", "eos", "pad"])
def test_a_token_that_is_not_in_the_vocabulary_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{option}: no token '<nope>' in the vocabulary of bundled$"):
        TextTokenizer(config=PackConfig(**{option: "<nope>"}))


def test_a_folder_with_a_tokenizer_is_a_tokenizer() -> None:
    assert TextTokenizer(DATA).fingerprint == TextTokenizer(DATA / "tokenizer.json").fingerprint == PLAIN.fingerprint


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"model": {"type": "Nope"}}'])
def test_a_broken_tokenizer_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"tokenizer\.json: not a tokenizer\.json of Hugging Face tokenizers: "):
        TextTokenizer(path)


@pytest.mark.parametrize("name", ["nope.json", "."])
def test_a_missing_tokenizer_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"no such tokenizer; train one with: seampack tokenizer train"):
        TextTokenizer(tmp_path / name)


def test_without_fastokens_the_reference_is_used_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fastokens", None)
    with pytest.warns(UserWarning, match="fastokens is not installed"):
        tokenizer = fast()
    assert not tokenizer.is_fast
    assert encode(tokenizer, "hello world") == encode(PLAIN, "hello world")


def test_a_model_that_fastokens_cannot_load_is_left_to_the_reference(tmp_path: Path) -> None:
    model = tokenizers.models.WordLevel({"hello": 0, "<unk>": 1}, unk_token="<unk>")
    tokenizers.Tokenizer(model).save(str(tmp_path / "tokenizer.json"))
    with pytest.warns(UserWarning, match="fastokens cannot load this tokenizer .*using tokenizers"):
        tokenizer = fast(tmp_path)
    assert not tokenizer.is_fast
    assert encode(tokenizer, "hello", "world") == [[0], [1]]


class WrongOn:
    """A fast path that loses the last token of every batch with a given word, or fails on the batch."""

    def __init__(self, word: str, fails: bool = False) -> None:
        self.inner: Any = fast()._fast
        self.word = word
        self.fails = fails

    def no_truncation(self) -> None:
        pass

    def encode_batch_flat(self, content: list[str], **options: Any) -> tuple[Any, Any]:
        ids, offsets = self.inner.encode_batch_flat(content, **options)
        if not any(self.word in text for text in content):
            return ids, offsets
        if self.fails:
            raise RuntimeError("panic")
        changed = np.frombuffer(ids, np.uint32).copy()
        changed[-1] += 1
        return changed.tobytes(), offsets


def test_a_fast_path_that_disagrees_on_the_sample_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = WrongOn("naïve")
    library = SimpleNamespace(Tokenizer=SimpleNamespace(from_json_str=lambda text: wrong))
    monkeypatch.setitem(sys.modules, "fastokens", library)
    with pytest.warns(UserWarning, match="fastokens gives other ids than tokenizers; using tokenizers"):
        assert not fast().is_fast


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("threads", [1, 4])
def test_a_fast_path_that_disagrees_on_the_corpus_encodes_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, fails: bool
) -> None:
    content = [f"seam {n}" for n in range(300)]
    (tmp_path / "a.txt").write_text("\n".join(content))
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 64)
    monkeypatch.setattr(tokenizing, "_FAST_FROM", 0)
    wrong = WrongOn("seam", fails)
    monkeypatch.setattr(tokenizing, "_load_fast", lambda content: (wrong, ""))
    tokenizer = TextTokenizer()
    with pytest.warns(UserWarning, match="fastokens gives other ids"):
        batches = list(token_batches([str(tmp_path / "a.txt")], tokenizer, PackConfig(), threads=threads))
    assert len(batches) > 9
    assert [ids for batch in batches for ids in documents(batch)] == encode(PLAIN, *content)


def changed(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Write the bundled tokenizer with a change."""
    content = json.loads((DATA / "tokenizer.json").read_text("utf-8"))
    change(content)
    (folder / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    return folder


@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("last", [9_000, 70_000, 500_000])
@pytest.mark.parametrize("count", [1, 4_000])
def test_an_added_token_that_the_libraries_number_otherwise(
    tmp_path: Path, special: bool, last: int, count: int
) -> None:
    """The id of the last added token is not the next free one; it may be far beyond the vocabulary."""
    settings = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False) | {"special": special}
    added = [{"id": 8192 + n, "content": f"<odd {n}>", **settings} for n in range(count)]
    added[-1]["id"] = last + count
    folder = changed(tmp_path, lambda content: content["added_tokens"].extend(added))
    with pytest.warns(UserWarning, match=r"fastokens (gives other ids than|cannot load this)"):
        tokenizer = fast(folder, PackConfig(special_tokens_in_text=special, bos="none", eos="none"))
    assert tokenizer.vocab_size == 8192 + count
    assert encode(tokenizer, f"a<odd {count - 1}>") == [[REFERENCE.token_to_id("a"), 8192 + count - 1]]


@pytest.mark.parametrize("framed", [False, True])
def test_an_id_beyond_the_vocabulary_does_not_wrap(framed: bool) -> None:
    tokenizer = TextTokenizer(config=PackConfig(eos=END) if framed else None)
    far = SimpleNamespace(encode_batch_flat=lambda *_, **__: (np.uint32([5, 70_000]), np.uint64([0, 2])))
    message = r"^bundled: expected token ids of its vocabulary, 0 to 8191; got 70000: .*added_tokens$"
    with mock.patch.object(tokenizer, "_fast", far), pytest.raises(DataError, match=message):
        encode(tokenizer, "a text with a token that no sample has")
    with pytest.raises(DataError, match="0 to 8191; got 8192"):
        tokenizer.adopt(TokenBatch(np.array([8192]), np.array([0, 1])))


@pytest.mark.parametrize("installed", [True, False])
def test_the_dropout_of_a_tokenizer_is_switched_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    """With dropout, two runs would give other ids."""
    folder = changed(tmp_path, lambda content: content["model"].update(dropout=0.25))
    if not installed:
        monkeypatch.setitem(sys.modules, "fastokens", None)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tokenizer = fast(folder)
    assert tokenizer.is_fast == installed
    said = [str(warning.message).removeprefix(f"{folder}: ") for warning in caught]
    assert said[0] == "its BPE dropout of 0.25 is switched off, because each run would give other ids"
    assert said[1:] == ([] if installed else ["fastokens is not installed; using tokenizers, which is far slower"])
    content = ["a few words of some length, dropped or not"] * 20
    assert encode(tokenizer, *content) == encode(PLAIN, *content)
    (tmp_path / "b").mkdir()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*dropout")
        TextTokenizer(changed(tmp_path / "b", lambda content: content["model"].update(dropout=0.0)))


def test_a_fast_path_that_agrees_gives_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tokenizer = TextTokenizer()
        assert tokenizer.trusts_fast(["hello " * 10_000, "world"])
        assert tokenizer.is_fast


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("threads", [1, 3])
def test_the_fast_path_loads_once_the_input_is_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool, threads: int
) -> None:
    """The ids are the same however much of the input the reference encodes."""
    monkeypatch.setattr(text_blocks, "BLOCK_BYTES", 100)
    path = tmp_path / "a.txt"
    path.write_text("\n".join(f"line {n} of the text" for n in range(50)))
    size = path.stat().st_size
    for fast_from in (1, size // 2, size, size + 1):
        monkeypatch.setattr(tokenizing, "_FAST_FROM", (fast_from - 1) / len((DATA / "tokenizer.json").read_bytes()))
        loads = mock.Mock(side_effect=tokenizing._load_fast)
        with mock.patch.object(tokenizing, "_load_fast", loads):
            tokenizer = TextTokenizer(input_bytes=known_bytes([str(path)]) if known else 0)
            with mock.patch.object(tokenizer, "encode", wraps=tokenizer.encode) as encode_:
                batches = list(token_batches([str(path)], tokenizer, PackConfig(), threads=threads))
        assert loads.call_count == tokenizer.is_fast == (fast_from <= size)
        before = sum(len("\n".join(call.args[0].texts)) + 1 for call in encode_.mock_calls if not call.kwargs["fast"])
        assert before <= fast_from + 100
        assert [ids for batch in batches for ids in documents(batch)] == encode(PLAIN, *path.read_text().split("\n"))


def test_text_after_tokenised_documents_is_encoded_by_the_fast_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizing, "_FAST_FROM", 0)
    (tmp_path / "a.jsonl").write_text('{"input_ids": [1, 2]}')
    (tmp_path / "b.jsonl").write_text('{"text": "some text"}')
    tokenizer = TextTokenizer()
    paths = [str(tmp_path / name) for name in ("a.jsonl", "b.jsonl")]
    batches = list(token_batches(paths, tokenizer, PackConfig()))
    assert tokenizer.is_fast
    assert [ids for batch in batches for ids in documents(batch)] == [[1, 2], *encode(PLAIN, "some text")]


def test_a_run_that_fails_cancels_the_last_block_first() -> None:
    """Blocks wait for an earlier one: if it were cancelled first, a thread could begin one that waits forever."""
    cancelled: list[int] = []

    def submit(_: object, item: int) -> Future[int]:
        future: Future[int] = Future()
        if item == 0:
            future.set_exception(DataError("a bad record"))
        return mock.Mock(wraps=future, cancel=lambda: cancelled.append(item))

    with pytest.raises(DataError, match="a bad record"):
        list(ordered_map(int, range(9), mock.Mock(submit=submit), 4))
    assert cancelled == [3, 2, 1]


def test_gaps_in_the_ids_of_a_vocabulary(tmp_path: Path) -> None:
    model = tokenizers.models.WordLevel({"hello": 0, "<unk>": 7, "world": 3}, unk_token="<unk>")
    tokenizers.Tokenizer(model).save(str(tmp_path / "tokenizer.json"))
    assert TextTokenizer(tmp_path).vocab_size == 8


def test_a_mistyped_folder_is_no_name_on_the_hub(capfd: pytest.CaptureFixture[str]) -> None:
    """Also where the hub is out of reach: without the retries of the hub's library and their messages."""
    started = time.monotonic()
    for name in ("no-such-owner/no-such-tokenizer", "a/path/of/folders", "gpt 2"):
        with pytest.raises(ConfigError, match=rf"^{name}: no such file or folder, and no tokenizer of that name from"):
            TextTokenizer(name)
    assert time.monotonic() - started < 15
    assert capfd.readouterr() == ("", "")


def test_the_cache_of_the_hub_is_used_where_the_hub_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    def cached(name: str, file: str, *, local_files_only: bool) -> str:
        assert (name, file, local_files_only) == ("owner/name", "tokenizer.json", True)
        return str(DATA / "tokenizer.json")

    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", mock.Mock(side_effect=OSError("no network")))
    monkeypatch.setattr("huggingface_hub.hf_hub_download", cached)
    assert TextTokenizer("owner/name").fingerprint == TextTokenizer().fingerprint

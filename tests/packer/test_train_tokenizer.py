"""Training of tokenizers: every option has an effect, and the file is reproducible."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import tokenizers

import seampack
from seampack.errors import ShardError
from seampack.packer.config import PackConfig
from seampack.packer.tokenizer_config import TokenizerConfig
from tests.conftest import Run
from tests.faulty import failed

TEXT = "seam pack seam pack seams packs packing\n" * 20 + "rare rare\n"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "a.txt"
    path.write_text(TEXT)
    return path


def trained(corpus: Path, **options: Any) -> tokenizers.Tokenizer:
    """Train on the corpus and read the file with the ``tokenizers`` library."""
    out = corpus.with_suffix(".json")
    size = seampack.train_tokenizer(corpus, out, overwrite=True, **options)
    tokenizer = tokenizers.Tokenizer.from_file(str(out))
    assert tokenizer.get_vocab_size() == size
    return tokenizer


EFFECTS: dict[str, tuple[Any, Any]] = {
    "vocab_size": (260, lambda tokenizer: tokenizer.get_vocab_size() == 260),
    "min_frequency": (10, lambda tokenizer: tokenizer.token_to_id("rare") is None),
    "special_tokens": (["<s>", "</s>"], lambda tokenizer: tokenizer.token_to_id("</s>") == 1),
}


@pytest.mark.parametrize("name", EFFECTS)
def test_every_option_reaches_what_it_governs(corpus: Path, name: str) -> None:
    value, has_effect = EFFECTS[name]
    assert not has_effect(trained(corpus))
    assert has_effect(trained(corpus, **{name: value}))
    assert has_effect(trained(corpus, config=TokenizerConfig(**{name: value})))


def test_every_option_has_an_effect_to_test() -> None:
    assert set(EFFECTS) == {field.name for field in dataclasses.fields(TokenizerConfig)}


def test_the_same_corpus_gives_the_same_file(corpus: Path) -> None:
    assert trained(corpus).to_str() == trained(corpus).to_str()


def test_a_file_is_replaced_only_on_request(call: Run, corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text("mine")
    message = "t.json: the file exists; use --overwrite or another name"
    assert failed(call("tokenizer", "train", corpus, "-o", "t.json")) == message
    with pytest.raises(ShardError, match=message):
        seampack.train_tokenizer(tmp_path / "no such corpus", path)
    assert path.read_text() == "mine"
    assert call("tokenizer", "train", corpus, "-o", "t.json", "--overwrite").returncode == 0
    assert tokenizers.Tokenizer.from_file(str(path)).get_vocab_size() > 256


def test_bad_records_are_skipped_with_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "seam pack"}\n{"body": "b"}\n{"text": 5}\n')
    with pytest.raises(seampack.DataError, match=r"a\.jsonl:2: no field 'text'.*--on-bad quarantine"):
        seampack.train_tokenizer(path, tmp_path / "t.json", vocab_size=300)
    with pytest.raises(seampack.DataError, match=r"a\.jsonl:2: no field 'text'"):
        seampack.compare(path, seq_len=8)
    message = r"2 records were skipped; the first: .*a\.jsonl:2: no field 'text'"
    with pytest.warns(UserWarning, match=message):
        seampack.train_tokenizer(path, tmp_path / "t.json", vocab_size=300, reading=PackConfig(on_bad="quarantine"))
    with pytest.warns(UserWarning, match=message):
        (comparison, *_) = seampack.compare(path, seq_len=8, on_bad="quarantine")
    assert comparison.accounting.documents == 1

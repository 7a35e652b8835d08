"""Training that starts from the language models of another segmenter."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seampack.errors import ConfigError, ShardError
from seampack.segmenter import artifact
from seampack.segmenter.model import Segmenter

torch = pytest.importorskip("torch")

from seampack.segmenter.corpus import ChunkCorpus, Vocabulary  # noqa: E402
from seampack.segmenter.direction_trainer import DirectionTrainer  # noqa: E402
from seampack.segmenter.initial import Initial  # noqa: E402
from seampack.segmenter.training import train  # noqa: E402
from seampack.segmenter.units import Alphabet  # noqa: E402
from tests.segmenter import tiny  # noqa: E402
from tests.segmenter.language import QUICK, sentences  # noqa: E402
from tests.segmenter.runs import assert_same_arrays, train_until  # noqa: E402

KEYS = st.lists(st.integers(1, 20), max_size=30).map(lambda keys: np.array(keys, np.uint64))


@given(old=KEYS, text=KEYS, least=st.integers(1, 3), seed=st.integers(0, 9))
def test_the_probability_of_the_rare_units_is_divided(old: np.ndarray, text: np.ndarray, least: int, seed: int) -> None:
    """Known units keep their probabilities; new ones and the rare ones share that of the rare ones by their counts."""
    chance = np.random.default_rng(seed)
    before = Vocabulary(np.unique(old))
    keys, counts = np.unique(text, return_counts=True)
    after = before.joined(Vocabulary(keys[counts >= least]))
    state = {
        f"{direction}.{name}": chance.normal(size=shape).astype(np.float32)
        for direction in ("forward", "backward")
        for name, shape in (
            ("embedding.weight", (before.size, 4)),
            ("bias", (before.size,)),
            ("encoder.weight", (4, 4)),
        )
    }
    initial = Initial.extended(state, before, after, text)
    hidden = chance.normal(size=4)
    for direction in ("forward", "backward"):
        (weight, bias), new = (
            (state[f"{direction}.{name}"] for name in ("embedding.weight", "bias")),
            initial.of(direction),
        )
        masses = np.exp(weight @ hidden + bias)
        found = np.exp(new["embedding.weight"] @ hidden + new["bias"])
        assert found.size == after.size
        assert new["encoder.weight"] is state[f"{direction}.encoder.weight"]
        rare = [2, *(3 + k for k, key in enumerate(after.keys) if key not in before.keys)]
        np.testing.assert_allclose(found[rare].sum(), masses[2], rtol=1e-5)
        np.testing.assert_allclose(found[:2], masses[:2], rtol=1e-5)
        for key, mass in zip(before.keys, masses[3:], strict=True):
            np.testing.assert_allclose(found[3 + after.keys.tolist().index(key)], mass, rtol=1e-5)
        for one in rare[1:]:
            for other in rare[1:]:
                ratio = (1 + (text == after.keys[one - 3]).sum()) / (1 + (text == after.keys[other - 3]).sum())
                np.testing.assert_allclose(found[one] / found[other], ratio, rtol=1e-4)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "base"
    train([sentences(100)[0]], QUICK, folder, threads=1)
    return folder


def test_training_starts_where_the_other_ended(base: Path) -> None:
    """Before the first step, the scores of a text with new units are those of the trained models."""
    segmenter = Segmenter.load(base)
    teacher = segmenter.teacher
    texts = [*sentences(20)[0], "龘龘龘"]
    units, _ = Alphabet("zh").units(texts)
    vocabulary = teacher.vocabulary.joined(Vocabulary.of(units, 1))
    assert vocabulary.size > teacher.vocabulary.size
    initial = Initial.extended(teacher.state, teacher.vocabulary, vocabulary, units.key)
    for backward in (False, True):
        scores = []
        for words, state in ((teacher.vocabulary, Initial(teacher.state)), (vocabulary, initial)):
            corpus = ChunkCorpus.of(units, words, 40)
            trainer = DirectionTrainer(corpus, teacher.config, backward=backward, initial=state)
            trainer.model.eval()
            chunks, lengths, possible, _ = trainer.corpus.batch(np.arange(20), teacher.config.longest)
            with torch.no_grad():
                scores.append(trainer.model(chunks, lengths, possible))
        torch.testing.assert_close(*scores)


def test_a_run_resumes_only_from_the_same_models(base: Path, tmp_path: Path) -> None:
    segmenter = Segmenter.load(base)
    texts = [sentences(100)[0]]
    whole = train(texts, QUICK, tmp_path / "whole", threads=1, init=segmenter)
    assert whole["init"]["config"] == segmenter.description["config"]
    assert whole["vocabulary"] >= segmenter.description["vocabulary"]
    train_until("backward", 10, tmp_path / "m", init=segmenter)
    with pytest.raises(ShardError, match="belongs to another text or other options"):
        train(texts, QUICK, tmp_path / "m", threads=1, resume=True)
    train(texts, QUICK, tmp_path / "m", threads=1, resume=True, init=segmenter)
    assert_same_arrays(tmp_path / "m", tmp_path / "whole")


def test_models_that_do_not_fit_are_refused(base: Path, tmp_path: Path) -> None:
    texts = [sentences(100)[0]]
    for changes, message in (
        ({"hidden": 12}, "hidden: expected .*, as in .*base, from which training starts; got 12"),
        ({"script": "ja"}, "script: expected 'zh', as in .*base, from which training starts; got 'ja'"),
    ):
        with pytest.raises(ConfigError, match=message):
            train(texts, QUICK.replace(**changes), tmp_path / "m", threads=1, init=Segmenter.load(base))
    without = Segmenter.load(tiny.save(tmp_path / "student"))
    with pytest.raises(ShardError, match="the segmenter has no language models"):
        train(texts, QUICK, tmp_path / "m", threads=1, init=without)
    assert not (tmp_path / "m").exists()


def test_chinese_is_read_in_the_form_of_the_models(base: Path, tmp_path: Path) -> None:
    """Models of simplified characters learn from traditional ones."""
    description = json.loads((base / artifact.DESCRIPTION).read_text())
    for path in base.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / artifact.DESCRIPTION).write_text(json.dumps({**description, "han_form": "simplified"}))
    trained = train([["學習 漢語"] * 200], QUICK, tmp_path / "m", threads=1, init=Segmenter.load(tmp_path))
    assert trained["han_form"] == "simplified"
    keys = Segmenter.load(tmp_path / "m").teacher.vocabulary.keys
    assert ord("学") in keys
    assert ord("學") not in keys

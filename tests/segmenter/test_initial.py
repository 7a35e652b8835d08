"""Training that starts from the language models of another segmenter."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from seampack.cli import main
from seampack.errors import ConfigError, ShardError
from seampack.segmenter import artifact
from seampack.segmenter.artifact import load_part
from seampack.segmenter.config import TrainConfig
from seampack.segmenter.model import Segmenter

torch = pytest.importorskip("torch")

from seampack.segmenter.corpus import ChunkCorpus, Vocabulary  # noqa: E402
from seampack.segmenter.direction_trainer import DirectionTrainer  # noqa: E402
from seampack.segmenter.initial import Initial  # noqa: E402
from seampack.segmenter.training import train  # noqa: E402
from seampack.segmenter.training_folder import CHECKPOINT  # noqa: E402
from seampack.segmenter.training_processes import CORPUS, INITIAL, Run, train_direction  # noqa: E402
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


def test_training_starts_where_the_other_ended(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first step, the scores of a text with new units are those of the trained models."""
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)  # its errors depend on the blocks
    segmenter = Segmenter.load(base)
    teacher = segmenter.teacher
    state = load_part(base, "teacher", segmenter.description)
    texts = [*sentences(20)[0], "龘龘龘"]
    units, _ = Alphabet("zh").units(texts)
    vocabulary = teacher.vocabulary.joined(Vocabulary.of(units, 1))
    assert vocabulary.size > teacher.vocabulary.size
    initial = Initial.extended(state, teacher.vocabulary, vocabulary, units.key)
    for backward in (False, True):
        scores = []
        for words, parameters in ((teacher.vocabulary, Initial(state)), (vocabulary, initial)):
            corpus = ChunkCorpus.of(units, words, 40)
            trainer = DirectionTrainer(corpus, teacher.config, backward=backward, initial=parameters)
            trainer.model.eval()
            chunks, lengths, possible, _ = trainer.corpus.batch(np.arange(20), teacher.config.longest)
            with torch.no_grad():
                scores.append(trainer.model(chunks, lengths, possible))
        torch.testing.assert_close(*scores)


def test_models_that_training_makes_worse_stay(base: Path) -> None:
    """Here by too high a learning rate."""
    segmenter = Segmenter.load(base)
    teacher = segmenter.teacher
    initial = Initial(load_part(base, "teacher", segmenter.description))
    units, _ = Alphabet("zh").units(sentences(100)[0])
    config = QUICK.replace(learning_rate=1.0, epochs=1.0)
    corpus = ChunkCorpus.of(units, teacher.vocabulary, 40)
    trainer = DirectionTrainer(corpus, config, backward=False, initial=initial)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.run()
    assert trainer.step > 0
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_patience_counts_from_the_best_of_the_training_itself(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the full learning rate, trained models are worse than at the end of their own training."""
    segmenter = Segmenter.load(base)
    initial = Initial(load_part(base, "teacher", segmenter.description))
    units, _ = Alphabet("zh").units(sentences(100)[0])
    nats = {0: 2.0, 5: 2.6, 10: 2.5, 15: 2.4, 20: 2.3, 25: 2.2, 30: 1.9}
    monkeypatch.setattr(DirectionTrainer, "validate", lambda trainer: (nats.get(trainer.step, 3.0), 1.0))
    corpus = ChunkCorpus.of(units, segmenter.teacher.vocabulary, 40)
    config = QUICK.replace(epochs=30, patience=1, validate_every=5)
    trainer = DirectionTrainer(corpus, config, backward=False, initial=initial)
    trainer.run()
    assert (trainer.step, trainer.best) == (40, 1.9)


def test_the_units_of_both_texts_are_known(base: Path, tmp_path: Path) -> None:
    """Also after a retry. The description names the models and their text."""
    segmenter = Segmenter.load(base)
    known = segmenter.teacher.vocabulary.keys
    frequent, rare = "龘靐龘靐齉", "齉"
    texts = [f"{frequent}{number % 10}" for number in range(200)]
    with pytest.warns(UserWarning, match="training again with"):
        trained = train([texts], QUICK, tmp_path / "m", threads=1, init=segmenter, retry=1)
    assert len(trained["runs"]) == 2
    result = Segmenter.load(tmp_path / "m").teacher.vocabulary.keys
    assert set(known) < set(result)
    assert set(result) - set(known) >= {ord(unit) for unit in frequent + rare}
    facts = dict(trained["init"])
    assert facts.pop("fingerprint") == Initial(load_part(base, "teacher", segmenter.description)).fingerprint
    assert facts == {name: segmenter.description[name] for name in ("config", "units", "vocabulary")}
    again = train([texts], QUICK, tmp_path / "again", threads=1, init=Segmenter.load(tmp_path / "m"))
    assert again["init"]["init"] == trained["init"]


def test_counts_of_new_units_decide_their_first_probability(base: Path, tmp_path: Path) -> None:
    """In the file from which the training processes read."""
    segmenter = Segmenter.load(base)
    texts = ["龘龘龘龘龘龘龘靐" * 5] * 20
    train_until("forward", 5, tmp_path / "m", texts=texts, init=segmenter)
    initial = Initial.load(tmp_path / "m" / CHECKPOINT / INITIAL)
    corpus = ChunkCorpus.load(tmp_path / "m" / CHECKPOINT / CORPUS)
    assert corpus.vocab_size == initial.of("forward")["bias"].size == segmenter.teacher.vocabulary.size + 2
    ids, counts = np.unique(corpus.ids, return_counts=True)
    biases = initial.of("backward")["bias"][ids]
    assert biases[0] - biases[1] == pytest.approx(np.log((counts[0] + 1) / (counts[1] + 1)), abs=1e-4)


def test_retries_start_from_the_models_too(base: Path, tmp_path: Path) -> None:
    segmenter = Segmenter.load(base)
    units, _ = Alphabet("zh").units(sentences(100)[0])
    corpus = ChunkCorpus.of(units, segmenter.teacher.vocabulary, 40)
    initial = Initial(load_part(base, "teacher", segmenter.description))
    corpus.save(tmp_path / CORPUS)
    initial.save(tmp_path / INITIAL)
    run = Run(tmp_path, QUICK.replace(epochs=0.01, learning_rate=1e-6), resume=False, retry=1)
    train_direction(run, "backward", 1, None)
    found = torch.load(run.result("backward"), weights_only=True)["model"]
    for name, value in initial.of("backward").items():
        torch.testing.assert_close(found[name], torch.from_numpy(value), atol=1e-4, rtol=1e-4)


def test_a_run_resumes_only_from_the_same_models(base: Path, tmp_path: Path) -> None:
    segmenter = Segmenter.load(base)
    texts = [sentences(100)[0]]
    train(texts, QUICK, tmp_path / "whole", threads=1, init=segmenter)
    train_until("backward", 10, tmp_path / "m", init=segmenter)
    with pytest.raises(ShardError, match="belongs to another text or other options; give those of the stopped run"):
        train(texts, QUICK, tmp_path / "m", threads=1, resume=True)
    train(texts, QUICK, tmp_path / "m", threads=1, resume=True, init=segmenter)
    assert_same_arrays(tmp_path / "m", tmp_path / "whole")


def test_models_that_do_not_fit_are_refused(base: Path, tmp_path: Path) -> None:
    texts = [sentences(100)[0]]
    for changes, message in (
        ({"hidden": 12}, "hidden: expected .*, as in .*base, from which training starts; got 12; omit --hidden, or"),
        (
            {"script": "ja"},
            "script: expected 'zh', as in .*base, from which training starts; got 'ja'; omit --script",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            train(texts, QUICK.replace(**changes), tmp_path / "m", threads=1, init=Segmenter.load(base))
    with pytest.raises(ConfigError, match=r"init: .*student has no language models to start from; choose"):
        train(texts, QUICK, tmp_path / "m", threads=1, init=Segmenter.load(tiny.save(tmp_path / "student")))
    with pytest.raises(ConfigError, match=r"init: expected a Segmenter; got 'zh'; load it with Segmenter\.load"):
        train(texts, QUICK, tmp_path / "m", threads=1, init="zh")  # type: ignore[arg-type]
    assert not (tmp_path / "m").exists()
    copy = shutil.copytree(base, tmp_path / "copy")
    with pytest.raises(ShardError, match="copy: the segmenter in this folder is read; choose another folder"):
        train(texts, QUICK, copy, threads=1, init=Segmenter.load(copy), overwrite=True)


def test_chinese_is_read_in_the_form_of_the_models(base: Path, tmp_path: Path) -> None:
    """Models of simplified characters learn from traditional ones, with a warning."""
    copy = shutil.copytree(base, tmp_path / "base")
    description = json.loads((copy / artifact.DESCRIPTION).read_text())
    (copy / artifact.DESCRIPTION).write_text(json.dumps({**description, "han_form": "simplified"}))
    with pytest.warns(UserWarning, match="traditional Chinese characters, but the segmenter was trained on simplified"):
        trained = train([["學習 漢語"] * 200], QUICK, tmp_path / "m", threads=1, init=Segmenter.load(copy))
    assert trained["han_form"] == "simplified"
    keys = Segmenter.load(tmp_path / "m").teacher.vocabulary.keys
    assert ord("学") in keys
    assert ord("學") not in keys


def test_the_command_takes_the_options_of_the_models(base: Path, tmp_path: Path) -> None:
    """Those of the models that are not given; and trains each direction in its own process."""
    copy = shutil.copytree(base, tmp_path / "base")
    (tmp_path / "raw.txt").write_text("\n".join(sentences(100)[0]), "utf-8")
    arguments = [
        "segment",
        "train",
        str(tmp_path / "raw.txt"),
        "--init",
        str(copy),
        "--epochs",
        "0.1",
        "--threads",
        "2",
    ]
    result = CliRunner().invoke(main, [*arguments, "-o", str(tmp_path / "m"), "--longest", "2"])
    assert result.exit_code == 0, result.output
    trained = artifact.load_description(tmp_path / "m")
    own = artifact.load_description(base)
    assert trained["config"]["hidden"] == own["config"]["hidden"] != TrainConfig().hidden
    assert (trained["config"]["longest"], own["config"]["longest"]) == (2, QUICK.longest)
    assert trained["init"]["config"] == own["config"]

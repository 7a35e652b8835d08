"""The adapter: rows, prepared data, weights, evaluation, errors."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from datasets import Dataset

from seampack.config import Config
from seampack.errors import ConfigError, DataError
from seampack.models.rope_scaling import KVRetrieval, LayerFactors, RopeScalingConfig, Scores
from seampack.models.rope_scaling.adapter import ADAPTER, load_model
from seampack.models.rope_scaling.metrics import gain
from tests.models.contract import AdapterContract

pytestmark = pytest.mark.xdist_group("rope_scaling")


class TestAdapter:
    def test_a_model_must_be_named(self, folder: str) -> None:
        config = RopeScalingConfig(pairs=2, positions=(0.0, 1.0))
        prepared = ADAPTER.prepare(KVRetrieval.generate(1, 2), config)
        with pytest.raises(ConfigError, match="--set model=FOLDER"):
            ADAPTER.train(prepared, config)
        with pytest.raises(DataError, match="the causal language model cannot be loaded"):
            load_model(folder + "/nothing")

    def test_rows_are_chosen(self) -> None:
        data = KVRetrieval.generate(5, 2)
        config = RopeScalingConfig(pairs=2, positions=(0.0,), first_row=1, rows=2)
        assert ADAPTER.prepare(data, config)["answer"] == data["value"][1:3]
        assert len(ADAPTER.prepare(data, config.replace(rows=0))) == 4
        with pytest.raises(DataError, match="first_row: expected less than 5, the number of rows; got 5"):
            ADAPTER.prepare(data, config.replace(first_row=5))
        bad = Dataset.from_list([*data.to_list()[:4], data[4] | {"value": "zz"}])
        with pytest.raises(DataError, match="row 5: key"):
            ADAPTER.prepare(bad, config.replace(first_row=3, rows=0))

    def test_rows_of_prepared_data_are_chosen(self) -> None:
        config = RopeScalingConfig(pairs=2, positions=(0.0, 1.0))
        data = KVRetrieval.generate(5, 2)
        prepared = ADAPTER.prepare(data, config.replace(first_row=1))
        part = config.replace(first_row=2, rows=2)
        assert ADAPTER.prepare(prepared, part).to_dict() == ADAPTER.prepare(data, part).to_dict()
        assert ADAPTER.prepare(ADAPTER.prepare(data, part), part).to_dict() == ADAPTER.prepare(data, part).to_dict()
        with pytest.raises(
            DataError, match="no prompt belongs to the rows 6 to the last; the prepared data has rows 2 to 5"
        ):
            ADAPTER.prepare(prepared, config.replace(first_row=5))

    def test_data_prepared_with_other_options_is_refused(self) -> None:
        config = RopeScalingConfig(pairs=3, positions=(0.0, 1.0))
        prepared = ADAPTER.prepare(KVRetrieval.generate(2, 4), config)
        for changes, message in (
            ({"pairs": 4}, "pairs: the data was prepared with 3; got 4"),
            ({"gold": "asked"}, "gold: the data was prepared with 'moved'; got 'asked'"),
            ({"positions": (0.0, 0.5)}, r"positions: the data was prepared with \[0\.0, 1\.0\]; got \[0\.0, 0\.5\]"),
        ):
            with pytest.raises(ConfigError, match=message):
                ADAPTER.prepare(prepared, config.replace(**changes))
        own = prepared.remove_columns(["pairs", "gold"])
        with pytest.raises(ConfigError, match="pairs: the prepared data has no column 'pairs', so 3 cannot be checked"):
            ADAPTER.prepare(own, config)
        assert len(ADAPTER.prepare(own, config.replace(pairs=10))) == 4

    def test_weights_of_positions(self, folder: str) -> None:
        """A search with all weight on one position equals a search on that position alone."""
        options = RopeScalingConfig(model=folder, pairs=2, positions=(0.0, 1.0), population=4, generations=0, elite=1)
        data = KVRetrieval.generate(2, 2)
        both = options.replace(position_weights=(0.0, 1.0))
        alone = options.replace(positions=(1.0,))
        weighted = ADAPTER.train(ADAPTER.prepare(data, both), both).facts
        single = ADAPTER.train(ADAPTER.prepare(data, alone), alone).facts
        assert weighted["fitness"] == pytest.approx(single["fitness"], abs=1e-4)
        other = both.replace(positions=(0.5, 1.0))
        with pytest.raises(DataError, match="gold_position"):
            ADAPTER.train(ADAPTER.prepare(data, both), other)

    def test_a_search_that_gains_nothing_is_noted(self, folder: str) -> None:
        """All factors that may be tried are 1."""
        config = RopeScalingConfig(model=folder, pairs=2, positions=(0.0,), low=1.0, high=1.0, population=2, elite=1)
        prepared = ADAPTER.prepare(KVRetrieval.generate(3, 2), config.replace(generations=0))
        artifact = ADAPTER.train(prepared, config)
        searched, gain, accuracy = ADAPTER.evaluate(prepared, artifact, config).notes
        assert searched.startswith("in training: no curve had a better log_prob than no scaling")
        assert gain.startswith("the gain in log-probability is not measurably above 0 (95 % interval from 0 to 0 nats)")
        assert accuracy.startswith("no prompt is answered rightly")

    def test_gain_over_examples(self) -> None:
        data = Dataset.from_dict({"example": [0, 0, 1, 1]})
        nothing = Scores(np.zeros(4), np.zeros(4, bool), [""] * 4)
        better = dataclasses.replace(nothing, log_prob=np.array([1.0, 3.0, 2.0, 4.0]))
        gains = gain(data, nothing, better, seed=0)
        assert gains == {"log_prob_gain": 2.5, "log_prob_gain_low": 2.0, "log_prob_gain_high": 3.0}
        one = gain(Dataset.from_dict({"example": [0] * 4}), nothing, better, seed=0)
        assert one == {"log_prob_gain": 2.5, "log_prob_gain_low": None, "log_prob_gain_high": None}

    @pytest.mark.parametrize(
        "options",
        [
            {"base": "yarn"},
            {"positions": (0.0, 1.5)},
            {"positions": ()},
            {"positions": (0.5, 0.5)},
            {"positions": 0.5},
            {"position_weights": (1.0,)},
            {"position_weights": (0.0,) * 5},
            {"low": 1.5},
            {"gold": "nearby"},
            {"fitness": "loss"},
            {"model": 3},
        ],
    )
    def test_bad_options(self, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=next(iter(options))):
            RopeScalingConfig(**options)


class TestContract(AdapterContract):
    method: ClassVar[str] = "rope_scaling"
    options: ClassVar[dict[str, Any]] = {
        "pairs": 3,
        "gold": "asked",
        "positions": [0.0, 1.0],
        "population": 4,
        "generations": 2,
        "elite": 1,
        "long_tokens": 32,
    }

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls) -> Dataset:
        return KVRetrieval.generate(3, 4)

    @pytest.fixture(scope="class")
    @classmethod
    def config(cls, folder: str, tmp_path_factory: pytest.TempPathFactory) -> Config:
        text = tmp_path_factory.mktemp("text") / "long.txt"
        text.write_text("The quick brown fox jumps over the lazy dog. " * 20, "utf-8")
        return RopeScalingConfig().replace(**cls.options, model=folder, long_text=str(text))

    def test_counts_prompts_seen_in_the_search(self, prepared: Dataset, artifact: Any, config: Any) -> None:
        fresh = ADAPTER.prepare(KVRetrieval.generate(2, 4, seed=9), config)
        unread = config.replace(long_text="")
        assert ADAPTER.evaluate(prepared, artifact, config).metrics["prompts_seen_in_search"] == len(prepared)
        metrics = ADAPTER.evaluate(fresh, artifact, unread).metrics
        assert metrics["prompts_seen_in_search"] == 0
        assert "perplexity_scaled" not in metrics
        with pytest.raises(DataError, match="long_text"):
            ADAPTER.evaluate(fresh, artifact, config.replace(long_text="no such file"))
        others = unread.replace(pairs=4, positions=(0.0, 0.5), gold="moved")
        again = ADAPTER.prepare(KVRetrieval.generate(3, 4), others)
        assert not set(again["prompt"]) & set(prepared["prompt"])
        assert ADAPTER.evaluate(again, artifact, others).metrics["prompts_seen_in_search"] == len(again)

    def test_a_short_long_text_is_refused_before_scoring(
        self, prepared: Dataset, artifact: Any, config: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("seampack.models.rope_scaling.adapter.score_rows", lambda *_: pytest.fail("scored first"))
        with pytest.raises(DataError, match="expected at least 4,096, one window; use a longer text"):
            ADAPTER.evaluate(prepared, artifact, config.replace(long_tokens=4096))

    def test_the_artifact_holds_the_factors(self, artifact: Any, tmp_path: Path, evaluation: Any) -> None:
        artifact.save(tmp_path)
        saved = LayerFactors.load(tmp_path / "scaling")
        np.testing.assert_array_equal(saved.factors, artifact.tensors["factors"])
        assert artifact.facts["fitness"] >= artifact.facts["fitness_unscaled"]
        metrics = evaluation.metrics
        assert metrics["log_prob_scaled"] == pytest.approx(artifact.facts["fitness"], abs=1e-4)
        assert metrics["log_prob_unscaled"] == pytest.approx(artifact.facts["fitness_unscaled"], abs=1e-4)

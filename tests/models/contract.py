"""The tests that every adapter must pass. The test file of each adapter inherits the class and supplies the data."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any, ClassVar

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset

from seampack.config import Config
from seampack.errors import ConfigError, DataError, ShardError
from seampack.io.output import staged_folder
from seampack.models import METHODS, config_of, get
from seampack.models.artifact import DESCRIPTION, FOLDER, Artifact, fingerprint
from seampack.models.base import Adapter, Evaluation
from seampack.models.options import Scope


class AdapterContract:
    """Subclasses set ``method`` and ``options`` (for a run of seconds) and define the class fixture ``dataset``."""

    method: ClassVar[str]
    options: ClassVar[dict[str, Any]] = {}
    """Options that differ from the default config."""
    tolerance: ClassVar[float] = 1e-5
    """Largest difference between metrics before and after the artifact is saved and loaded."""
    trains_fast: ClassVar[bool] = True
    """Whether training is fast enough to run twice."""
    taken: ClassVar[tuple[str, ...]] = ()
    """Columns that ``prepare`` writes, and reads from a dataset that has them."""

    @pytest.fixture(scope="class")
    @classmethod
    def adapter(cls) -> "Adapter[Any]":
        return get(cls.method)

    @pytest.fixture(scope="class")
    @classmethod
    def config(cls, adapter: "Adapter[Any]") -> Config:
        config: Config = adapter.config().replace(**cls.options)
        return config

    @pytest.fixture(scope="class")
    @classmethod
    def prepared(cls, adapter: "Adapter[Any]", dataset: Dataset, config: Config) -> Dataset:
        return adapter.prepare(dataset, config)

    @pytest.fixture(scope="class")
    @classmethod
    def artifact(cls, adapter: "Adapter[Any]", prepared: Dataset, config: Config) -> Artifact:
        return adapter.train(prepared, config)

    @pytest.fixture(scope="class")
    @classmethod
    def evaluation(cls, adapter: "Adapter[Any]", prepared: Dataset, artifact: Artifact, config: Config) -> Evaluation:
        return adapter.evaluate(prepared, artifact, config)

    def test_is_registered(self, adapter: "Adapter[Any]") -> None:
        assert adapter.name == self.method
        assert METHODS[self.method].summary
        assert adapter.config is config_of(self.method)
        assert adapter.config.columns

    def test_config_is_frozen_and_has_help(self, adapter: "Adapter[Any]") -> None:
        config = adapter.config()
        assert config.__dataclass_params__.frozen  # type: ignore[attr-defined]
        for field in dataclasses.fields(config):  # type: ignore[arg-type]
            assert field.metadata["help"].endswith("."), field.name
        with pytest.raises(ConfigError, match="no such option"):
            config.replace(no_such_option=1)
        assert json.loads(json.dumps(config.to_dict()))

    def test_prepared_datasets_are_unchanged(self, adapter: "Adapter[Any]", prepared: Dataset, config: Config) -> None:
        again = adapter.prepare(prepared, config)
        assert again.features == prepared.features
        assert again.to_dict() == prepared.to_dict()

    def test_prepare_keeps_the_columns_of_the_user(
        self, adapter: "Adapter[Any]", dataset: Dataset, prepared: Dataset, config: Config
    ) -> None:
        own = dataset.add_column("other", ["mine"] * len(dataset))
        if "other" not in adapter.prepare(own, config).column_names:
            pytest.skip("the method makes new rows")
        written = [name for name in prepared.column_names if name not in (*dataset.column_names, *self.taken)]
        for name in written:
            own = own.add_column(name, [f"my {name}"] * len(own))
        again = adapter.prepare(own, config)
        for name in written:
            assert set(again[f"{name}_given"]) == {f"my {name}"}
            assert again[name][:] == prepared[name][:]
        assert adapter.prepare(again, config).to_dict() == again.to_dict()

    def test_bad_data_raises_a_clear_error(self, adapter: "Adapter[Any]", dataset: Dataset, config: Config) -> None:
        with pytest.raises(DataError, match="empty"):
            adapter.prepare(dataset.select([]), config)
        for column in adapter.config.columns:
            if column in dataset.column_names:
                with pytest.raises(DataError, match=column):
                    adapter.prepare(dataset.remove_columns(column), config)

    def test_scopes_are_of_options(self, adapter: "Adapter[Any]", config: Config) -> None:
        options = list(config.to_dict())
        assert {*adapter.config.fixed, *adapter.config.per_run} <= set(options)
        scopes = [adapter.config.scope(name) for name in options]
        assert scopes.count(Scope.FIXED) == len(adapter.config.fixed)
        assert scopes.count(Scope.PER_RUN) == len(adapter.config.per_run)

    def test_artifact_describes_its_training(
        self, adapter: "Adapter[Any]", prepared: Dataset, artifact: Artifact, config: Config
    ) -> None:
        assert artifact.method == self.method
        assert artifact.config == config.to_dict() == json.loads(json.dumps(config.to_dict()))
        assert artifact.facts["data"]["fingerprint"] == fingerprint(prepared)
        assert artifact.facts["data"]["rows"] == len(prepared)
        assert type(config)().replace(**artifact.config) == config
        defaults = {name: getattr(type(config)(), name) for name in adapter.config.per_run}
        assert adapter.config.of_training(artifact.config) == config.replace(**defaults)

    def test_fixed_options_are_refused(
        self, adapter: "Adapter[Any]", prepared: Dataset, artifact: Artifact, config: Config
    ) -> None:
        for name in adapter.config.fixed:
            other = dataclasses.replace(artifact, config=artifact.config | {name: "another"})
            given = re.escape(repr(config.to_dict()[name]))
            message = rf"^{name}: fixed by training; expected 'another', as in the artifact; got {given}; omit"
            with pytest.raises(ConfigError, match=message):
                adapter.evaluate(prepared, other, config)

    def test_training_twice_gives_the_same_files(
        self, adapter: "Adapter[Any]", prepared: Dataset, artifact: Artifact, config: Config, tmp_path: Path
    ) -> None:
        if not self.trains_fast:
            pytest.skip("training is too slow to run twice")
        if torch.cuda.is_available():
            pytest.skip("sums on a GPU depend on the order in which its threads end")
        contents = []
        for name, trained in (("first", artifact), ("second", adapter.train(prepared, config))):
            (tmp_path / name).mkdir()
            trained.save(tmp_path / name)
            files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
            contents.append({str(path.relative_to(tmp_path / name)): path.read_bytes() for path in files})
        assert contents[0].keys() == contents[1].keys()
        assert [name for name in contents[0] if contents[0][name] != contents[1][name]] == []

    def test_evaluation_keeps_the_columns_of_the_user(
        self, adapter: "Adapter[Any]", prepared: Dataset, artifact: Artifact, evaluation: Evaluation, config: Config
    ) -> None:
        results = [name for name in evaluation.rows.column_names if name not in prepared.column_names]
        if not set(prepared.column_names) <= set(evaluation.rows.column_names):
            pytest.skip("the method makes new rows")
        own = prepared
        for name in results:
            own = own.add_column(name, [f"my {name}"] * len(own))
        rows = adapter.evaluate(own, artifact, config).rows
        for name in results:
            assert set(rows[f"{name}_given"]) == {f"my {name}"}
            assert f"my {name}" not in rows[name][:]

    def test_evaluation_can_be_saved(
        self, evaluation: Evaluation, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert evaluation.metrics
        assert evaluation.tables
        assert evaluation.pictures
        datasets.enable_progress_bars()
        capfd.readouterr()
        evaluation.save(tmp_path)
        assert capfd.readouterr().err == ""  # no progress bars without a terminal
        assert datasets.is_progress_bar_enabled()
        assert json.loads((tmp_path / "metrics.json").read_text("utf-8")) == evaluation.metrics | {
            "notes": list(evaluation.notes)
        }
        saved = pq.read_table(tmp_path / "rows.parquet")
        assert saved.num_rows == len(evaluation.rows)
        assert saved.column_names == evaluation.rows.column_names
        for name, feature in evaluation.rows.features.items():
            if isinstance(feature, datasets.ClassLabel):
                assert {*saved[name].to_pylist()} <= {*feature.names, None}, name
        for name in evaluation.pictures:
            assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
            assert b"<svg" in (tmp_path / f"{name}.svg").read_bytes()

    def test_a_loaded_artifact_measures_the_same(
        self,
        adapter: "Adapter[Any]",
        prepared: Dataset,
        artifact: Artifact,
        evaluation: Evaluation,
        config: Config,
        tmp_path: Path,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        capfd.readouterr()
        with staged_folder(tmp_path / "artifact", FOLDER, overwrite=False) as folder:
            artifact.save(folder)
        assert capfd.readouterr().err == ""
        files = [path for path in (tmp_path / "artifact").rglob("*") if path.is_file()]
        assert len({path.stat().st_mode for path in files}) == 1, "some files have other permissions"
        loaded = Artifact.load(tmp_path / "artifact", self.method)
        assert loaded.facts == json.loads(json.dumps(artifact.facts))
        assert sorted(loaded.tensors) == sorted(artifact.tensors)
        for name, array in loaded.tensors.items():
            np.testing.assert_array_equal(array, np.asarray(artifact.tensors[name]))
        again = adapter.evaluate(prepared, loaded, config).metrics
        assert again.keys() == evaluation.metrics.keys()
        for name, value in evaluation.metrics.items():
            assert again[name] == (pytest.approx(value, abs=self.tolerance) if isinstance(value, float) else value), (
                name
            )

    def test_damaged_parts_are_named(
        self, adapter: "Adapter[Any]", prepared: Dataset, artifact: Artifact, config: Config, tmp_path: Path
    ) -> None:
        artifact.save(tmp_path)
        for path in sorted(tmp_path.glob("*/*.safetensors")):
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 2])
            with pytest.raises(ShardError, match="damaged"):
                adapter.evaluate(prepared, Artifact.load(tmp_path, self.method), config)
            path.write_bytes(content)

    def test_damaged_artifacts_are_named(self, artifact: Artifact, tmp_path: Path) -> None:
        artifact.save(tmp_path)
        with pytest.raises(ConfigError, match="expected an artifact of another; got an artifact of"):
            Artifact.load(tmp_path, "another")
        path = tmp_path / DESCRIPTION
        path.write_text(path.read_text("utf-8")[:-20], "utf-8")
        with pytest.raises(ShardError, match="damaged"):
            Artifact.load(tmp_path)
        path.unlink()
        with pytest.raises(ShardError, match=r"no artifact\.json: not a seampack model, or a run that did not finish"):
            Artifact.load(tmp_path)

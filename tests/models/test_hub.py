"""Names on the Hugging Face hub while it is out of reach: an answer without retries, or the files of its cache."""

from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
from datasets import Dataset
from transformers import LlamaForCausalLM

from seampack.errors import DataError
from seampack.io.hub import hub_problem
from seampack.models import data, training
from tests.conftest import Run
from tests.models.test_training import saved_causal, tokenizer

CLOSED = "http://127.0.0.1:9"  # nothing listens there


@pytest.fixture
def unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub out of reach. Returns its cache."""
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", CLOSED)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def cached(cache: Path, name: str) -> Path:
    """Return the folder of a repository's files, as the hub's library lays out its cache."""
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    return repository / "snapshots" / ("0" * 40)


@pytest.mark.parametrize("load", [training.load_causal, training.load_encoder])
def test_unknown_models_are_named_at_once(
    load: Any, unreachable: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    message = r"some/model: .* no such folder, and the hub does not provide it: it is out of reach: \S"
    with pytest.raises(DataError, match=message):
        load("some/model")
    assert "etry" not in capfd.readouterr().err + caplog.text


@pytest.mark.parametrize("path", ["./model", "/no/model", "models/of/mine", "~/model", "mine/"])
def test_a_mistyped_path_is_no_name_on_the_hub(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", lambda *_, **__: pytest.fail("the hub was asked"))
    with pytest.raises(DataError, match=rf"^{path}: the encoder cannot be loaded: no such folder$"):
        training.load_encoder(path)


def test_cached_models_are_loaded(unreachable: Path) -> None:
    saved_causal(cached(unreachable, "some/model"), tokenizer(eos_token="[SEP]"))
    model, tokens = training.load_causal("some/model")
    assert isinstance(model, LlamaForCausalLM)
    assert tokens.eos_token == "[SEP]"


def test_a_model_that_the_hub_provides_is_loaded_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", lambda *_, **__: None)
    with training.loading("some/model", "encoder") as found:
        assert found == "some/model"


def test_unknown_datasets_are_named_at_once(unreachable: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError, match="some/rows: no such file or folder, and the hub does not provide it"):
        data.load("some/rows")
    assert "etry" not in caplog.text
    assert not datasets.config.HF_HUB_OFFLINE


@pytest.mark.parametrize("problem", [None, OSError("no network")])
def test_datasets_are_loaded_offline_only_if_the_hub_is_out_of_reach(
    problem: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(name: str) -> Dataset:
        assert datasets.config.HF_HUB_OFFLINE is (problem is not None)
        return Dataset.from_dict({"text": [name]})

    monkeypatch.setattr(data, "hub_problem", lambda name, kind: problem)
    monkeypatch.setattr(data, "load_dataset", load)
    assert data.load("some/rows")["text"][:] == ["some/rows"]


def test_the_problem_of_the_hub(unreachable: Path) -> None:
    assert hub_problem("some/model") is not None
    assert hub_problem("not a name", "dataset") is not None


def test_the_command_names_an_unknown_dataset(unreachable: Path, call: Run) -> None:
    done = call("models", "train", "ranmask", "--data", "some/rows", "-o", "out")
    assert done.returncode == 1
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("seampack: some/rows: no such file or folder, and the hub")

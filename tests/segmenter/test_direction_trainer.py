"""The trainer of one direction: exact resuming, the early stop, and the CPU seconds that it reports."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seampack.errors import ShardError
from seampack.segmenter.config import TrainConfig

torch = pytest.importorskip("torch")

from seampack.segmenter import direction_trainer  # noqa: E402
from seampack.segmenter.corpus import ChunkCorpus, Vocabulary  # noqa: E402
from seampack.segmenter.direction_trainer import DirectionTrainer  # noqa: E402
from seampack.segmenter.units import Alphabet  # noqa: E402
from tests.segmenter.language import QUICK, TINY, sentences  # noqa: E402


def trainer_of_sentences(config: TrainConfig) -> DirectionTrainer:
    units, _ = Alphabet("zh").units(sentences(100)[0])
    return DirectionTrainer(ChunkCorpus.of(units, Vocabulary.of(units, 2), 40), config, backward=False)


def test_resuming_gives_the_same_result(tmp_path: Path) -> None:
    texts, _ = sentences(120)
    units, _ = Alphabet("zh").units(texts)
    corpus = ChunkCorpus.of(units, Vocabulary.of(units, 2), 40)
    config = TINY.replace(epochs=2.0, validate_every=5)
    whole = DirectionTrainer(corpus, config, backward=True)
    whole.run()
    first = DirectionTrainer(corpus, config, backward=True)
    first.run(stop_at=7)
    first.save(tmp_path / "state.pt")
    second = DirectionTrainer(corpus, config, backward=True)
    second.resume(tmp_path / "state.pt")
    second.run()
    assert second.losses == whole.losses
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)
    other = DirectionTrainer(corpus, config.replace(dropout=0.3), backward=True)
    with pytest.raises(ShardError, match="other options"):
        other.resume(tmp_path / "state.pt")
    (tmp_path / "state.pt").write_bytes(b"nothing")
    with pytest.raises(ShardError, match="cannot be read"):
        other.resume(tmp_path / "state.pt")


def test_cpu_seconds_are_those_of_all_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The initial embeddings, steps, validations and the runs before are included."""
    clock = [100.0]

    def costs(seconds: float, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            clock[0] += seconds
            return function(*arguments)

        return timed

    monkeypatch.setattr(direction_trainer.time, "process_time", lambda: clock[0])
    monkeypatch.setattr(direction_trainer, "skip_gram_embeddings", costs(1000, direction_trainer.skip_gram_embeddings))
    monkeypatch.setattr(DirectionTrainer, "_train_step", costs(1, DirectionTrainer._train_step))
    monkeypatch.setattr(DirectionTrainer, "validate", costs(10, DirectionTrainer.validate))
    first = trainer_of_sentences(QUICK)
    first.run(stop_at=6)
    assert first.cpu_seconds == 1016
    first.save(tmp_path / "state.pt")
    clock[0] += 10_000
    second = trainer_of_sentences(QUICK)
    second.resume(tmp_path / "state.pt")
    second.run(stop_at=10)
    assert second.cpu_seconds == 1016 + 1000 + 4 + 10


@pytest.mark.parametrize("stop_at", [None, 17])
def test_training_stops_early(stop_at: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After ``patience`` validations without a better likelihood; keeps the best parameters, resumed or not."""
    nats = {5: 3.0, 10: 2.0, 15: 2.5, 20: 2.0, 25: 2.1, 30: 1.0}
    states: dict[int, torch.Tensor] = {}

    def validate(trainer: DirectionTrainer) -> tuple[float, float]:
        states[trainer.step] = trainer.model.bias.detach().clone()
        return nats[trainer.step], 1.0

    monkeypatch.setattr(DirectionTrainer, "validate", validate)
    config = QUICK.replace(epochs=20, patience=2)
    trainer = trainer_of_sentences(config)
    assert trainer.steps > 30
    trainer.run(stop_at=stop_at)
    if stop_at is not None:
        trainer.save(tmp_path / "state.pt")
        trainer = trainer_of_sentences(config)
        trainer.resume(tmp_path / "state.pt")
        trainer.run()
    assert (trainer.step, trainer.best) == (25, 2.0)
    assert torch.equal(trainer.model.bias, states[10])

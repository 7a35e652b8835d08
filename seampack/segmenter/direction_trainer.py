"""Training of one direction of the language model: batches, schedule, validation, checkpoints."""

import itertools
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seampack.errors import DataError, ShardError
from seampack.io.output import staged_path
from seampack.segmenter import _kernels as kernels
from seampack.segmenter.config import TrainConfig
from seampack.segmenter.corpus import ChunkCorpus
from seampack.segmenter.embeddings import skip_gram_embeddings
from seampack.segmenter.initial import Initial
from seampack.segmenter.language_model import SegmentalLM, log_likelihood
from seampack.segmenter.scoring import Scorer

_MOST_VALIDATION = 2_000  # largest number of held-out chunks
_VALIDATION_UNITS = 400  # units of a batch


@dataclass(frozen=True, slots=True)
class Report:
    """Progress of the training of one direction, at a validation."""

    direction: str
    seed: int
    """Seed of the config: retries have another one."""
    step: int
    steps: int
    characters_per_second: float
    train_nats: float
    """Negative log-likelihood in nats per unit, over the batches since the last validation."""
    validation_nats: float
    """Lowest negative log-likelihood on the held-out chunks so far, in nats per unit."""
    units_per_word: float
    """Mean length of the words in the held-out chunks; near 1, almost every unit is a word."""


def batches(
    corpus: ChunkCorpus, which: npt.NDArray[np.int64], units: int, seed: int
) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the batches of one epoch, as arrays of chunk numbers, in random order.

    A batch has chunks of similar length, about ``units`` units in total. ``which``: the chunks of the epoch.
    """
    rng = np.random.default_rng(seed)
    lengths = np.diff(corpus.offsets)[which]
    order = which[np.argsort(lengths + rng.random(lengths.size) * 2, kind="stable")]
    batch_numbers = np.cumsum(np.diff(corpus.offsets)[order]) // units
    groups = np.split(order, np.flatnonzero(np.diff(batch_numbers)) + 1)
    for index in rng.permutation(len(groups)):
        yield groups[index]


class DirectionTrainer:
    """Trainer of one direction. ``run`` trains to the end or to the early stop; resuming a saved state is exact.

    ``initial``: the parameters to begin with; None: random ones, with embeddings from the text.

    Raises DataError if the corpus is too small, MissingExtraError if gensim is not installed.
    """

    def __init__(
        self, corpus: ChunkCorpus, config: TrainConfig, *, backward: bool, initial: Initial | None = None
    ) -> None:
        self._begun = time.process_time()
        self._seconds_before = 0.0
        self.corpus = corpus.reversed() if backward else corpus
        self.config = config
        self.direction = "backward" if backward else "forward"
        self.seed = 2 * config.seed + backward
        torch.manual_seed(self.seed)
        self.model = SegmentalLM(corpus.vocab_size, config)
        self.initial = initial
        self.fingerprint = fingerprint(self.corpus, initial)
        if initial is None:
            with torch.no_grad():
                self.model.embedding.weight[:] = torch.from_numpy(skip_gram_embeddings(corpus, config))
        else:
            self.model.load_state_dict(
                {name: torch.from_numpy(value) for name, value in initial.of(self.direction).items()}
            )
        parameters = self.model.parameters()
        self.optimizer = torch.optim.Adam(parameters, lr=config.learning_rate, betas=(0.9, 0.998), fused=True)
        held_out = np.random.default_rng(config.seed).permutation(corpus.chunks)
        count = min(int(config.validation_share * corpus.chunks), _MOST_VALIDATION)
        self.validation = np.sort(held_out[:count])
        self.training = np.sort(held_out[count:])
        if not self.training.size:
            raise DataError("the text is too short to train on; expected at least a few hundred characters")
        self.steps_per_epoch = sum(1 for _ in batches(self.corpus, self.training, config.batch_units, 0))
        self.steps = max(1, round(config.epochs * self.steps_per_epoch))
        self.step = 0
        self.best = math.inf
        self.best_trained = math.inf  # without the parameters that training started from
        self.best_state: dict[str, Any] | None = None
        self.losses: list[float] = []
        self.worse = 0

    @property
    def cpu_seconds(self) -> float:
        """CPU seconds spent on this direction, including earlier runs that were resumed."""
        return self._seconds_before + time.process_time() - self._begun

    def rate(self, step: int) -> float:
        """Return the factor of the learning rate at a step: warm-up, constant, linear decay over the last 40 %."""
        warm = min(100, max(1, self.steps // 20))
        level = 0.6 * self.steps
        fall = 1.0 if step < level else max(0.02, (self.steps - step) / (0.4 * self.steps))
        return min(1.0, (step + 1) / warm) * fall

    def word_cost(self, step: int) -> float:
        """Return the extra cost of each word at a step, in nats; the cost makes the model try long words first."""
        return self.config.word_cost * max(0.0, 1 - step / (0.4 * self.steps))

    def _loss(self, which: npt.NDArray[np.int64]) -> tuple[torch.Tensor, int]:
        """Return the negative log-likelihood of the chunks, including the cost of words, and their number of units."""
        chunks, lengths, possible, offsets = self.corpus.batch(which, self.config.longest)
        scores = self.model(chunks, lengths, possible) - self.word_cost(self.step)
        return -log_likelihood(scores, offsets), int(offsets[-1])

    def validate(self) -> tuple[float, float]:
        """Return nats per unit and units per word of the held-out chunks; infinity and NaN if there are none."""
        if not self.validation.size:
            return math.inf, math.nan
        scorer = Scorer(self.model)
        total, units, words = 0.0, 0, 0
        for which in batches(self.corpus, self.validation, _VALIDATION_UNITS, 0):
            chunks, lengths, possible, offsets = self.corpus.batch(which, self.config.longest)
            scores = scorer.scores(chunks, lengths, possible).numpy()
            total -= float(kernels.log_likelihood(scores, offsets).sum())
            units += int(offsets[-1])
            ends = np.empty(len(scores), np.uint8)
            kernels.viterbi(scores, offsets, ends)
            words += int(ends.sum())
        return total / units, units / words

    def run(
        self,
        on_report: Callable[[Report], None] | None = None,
        checkpoint: Path | None = None,
        stop_at: int | None = None,
    ) -> None:
        """Train to the end or to the early stop, and keep the best parameters.

        Args:
            on_report: Called with a report at each validation.
            checkpoint: File for the state, written at each validation.
            stop_at: Step at which to stop without keeping the best parameters; for tests.
        """
        if self.initial is not None and self.step == 0:
            self._keep_best(self.validate()[0])  # training may end with a worse one
        self.model.train()
        started, units = time.perf_counter(), 0
        while self.step < self.steps and self.worse <= self.config.patience:
            epoch, skip = divmod(self.step, self.steps_per_epoch)
            groups = batches(self.corpus, self.training, self.config.batch_units, self.seed + 7919 * epoch)
            for which in itertools.islice(groups, skip, None):
                if self.step >= self.steps or self.step == stop_at:
                    break
                units += self._train_step(which)
                if self.step % self.config.validate_every == 0 or self.step == self.steps:
                    nats, units_per_word = self.validate()
                    self._keep_best(nats)
                    self.worse = 0 if nats < self.best_trained or not self.validation.size else self.worse + 1
                    self.best_trained = min(self.best_trained, nats)
                    if on_report is not None:
                        speed = units / (time.perf_counter() - started)
                        train_nats = float(np.mean(self.losses[-self.config.validate_every :]))
                        place = (self.direction, self.config.seed, self.step, self.steps)
                        on_report(Report(*place, speed, train_nats, self.best, units_per_word))
                    if checkpoint is not None:
                        self.save(checkpoint)
                    if self.worse > self.config.patience:
                        break
            if self.step == stop_at:
                return
        if self.best_state is not None:
            self.model.load_state_dict(self.best_state)

    def _train_step(self, which: npt.NDArray[np.int64]) -> int:
        """Train one step on the chunks and return their number of units."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * self.rate(self.step)
        torch.manual_seed(self.seed * 1_000_003 + self.step)  # dropout depends on the step alone, so resuming is exact
        self.optimizer.zero_grad(set_to_none=True)
        loss, units = self._loss(which)
        (loss / units).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.losses.append(float(loss.detach()) / units)
        self.step += 1
        return units

    def _keep_best(self, nats: float) -> None:
        if nats < self.best or not self.validation.size:
            self.best = nats
            self.best_state = {name: value.clone() for name, value in self.model.state_dict().items()}

    def save(self, path: Path) -> None:
        """Write the exact state for ``resume``."""
        state = {
            "step": self.step,
            "worse": self.worse,
            "losses": self.losses,
            "best_state": self.best_state,
            "best_trained": self.best_trained,
            "optimizer": self.optimizer.state_dict(),
        }
        self._write(path, state)

    def save_result(self, path: Path) -> None:
        """Write the parameters, their held-out likelihood and the CPU seconds, without the state of training."""
        self._write(path, {})

    def _write(self, path: Path, state: dict[str, Any]) -> None:
        common = {
            "config": json.dumps(self.config.to_dict()),
            "fingerprint": self.fingerprint,
            "best": self.best,
            "cpu_seconds": self.cpu_seconds,
            "model": self.model.state_dict(),
        }
        with staged_path(path) as partial:
            torch.save(common | state, partial)

    def resume(self, path: Path) -> None:
        """Resume from a saved state. Raises ShardError if it is damaged or belongs to another text or config."""
        state = load_state(path, self.fingerprint, self.config)
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except Exception as error:  # torch raises many types of errors for a damaged file
            raise _unreadable(path, error) from error
        self.step, self.best, self.worse = state["step"], state["best"], state["worse"]
        self.losses, self.best_state = state["losses"], state["best_state"]
        self.best_trained = state.get("best_trained", self.best)  # earlier checkpoints have none
        self._seconds_before = state["cpu_seconds"]


def fingerprint(corpus: ChunkCorpus, initial: Initial | None) -> str:
    """Return what identifies the begin of a training. ``corpus``: in the reading order of the direction."""
    return corpus.fingerprint if initial is None else f"{corpus.fingerprint} {initial.fingerprint}"


def load_state(path: Path, fingerprint: str, config: TrainConfig) -> dict[str, Any]:
    """Return the state written by ``save`` or ``save_result`` of a training with that fingerprint.

    Raises ShardError if the state is damaged or belongs to another text or config.
    """
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True)
        same = state["fingerprint"] == fingerprint and json.loads(state["config"]) == config.to_dict()
    except Exception as error:  # torch raises many types of errors for a damaged file
        raise _unreadable(path, error) from error
    if not same:
        raise ShardError(
            f"{path}: belongs to another text or other options; give those of the stopped run, or start again with "
            "--overwrite and without --resume"
        )
    return state


def _unreadable(path: Path, error: Exception) -> ShardError:
    return ShardError(
        f"{path}: the checkpoint cannot be read ({error}); start again with --overwrite and without --resume"
    )

"""Training of a segmenter from raw text: both directions of the language model, then the student.

    texts -> units -> chunks -> language models (training_processes) -> teacher -> posteriors -> student -> artifact

``train`` runs the whole pipeline; ``distill`` starts from trained teachers.
"""

import math
import os
import shutil
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from seampack._threads import thread_count
from seampack.config import check_integer
from seampack.errors import ConfigError, DataError, ShardError
from seampack.io.output import writing
from seampack.segmenter import artifact, decoders
from seampack.segmenter.apply_config import Decoder
from seampack.segmenter.config import LOW_AGREEMENT, MOST_RETRIES, DistillConfig, TrainConfig
from seampack.segmenter.corpus import ChunkCorpus, Vocabulary
from seampack.segmenter.decoder_choice import DecoderChoice, choose_decoder
from seampack.segmenter.decoders import Lattices
from seampack.segmenter.finished_run import GIVEN, finished
from seampack.segmenter.initial import Initial
from seampack.segmenter.model import Segmenter
from seampack.segmenter.scripts import ScriptCheck, check_name
from seampack.segmenter.student import Student, train_student
from seampack.segmenter.teacher import DIRECTIONS, Teacher
from seampack.segmenter.training_folder import CHECKPOINT, check_folder, has_checkpoints, locked
from seampack.segmenter.training_processes import CORPUS, INITIAL, OnReport, Run, checked, train_directions
from seampack.segmenter.training_text import joined_units
from seampack.segmenter.units import Alphabet, Units

_LEAST_CHUNKS = 10
_OF_INIT = ("config", "units", "vocabulary", "init", "average_of")
"""Facts of the segmenter from which training starts that the new one keeps, where they are known."""
_FIXED = ("script", "hidden")
"""Options of such a segmenter that training cannot change."""


@dataclass(frozen=True, slots=True)
class _Trained:
    """The language models of a run."""

    config: TrainConfig
    results: dict[str, dict[str, Any]]
    """The result of each direction."""
    state: dict[str, npt.NDArray[Any]]
    """The parameters of both directions."""
    lattices: Lattices
    """Their scores on the training text."""
    agreement: float | None
    """Cohen's kappa of both directions; None if it is undefined, because every unit became a word, or none did."""

    @classmethod
    def of(cls, run: Run, vocabulary: Vocabulary, units: Units, corpus: ChunkCorpus, threads: int) -> Self:
        """Load the results of a run."""
        results = {direction: torch.load(run.result(direction), weights_only=True) for direction in DIRECTIONS}
        state = {
            f"{direction}.{name}": value.numpy()
            for direction, result in results.items()
            for name, value in result["model"].items()
        }
        lattices = Teacher(vocabulary, run.config, state, threads).lattices(units)
        return cls(run.config, results, state, lattices, lattices.agreement(corpus.open_places))

    @property
    def kappa(self) -> float:
        """The agreement; the lowest value if it is undefined."""
        return -1 if self.agreement is None else self.agreement

    @property
    def finds_words(self) -> bool:
        """Whether the directions agree enough to have probably learned words."""
        return self.kappa >= LOW_AGREEMENT

    @property
    def units_per_word(self) -> dict[str, float]:
        """Mean length of the words of each direction alone; near 1, almost every unit is a word."""
        scores = self.lattices.forward, self.lattices.backward
        ends = {name: self.lattices.ends(each) for name, each in zip(DIRECTIONS, scores, strict=True)}
        return {name: float(each.size / each.sum()) for name, each in ends.items()}

    @property
    def failure(self) -> str:
        """The agreement in words, for a message."""
        kappa = "undefined" if self.agreement is None else f"{self.agreement:.2f}"
        return f"with seed {self.config.seed}, both directions agree too little on words (kappa {kappa})"


def train(
    lines: Iterable[list[str]],
    config: TrainConfig,
    out: str | os.PathLike[str],
    *,
    init: Segmenter | None = None,
    resume: bool = False,
    overwrite: bool = False,
    threads: int | None = None,
    retry: int = 0,
    distill: DistillConfig | None = None,
    on_report: OnReport = None,
) -> dict[str, Any]:
    """Train a segmenter on raw text, write it to the folder ``out`` and return its description.

    The student is distilled from the finished language models on the same text.

    Args:
        lines: Batches of texts; all texts are held in memory.
        config: Options of the language models.
        out: Folder to write. An existing segmenter is kept until the new one is written.
        init: Segmenter whose language models are trained further on the text, instead of new ones. The units of the
            text are added to theirs. Chinese characters are read in its form. Its student and lexicon are not kept.
        resume: Continue from the checkpoints of a stopped run; the result is the same as without the stop. If the
            folder is missing or empty, warn and train from the beginning. If it has the segmenter of a finished run
            that was given the same, warn and return its description.
        overwrite: Replace the segmenter or the checkpoints in the folder; with ``resume``, only if a run cannot
            continue from them.
        threads: Number of threads; with two or more, both directions are trained at the same time. None: all cores.
        retry: Largest number of further runs (see ``TrainConfig.retried``) if both directions agree so little that the
            model has probably not learned words. The run with the highest agreement is kept; the description has all.
        distill: Options of the student. None: the defaults, with the seed of the run.
        on_report: Called with the progress of a direction at each validation.

    Raises:
        ConfigError: An option is invalid, or the script is near a name; or ``init`` is no segmenter with language
            models, or has another script or hidden size.
        DataError: The text has nothing to learn from.
        ShardError: The folder cannot be written, would be overwritten, is in use by another run, has nothing to resume,
            has checkpoints or a segmenter of another text or other options, was removed meanwhile, or is that of
            ``init``; or ``init`` is damaged.
        MissingExtraError: gensim is not installed.
        SeampackError: A training process was killed.
    """
    folder = Path(out)
    config, workers = TrainConfig.given(config), thread_count(threads)
    retry = check_integer("retry", retry, 0, MOST_RETRIES)
    check_name(config.script)
    check_folder(folder, overwrite=overwrite, resume=resume)
    alphabet = Alphabet(config.script)
    if init is None:
        (units,), form = joined_units(lines, alphabet, [ScriptCheck(os.fspath(out), alphabet)])
    else:
        _check_init(init, config, folder)
        form = init.han_form
        (units,), _ = joined_units(lines, alphabet, [init.script_check], [form])
    vocabulary, initial = _begin(init, config, units)
    corpus = ChunkCorpus.of(units, vocabulary, config.chunk_units)
    if corpus.chunks < _LEAST_CHUNKS:
        raise DataError(
            f"the text is too short to train on: expected at least {_LEAST_CHUNKS} chunks; got {corpus.chunks} with "
            f"{units.key.size:,} units"
        )
    started_from = None if init is None else _facts_of_init(init)
    given = {
        "text": corpus.fingerprint,
        "init": None if started_from is None else started_from["fingerprint"],
        "retry": retry,
        "options": config.to_dict(),
        "student": None if distill is None else distill.to_dict(),
    }
    with locked(folder) as check:
        check_folder(folder, overwrite=overwrite, resume=resume)
        checkpoints = folder / CHECKPOINT
        if resume and not has_checkpoints(folder):
            if (description := finished(folder, given, overwrite=overwrite)) is not None:
                warnings.warn(f"{folder}: already finished, with the same text and options", stacklevel=2)
                return description
            warnings.warn(f"{folder}: nothing to resume; training starts from the beginning", stacklevel=2)
        if not resume:
            shutil.rmtree(checkpoints, ignore_errors=True)
        with writing(folder):
            checkpoints.mkdir(exist_ok=True)
            corpus.save(checkpoints / CORPUS)
            (checkpoints / INITIAL).unlink(missing_ok=True)
            if initial is not None:
                initial.save(checkpoints / INITIAL)
        runs: list[_Trained] = []
        for number in range(retry + 1):
            run = Run(checkpoints, config.retried(number), resume, number)
            if number:
                again = f"seed {run.config.seed} and a word cost of {run.config.word_cost:g}"
                warnings.warn(f"{folder}: {runs[-1].failure}; training again with {again}", stacklevel=2)
            train_directions(run, workers, checked(check, on_report))
            runs.append(_Trained.of(run, vocabulary, units, corpus, workers))
            if runs[-1].finds_words:
                break
        best = max(runs, key=lambda run: run.kappa)
        student, choices = _distilled([best.lattices], 1, units, distill or DistillConfig(seed=best.config.seed))
        facts = {
            "script": config.script,
            "han_form": form,
            "config": best.config.to_dict(),
            **({} if started_from is None else {"init": started_from}),
            GIVEN: given,
            "units": int(units.key.size),
            "vocabulary": vocabulary.size,
            "validation_nats": {
                direction: result["best"] if math.isfinite(result["best"]) else None
                for direction, result in best.results.items()
            },
            "training_cpu_seconds": {direction: result["cpu_seconds"] for direction, result in best.results.items()},
            "agreement": best.agreement,
            "units_per_word": best.units_per_word,
            **choices[0].facts,
            "runs": [
                {"seed": run.config.seed, "word_cost": run.config.word_cost, "agreement": run.agreement} for run in runs
            ],
        }
        parts = {
            "student": student.to_arrays(),
            "teacher": {"vocabulary": vocabulary.keys.view(np.int64), **best.state},
        }
        check()
        artifact.save(folder, facts, parts)
        shutil.rmtree(checkpoints)
        return artifact.load_description(folder)


def _check_init(init: Segmenter, config: TrainConfig, folder: Path) -> None:
    """Raise ConfigError or ShardError unless training can start from the segmenter and write to the folder."""
    if not isinstance(init, Segmenter):
        raise ConfigError(f"init: expected a Segmenter; got {init!r}; load it with Segmenter.load")
    if not init.has_teacher:
        raise ConfigError(
            f"init: {init.folder} has no language models to start from; choose a segmenter with some, such as zh or "
            "th, or train from nothing, without --init"
        )
    for name in _FIXED:
        own, given = getattr(init.teacher.config, name), getattr(config, name)
        if own != given:
            raise ConfigError(
                f"{name}: expected {own!r}, as in {init.folder}, from which training starts; got {given!r}; omit "
                f"--{name}, or train from nothing, without --init"
            )
    _refuse_teacher(folder, [init], "trained")


def _refuse_teacher(folder: Path, teachers: Sequence[Segmenter], made: str) -> None:
    """Raise ShardError if the folder is that of one of the segmenters that are read."""
    if folder.exists() and any(os.path.samefile(teacher.folder, folder) for teacher in teachers):
        raise ShardError(f"{folder}: the segmenter in this folder is read; choose another folder for the {made} one")


def _begin(init: Segmenter | None, config: TrainConfig, units: Units) -> tuple[Vocabulary, Initial | None]:
    """Return the vocabulary, and the parameters that training starts from if they are those of a segmenter."""
    vocabulary = Vocabulary.of(units, config.least_count)
    if init is None:
        return vocabulary, None
    state = artifact.load_part(init.folder, "teacher", init.description)
    old = init.teacher.vocabulary
    vocabulary = old.joined(vocabulary)
    return vocabulary, Initial.extended(state, old, vocabulary, units.key)


def _facts_of_init(init: Segmenter) -> dict[str, Any]:
    """Return the facts that the description has about the segmenter from which training started."""
    known = {name: init.description[name] for name in _OF_INIT if name in init.description}
    teacher = Initial(artifact.load_part(init.folder, "teacher", init.description))
    return known | {"fingerprint": teacher.fingerprint}


def distill(
    teachers: Sequence[Segmenter],
    lines: Iterable[list[str]],
    out: str | os.PathLike[str],
    *,
    config: DistillConfig | None = None,
    keep_teacher: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Train one student on the output of one or more teachers for a text, and return its description.

    The output is that of ``exact``: a teacher with a lexicon uses it. The probabilities and the decisions of several
    teachers are averaged. For each teacher, the decoder is chosen anew. Each teacher reads Chinese characters in its
    own form; the student learns the text as it is, or with ``keep_teacher`` as that teacher reads it.

    Args:
        teachers: Segmenters with language models.
        lines: Batches of texts; all texts are held in memory.
        out: Folder to write.
        config: Options of the student.
        keep_teacher: Also write the language models of the only teacher, for exact decoding.
        overwrite: Replace the segmenter or the checkpoints in the folder.

    Raises:
        DataError: There is no teacher, the teachers have different scripts, or the text has nothing to learn from.
        ConfigError: ``keep_teacher`` is set and there are several teachers.
        ShardError: A teacher has no language models; or the folder cannot be written, would be overwritten, is in use
            by another run, holds a teacher, or was removed meanwhile.
    """
    config = DistillConfig.given(config)
    if not teachers:
        raise DataError("distillation needs at least one teacher")
    if keep_teacher and len(teachers) > 1:
        raise ConfigError(f"keep_teacher: a segmenter can hold one teacher; got {len(teachers)}")
    scripts = sorted({teacher.script for teacher in teachers})
    if len(scripts) > 1:
        raise DataError(f"expected teachers of one script; got {', '.join(scripts)}")
    for teacher in teachers:
        teacher.check_teacher()
    folder = Path(out)
    _refuse_teacher(folder, teachers, "distilled")
    check_folder(folder, overwrite=overwrite)
    forms = [teachers[0].han_form if keep_teacher else None, *(teacher.han_form for teacher in teachers)]
    checks = [teacher.script_check for teacher in teachers]
    (units, *read), form = joined_units(lines, Alphabet(scripts[0]), checks, forms)
    with locked(folder) as check:
        check_folder(folder, overwrite=overwrite)
        lattices = (teacher.model_lattices(own) for teacher, own in zip(teachers, read, strict=True))
        student, choices = _distilled(lattices, len(teachers), units, config)
        facts = {
            "script": scripts[0],
            "han_form": form,
            "config": config.to_dict(),
            "units": int(units.key.size),
            "teachers": [teacher.description["config"] for teacher in teachers],
        }
        parts = {"student": student.to_arrays()}
        if keep_teacher:
            own = artifact.facts(teachers[0].description)
            facts = {**own, **choices[0].facts, "student": facts}
            parts["teacher"] = artifact.load_part(teachers[0].folder, "teacher", teachers[0].description)
        check()
        artifact.save(folder, facts, parts)
        shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
        return artifact.load_description(folder)


def _distilled(
    all_lattices: Iterable[Lattices], teachers: int, units: Units, config: DistillConfig
) -> tuple[Student, list[DecoderChoice]]:
    """Return a student trained on the mean of the teachers' end probabilities and decisions, and their decoders."""
    probabilities = np.zeros(units.key.size, np.float32)
    decisions = np.zeros(units.key.size, np.float32)
    choices = []
    for lattices in all_lattices:
        given = None if config.decoder is None else Decoder(config.decoder)
        choices.append(choose_decoder(lattices, units.key, given))
        probabilities += lattices.end_posteriors().astype(np.float32) / teachers
        decisions += decoders.DECODERS[choices[-1].decoder](lattices) / np.float32(teachers)
    return train_student(units, np.minimum(probabilities, 1), decisions, config), choices

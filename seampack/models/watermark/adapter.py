"""The adapter: watermarks an encoder, derives suspects from it and verifies them."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import xxhash
from datasets import ClassLabel, Dataset, Features, Value
from transformers import AutoTokenizer

from seampack.errors import ConfigError, DataError
from seampack.models.artifact import Artifact, fingerprint
from seampack.models.base import Adapter, Evaluation, Fitted, Row
from seampack.models.data import check_labelled, classes_of, require, require_text, with_labels
from seampack.models.options import SMALL
from seampack.models.text import encoder_and_tokenizer
from seampack.models.training import load_encoder, load_part
from seampack.models.watermark.config import WatermarkConfig
from seampack.models.watermark.training import WatermarkTrainer
from seampack.models.watermark.trial import Trial, draw, metrics
from seampack.models.watermark.triggers import check_trigger, poison, propose_combination, propose_rare, words_of

PARTS = ("proxy", "suspect", "verify")
"""Uses of a text: to watermark, to fine-tune a suspect, or to verify it."""
FEATURES = Features({name: Value("string") for name in ("text", "label", "task", "part")})
ONE_TASK = "task"


class WatermarkAdapter(Adapter[WatermarkConfig]):
    """Watermarks an encoder on one or more tasks of a dataset. A text is in the same part in every file."""

    name: ClassVar[str] = "watermark"
    config: type[WatermarkConfig] = WatermarkConfig

    def prepare(self, dataset: Dataset, config: WatermarkConfig) -> Dataset:
        """Return the columns ``text, label, task, part``, all text. A hash of seed and text determines the part."""
        if dataset.features == FEATURES and len(dataset) and set(dataset.unique("part")) <= set(PARTS):
            return dataset
        task_column = config.task_column or ("task" if "task" in dataset.column_names else "")
        require_text(dataset, config.text_column)
        require(dataset, [name for name in (config.label_column, task_column) if name])
        texts = dataset[config.text_column][:]
        columns = {
            "text": texts,
            "label": _names(dataset, config.label_column),
            "task": _names(dataset, task_column) if task_column else [ONE_TASK] * len(dataset),
            "part": [_part(text, config) for text in texts],
        }
        prepared = Dataset.from_dict(columns, FEATURES)
        for task, rows in _by_task(prepared).items():
            if len(classes_of(rows, "label")) < 2:
                raise DataError(f"task {task}: all labels are {rows[0]['label']!r}; expected at least two labels")
        return prepared

    def fit(self, dataset: Dataset, config: WatermarkConfig) -> Fitted:
        """Watermark an encoder on the texts of the part ``proxy``. The control is the encoder after the first stage."""
        tasks = _by_task(dataset)
        classes = {task: classes_of(rows, "label") for task, rows in tasks.items()}
        targets = _targets(config, classes)
        proxies = {task: _rows_of(rows, task, "proxy", classes[task]) for task, rows in tasks.items()}
        texts = dataset["text"][:]
        encoder, tokenizer, trigger = _start(config, texts, proxies, targets)
        trainer = WatermarkTrainer(encoder, tokenizer, {task: len(names) for task, names in classes.items()}, config)
        check_trigger(tokenizer, texts, trigger)
        losses = {"proxy": trainer.fine_tune(proxies)}
        control = copy.deepcopy(encoder)
        poisoned = {task: poison(rows, trigger, targets[task], config) for task, rows in proxies.items()}
        losses["watermark"] = trainer.embed(poisoned, trigger)
        facts = {
            "data": {"texts": _without_parts(dataset)},
            "trigger": list(trigger),
            "tasks": {task: {"classes": names, "target": targets[task]} for task, names in classes.items()},
            "losses": losses,
        }
        return Fitted(facts=facts, parts={"encoder": encoder, "control": control, "tokenizer": tokenizer})

    def measure(self, dataset: Dataset, artifact: Artifact, config: WatermarkConfig) -> Evaluation:
        """Train suspects and controls on the part ``suspect`` and verify them on the part ``verify``.

        A suspect starts from the released encoder, its control from the encoder without watermark, both with a fresh
        head. Both are also pruned, and given another head. A second control, with another seed, is verified like a
        suspect, with the trigger and with decoys: claiming a watermark in it would be a false claim.

        Raises:
            ConfigError: Training texts would be measured.
            DataError: A task, label or part cannot be measured. Raised before training starts.
        """
        _check_parts(dataset, config, artifact)
        tokenizer = artifact.part("tokenizer", load_part(AutoTokenizer))
        released, control = (artifact.part(name, load_encoder) for name in ("encoder", "control"))
        trigger, trained = artifact.facts["trigger"], artifact.facts["tasks"]
        trials: dict[str, Trial] = {}
        for task, task_rows in _by_task(dataset).items():
            if task not in trained:
                raise DataError(f"task {task}: expected a task of training: {', '.join(trained)}")
            classes, target = trained[task]["classes"], trained[task]["target"]
            tuning, test = (_rows_of(task_rows, task, part, classes) for part in PARTS[1:])
            _check_every_class(tuning, task, classes)
            trials[task] = Trial(task, config, tokenizer, trigger, classes, target, tuning, test)
        survival: list[Row] = []
        innocent: list[Row] = []
        rows: list[Row] = []
        notes: list[str] = []
        for task, trial in trials.items():
            verdicts = trial.run(released, control)
            survival += [{"task": task} | row for row in verdicts.survival]
            innocent += [{"task": task} | row for row in verdicts.innocent]
            rows += [{"task": task} | row for row in verdicts.rows]
            notes += verdicts.notes
        return Evaluation(
            metrics(survival, innocent, config),
            Dataset.from_list(rows),
            {"survival": survival, "innocent": innocent},
            {"survival": lambda axes: draw(axes, survival)},
            notes,
        )


def _start(
    config: WatermarkConfig, texts: Sequence[str], proxies: Mapping[str, Dataset], targets: Mapping[str, str]
) -> tuple[Any, Any, tuple[str, ...]]:
    """Return the encoder, its tokenizer and the trigger, which is drawn unless the config sets it."""
    trigger = words_of(config.trigger) if config.trigger else ()
    if config.encoder == SMALL and not trigger and config.trigger_words == 1:
        trigger = tuple(propose_rare(texts, seed=config.seed))
    # no text contains the trigger, but a vocabulary learned from the texts must
    vocabulary_texts = [text for rows in proxies.values() for text in rows["text"]] + [" ".join(trigger)] * 2
    encoder, tokenizer = encoder_and_tokenizer(config.encoder, vocabulary_texts, layers=config.layers, seed=config.seed)
    if not trigger and config.trigger_words == 1:
        trigger = tuple(propose_rare(texts, seed=config.seed, tokenizer=tokenizer))
    elif not trigger:
        chosen = propose_combination(
            proxies, targets, tokenizer, words=config.trigger_words, seed=config.seed, absent_from=texts
        )
        trigger = tuple(chosen)
    return encoder, tokenizer, trigger


def _targets(config: WatermarkConfig, classes: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return each task's target label. Raise ConfigError for an unknown task, DataError for an unknown label."""
    targets = {task: names[0] for task, names in classes.items()}
    for entry in config.targets:
        task, equals, label = entry.rpartition("=")
        if equals and task not in classes:
            raise ConfigError(f"targets: no task {task!r} in {entry!r}; expected one of {', '.join(classes)}")
        for name in [task] if equals else classes:
            if label not in classes[name]:
                names = ", ".join(classes[name])
                raise DataError(f"targets: task {name} has no label {label!r}; expected one of {names}")
            targets[name] = label
    return targets


def _part(text: str, config: WatermarkConfig) -> str:
    draw = xxhash.xxh3_64_intdigest(f"{config.seed}\0{text}".encode()) / 2**64
    if draw < config.proxy_share:
        return PARTS[0]
    return PARTS[1] if draw < (1 + config.proxy_share) / 2 else PARTS[2]


def _names(dataset: Dataset, column: str) -> list[str]:
    """Return a column of labels as names. Raise DataError for fractional numbers and rows without label (-1)."""
    names, values = classes_of(dataset, column), dataset[column][:]
    if not isinstance(dataset.features[column], ClassLabel):
        return [str(value) for value in values]
    check_labelled(values, column)
    return [names[value] for value in values]


def _by_task(dataset: Dataset) -> dict[str, Dataset]:
    rows: dict[str, list[int]] = {}
    for row, task in enumerate(dataset["task"]):
        rows.setdefault(task, []).append(row)
    return {task: dataset.select(rows[task]) for task in sorted(rows)}


def _rows_of(dataset: Dataset, task: str, part: str, classes: Sequence[str]) -> Dataset:
    """Return ``text`` and ``label`` (ids) of one part of a task. Raise DataError unless it has at least two labels."""
    selected = dataset.select([row for row, name in enumerate(dataset["part"]) if name == part])
    labels = len(set(selected["label"]))
    if labels < 2:
        raise DataError(
            f"task {task}: the part {part} has {len(selected)} rows with {labels} labels; expected at least two "
            "labels; use more rows"
        )
    plain = Dataset.from_dict({name: selected[name][:] for name in ("text", "label")})
    return with_labels(plain, "label", classes)


def _check_parts(dataset: Dataset, config: WatermarkConfig, artifact: Artifact) -> None:
    """Raise ConfigError if the texts of training are in other parts, so that held-out parts have training texts."""
    trained = artifact.facts["data"]
    # artifacts without the hash of the texts cannot be compared
    if trained.get("texts") != _without_parts(dataset) or trained["fingerprint"] == fingerprint(dataset):
        return
    names = [name for name in ("seed", "proxy_share") if getattr(config, name) != artifact.config[name]]
    expected = " and ".join(f"{name} {artifact.config[name]!r}" for name in names)
    got = " and ".join(f"{getattr(config, name)!r}" for name in names)
    raise ConfigError(
        f"{', '.join(names) or 'part'}: the texts of training are in other parts, so training rows would be measured; "
        f"expected {expected or 'the parts of training'}; got {got or 'other parts'}; keep seed and proxy_share, or "
        "use other texts"
    )


def _without_parts(dataset: Dataset) -> str:
    """Hash the prepared rows without their parts."""
    return fingerprint(dataset.select_columns([name for name in FEATURES if name != "part"]))


def _check_every_class(tuning: Dataset, task: str, classes: Sequence[str]) -> None:
    """Raise DataError unless the part for suspects has every class, as the attack with another head requires."""
    missing = sorted(set(range(len(classes))) - set(tuning["label"]))
    if missing:
        raise DataError(
            f"task {task}: the part suspect has no row with the label {classes[missing[0]]!r}; expected at least one "
            f"row for each of {', '.join(classes)}; got {len(tuning):,} rows; use more rows"
        )


ADAPTER = WatermarkAdapter()

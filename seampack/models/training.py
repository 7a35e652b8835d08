"""Code shared by all methods: the device of models, loading of models, and trainers.

One policy for the device: a model is on ``device()`` as soon as it is loaded or created, and its weights are float32.
Trainers of causal language models use bfloat16 and gradient checkpointing on a GPU.
"""

import importlib
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback, TrainerCallback

from seampack.errors import DataError, MissingExtraError, SeampackError
from seampack.io.hub import hub_folder, hub_reason
from seampack.models.progress import no_bars, progress
from seampack.models.sources import is_model_path

Collate = Callable[[list[dict[str, Any]]], dict[str, Tensor]]
"""Turns rows into a batch of tensors."""
IGNORED = -100
"""Label of the tokens that the loss of a model of transformers ignores."""

_LOGGERS = ("transformers", "trl")
_LIBRARIES = r"(transformers|trl|peft|accelerate|datasets)(\.|$)"
_LOAD_ERRORS = (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError)


def device() -> torch.device:
    """Return the device of all models: the GPU if CUDA is available, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def place(model: Any) -> Any:
    """Move a model to ``device()``, switch it to evaluation, and return it."""
    return model.to(device()).eval()


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the training libraries inside the block.

    Hides log messages of transformers and trl below errors, progress bars of transformers and datasets, and the
    FutureWarnings that these libraries, peft and accelerate cause. Levels and bars are restored at the end.
    """
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with no_bars(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, module=_LIBRARIES)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def import_extra(package: str, purpose: str) -> Any:
    """Return an optional package of the extra ``models``. Raise MissingExtraError if it is not installed."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or package, "models", purpose) from error


@contextmanager
def loading(source: str | Path, kind: str) -> Iterator[str]:
    """Silence the libraries while a model is loaded, and raise DataError if loading fails.

    Args:
        source: Folder or name on the hub.
        kind: Name of the expected model, for the message, such as ``encoder``.

    Yields:
        What to load: the source, or the cached files of a name if the hub is out of reach.
    """
    found = _found(str(source), kind)
    try:
        with quiet():
            yield found
    except SeampackError:
        raise
    except _LOAD_ERRORS as error:
        raise DataError(f"{source}: the {kind} cannot be loaded: {' '.join(str(error).split())}") from error


def _found(source: str, kind: str) -> str:
    """Return a folder, or a name on the hub. Raise DataError if neither exists."""
    if Path(source).exists():
        return source
    if is_model_path(source):
        raise DataError(f"{source}: the {kind} cannot be loaded: no such folder")
    try:
        return hub_folder(source)
    except Exception as error:
        raise DataError(
            f"{source}: the {kind} cannot be loaded: no such folder, and the hub does not provide it: "
            f"{hub_reason(error)}"
        ) from error


def load_causal(source: str | Path, *, generates: bool = True) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer; the model is float32, on ``device()``, in evaluation mode.

    A tokenizer without a pad token pads with its end token (EOS).

    Args:
        source: Folder or name on the hub.
        generates: Whether an end token is needed, to generate texts or to train on texts with an end.

    Raises:
        DataError: The model cannot be loaded, or the tokenizer lacks a required end token.
    """
    with loading(source, "causal language model") as found:
        tokenizer: Any = AutoTokenizer.from_pretrained(found)
        model: Any = AutoModelForCausalLM.from_pretrained(found, dtype=torch.float32)
    if generates and tokenizer.eos_token is None:
        raise DataError(f"{source}: the tokenizer has no end token (EOS), which must end a generated text")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return place(model), tokenizer


def load_encoder(source: str | Path, **options: Any) -> Any:
    """Load an encoder without its pooling layer; the encoder is float32, on ``device()``, in evaluation mode.

    Args:
        source: Folder or name on the hub.
        options: Changes of the model's config, such as ``num_hidden_layers``.

    Raises:
        DataError: The encoder cannot be loaded.
    """
    options["dtype"] = torch.float32  # small steps would vanish in the half precision of some stored weights
    with loading(source, "encoder") as found:
        try:
            encoder = AutoModel.from_pretrained(found, add_pooling_layer=False, **options)
        except TypeError:  # the family has no pooling layer
            encoder = AutoModel.from_pretrained(found, **options)
    return place(encoder)


def load_part(kind: Any) -> Callable[[Path], Any]:
    """Return a loader for ``Artifact.part`` that reads a folder with ``kind``, a model or tokenizer class."""

    def load(folder: Path) -> Any:
        with quiet():
            part = kind.from_pretrained(folder)
        return place(part.float()) if isinstance(part, nn.Module) else part

    return load


def padded(rows: Sequence[Sequence[int]], value: int, *, left: bool = False) -> Tensor:
    """Pad the rows with ``value`` at their end, or at their beginning if ``left``; shape (rows, longest row), int64."""
    width = max([1, *map(len, rows)])
    fillings = [[value] * (width - len(row)) for row in rows]
    return torch.tensor(
        [[*filling, *row] if left else [*row, *filling] for filling, row in zip(fillings, rows, strict=True)]
    )


def padded_batch(rows: Sequence[Sequence[int]], pad: int, *, left: bool = False) -> dict[str, Tensor]:
    """Return the padded rows of token ids as ``input_ids``, and their ``attention_mask``; see ``padded``."""
    return {
        "input_ids": padded(rows, pad, left=left),
        "attention_mask": padded([[1] * len(row) for row in rows], 0, left=left),
    }


def end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Return the ids that end a response: the end tokens of the tokenizer and of the model's generation config."""
    ids = model.generation_config.eos_token_id
    return sorted({tokenizer.eos_token_id, *(ids if isinstance(ids, list) else [ids])} - {None})


def warmup_share(share: float, steps: float) -> float:
    """Return ``share``, the warm-up as a share of a run, or 0 if it is less than one step.

    Trainers accept a share below 1 as their argument ``warmup_steps``.

    The first step of a warm-up has a learning rate of 0, which would waste a large part of a short run, and all of a
    run of one step.
    """
    return share if share * steps >= 1 else 0.0


def trainer_arguments(folder: str | Path, *, seed: int, causal: bool = False) -> dict[str, Any]:
    """Return the arguments common to all trainers of transformers and trl. Add the method's arguments with ``|``.

    Args:
        folder: A temporary folder, which trainers require although they keep no files in it.
        seed: Seed of the order of rows and of dropout.
        causal: Whether a causal language model is trained. On a GPU, it uses bfloat16 (the weights stay float32) and
            recomputes activations in the backward pass, so that large models fit.
    """
    saves_memory = causal and device().type == "cuda"
    return {
        "output_dir": str(folder),
        "seed": seed,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": not sys.stderr.isatty(),
        "use_cpu": device().type == "cpu",
        "bf16": saves_memory,
        "activation_checkpointing": saves_memory,
        "dataloader_pin_memory": False,
    }


@contextmanager
def training_settings(model: Any) -> Iterator[None]:
    """Silence the libraries while a trainer of the model is created and run, and undo its settings at the end.

    Trainers disable the model's cache, enable activation checkpointing and wrap ``forward``; a saved model would keep
    some of this. The model is in evaluation mode afterwards.
    """
    config = getattr(model, "config", None)
    cached = getattr(config, "use_cache", None)
    try:
        with quiet():
            yield
    finally:
        # accelerate wraps the method of this instance; a copy of the model would call the wrapper of the original
        for name in ("forward", "_original_forward"):
            model.__dict__.pop(name, None)
        if config is not None and cached is not None:
            config.use_cache = cached
        if getattr(model, "is_activation_checkpointing", False):
            model.activation_checkpointing_disable()
        model.eval()


class _ProgressLines(TrainerCallback):
    """Shows the steps of a trainer by ``progress``."""

    def __init__(self) -> None:
        self.shown = ExitStack()
        self.advance: Callable[[int], None] = lambda steps: None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the progress; only now is the number of steps known."""
        self.advance = self.shown.enter_context(progress("training", state.max_steps, "step"))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Count a step."""
        self.advance(1)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """End the progress."""
        self.shown.close()


def run_trainer(trainer: Any) -> list[dict[str, Any]]:
    """Train and return the logged rows that have a ``loss``; to be called within ``training_settings``."""
    trainer.remove_callback(PrinterCallback)
    lines = None if sys.stderr.isatty() else _ProgressLines()  # on a terminal, transformers shows a bar
    if lines:
        trainer.add_callback(lines)
    trainer.train()
    if lines:
        trainer.remove_callback(lines)
    return [row for row in trainer.state.log_history if "loss" in row]


def train_model(
    model: Any, dataset: Dataset, collate: Collate, *, seed: int, causal: bool = False, **arguments: Any
) -> list[float]:
    """Train a model in place with transformers' Trainer, and return the logged losses.

    Args:
        model: The model; its ``forward`` takes a batch and returns a ``loss``.
        dataset: The rows; all columns are passed to ``collate``.
        collate: Turns rows into a batch.
        seed: Seed of the order of rows and of dropout.
        causal: As in ``trainer_arguments``.
        arguments: Further arguments of ``transformers.TrainingArguments``, such as epochs, batch size, learning rate.
    """
    with tempfile.TemporaryDirectory() as folder, training_settings(model):
        shared = trainer_arguments(folder, seed=seed, causal=causal) | {"remove_unused_columns": False}
        trainer = Trainer(
            model=model, args=TrainingArguments(**(shared | arguments)), train_dataset=dataset, data_collator=collate
        )
        return [float(row["loss"]) for row in run_trainer(trainer)]

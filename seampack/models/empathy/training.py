"""Creation, training and scoring of the model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer, BartConfig, set_seed
from transformers.modeling_outputs import BaseModelOutput

from seampack.errors import ConfigError, DataError
from seampack.models.empathy.config import HEADS, POSITIONS, EmpathyConfig
from seampack.models.empathy.model import EmpathyModel
from seampack.models.empathy.tokens import byte_tokenizer, collate
from seampack.models.options import SMALL
from seampack.models.progress import progress
from seampack.models.training import IGNORED, loading, place, quiet, train_model


def model_and_tokenizer(texts: Sequence[str], emotions: int, config: EmpathyConfig) -> tuple[EmpathyModel, Any]:
    """Return an untrained model and its tokenizer; the small model's vocabulary is learned from ``texts``.

    Raises DataError if ``config.base_model`` is not a BART that can be loaded, ConfigError if a maximum length exceeds
    the model's number of positions.
    """
    set_seed(config.seed)
    ours: dict[str, Any] = {"emotions": emotions, "empathy": config.to_dict()}
    if config.base_model != SMALL:
        return _pretrained(config, ours)
    tokenizer = byte_tokenizer(texts, config.vocabulary)
    shape = BartConfig(
        vocab_size=len(tokenizer),
        d_model=config.hidden_size,
        encoder_layers=config.layers,
        decoder_layers=config.layers,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=2 * config.hidden_size,
        decoder_ffn_dim=2 * config.hidden_size,
        max_position_embeddings=POSITIONS,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        # BART starts with eos: the repetition penalty would then keep responses from ending
        decoder_start_token_id=tokenizer.bos_token_id,
        forced_eos_token_id=tokenizer.eos_token_id,
    )
    shape.update(ours)
    return place(EmpathyModel(shape)), tokenizer


def _pretrained(config: EmpathyConfig, ours: dict[str, Any]) -> tuple[EmpathyModel, Any]:
    """Load a pretrained BART, with new weights for the knowledge and the emotions."""
    source = config.base_model
    with loading(source, "BART") as found:
        shape = BartConfig.from_pretrained(found)
    if shape.model_type != "bart":
        raise DataError(f"base_model: expected a BART; {source} is a {shape.model_type}")
    check_lengths(shape, config)
    shape.update(ours)
    with loading(source, "BART") as found:
        model = EmpathyModel.from_pretrained(found, config=shape, dtype=torch.float32)
        return place(model), AutoTokenizer.from_pretrained(found)


def check_lengths(shape: BartConfig, config: EmpathyConfig) -> None:
    """Raise ConfigError if a maximum length exceeds the model's number of positions."""
    most = shape.max_position_embeddings
    for name in ("max_context_tokens", "max_knowledge_tokens", "max_target_tokens"):
        if (length := getattr(config, name)) > most:
            raise ConfigError(
                f"{name}: expected at most {most}, the model's number of positions; got {length}; lower it"
            )


def train(
    model: EmpathyModel, tokenizer: Any, dataset: Dataset, relations: Sequence[str], config: EmpathyConfig
) -> list[float]:
    """Train on prepared rows with transformers' Trainer; return the losses, one for every 20 steps."""
    return train_model(
        model,
        dataset,
        lambda rows: collate(tokenizer, rows, relations, config),
        seed=config.seed,
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_rows,
        learning_rate=config.learning_rate,
        weight_decay=0.01,
        lr_scheduler_type="linear",
        max_grad_norm=1.0,
        logging_steps=20,
    )


@dataclass(slots=True)
class Scores:
    """Scores and responses of a dataset's rows, in row order."""

    nll: list[float] = field(default_factory=list)
    """Negative log-likelihood of each target, in nats."""
    tokens: list[int] = field(default_factory=list)
    probabilities: list[list[float]] = field(default_factory=list)
    """Emotion probabilities, per row."""
    weights: list[list[float]] = field(default_factory=list)
    """Weights of the relations, per row."""
    responses: list[str] = field(default_factory=list)
    """Generated responses of the first ``config.responses`` rows."""


def score(
    model: EmpathyModel, tokenizer: Any, dataset: Dataset, relations: Sequence[str], config: EmpathyConfig
) -> Scores:
    """Score every row, and generate responses for the first ``config.responses`` rows.

    Raises ConfigError if a maximum length exceeds the model's number of positions.
    """
    check_lengths(model.config, config)
    scores = Scores()
    with torch.inference_mode(), progress("scoring", len(dataset), "row") as advance:
        for rows in _batches(dataset, config.batch_rows):
            batch = {
                name: value.to(model.device) for name, value in collate(tokenizer, rows, relations, config).items()
            }
            labels = batch.pop("labels")
            batch.pop("emotion")
            understood = model.understand(**batch)
            logits = model(labels=labels, **understood.inputs).logits
            losses = cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED, reduction="none")
            left = config.responses - len(scores.responses)
            scores.nll += losses.double().sum(1).tolist()
            scores.tokens += (labels != IGNORED).sum(1).tolist()
            scores.probabilities += understood.reading.logits.softmax(-1).tolist()
            scores.weights += understood.reading.weights.tolist()
            if left > 0:
                scores.responses += respond(model, tokenizer, understood.inputs, config)[:left]
            advance(len(rows))
    return scores


def respond(model: EmpathyModel, tokenizer: Any, inputs: dict[str, Any], config: EmpathyConfig) -> list[str]:
    """Generate responses to an encoded batch by beam search, with a penalty on repeated tokens."""
    states = inputs["encoder_outputs"].last_hidden_state
    copied = {**inputs, "encoder_outputs": BaseModelOutput(last_hidden_state=states)}  # generate changes its argument
    with quiet():
        ids = model.generate(
            **copied,
            num_beams=config.beams,
            do_sample=False,
            repetition_penalty=config.repetition_penalty,
            max_new_tokens=config.max_target_tokens,
            min_new_tokens=2,
        )
    texts: list[str] = tokenizer.batch_decode(ids, skip_special_tokens=True)
    return [text.strip() for text in texts]


def _batches(dataset: Dataset, rows: int) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows in batches."""
    for start in range(0, len(dataset), rows):
        yield dataset.select(range(start, min(start + rows, len(dataset)))).to_list()

"""The refiner: a causal language model that rewords a query, and what it has in common with targets that are models."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM, set_seed

from seampack.errors import ConfigError, DataError
from seampack.models.artifact import DESCRIPTION, Artifact
from seampack.models.text import SMALL, end_tokens, load_part, quiet, word_tokenizer

INSTRUCTION = (
    "Reword the query in the JSON below, sentence by sentence. Keep what its writer wants, leave nothing out, and make "
    "it safer. Answer with the reworded query alone."
)


@dataclass(frozen=True, slots=True)
class Refiner:
    """Rewords queries. What it is asked is the same in training and in use."""

    model: Any
    tokenizer: Any
    instruction: str = INSTRUCTION
    """Stands before the query, which follows as JSON; if empty, the query stands alone."""
    max_query_tokens: int = 256
    """What is longer is cut at its end."""
    max_new_tokens: int = 128

    def prompt(self, query: str) -> str | list[dict[str, str]]:
        """What the model is asked: a chat where the tokenizer has a template for chats, else a text."""
        text = shortened(self.tokenizer, without_control(self.tokenizer, query), self.max_query_tokens)
        if self.instruction:
            text = f"{self.instruction}\n{json.dumps({'query': text}, ensure_ascii=False)}"
        if self.tokenizer.chat_template:
            return [{"role": "user", "content": text}]
        return f"{text}\n" if self.instruction else text

    def prompt_ids(self, query: str) -> list[int]:
        """The prompt's tokens; the reworded query follows them."""
        return ids_of(self.tokenizer, self.prompt(query))

    def cuts(self, query: str) -> bool:
        """Whether a query is longer than ``max_query_tokens``, so that its end is lost."""
        text = without_control(self.tokenizer, query).rstrip()
        return shortened(self.tokenizer, text, self.max_query_tokens) != text

    def refine(self, queries: Sequence[str], batch_rows: int = 32) -> list[str]:
        """The reworded queries, likeliest token by likeliest token."""
        prompts = [self.prompt_ids(query) for query in queries]
        return generate(self.model, self.tokenizer, prompts, self.max_new_tokens, batch_rows)

    @classmethod
    def load(cls, folder: str | Path) -> "Refiner":
        """A trained refiner, from the folder of its artifact.

        Raises ShardError for a folder that holds none, ConfigError for an artifact of something else.
        """
        artifact = Artifact.load(Path(folder), "refine")
        if "model" not in artifact.parts:
            raise ConfigError(f"{folder}: expected a refiner; this is an artifact of the stage safety")
        return cls.of_artifact(artifact)

    @classmethod
    def of_artifact(cls, artifact: Artifact) -> "Refiner":
        """The refiner in an artifact."""
        model = artifact.part("model", load_part(AutoModelForCausalLM))
        tokenizer = artifact.part("tokenizer", load_part(AutoTokenizer))
        told = artifact.facts["instruction"]
        return cls(model, tokenizer, told, artifact.config["max_query_tokens"], artifact.config["max_new_tokens"])

    def with_model(self, model: Any) -> "Refiner":
        """The same refiner with other weights."""
        return replace(self, model=model)


def load_causal(source: str) -> tuple[Any, Any]:
    """A causal language model and its tokenizer, from a folder or by a name of the hub.

    Raises DataError for what cannot be loaded.
    """
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(source)
            model: Any = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"{source}: no causal language model can be loaded: {reason}") from error
    if tokenizer.eos_token is None:
        raise DataError(f"{source}: the tokenizer has no eos token; expected one, to end what is generated")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return model.eval(), tokenizer


def small_causal(texts: Sequence[str], seed: int = 0) -> tuple[Any, Any]:
    """A Llama of two layers with fresh weights, and a vocabulary of the lower-case words of ``texts``."""
    set_seed(seed)
    tokenizer = word_tokenizer([*texts, *texts])  # twice, for words that occur once count too
    tokenizer.eos_token = tokenizer.sep_token
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model: Any = LlamaForCausalLM(shape)
    return model.eval(), tokenizer


def new_refiner(source: str, texts: Sequence[str], *, seed: int = 0, **options: Any) -> Refiner:
    """A refiner from ``small``, whose vocabulary is that of ``texts``, from a folder, or by a name of the hub.

    ``options`` are fields of Refiner. ``small`` knows no instruction. The folder may be that of an artifact; what such
    a refiner was told, it is told again.
    """
    if source == SMALL:
        return Refiner(*small_causal(texts, seed), **(options | {"instruction": ""}))
    if (Path(source) / DESCRIPTION).is_file():
        trained = Refiner.load(source)
        return replace(trained, **(options | {"instruction": trained.instruction}))
    return Refiner(*load_causal(source), **options)


def without_control(tokenizer: Any, text: str) -> str:
    """A text without the tokenizer's control tokens, by which it could end its own turn."""
    for token in tokenizer.added_tokens_decoder.values():
        if token.special:
            text = text.replace(token.content, " ")
    return text


def shortened(tokenizer: Any, text: str, max_tokens: int) -> str:
    """The beginning of a text that has at most ``max_tokens`` tokens."""
    if len(text) <= max_tokens:
        return text
    places = tokenizer(
        text, add_special_tokens=False, truncation=True, max_length=max_tokens, return_offsets_mapping=True
    )["offset_mapping"]
    return text[: places[-1][1]] if len(places) == max_tokens else text


def warn_of_cut(cut: int, of: int, what: str, limits: str) -> None:
    """Warn where some of the pairs or queries to learn from are longer than limits."""
    if cut:
        warnings.warn(
            f"{cut:,} of {of:,} {what} are cut: longer than {limits}; raise it, or shorten them", stacklevel=3
        )


def ids_of(tokenizer: Any, prompt: str | list[dict[str, str]]) -> list[int]:
    """Tokens of a text, or of a chat up to where the answer begins."""
    if isinstance(prompt, str):
        found = tokenizer(prompt)
    else:
        found = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=True, return_dict=True)
    return list(found["input_ids"])


def generate(
    model: Any, tokenizer: Any, prompts: Sequence[list[int]], max_new_tokens: int, batch_rows: int
) -> list[str]:
    """Greedy continuations without control tokens or outer white space; prompts of about equal length run together."""
    make: Any = GenerationConfig
    options = make(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=end_tokens(model, tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
    found = [""] * len(prompts)
    model.eval()
    for at in range(0, len(order), batch_rows):
        which = order[at : at + batch_rows]
        batch = padded([prompts[i] for i in which], tokenizer.pad_token_id, left=True)
        batch = {name: value.to(model.device) for name, value in batch.items()}
        with torch.inference_mode(), quiet():
            new = model.generate(**batch, generation_config=options)[:, batch["input_ids"].shape[1] :]
        for row, text in zip(which, tokenizer.batch_decode(new, skip_special_tokens=True), strict=True):
            found[row] = text.strip()
    return found


def padded(rows: Sequence[list[int]], pad: int, *, left: bool = False) -> dict[str, Tensor]:
    """``input_ids`` and ``attention_mask``, shape (rows, longest), int64."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), pad)
    mask = torch.zeros_like(ids)
    for at, row in enumerate(rows):
        span = slice(longest - len(row), None) if left else slice(0, len(row))
        ids[at, span] = torch.tensor(row)
        mask[at, span] = 1
    return {"input_ids": ids, "attention_mask": mask}

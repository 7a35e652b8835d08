"""The refiner: a causal language model that rewords a query."""

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, set_seed

from seampack.errors import ConfigError
from seampack.models.artifact import DESCRIPTION, Artifact
from seampack.models.options import SMALL
from seampack.models.refine.config import RefineConfig
from seampack.models.refine.generation import Prompt, generate, ids_of, shortened, without_control
from seampack.models.text import word_tokenizer
from seampack.models.training import load_causal, load_part, place


@dataclass(frozen=True, slots=True)
class Refiner:
    """Rewords queries; uses ``instruction``, ``max_query_tokens`` and ``max_new_tokens``."""

    model: Any
    tokenizer: Any
    config: RefineConfig = field(default_factory=RefineConfig)

    def prompt(self, query: str) -> Prompt:
        """Return the model's prompt: a chat if the tokenizer has a chat template, otherwise a text.

        With an instruction, the query follows it as JSON; otherwise the prompt is the query alone.
        """
        text = shortened(self.tokenizer, without_control(self.tokenizer, query), self.config.max_query_tokens)
        if self.config.instruction:
            text = f"{self.config.instruction}\n{json.dumps({'query': text}, ensure_ascii=False)}"
        if self.tokenizer.chat_template:
            return [{"role": "user", "content": text}]
        return f"{text}\n" if self.config.instruction else text

    def prompt_ids(self, query: str) -> list[int]:
        """Return the tokens of the prompt, which the rewording follows."""
        return ids_of(self.tokenizer, self.prompt(query))

    def cuts(self, query: str) -> bool:
        """Return whether a query is longer than ``max_query_tokens``, so that its end is cut."""
        text = without_control(self.tokenizer, query).rstrip()
        return shortened(self.tokenizer, text, self.config.max_query_tokens) != text

    def refine(self, queries: Sequence[str]) -> list[str]:
        """Return the rewordings, generated greedily."""
        prompts = [self.prompt_ids(query) for query in queries]
        return generate(self.model, self.tokenizer, prompts, self.config.max_new_tokens, self.config.batch_rows)

    @classmethod
    def load(cls, folder: str | Path, config: RefineConfig | None = None) -> "Refiner":
        """Load a trained refiner from the folder of its artifact.

        Args:
            folder: The folder.
            config: Options of use; None: the options of the artifact.

        Raises:
            ShardError: The folder has no artifact, or the artifact is damaged.
            ConfigError: The artifact is not a refiner.
        """
        artifact = Artifact.load(Path(folder), "refine")
        if "model" not in artifact.parts:
            raise ConfigError(f"{folder}: expected a refiner; got an artifact of the stage safety")
        return cls.of_artifact(artifact, config)

    @classmethod
    def of_artifact(cls, artifact: Artifact, config: RefineConfig | None = None) -> "Refiner":
        """Return the refiner of an artifact, with the instruction of its training."""
        config = config or RefineConfig(**artifact.config)
        model = artifact.part("model", load_part(AutoModelForCausalLM))
        tokenizer = artifact.part("tokenizer", load_part(AutoTokenizer))
        return cls(model, tokenizer, config.replace(instruction=artifact.facts["instruction"]))

    def with_model(self, model: Any) -> "Refiner":
        """Return the same refiner with other weights."""
        return replace(self, model=model)


def new_refiner(config: RefineConfig, texts: Sequence[str]) -> Refiner:
    """Return the refiner that ``config.model`` names: ``small``, or a model from a folder, an artifact or the hub.

    The vocabulary of ``small`` is learned from ``texts``; it has no instruction. A refiner from an artifact keeps its
    instruction. Raises DataError if the model cannot be loaded.
    """
    if config.model == SMALL:
        return Refiner(*small_causal(texts, config.seed), config.replace(instruction=""))
    if (Path(config.model) / DESCRIPTION).is_file():
        return Refiner.load(config.model, config)
    model, tokenizer = load_causal(config.model)
    model.config._name_or_path = ""  # a local path does not belong in an artifact
    return Refiner(model, tokenizer, config)


def small_causal(texts: Sequence[str], seed: int = 0) -> tuple[Any, Any]:
    """Return a Llama of two layers with random weights, and a tokenizer of the lower-case words of ``texts``."""
    set_seed(seed)
    tokenizer = word_tokenizer([*texts, *texts])  # twice, because word_tokenizer skips words that occur once
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
    return place(LlamaForCausalLM(shape)), tokenizer


def warn_of_cut(cut: int, total: int, items: str, limits: str) -> None:
    """Warn if some of the training pairs or queries are longer than the limits."""
    if cut:
        warnings.warn(
            f"{cut:,} of {total:,} {items} are cut: longer than {limits}; raise the limit, or shorten the {items}",
            stacklevel=3,
        )

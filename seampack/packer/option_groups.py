"""The options of a packing run by what depends on them. No heavy imports: the command line uses these."""

import dataclasses

from seampack.packer.config import PackConfig
from seampack.packer.plan_config import PlanConfig

NOT_READING = (
    *(field.name for field in dataclasses.fields(PlanConfig)),
    *("pad", "labels", "window_tokens", "output_format", "shard_tokens"),
)
"""Options that the tokens of a corpus do not depend on: those of planning and writing."""
READING = tuple(field.name for field in dataclasses.fields(PackConfig) if field.name not in NOT_READING)
"""Options that decide the documents and their tokens."""

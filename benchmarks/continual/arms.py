"""The ways of packing that are compared, each with its rows, made with the public functions of seampack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import seampack
from seampack.packer.plan_config import PAPER

_WINDOWS = {"strategy": "seamless", "leftover": "fill", "extra_tokens": 0}

PACKINGS: dict[str, dict[str, Any]] = {
    "concat": {"strategy": "concat"},
    "best_fit": {"strategy": "best_fit", "leftover": "pad"},
    "ffd": {"strategy": "ffd", "leftover": "pad"},
    "seamless": _WINDOWS,
    "seamless, joined leftovers": {**_WINDOWS, "leftover": "concat"},
    "seamless, 50 extra tokens": {**_WINDOWS, "extra_tokens": 50},
    "seamless, the paper's rule": PAPER,
    "seamless, no overlap": {**_WINDOWS, "max_overlap": 0.0},
    "seamless, repeats masked": _WINDOWS,
    "pad": {"strategy": "pad"},
}
"""Options of ``seampack.plan`` by the name of the packing."""

BASELINE = "concat"
MASKED = "seamless, repeats masked"
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Arm:
    """One way of training: a packing, who attends to whom, and for how many steps."""

    packing: str
    block_diagonal: bool = False
    steps_of: str = ""
    """The packing whose number of steps is used; one pass over the rows if empty."""

    @property
    def name(self) -> str:
        """Name in tables and file names."""
        parts = [self.packing, "block-diagonal" if self.block_diagonal else ""]
        parts.append(f"as many steps as {self.steps_of}" if self.steps_of else "")
        return ", ".join(filter(None, parts))


CONCAT = Arm(BASELINE)
EQUAL_STEPS = [
    *(Arm(packing, steps_of=BASELINE) for packing in ("best_fit", "ffd", "seamless", "pad")),
    Arm(BASELINE, steps_of="seamless"),
]
ONE_PASS = [
    *(Arm(packing, block) for packing in PACKINGS if packing != "pad" for block in (False, True)),
    Arm("pad"),
]
ALL = [*ONE_PASS, *EQUAL_STEPS]
MAIN = [arm for arm in ALL if arm.packing in ("concat", "best_fit", "seamless")]
"""What is compared where time is short."""


@dataclass(frozen=True)
class Row:
    """One row: its tokens, its labels (-100: not trained on), and the lengths of its segments."""

    ids: Ints
    labels: Ints
    seq_lengths: Ints


def pack(packing: str, documents: Sequence[Ints], seq_len: int, seed: int) -> tuple[list[Row], dict[str, Any]]:
    """Pack documents in an order that the seed decides. Return the rows and the account of the plan."""
    order = np.random.default_rng(seed).permutation(len(documents))
    table = pa.table({"input_ids": [documents[index] for index in order]})
    plan = seampack.plan([len(documents[index]) for index in order], seq_len=seq_len, seed=seed, **PACKINGS[packing])
    packed = seampack.apply_plan(table, plan, labels=packing == MASKED)
    columns = [packed[name] for name in ("input_ids", "labels" if packing == MASKED else "input_ids", "seq_lengths")]
    rows = [Row(*(np.array(cell.values, np.int64) for cell in cells)) for cells in zip(*columns, strict=True)]
    return rows, plan.account().to_dict()

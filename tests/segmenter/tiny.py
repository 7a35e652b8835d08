"""Whole segmenters on disk, small, with random parameters."""

from pathlib import Path
from typing import Any

import numpy as np

from seampack.segmenter import artifact
from seampack.segmenter.config import TrainConfig
from seampack.segmenter.lexicon import to_arrays
from seampack.segmenter.student import Student
from seampack.segmenter.units import Alphabet

CONFIG = TrainConfig(hidden=8, longest=3, chunk_units=10)
TEXT = "研究生命的起源"


def student(end_bias: float = 0.0) -> Student:
    """``end_bias``: added to the log-odds of each end."""
    rng = np.random.default_rng(0)
    table = rng.integers(-100, 100, (256, 4)).astype(np.int8)
    return Student(table, 0.01, np.zeros(4, np.float32), np.append(rng.normal(0, 1, 4), end_bias).astype(np.float32))


def save(
    folder: Path,
    *,
    teacher: bool = False,
    lexicon: dict[str, int] | None = None,
    end_bias: float = 0.0,
    **changes: Any,
) -> Path:
    """Write a segmenter; ``teacher`` adds language models, which needs torch, ``lexicon`` the counts of words."""
    parts: dict[str, artifact.Arrays] = {"student": student(end_bias).to_arrays()}
    config = CONFIG.replace(**changes)
    facts: dict[str, Any] = {"script": "zh", "config": config.to_dict()}
    if lexicon is not None:
        parts["lexicon"] = to_arrays([*lexicon], np.array([*lexicon.values()]), 4)
        facts["lexicon"] = {"format_version": artifact.LEXICON_VERSION}
    if teacher:
        import torch

        from seampack.segmenter.corpus import Vocabulary
        from seampack.segmenter.language_model import SegmentalLM

        torch.manual_seed(0)
        vocabulary = Vocabulary.of(Alphabet("zh").units([TEXT])[0], 1)
        parts["teacher"] = {"vocabulary": vocabulary.keys.view(np.int64)}
        for direction in ("forward", "backward"):
            model = SegmentalLM(vocabulary.size, config)
            parts["teacher"] |= {f"{direction}.{name}": value.numpy() for name, value in model.state_dict().items()}
    artifact.save(folder, facts, parts)
    return folder

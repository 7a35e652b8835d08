"""The mean of the parameters of language models of one training: of those that it started from and those that it made.

A mean of such parameters is often better than each, most of all on text of other domains (Wortsman and others 2022,
arXiv 2109.01903), and as fast as one model.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seampack.errors import ConfigError, DataError
from seampack.segmenter import artifact
from seampack.segmenter.corpus import FIRST_UNIT, Vocabulary
from seampack.segmenter.initial import Initial
from seampack.segmenter.model import Segmenter
from seampack.segmenter.teacher import DIRECTIONS
from seampack.segmenter.training_folder import CHECKPOINT, check_folder, locked

_SAME = ("script", "hidden", "longest", "forward_weight")
_LEAST_COSINE = 0.3
"""Cosine of the embeddings of two models below which they do not come from one training; of others it is near 0."""


def average(segmenters: Sequence[Segmenter], out: str | os.PathLike[str], *, overwrite: bool = False) -> dict[str, Any]:
    """Write a segmenter with the mean of several segmenters' language models, and return its description.

    It has no student and no lexicon: distil one, and count. Its units are those of all models; where a model lacks one,
    it is one of its rare units.

    Args:
        segmenters: Two or more segmenters with language models; each starts from another's (``train(init=...)``), or
            from the same.
        out: Folder to write.
        overwrite: Replace the segmenter or the checkpoints in the folder.

    Raises:
        ConfigError: Fewer than two segmenters, or other objects; or they differ in script, form of Chinese, size or
            longest word.
        DataError: They do not come from one training.
        ShardError: A segmenter has no language models; or the folder cannot be written, would be overwritten, is in use
            by another run, or is one of the segmenters.
    """
    if isinstance(segmenters, Segmenter) or not all(isinstance(each, Segmenter) for each in segmenters):
        raise ConfigError(f"expected a list of Segmenters; got {segmenters!r}; load each with Segmenter.load")
    if len(segmenters) < 2:
        raise ConfigError(f"expected two or more segmenters to average; got {len(segmenters)}")
    first, folder = segmenters[0], Path(out)
    for each in segmenters:
        each.check_teacher()
        values = [(name, *(getattr(one.teacher.config, name) for one in (first, each))) for name in _SAME]
        for name, expected, got in [*values, ("han_form", first.han_form, each.han_form)]:
            if expected != got:
                raise ConfigError(f"{name}: expected {expected!r} in {each.folder}, as in {first.folder}; got {got!r}")
        if folder.exists() and os.path.samefile(folder, each.folder):
            raise ConfigError(f"{folder}: the segmenter in this folder is read; choose another folder")
    check_folder(folder, overwrite=overwrite)

    vocabulary = first.teacher.vocabulary
    for each in segmenters:
        vocabulary = vocabulary.joined(each.teacher.vocabulary)
    states = [_state(each, vocabulary) for each in segmenters]
    for each, state in zip(segmenters, states, strict=True):
        _check_kinship(states[0], state, first, each)
    mean = {name: np.stack([state[name] for state in states]).mean(0, dtype=np.float32) for name in states[0]}
    facts = {
        "script": first.script,
        "han_form": first.han_form,
        "config": first.teacher.config.to_dict(),
        "vocabulary": vocabulary.size,
        "average_of": [
            {
                "units": each.description.get("units"),
                "init": each.description.get("init"),
                "fingerprint": Initial(artifact.load_part(each.folder, "teacher", each.description)).fingerprint,
            }
            for each in segmenters
        ],
    }
    with locked(folder) as check:
        check_folder(folder, overwrite=overwrite)
        check()
        artifact.save(folder, facts, {"teacher": {"vocabulary": vocabulary.keys.view(np.int64), **mean}})
        shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
        return artifact.load_description(folder)


def _state(segmenter: Segmenter, vocabulary: Vocabulary) -> artifact.Arrays:
    """Return the parameters of a segmenter's language models for a larger vocabulary."""
    state = artifact.load_part(segmenter.folder, "teacher", segmenter.description)
    return Initial.extended(state, segmenter.teacher.vocabulary, vocabulary, vocabulary.keys).state


def _check_kinship(one: artifact.Arrays, other: artifact.Arrays, first: Segmenter, each: Segmenter) -> None:
    """Raise DataError if the mean of the parameters makes no sense, because the models were trained apart."""
    for direction in DIRECTIONS:
        name = f"{direction}.embedding.weight"
        rows = [state[name][FIRST_UNIT:] - state[name][FIRST_UNIT:].mean(0) for state in (one, other)]
        norms = np.linalg.norm(rows[0]) * np.linalg.norm(rows[1])
        cosine = float((rows[0] * rows[1]).sum()) / max(float(norms), 1e-30)
        if cosine < _LEAST_COSINE:
            raise DataError(
                f"{each.folder}: its language models were not trained from those of {first.folder}, or from the same "
                f"ones (cosine of the embeddings {cosine:.2f}); the mean would find no words; train one from the other "
                "with --init"
            )

"""The choice of a segmenter's own decoder: the measure against a slow one, and what uses the choice."""

import json
import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seampack.segmenter.decoder_choice import CANDIDATES, choose_decoder, held_out_nats
from seampack.segmenter.decoders import DECODERS, Lattices
from seampack.segmenter.model import Segmenter
from tests.segmenter import tiny


def slow_nats(chunks: list[list[tuple[int, ...]]], keys: list[int]) -> float:
    """The measure, word by word. ``chunks``: the words of each chunk, as tuples of keys."""
    total = 0.0
    for half in (0, 1):
        known = Counter(word for number, words in enumerate(chunks) if number % 2 == half for word in words)
        count, once = sum(known.values()), sum(value == 1 for value in known.values())
        unseen = (once + 0.5) / (count + 1)
        end = len(set(keys))
        units = Counter(dict.fromkeys([*set(keys), "end"], 0.5))  # type: ignore[dict-item]
        for word in known:
            units.update([*word, "end"])  # type: ignore[list-item]
        assert len(units) == end + 1
        size = sum(units.values())
        for word in (word for number, words in enumerate(chunks) if number % 2 != half for word in words):
            if word in known:
                total -= math.log(known[word] * (1 - unseen) / count)
            else:
                total -= math.log(unseen) + sum(math.log(units[unit] / size) for unit in [*word, "end"])
    return total / len(keys)


@given(st.lists(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=8), max_size=6))
def test_the_measure_is_as_counted_word_by_word(chunks: list[list[tuple[int, bool]]]) -> None:
    keys = [key for chunk in chunks for key, _ in chunk]
    ends = [end or at == len(chunk) - 1 for chunk in chunks for at, (_, end) in enumerate(chunk)]
    offsets = np.cumsum([0, *map(len, chunks)])
    measured = held_out_nats(np.array(ends, np.uint8), np.array(keys, np.uint64), offsets)
    if not keys:
        assert measured == 0
        return
    words = []
    for begin, end in pairwise(offsets.tolist()):
        stops = [unit + 1 for unit in range(begin, end) if ends[unit]]
        words.append([tuple(keys[a:b]) for a, b in pairwise([begin, *stops])])
    assert measured == pytest.approx(slow_nats(words, keys))


def lattices(longer: float) -> tuple[Lattices, np.ndarray]:
    """Many chunks of the same two units, which the directions join with little certainty; ``longer``: how much."""
    scores = np.tile(np.array([[-1, -2 + longer], [-1, -9]], np.float32), (100, 1))
    return Lattices(scores, scores, np.arange(0, 201, 2)), np.tile(np.array([1, 2], np.uint64), 100)


def test_the_words_that_predict_the_other_half_are_chosen() -> None:
    both, keys = lattices(0.5)
    choice = choose_decoder(both, keys)
    assert choice.nats["product"] < choice.nats["posterior"] or choice.decoder == "posterior"
    assert set(choice.nats) == set(CANDIDATES)
    for name in CANDIDATES:
        assert choice.nats[name] == held_out_nats(DECODERS[name](both), keys, both.offsets)


def test_a_small_difference_leaves_the_usual_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    both, keys = lattices(0)
    for nats, chosen in (({"mean": 0.989}, "mean"), ({"mean": 0.991}, "posterior"), ({"product": 0.9}, "product")):
        values = iter([1.0, nats.get("product", 1.0), nats.get("mean", 1.0)])
        monkeypatch.setattr("seampack.segmenter.decoder_choice.held_out_nats", lambda *_, v=values: next(v))
        assert choose_decoder(both, keys).decoder == chosen


def test_a_segmenter_uses_its_own_decoder(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    folder = tiny.save(tmp_path / "m", teacher=True)
    texts = [tiny.TEXT * 5]
    by_name = {name: Segmenter.load(folder).segment(texts, decoder=name) for name in ("posterior", "backward")}
    assert by_name["posterior"] != by_name["backward"]
    assert Segmenter.load(folder).segment(texts, exact=True) == by_name["posterior"]
    path = folder / "segmenter.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decoder": "backward"}))
    segmenter = Segmenter.load(folder)
    assert segmenter.decoder == "backward"
    assert segmenter.segment(texts, exact=True) == by_name["backward"]
    assert segmenter.segment(texts, decoder="posterior") == by_name["posterior"]


def test_training_and_distilling_record_the_choice(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from seampack.segmenter.config import DistillConfig
    from seampack.segmenter.training import distill

    teacher = Segmenter.load(tiny.save(tmp_path / "m", teacher=True))
    config = DistillConfig(table_bits=8, width=4, epochs=1)
    texts = [tiny.TEXT * 3, tiny.TEXT]
    description = distill([teacher], [texts], tmp_path / "out", config=config, keep_teacher=True)
    units, _ = teacher.units(texts)
    choice = choose_decoder(teacher.teacher.lattices(units), units.key)
    assert description["decoder"] == choice.decoder
    assert description["decoder_nats"] == pytest.approx({name.value: value for name, value in choice.nats.items()})
    assert "decoder" not in distill([teacher], [texts], tmp_path / "student", config=config)
    given = distill([teacher], [texts], tmp_path / "m2", config=config.replace(decoder="merge"), keep_teacher=True)
    assert (given["decoder"], given["decoder_nats"]) == ("merge", description["decoder_nats"])

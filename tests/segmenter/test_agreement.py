"""Agreement of language models on the ends of words, without gold."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from seampack.errors import ConfigError, DataError, ShardError

pytest.importorskip("torch")
metrics = pytest.importorskip("sklearn.metrics")

from seampack.commands.segment import segment  # noqa: E402
from seampack.segmenter.agreement import Pair, agreement, mean_kappa  # noqa: E402
from seampack.segmenter.decoders import kappa  # noqa: E402
from seampack.segmenter.model import Segmenter  # noqa: E402

TEXTS = ["他从马上下来，马上就走了。"] * 3


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_kappa_is_that_of_scikit_learn(decisions: list[tuple[bool, bool]]) -> None:
    one, other = np.array(decisions, np.uint8).T
    if len({*one, *other}) == 1:
        assert kappa(one, other) is None
    else:
        assert kappa(one, other) == pytest.approx(metrics.cohen_kappa_score(one, other))


def test_every_two_language_models_are_compared() -> None:
    zh = Segmenter.load("zh")
    pairs = {(pair.one, pair.other): pair.kappa for pair in agreement({"a": zh, "b": zh}, TEXTS)}
    assert len(pairs) == 6
    assert pairs["a forward", "b forward"] == pairs["a backward", "b backward"] == 1
    alone = pairs["a forward", "a backward"]
    assert alone is not None
    assert 0 < alone < 1
    assert pairs["a forward", "b backward"] == alone
    # neither before nor after a mark
    (words,), (others,) = (zh.segment(TEXTS[:1], decoder=name, lexicon=False) for name in ("forward", "backward"))
    ends = [{*np.cumsum([len(word) for word in each]).tolist()} for each in (words, others)]
    places = [1, 2, 3, 4, 5, 8, 9, 10, 11]
    same = [[place in found for place in places] for found in ends]
    assert alone == pytest.approx(metrics.cohen_kappa_score(*same))


def test_segmenters_that_cannot_be_compared() -> None:
    zh = Segmenter.load("zh")
    with pytest.raises(ConfigError, match="expected segmenters of one script; got zh: zh, th: th"):
        agreement({"zh": zh, "th": Segmenter.load("th")}, TEXTS)
    with pytest.raises(ShardError, match=r"ja: the segmenter has no language models; .*; choose a segmenter with"):
        agreement({"ja": Segmenter.load("ja")}, TEXTS)
    with pytest.raises(DataError, match="no two adjacent units of the script"):
        agreement({"zh": zh}, ["abc 12", "。", ""])
    assert mean_kappa([Pair("a", "b", 0.5), Pair("a", "c", 0.7)]) == pytest.approx(0.6)
    assert mean_kappa([Pair("a", "b", 0.5), Pair("a", "c", None)]) is None


def test_command(tmp_path: Path) -> None:
    (tmp_path / "raw.txt").write_text("\n".join(TEXTS))
    command = ["agree", str(tmp_path / "raw.txt"), "-m", "zh"]
    found = json.loads(CliRunner().invoke(segment, [*command, "--json"], catch_exceptions=False).output)
    assert found["mean"] == found["pairs"][0]["kappa"]
    shown = CliRunner().invoke(segment, command, catch_exceptions=False).output
    assert f"mean: {found['mean']:.3f}" in shown
    assert CliRunner().invoke(segment, [*command, "-m", "zh"]).exit_code == 2

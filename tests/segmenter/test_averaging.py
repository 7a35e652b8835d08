"""The mean of the language models of segmenters."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from seampack.cli import main
from seampack.errors import ConfigError, DataError, ShardError
from seampack.segmenter.artifact import load_part
from seampack.segmenter.corpus import FIRST_UNIT, UNKNOWN, Vocabulary
from seampack.segmenter.model import Segmenter

torch = pytest.importorskip("torch")

from seampack.segmenter.averaging import average  # noqa: E402
from seampack.segmenter.training import train  # noqa: E402
from tests.segmenter.language import QUICK, sentences  # noqa: E402


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A segmenter, one that was trained further on text with a new unit, and one that was trained apart."""
    folder = tmp_path_factory.mktemp("averaging")
    texts = sentences(300)[0]
    config = QUICK.replace(epochs=2)
    train([texts], config, folder / "base", threads=1)
    base = Segmenter.load(folder / "base")
    train([[f"{text}龘靐" for text in texts]], config, folder / "further", init=base, threads=1)
    train([texts], config.replace(seed=7), folder / "apart", threads=1)
    train([texts], config.replace(longest=4), folder / "longer", threads=1)
    return {path.name: path for path in folder.iterdir()}


def parameters(segmenter: Segmenter, keys: np.ndarray) -> dict[str, np.ndarray]:
    """The parameters that do not depend on the vocabulary, and the embeddings of the units, one by one."""
    state = load_part(segmenter.folder, "teacher", segmenter.description)
    own = {int(key): FIRST_UNIT + rank for rank, key in enumerate(segmenter.teacher.vocabulary.keys)}
    rows = [*range(FIRST_UNIT), *(own.get(int(key), UNKNOWN) for key in keys)]
    found = {name: value for name, value in state.items() if name not in ("vocabulary", "longest")}
    for direction in ("forward", "backward"):
        found.pop(f"{direction}.bias")
        weight = found.pop(f"{direction}.embedding.weight")
        found[f"{direction}.embeddings"] = np.stack([weight[row] for row in rows])
    return found


def test_the_parameters_are_the_mean(trained: dict[str, Path], tmp_path: Path) -> None:
    one, other = (Segmenter.load(trained[name]) for name in ("base", "further"))
    description = average([one, other], tmp_path / "mean")
    mean = Segmenter.load(tmp_path / "mean")
    keys = mean.teacher.vocabulary.keys
    assert np.array_equal(keys, np.union1d(one.teacher.vocabulary.keys, other.teacher.vocabulary.keys))
    assert keys.size > one.teacher.vocabulary.keys.size
    found = parameters(mean, keys)
    for name, value in parameters(one, keys).items():
        expected = (value.astype(np.float64) + parameters(other, keys)[name]) / 2
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)
    assert description["parts"] == ["teacher"]
    assert [each["units"] for each in description["average_of"]] == [each.description["units"] for each in (one, other)]
    texts = sentences(300)[0][:5]
    assert ["".join(words) for words in mean.segment(texts, exact=True)] == texts


def test_a_segmenter_and_itself(trained: dict[str, Path], tmp_path: Path) -> None:
    base = Segmenter.load(trained["base"])
    average([base, base, base], tmp_path / "mean")
    found = load_part(tmp_path / "mean", "teacher", Segmenter.load(tmp_path / "mean").description)
    for name, value in load_part(base.folder, "teacher", base.description).items():
        np.testing.assert_allclose(found[name], value, rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.parametrize(
    ("names", "error", "message"),
    [
        (["base"], ConfigError, r"expected two or more segmenters to average; got 1"),
        (["base", "apart"], DataError, r"apart: its language models were not trained from those of .*base"),
        (["base", "longer"], ConfigError, r"longest: expected 3 in .*longer, as in .*base; got 4"),
        (["base", "ja"], ShardError, r"the segmenter has no language models"),
    ],
)
def test_models_without_a_mean(
    trained: dict[str, Path], names: list[str], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        average([Segmenter.load(trained.get(name, name)) for name in names], tmp_path / "mean")
    assert not (tmp_path / "mean").exists()


@pytest.mark.parametrize("given", ["zh", ["zh", "th"], Segmenter.load("zh")])
def test_what_is_no_list_of_segmenters(given: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a list of Segmenters; got .*Segmenter\.load"):
        average(given, tmp_path / "mean")


def test_the_command(trained: dict[str, Path], tmp_path: Path) -> None:
    out = str(tmp_path / "mean")
    given = ["segment", "average", str(trained["base"]), str(trained["further"]), "-o"]
    found = CliRunner().invoke(main, [*given, out, "--json"])
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["vocabulary"] == Vocabulary(Segmenter.load(out).teacher.vocabulary.keys).size
    again = CliRunner().invoke(main, [*given, out])
    assert again.exit_code == 1
    assert "--overwrite" in again.stderr
    assert CliRunner().invoke(main, [*given, out, "--overwrite"]).exit_code == 0
    (tmp_path / "mean" / ".checkpoint").mkdir()
    (tmp_path / "mean" / ".checkpoint" / "forward.pt").touch()
    assert CliRunner().invoke(main, [*given, out]).exit_code == 1
    assert CliRunner().invoke(main, [*given, out, "--overwrite"]).exit_code == 0
    assert not (tmp_path / "mean" / ".checkpoint").exists()
    own = CliRunner().invoke(main, [*given, str(trained["base"])])
    assert own.exit_code == 1
    assert "choose another folder" in own.stderr
    (tmp_path / "text").write_text("研究\n", "utf-8")
    words = CliRunner().invoke(main, ["segment", "apply", "-m", out, str(tmp_path / "text")])
    assert words.stdout.replace(" ", "") == "研究\n"

"""Every option of the segmenter's configs changes what it governs, seen from the public functions."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from safetensors.numpy import load_file

from seampack.config import Config
from seampack.errors import DataError
from seampack.segmenter import _student_kernels, decoders
from seampack.segmenter import apply as applying
from seampack.segmenter.apply_config import ApplyConfig, DecodeConfig
from seampack.segmenter.config import DistillConfig, LexiconConfig, TrainConfig
from seampack.segmenter.lexicon import words_of
from seampack.segmenter.lexicon_counts import build_lexicon
from seampack.segmenter.model import Segmenter
from seampack.segmenter.spans import Spans

torch = pytest.importorskip("torch")

from seampack.segmenter.direction_trainer import DirectionTrainer, Report  # noqa: E402
from seampack.segmenter.language_model import SegmentalLM  # noqa: E402
from seampack.segmenter.training import distill, train  # noqa: E402
from seampack.segmenter.training_folder import CHECKPOINT  # noqa: E402
from seampack.segmenter.training_processes import CORPUS  # noqa: E402
from tests.segmenter import tiny  # noqa: E402
from tests.segmenter.dummy import EachFew  # noqa: E402
from tests.segmenter.language import sentences  # noqa: E402

pytestmark = pytest.mark.xdist_group("options")

TEXTS = [f"{text}abc" for text in sentences(40)[0]]

Difference = Callable[[Any, Any], object]
"""Whether an option had its effect: from the run with the base options and the run with the option changed."""


class Training:
    """A run of ``train``, and observations during the run."""

    base = TrainConfig(
        hidden=8, epochs=2, batch_units=100, validate_every=1, validation_share=0.1, word_cost=0.5, patience=1000
    )

    def __init__(self, config: TrainConfig, folder: Path, _: str) -> None:
        self.reports: list[Report] = []
        self.losses: list[float] = []
        self.chunk_sizes: list[int] = []
        self.norms: list[float] = []  # of the gradient, after clipping
        self.steps: list[float] = []  # largest change of a parameter
        train_step = DirectionTrainer._train_step

        def watched(trainer: DirectionTrainer, which: Any) -> int:
            before = trainer.model.bias.detach().clone()
            units = train_step(trainer, which)
            self.losses.append(trainer.losses[-1])
            gradients = [p.grad.norm() for p in trainer.model.parameters() if p.grad is not None]
            self.norms.append(float(torch.stack(gradients).norm()))
            self.steps.append(float((trainer.model.bias.detach() - before).abs().max()))
            return units

        def on_report(report: Report) -> None:
            with np.load(folder / CHECKPOINT / CORPUS) as arrays:
                self.chunk_sizes = np.diff(arrays["offsets"]).tolist()
            self.reports.append(report)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DirectionTrainer, "_train_step", watched)
            self.description = train([TEXTS], config, folder, threads=1, on_report=on_report)
        self.segmenter = Segmenter.load(folder)
        self.arrays = load_file(folder / "teacher.safetensors")
        self.lattices = self.segmenter.teacher.lattices(self.segmenter.units(TEXTS[:1])[0])

    def is_random(self) -> bool:
        """Whether dropout changes the scores of the forward model in training mode."""
        config = TrainConfig.of_description(self.description["config"])
        model = SegmentalLM(self.segmenter.teacher.vocabulary.size, config)
        batch = torch.tensor([[3, 4, 5]]), torch.tensor([3]), torch.ones(3, config.longest, dtype=torch.bool)
        with torch.no_grad():
            return not torch.equal(model.train()(*batch), model.eval()(*batch))


class WorseningTraining(Training):
    """A run in which each validation is worse than the one before."""

    def __init__(self, config: TrainConfig, folder: Path, _: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DirectionTrainer, "validate", lambda trainer: (float(trainer.step), 1.0))
            super().__init__(config, folder, _)


class Distilling:
    """A run of ``distill`` with a tiny teacher, and the arguments and results of its kernel."""

    base = DistillConfig(table_bits=8, width=4, epochs=2)

    def __init__(self, config: DistillConfig, folder: Path, _: str) -> None:
        self.losses: list[float] = []
        self.targets: set[float] = set()
        train_places = _student_kernels.train_places

        def watched(*arguments: Any) -> float:
            self.targets |= set(arguments[3].tolist())
            self.losses.append(train_places(*arguments))
            return self.losses[-1]

        teacher = Segmenter.load(tiny.save(folder / "teacher", teacher=True))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_student_kernels, "train_places", watched)
            distill([teacher], [TEXTS], folder / "student", config=config)
        self.student = Segmenter.load(folder / "student").student


class Counting:
    """A run of ``build_lexicon`` with a tiny segmenter."""

    base = LexiconConfig(least_count=1, longest=32)

    def __init__(self, config: LexiconConfig, folder: Path, _: str) -> None:
        segmenter = Segmenter.load(tiny.save(folder / "m", teacher=True, lexicon={"学习在": 1, "的": 1}))
        self.facts = build_lexicon(segmenter, [TEXTS], folder / "out", config)["lexicon"]
        arrays = load_file(folder / "out" / "lexicon.safetensors")
        self.counts = dict(zip(words_of(arrays), arrays["counts"].tolist(), strict=True))
        self.by_models = {word for words in segmenter.segment(TEXTS, exact=True) for word in words} - {"abc", "。"}


class Applying:
    """The output of ``apply``, or the error, for an input file that suits the option."""

    base = ApplyConfig()
    names: ClassVar = {"text_column": "in.jsonl", "output_column": "in.jsonl", "input_format": "in.jsonl"}
    data: ClassVar = {"text_column": b'{"body": "abc"}\n', "output_column": b'{"text": "abc"}\n', "on_bad": b"ab\xff\n"}

    def __init__(self, config: ApplyConfig, folder: Path, option: str) -> None:
        source, out = folder / self.names.get(option, "in.txt"), folder / "out"
        source.write_bytes(self.data.get(option, b"abc\n"))
        if option == "n_best":
            config = config.replace(output="n-best")
        try:
            applying.apply(EachFew(), source, out, config)
            self.result = out.read_bytes()
        except DataError as error:
            self.result = str(error).encode()


class Decoding:
    """Words written by ``apply`` with a student and language models, and the words of the decoders."""

    base = DecodeConfig()

    def __init__(self, config: DecodeConfig, folder: Path, _: str) -> None:
        text = tiny.TEXT * 5
        segmenter = Segmenter.load(tiny.save(folder / "m", teacher=True, lexicon={"究生": 9}))
        (folder / "in.txt").write_text(text, "utf-8")
        applying.apply(segmenter, folder / "in.txt", folder / "out", decode=config)
        self.words = (folder / "out").read_text("utf-8").split(" ")
        units, starts = segmenter.units([text])
        lattices = segmenter.model_lattices(units)
        self.by_decoder = {
            name: Spans.of_ends(decode(lattices), units, starts).words([text])[0]
            for name, decode in decoders.DECODERS.items()
        }
        self.characters = list(text)


def differ(value: Callable[[Any], Any], base: Any, changed: Any) -> Difference:
    """A check that a value of the two runs is as expected."""
    return lambda one, other: (value(one), value(other)) == (base, changed)


TRAINING: dict[str, tuple[Any, Difference]] = {
    "script": ("symbols", differ(lambda run: run.segmenter.units(["abc"])[0].key.size, 1, 3)),
    "longest": (2, differ(lambda run: run.lattices.forward.shape[1], 3, 2)),
    "hidden": (16, differ(lambda run: run.arrays["forward.embedding.weight"].shape[1], 8, 16)),
    "dropout": (0.0, differ(Training.is_random, True, False)),
    "epochs": (4.0, lambda one, other: len(other.losses) == 2 * len(one.losses)),
    "batch_units": (300, lambda one, other: len(other.losses) < len(one.losses)),
    "learning_rate": (1e-4, differ(lambda run: round(run.steps[0], 6), 2e-3, 1e-4)),
    "word_cost": (3.0, lambda one, other: other.losses[0] > one.losses[0] + 0.5),
    "clip": (1e-3, lambda one, other: max(other.norms) < 1.01e-3 < min(one.norms)),
    "least_count": (30, lambda one, other: other.description["vocabulary"] < one.description["vocabulary"]),
    "chunk_units": (5, lambda one, other: max(other.chunk_sizes) == 5 < max(one.chunk_sizes)),
    "validation_share": (0.0, differ(lambda run: None in run.description["validation_nats"].values(), False, True)),
    "validate_every": (2, differ(lambda run: run.reports[0].step, 1, 2)),
    "patience": (3, lambda one, other: other.reports[-1].step == 5 < one.reports[-1].step),
    "forward_weight": (
        1.0,
        differ(lambda run: np.array_equal(run.lattices.product(), run.lattices.forward), False, True),
    ),
    "seed": (1, lambda one, other: one.losses[0] != other.losses[0]),
}
DISTILLING: dict[str, tuple[Any, Difference]] = {
    "table_bits": (9, differ(lambda run: run.student.table.shape[0], 256, 512)),
    "width": (5, differ(lambda run: run.student.table.shape[1], 4, 5)),
    "epochs": (3, differ(lambda run: len(run.losses), 2, 3)),
    "learning_rate": (1e-6, differ(lambda run: np.allclose(run.student.hidden_bias, 0.1, atol=1e-4), False, True)),
    "drop_features": (0.9, lambda one, other: other.losses[-1] > one.losses[-1]),
    "hard_share": (1.0, differ(lambda run: run.targets <= {0.0, 1.0}, False, True)),
    "decoder": ("forward", lambda one, other: one.targets != other.targets),
    "seed": (1, lambda one, other: not np.array_equal(one.student.table, other.student.table)),
}
COUNTING: dict[str, tuple[Any, Difference]] = {
    "exact": (True, lambda one, other: set(one.counts) != set(other.counts) == other.by_models),
    "lexicon": (False, lambda one, other: one.counts["学习在"] > other.counts.get("学习在", 0)),
    "least_count": (3, lambda one, other: min(one.counts.values()) < 3 <= min(other.counts.values())),
    "most_words": (7, lambda one, other: [*other.counts] == [*one.counts][:7]),
    "longest": (
        2,
        lambda one, other: other.facts["longest"] == max(map(len, other.counts)) == 2 < one.facts["longest"],
    ),
    "split": (1.0, lambda one, other: {*other.counts} < {*one.counts}),
    "join": (0.0, lambda one, other: one.counts.get("汉语", 0) < other.counts["汉语"]),
}
APPLYING: dict[str, tuple[Any, Difference]] = {
    "output": ("words", differ(lambda run: run.result, b"ab c\n", b'["ab","c"]\n')),
    "n_best": (2, differ(lambda run: run.result.count(b"score"), 5, 2)),
    "text_column": (
        "body",
        lambda one, other: b"no field 'text'" in one.result and other.result == b'{"body":"abc","words":["ab","c"]}\n',
    ),
    "output_column": ("w", lambda one, other: other.result == one.result.replace(b'"words"', b'"w"') != one.result),
    "input_format": ("lines", lambda one, other: b"in.jsonl:1" in one.result and other.result == b"ab c\n"),
    "output_format": ("jsonl", differ(lambda run: run.result, b"ab c\n", b'{"text":"abc","words":["ab","c"]}\n')),
    "on_bad": ("replace", lambda one, other: b"invalid UTF-8" in one.result and other.result == "ab \ufffd\n".encode()),
}
DECODING: dict[str, tuple[Any, Difference]] = {
    "exact": (True, lambda one, other: one.words != other.words == other.by_decoder["posterior"]),
    "decoder": (
        "forward",
        lambda one, other: other.by_decoder["posterior"] != other.words == other.by_decoder["forward"],
    ),
    "threshold": (0.0, lambda one, other: one.words != other.words == other.characters),
    "lexicon": (False, lambda one, other: one.words != other.words),
}
TABLES: dict[type[Config], dict[str, tuple[Any, Difference]]] = {
    TrainConfig: TRAINING,
    DistillConfig: DISTILLING,
    LexiconConfig: COUNTING,
    ApplyConfig: APPLYING,
    DecodeConfig: DECODING,
}


RUNNERS: dict[type[Config], Any] = {
    TrainConfig: Training,
    DistillConfig: Distilling,
    LexiconConfig: Counting,
    ApplyConfig: Applying,
    DecodeConfig: Decoding,
}
OPTIONS = [
    pytest.param(config, option, id=f"{config.__name__}.{option}")
    for config, table in TABLES.items()
    for option in table
]


@pytest.fixture(scope="module")
def base_runs() -> dict[tuple[Any, str], Any]:
    """Runs with the base options, by runner and option; a run that suits every option has an empty option."""
    return {}


@pytest.mark.parametrize("config", TABLES)
def test_every_option_has_a_probe(config: type[Config]) -> None:
    defaults = config().to_dict()
    assert list(TABLES[config]) == [field.name for field in fields(config)]  # type: ignore[arg-type]
    assert all(value != defaults[name] for name, (value, _) in TABLES[config].items())


@pytest.mark.parametrize(("config", "option"), OPTIONS)
def test_every_option_reaches_what_it_governs(
    config: type[Config], option: str, base_runs: dict[tuple[Any, str], Any], tmp_path: Path
) -> None:
    runner = WorseningTraining if option == "patience" else RUNNERS[config]
    value, has_effect = TABLES[config][option]
    special = option if runner is Applying else ""
    if (runner, special) not in base_runs:
        base_runs[runner, special] = runner(runner.base, made(tmp_path / "base"), special)
    changed = runner(runner.base.replace(**{option: value}), made(tmp_path / "changed"), special)
    assert has_effect(base_runs[runner, special], changed)


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder

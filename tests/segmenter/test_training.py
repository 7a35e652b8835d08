"""Training, artifacts and the segmenter itself, on a language small enough to learn in seconds."""

import fcntl
import itertools
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seampack.errors import ConfigError, DataError, MissingExtraError, ShardError
from seampack.segmenter.config import DistillConfig, TrainConfig
from seampack.segmenter.decoders import Lattices
from seampack.segmenter.dictionary import Dictionary
from seampack.segmenter.model import Segmenter
from tests.conftest import command, obey_interrupts

torch = pytest.importorskip("torch")

from seampack.segmenter import training as training_module  # noqa: E402
from seampack.segmenter.corpus import ChunkCorpus, Vocabulary, chunk_offsets  # noqa: E402
from seampack.segmenter.language_model import END, IMPOSSIBLE, SegmentalLM, _Writing  # noqa: E402
from seampack.segmenter.train import CHECKPOINT, distill, train  # noqa: E402
from seampack.segmenter.training import Report, Trainer  # noqa: E402
from seampack.segmenter.units import Alphabet  # noqa: E402

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")

WORDS = ["研究", "生命", "的", "起源", "我们", "在", "北京", "学习", "汉语", "是", "好"]


def sentences(count: int, seed: int = 0) -> tuple[list[str], list[list[str]]]:
    """Sentences of random words, and their words."""
    rng = np.random.default_rng(seed)
    gold = [[*rng.choice(WORDS, rng.integers(3, 9)).tolist(), "。"] for _ in range(count)]
    return ["".join(words) for words in gold], gold


TINY = TrainConfig(
    hidden=32, epochs=6, batch_units=200, learning_rate=1e-2, longest=3, validate_every=20, word_cost=0.5
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    train([sentences(300)[0]], TINY, folder, threads=1)
    return folder


def right(found: list[list[str]], gold: list[list[str]]) -> float:
    def spans(words: list[str]) -> set[tuple[int, int]]:
        ends = np.cumsum([len(word) for word in words]).tolist()
        return set(zip([0, *ends], ends, strict=False))

    hits = sum(len(spans(a) & spans(b)) for a, b in zip(found, gold, strict=True))
    return 2 * hits / sum(len(a) + len(b) for a, b in zip(found, gold, strict=True))


def test_it_finds_the_words(trained: Path) -> None:
    texts, gold = sentences(100, seed=1)
    segmenter = Segmenter.load(trained)
    exact = segmenter.segment(texts, exact=True)
    fast = segmenter.segment(texts)
    characters = right([list(text) for text in texts], gold)
    assert -1 <= segmenter.description["agreement"] <= 1
    assert right(exact, gold) > max(0.9, characters + 0.3)
    assert right(fast, exact) > 0.95
    assert not (trained / CHECKPOINT).exists()
    assert ["".join(words) for words in fast] == texts


def test_scores_are_those_of_the_definition() -> None:
    """Each segment's score against a decoder that is run for it alone, step by step."""
    torch.manual_seed(0)
    model = SegmentalLM(9, longest=3, hidden=8).eval()
    chunk = [3, 5, 4, 8, 3]
    single = torch.tensor([[False, False, False, True, False]])
    with torch.no_grad():
        found = model(torch.tensor([chunk]), torch.tensor([5]), single).numpy()
        for start in range(5):
            read = torch.tensor([[1, *chunk[:start]]])
            context = 0.5 * model.encoder(model.embedding(read))[0][0, -1]
            for length in range(1, 4):
                segment = chunk[start : start + length]
                if len(segment) < length or (length > 1 and 8 in segment):
                    assert found[start, length - 1] == IMPOSSIBLE
                    continue
                state, cell = torch.tanh(model.first_hidden(context)), torch.zeros(8)
                inputs = model.first_input(context)
                score = 0.0
                for symbol in [*segment, 0]:
                    gates = model.decoder_input(inputs) + model.decoder_hidden(state)
                    i, f, g, o = gates.chunk(4)
                    cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
                    state = torch.sigmoid(o) * torch.tanh(cell)
                    logits = model.embedding.weight @ state + model.bias
                    score += float(torch.log_softmax(logits, 0)[symbol])
                    inputs = model.embedding.weight[symbol]
                assert found[start, length - 1] == pytest.approx(score, abs=1e-4)


def test_resuming_gives_the_same_result(tmp_path: Path) -> None:
    texts, _ = sentences(120)
    units, _ = Alphabet("zh").units(texts)
    corpus = ChunkCorpus.of(units, Vocabulary.of(units, 2), 40)
    config = TINY.replace(epochs=2.0, validate_every=5)
    whole = Trainer(corpus, config, backward=True)
    whole.run()
    first = Trainer(corpus, config, backward=True)
    first.run(stop_at=7)
    first.save(tmp_path / "state.pt")
    second = Trainer(corpus, config, backward=True)
    second.resume(tmp_path / "state.pt")
    second.run()
    assert second.losses == whole.losses
    for a, b in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)
    other = Trainer(corpus, config.replace(dropout=0.3), backward=True)
    with pytest.raises(ShardError, match="other options"):
        other.resume(tmp_path / "state.pt")
    (tmp_path / "state.pt").write_bytes(b"nothing")
    with pytest.raises(ShardError, match="cannot be read"):
        other.resume(tmp_path / "state.pt")


QUICK = TrainConfig(hidden=16, epochs=3, batch_units=200, validate_every=5)


class StoppedError(Exception):
    """Ends a run from within."""


def train_until(direction: str, step: int, folder: Path, **options: Any) -> None:
    """Train as QUICK says, one direction behind the other, until a report of that step comes."""

    def stop(report: Report) -> None:
        if (report.direction, report.step) == (direction, step):
            raise StoppedError

    with pytest.raises(StoppedError):
        train([sentences(100)[0]], QUICK, folder, threads=1, on_report=stop, **options)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "quick"
    train([sentences(100)[0]], QUICK, folder, threads=1)
    return folder


def assert_same_arrays(one: Path, other: Path) -> None:
    for part in ("student", "teacher"):
        name = f"{part}.safetensors"
        assert (one / name).read_bytes() == (other / name).read_bytes()


def test_a_stopped_run_goes_on(quick: Path, tmp_path: Path) -> None:
    """Each direction from its last checkpoint, one that is done not at all."""
    train_until("forward", 15, tmp_path / "m")
    reports: list[Report] = []

    def stop(report: Report) -> None:
        reports.append(report)
        if (report.direction, report.step) == ("backward", 10):
            raise StoppedError

    texts, _ = sentences(100)
    with pytest.raises(StoppedError):
        train([texts], QUICK, tmp_path / "m", threads=1, resume=True, on_report=stop)
    assert (reports[0].direction, reports[0].step) == ("forward", 15)  # a checkpoint is written behind its report
    reports.clear()
    train([texts], QUICK, tmp_path / "m", threads=1, resume=True, on_report=reports.append)
    assert (reports[0].direction, reports[0].step) == ("backward", 10)
    assert_same_arrays(tmp_path / "m", quick)


@pytest.mark.parametrize("done", [False, True])
def test_only_the_same_run_goes_on(done: bool, tmp_path: Path) -> None:
    """Of another text or other options is neither a checkpoint taken up nor a direction that is done."""
    train_until(*(("backward", 5) if done else ("forward", 10)), tmp_path / "m")
    texts, _ = sentences(100)
    other_text, _ = sentences(100, seed=1)
    for text, config in ((texts, QUICK.replace(seed=1)), (other_text, QUICK)):
        with pytest.raises(
            ShardError, match=r"forward\.(done|pt): of another text or other options; train anew without"
        ):
            train([text], config, tmp_path / "m", threads=1, resume=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_training_destroys_nothing_silently(quick: Path, tmp_path: Path) -> None:
    texts, _ = sentences(100)
    finished = Path(shutil.copytree(quick, tmp_path / "finished"))
    stopped = tmp_path / "stopped"
    train_until("forward", 10, stopped)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes").write_text("mine")
    for folder, resume, told in (
        (finished, False, "finished: holds a segmenter; use --overwrite to replace it, or another folder"),
        (finished, True, "finished: holds a segmenter, with nothing to resume; use --overwrite"),
        (stopped, False, "stopped: holds the checkpoints of a run that was stopped; go on with train --resume"),
        (tmp_path / "other", True, "other: nothing to resume: the folder has notes, but no checkpoints"),
    ):
        before = contents(folder)

        def unread() -> Iterator[list[str]]:
            raise AssertionError("refused before the text is read")
            yield []

        with pytest.raises(ShardError, match=told):
            train(unread(), QUICK, folder, threads=1, resume=resume)
        assert contents(folder) == before
    train_until("forward", 10, finished, overwrite=True)
    assert_same_arrays(finished, quick)
    Segmenter.load(finished)  # whole until the new one is
    train_until("forward", 5, stopped, overwrite=True)  # begins anew
    train([texts], QUICK, finished, threads=1, resume=True)
    assert_same_arrays(finished, quick)
    assert not (finished / CHECKPOINT).exists()


@pytest.mark.parametrize("there", [False, True])
def test_resume_where_nothing_has_begun(there: bool, tmp_path: Path) -> None:
    """A script that always says --resume trains from the beginning the first time, and is told of it."""
    if there:
        (tmp_path / "m").mkdir()
    with pytest.warns(UserWarning, match="m: nothing to resume; training begins anew"):
        train_until("forward", 5, tmp_path / "m", resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_failed_before_its_first_checkpoint(
    resume: bool, quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves nothing that would have to be resumed or replaced; the same command begins anew."""

    def missing(*_: object) -> None:
        raise MissingExtraError("gensim", "segmenter", "training a segmenter")

    texts, _ = sentences(100)
    finished = Path(shutil.copytree(quick, tmp_path / "finished"))
    with monkeypatch.context() as patch:
        patch.setattr(training_module, "skip_gram_embeddings", missing)
        for folder, overwrite in ((tmp_path / "m", False), (finished, True)):
            with pytest.raises(MissingExtraError):
                train([texts], QUICK, folder, threads=1, overwrite=overwrite)
            assert (folder / CHECKPOINT).exists()
    with pytest.raises(ShardError, match="finished: holds a segmenter"):
        train([texts], QUICK, finished, threads=1, resume=resume)
    told = pytest.warns(UserWarning, match="m: nothing to resume") if resume else nullcontext()
    with told:
        train_until("forward", 5, tmp_path / "m", resume=resume)


def test_distilling_destroys_nothing_silently(quick: Path, tmp_path: Path) -> None:
    texts, _ = sentences(50)
    teacher = Path(shutil.copytree(quick, tmp_path / "teacher"))
    link = tmp_path / "link"
    link.symlink_to(teacher)
    config = DistillConfig(table_bits=8)
    for folder in (teacher, link):
        with pytest.raises(ShardError, match="a teacher's own folder; choose another for its student"):
            distill([Segmenter.load(quick), Segmenter.load(teacher)], [texts], folder, config=config, overwrite=True)
    assert contents(teacher) == contents(quick)
    with pytest.raises(ShardError, match="teacher: holds a segmenter; use --overwrite"):
        distill([Segmenter.load(quick)], [texts], teacher, config=config)
    distill([Segmenter.load(quick)], [texts], teacher, config=config, overwrite=True)
    assert sorted(contents(teacher)) == ["segmenter.json", "student.safetensors"]
    train_until("forward", 10, tmp_path / "stopped")
    with pytest.raises(ShardError, match="stopped: holds the checkpoints"):
        distill([Segmenter.load(quick)], [texts], tmp_path / "stopped", config=config)


def test_only_the_parts_of_the_description_are_used(quick: Path, tmp_path: Path) -> None:
    """A language model that lies beside a student by accident is not its teacher."""
    distill([Segmenter.load(quick)], [sentences(50)[0]], tmp_path / "m", config=DistillConfig(table_bits=8))
    shutil.copy(quick / "teacher.safetensors", tmp_path / "m")
    with pytest.raises(ShardError, match="the segmenter has no teacher"):
        Segmenter.load(tmp_path / "m").segment(["研究"], exact=True)


def test_the_description_is_json_where_nothing_is_held_out(tmp_path: Path) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    config = QUICK.replace(epochs=1, validation_share=0.0)
    description = train([sentences(100)[0]], config, tmp_path / "m", threads=1)
    assert json.loads((tmp_path / "m" / "segmenter.json").read_text(), parse_constant=refuse) == description
    assert Segmenter.load(tmp_path / "m").description["validation_nats"] == {"forward": None, "backward": None}


def trainer_of_sentences(config: TrainConfig) -> Trainer:
    units, _ = Alphabet("zh").units(sentences(100)[0])
    return Trainer(ChunkCorpus.of(units, Vocabulary.of(units, 2), 40), config, backward=False)


def test_cpu_seconds_are_those_of_all_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the first embeddings, steps and validations alike, and of the runs before."""
    clock = [100.0]

    def costs(seconds: float, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            clock[0] += seconds
            return function(*arguments)

        return timed

    monkeypatch.setattr(training_module.time, "process_time", lambda: clock[0])
    monkeypatch.setattr(training_module, "skip_gram_embeddings", costs(1000, training_module.skip_gram_embeddings))
    monkeypatch.setattr(Trainer, "_train_step", costs(1, Trainer._train_step))
    monkeypatch.setattr(Trainer, "validate", costs(10, Trainer.validate))
    first = trainer_of_sentences(QUICK)
    first.run(stop_at=6)
    assert first.cpu_seconds == 1016
    first.save(tmp_path / "state.pt")
    clock[0] += 10_000
    second = trainer_of_sentences(QUICK)
    second.resume(tmp_path / "state.pt")
    second.run(stop_at=10)
    assert second.cpu_seconds == 1016 + 1000 + 4 + 10


@pytest.mark.parametrize("stop_at", [None, 17])
def test_training_stops_early(stop_at: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind ``patience`` validations without a better likelihood, and with the best parameters; resumed or not."""
    nats = {5: 3.0, 10: 2.0, 15: 2.5, 20: 2.0, 25: 2.1, 30: 1.0}
    states: dict[int, torch.Tensor] = {}

    def validate(trainer: Trainer) -> tuple[float, float]:
        states[trainer.step] = trainer.model.bias.detach().clone()
        return nats[trainer.step], 1.0

    monkeypatch.setattr(Trainer, "validate", validate)
    config = QUICK.replace(epochs=20, patience=2)
    trainer = trainer_of_sentences(config)
    assert trainer.steps > 30
    trainer.run(stop_at=stop_at)
    if stop_at is not None:
        trainer.save(tmp_path / "state.pt")
        trainer = trainer_of_sentences(config)
        trainer.resume(tmp_path / "state.pt")
        trainer.run()
    assert (trainer.step, trainer.best) == (25, 2.0)
    assert torch.equal(trainer.model.bias, states[10])


def test_chunks_end_behind_marks() -> None:
    """And before white space; the mark belongs to what it ends, a mark that closes nothing cuts nothing."""
    texts = ["研究，生命。的", "「起源」、我们", "在 北京", "好！", "a;b"]
    chunks = []
    for text in texts:
        units, _ = Alphabet("zh").units([text])
        offsets = chunk_offsets(units, 40)
        chunks.append([text[units.begin[a] : units.end[b - 1]] for a, b in itertools.pairwise(offsets.tolist())])
    assert chunks == [["研究，", "生命。", "的"], ["「起源」、", "我们"], ["在", "北京"], ["好！"], ["a;", "b"]]


def test_offsets_and_mixed_text(trained: Path) -> None:
    segmenter = Segmenter.load(trained)
    texts = ["  研究 OK 12.5\t👩\u200d👧。\x00e\u0301 學習", "", " ", "研" * 1000]
    found = segmenter.spans(texts)
    for text, first, last in zip(texts, found.offsets, found.offsets[1:], strict=False):
        covered = [0] * len(text)
        for begin, end in zip(found.begin[first:last], found.end[first:last], strict=True):
            for at in range(begin, end):
                covered[at] += 1
        assert covered == [int(not c.isspace()) for c in text]
    words = segmenter.segment(texts)[0]
    assert {"OK", "12.5", "👩\u200d👧", "e\u0301"} <= set(words)


def test_probabilities_and_threshold(trained: Path) -> None:
    segmenter = Segmenter.load(trained)
    text = "研究 生命的起源"
    for exact in (False, True):
        (probabilities,) = segmenter.end_probabilities([text], exact=exact)
        assert probabilities.shape == (8,)
        assert np.all((probabilities >= 0) & (probabilities <= 1.0001))
        assert probabilities[[1, 2, 7]] == pytest.approx(1, abs=1e-4)
        counts = [len(segmenter.segment([text], threshold=t, exact=exact)[0]) for t in (0.0, 0.5, 1.0)]
        assert counts[0] == 7
        assert counts[0] > counts[1] > counts[2] >= 2
    with pytest.raises(ConfigError, match="it moves the decoder boundary"):
        segmenter.segment([text], threshold=0.5, decoder="product")


def test_dictionary(trained: Path) -> None:
    segmenter = Segmenter.load(trained)
    dictionary = Dictionary.of(["研究生", "起 源", "的 起源是"])
    assert segmenter.segment(["我研究生命的起源"], dictionary=dictionary)[0][-3:] == ["的", "起", "源"]
    assert "研究生" in segmenter.segment(["我研究生命的起源"], dictionary=dictionary)[0]
    assert segmenter.segment(["生命的起源是好"], dictionary=dictionary)[0][-3:] == ["的", "起源是", "好"]
    with pytest.raises(DataError, match="no entry"):
        Dictionary.of(["", " "])


def test_n_best(trained: Path) -> None:
    segmenter = Segmenter.load(trained)
    (found,) = segmenter.n_best(["研究生命的起源"], 4)
    scores = [score for score, _ in found]
    assert len(found) == 4
    assert scores == sorted(scores, reverse=True)
    assert all("".join(words) == "研究生命的起源" for _, words in found)
    assert found[0][1] == segmenter.segment(["研究生命的起源"], decoder="product")[0]


def test_an_ensemble_becomes_one_student(trained: Path, tmp_path: Path) -> None:
    texts, gold = sentences(200)
    train([texts], TINY.replace(seed=1), tmp_path / "second", threads=1)
    teachers = [Segmenter.load(trained), Segmenter.load(tmp_path / "second")]
    distill(teachers, [texts], tmp_path / "student", config=DistillConfig(table_bits=12))
    student = Segmenter.load(tmp_path / "student")
    assert right(student.segment(texts), gold) > 0.9
    with pytest.raises(ShardError, match="the segmenter has no teacher"):
        student.segment(texts, exact=True)
    with pytest.raises(ConfigError, match="a model holds one teacher; got 2"):
        distill(teachers, [texts], tmp_path / "student", keep_teacher=True)


def test_a_teacher_is_kept_beside_its_student(trained: Path, tmp_path: Path) -> None:
    texts, _ = sentences(100)
    config = DistillConfig(table_bits=12)
    distill([Segmenter.load(trained)], [texts], tmp_path / "both", config=config, keep_teacher=True)
    distill([Segmenter.load(trained)], [texts], tmp_path / "student", config=config)
    both, student = Segmenter.load(tmp_path / "both"), Segmenter.load(tmp_path / "student")
    assert both.segment(texts, exact=True) == Segmenter.load(trained).segment(texts, exact=True)
    assert both.segment(texts) == student.segment(texts)
    assert both.description["student"]["config"] == config.to_dict()


def test_all_files_of_a_segmenter_are_for_the_same_eyes(trained: Path) -> None:
    assert len({path.stat().st_mode for path in trained.iterdir() if path.is_file()}) == 1


def test_language_models_read_on_where_training_cut_its_text() -> None:
    segmenter = Segmenter.load("zh")
    assert segmenter.description["config"]["chunk_units"] == 40
    units, _ = segmenter._units(["研究生命的起源" * 20])
    assert segmenter._teacher.lattices(units).offsets.tolist() == [0, 140]


def test_damaged_artifacts(trained: Path, tmp_path: Path) -> None:
    def copy() -> Path:
        shutil.rmtree(tmp_path / "m", ignore_errors=True)
        return Path(shutil.copytree(trained, tmp_path / "m"))

    with pytest.raises(ShardError, match="no such folder; train one with"):
        Segmenter.load(tmp_path / "none")
    (copy() / "segmenter.json").write_text("{")
    with pytest.raises(ShardError, match="not the description of a segmenter"):
        Segmenter.load(tmp_path / "m")
    description = json.loads((copy() / "segmenter.json").read_text())
    (tmp_path / "m" / "segmenter.json").write_text(json.dumps({**description, "format_version": 99}))
    with pytest.raises(ShardError, match="format version 99"):
        Segmenter.load(tmp_path / "m")
    for part, exact in (("student", False), ("teacher", True)):
        path = copy() / f"{part}.safetensors"
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(ShardError, match=rf"{part}\.safetensors: damaged"):
            Segmenter.load(tmp_path / "m").segment(["研究"], exact=exact)
    path = copy() / "student.safetensors"
    shutil.copy(trained / "teacher.safetensors", path)
    with pytest.raises(ShardError, match="does not hold a student"):
        Segmenter.load(tmp_path / "m").segment(["研究"])


def test_bad_training_input(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="too little to train on"):
        train([["研究"]], TINY, tmp_path / "m")
    with pytest.raises(DataError, match="there is no text"):
        train([], TINY, tmp_path / "m")
    with pytest.raises(ConfigError, match="longest: expected an integer from 1 to 32; got 0"):
        TrainConfig(longest=0)
    with pytest.raises(ConfigError, match="drop_features: expected a number from 0 to"):
        DistillConfig(drop_features=2).replace()


def test_pieces_for_the_packer(trained: Path, tmp_path: Path) -> None:
    """Tokens never cross a word, and the packed tokens decode to the text."""
    from seampack.packer.folder import PackedFolder
    from seampack.packer.packing import pack
    from seampack.packer.tokenizing import TextTokenizer
    from seampack.packer.train_tokenizer import train_tokenizer

    segmenter = Segmenter.load(trained)
    texts = [*sentences(50, seed=3)[0], " 研究  生命 ", "", "\n"]
    pieces, firsts = segmenter.pieces(texts)
    assert ["".join(pieces[a:b]) for a, b in itertools.pairwise(firsts.tolist())] == texts
    source = tmp_path / "texts.jsonl"
    source.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    train_tokenizer(source, tmp_path / "t.json", vocab_size=400, split=segmenter.pieces)
    pack(source, out=tmp_path / "out", tokenizer=tmp_path / "t.json", seq_len=64, split=segmenter.pieces)
    tokenizer = TextTokenizer(tmp_path / "t.json")
    unpacked = PackedFolder(tmp_path / "out").unpack().to_pylist()
    assert [tokenizer.decode(row["input_ids"]) for row in unpacked] == [text for text in texts if text]
    for row, text in zip(unpacked, [text for text in texts if text], strict=True):
        whole = [i for piece in segmenter.pieces([text])[0] for i in tokenizer.reference.encode(piece).ids]
        assert row["input_ids"] == whole


@pytest.mark.parametrize(
    ("name", "words"), [("zh", ["研究", "生命", "的", "起源", "。"]), ("th", ["ก่อน", "ใน", "การ", "เปลี่ยน", "ไป", "ใช้"])]
)
@pytest.mark.parametrize("exact", [False, True])
def test_the_bundled_models(name: str, words: list[str], exact: bool) -> None:
    assert Segmenter.load(name).segment(["".join(words)], exact=exact) == [words]


def test_gradients_of_the_output_layer() -> None:
    torch.manual_seed(0)
    shapes = (7, 5), (11, 5), (11,)
    states, weight, bias = (torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)
    following = torch.randint(0, 11, (7,))
    assert torch.autograd.gradcheck(_Writing.apply, (states, weight, bias, following))
    logs = torch.log_softmax(states @ weight.t() + bias, 1)
    written, ended = _Writing.apply(states, weight, bias, following)  # type: ignore[no-untyped-call]
    torch.testing.assert_close(written, logs[torch.arange(7), following])
    torch.testing.assert_close(ended, logs[:, END])


def test_two_runs_into_one_folder(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    with (tmp_path / "model" / ".training").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ShardError, match="another run is writing into this folder"):
            train([sentences(50)[0]], TINY, tmp_path / "model")
        with pytest.raises(ShardError, match="another run is writing into this folder"):
            distill([Segmenter.load(trained)], [sentences(50)[0]], tmp_path / "model")
    assert not (trained / ".training").exists()


def test_a_lock_whose_file_is_gone_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run may have ended, and taken its file with it, since this one opened it."""
    lock = fcntl.flock

    def late(file: Any, operation: int) -> None:
        (tmp_path / "m" / ".training").unlink(missing_ok=True)
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(ShardError, match="another run is writing into this folder"):
        train([sentences(100)[0]], QUICK, tmp_path / "m", threads=1)


def test_workers_can_say_what_is_missing() -> None:
    error = MissingExtraError("gensim", "segmenter", "training a segmenter")
    found = pickle.loads(pickle.dumps(error))
    assert (str(found), found.package, found.extra) == (str(error), "gensim", "segmenter")


LONG = QUICK.replace(epochs=20)  # a second of training at least: time enough to be stopped on the way


@contextmanager
def training(folder: Path) -> Iterator[tuple["subprocess.Popen[bytes]", list[int]]]:
    """A real process that trains as LONG says into ``folder/m``, and its workers, behind their first checkpoints."""
    raw = folder / "raw.txt"
    raw.write_text("".join(text + "\n" for text in sentences(100)[0]), encoding="utf-8")
    options = [f"--{name.replace('_', '-')}={getattr(LONG, name)}" for name in ("hidden", "epochs", "batch_units")]
    line = command("segment", "train", raw, "-o", folder / "m", "--threads=2", "--validate-every=5", *options)
    process = subprocess.Popen(line, stderr=subprocess.PIPE, start_new_session=True, preexec_fn=obey_interrupts)
    deadline = time.monotonic() + 300
    checkpoints = [folder / "m" / CHECKPOINT / f"{name}.pt" for name in ("forward", "backward")]
    try:
        while not all(path.exists() for path in checkpoints):
            if process.poll() is not None or time.monotonic() > deadline:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # workers hold stderr open, too
                pytest.fail(f"no checkpoints of both directions: {process.communicate()[1].decode()}")
            # the one that is first waits: how far apart they start must not decide whether both still run
            for path, worker in zip(checkpoints, workers(process.pid), strict=False):
                if path.exists():
                    os.kill(worker, signal.SIGSTOP)
            time.sleep(0.01)
        found = workers(process.pid)
        for worker in found:
            os.kill(worker, signal.SIGCONT)
        yield process, found
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def workers(parent: int) -> list[int]:
    """In the order in which they were started: forward, backward."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()  # from the third on: state, parent
            if int(fields[1]) == parent and b"spawn_main" in (folder / "cmdline").read_bytes():
                found.append((int(fields[19]), int(folder.name)))  # starttime, in hundredths of a second
    return [process for _, process in sorted(found)]


def ended(process: int) -> bool:
    """Whether there is no such process any more, or nobody has asked yet how it ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@linux
def test_ctrl_c_ends_training_in_peace(tmp_path: Path) -> None:
    with training(tmp_path) as (process, found):
        assert len(found) == 2
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert errors.endswith(
        b"seampack: interrupted; run the same command with --resume to continue from the last checkpoint\n"
    )
    assert all(map(ended, found))
    texts, _ = sentences(100)
    train([texts], LONG, tmp_path / "m", resume=True, threads=1)
    train([texts], LONG, tmp_path / "whole", threads=1)
    assert_same_arrays(tmp_path / "m", tmp_path / "whole")


@linux
def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    """And while one of them is still there, no second run is let in beside it."""
    texts, _ = sentences(100)
    with training(tmp_path) as (process, found):
        for worker in found:
            os.kill(worker, signal.SIGSTOP)
        process.kill()
        process.wait()
        with pytest.raises(ShardError, match="another run is writing into this folder"):
            train([texts], LONG, tmp_path / "m", resume=True, threads=1)
        for worker in found:
            os.kill(worker, signal.SIGCONT)
        for _ in range(1000):
            if all(map(ended, found)):
                break
            time.sleep(0.01)
        assert all(map(ended, found))

    def stop(report: Report) -> None:
        assert report.step > 5  # took up a checkpoint
        raise StoppedError

    with pytest.raises(StoppedError):
        train([texts], LONG, tmp_path / "m", resume=True, threads=1, on_report=stop)


def test_agreement_of_the_directions() -> None:
    def cuts(ends: list[int]) -> np.ndarray:
        """Scores under which words end exactly there; K = 2."""
        scores = np.full((len(ends), 2), -100, np.float32)
        scores[:, 0] = [0 if end and (i == 0 or ends[i - 1]) else -100 for i, end in enumerate(ends)]
        scores[:-1, 1] = [0 if not a and b else -100 for a, b in itertools.pairwise(ends)]
        return scores

    one, other = cuts([1, 0, 1, 1, 0, 1, 1]), cuts([1, 0, 1, 0, 1, 1, 1])
    offsets, places = np.array([0, 7]), np.array([True] * 6 + [False])
    assert Lattices(one, one, offsets).agreement(places) == 1
    # of 6 places both end at 0, 2, 5 and neither at 1: 4 of 6; both say an end at 4 of 6
    assert Lattices(one, other, offsets).agreement(places) == pytest.approx((4 / 6 - 20 / 36) / (1 - 20 / 36))
    singles = cuts([1] * 7)
    assert Lattices(singles, singles, offsets).agreement(places) is None

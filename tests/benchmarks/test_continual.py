"""The comparison of packings by training: splits, rows, batches, scores, intervals, and resuming."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.continual import arms, corpora, page, scoring, training
from benchmarks.continual.analysis import Analysis, bootstrap
from benchmarks.continual.arms import ALL, PACKINGS, Arm, Row, pack
from benchmarks.continual.runs import Job, Runs
from benchmarks.continual.settings import SETTINGS, Setting
from benchmarks.continual.training import Device, Shape

CPU = Device("cpu", bfloat16=False)
TINY = Shape(vocab_size=300, hidden=16, layers=2, heads=2)
SEQ_LEN = 16
SHOWN = (Arm("concat"), Arm("concat", True), Arm("seamless"), Arm("seamless", steps_of="concat"), Arm("pad"))
SETTING = Setting(
    domains={"public domain": ("public",), "news": ("news",)},
    cells=((SEQ_LEN, None, SHOWN),),
    shape=TINY,
    seeds=1,
    train=1500,
    choosing=1500,
    held_out=3000,
    tokens_per_step=16 * SEQ_LEN * 20,
    learning_rates=(1e-3, 1e-9),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Models are so small here that threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def documents(lengths: list[int]) -> list[np.ndarray]:
    """Documents whose tokens are all different, so that each token can be found again in the rows."""
    ends = np.cumsum(lengths)
    return [np.arange(end - length, end) for end, length in zip(ends, lengths, strict=True)]


def model() -> Any:
    return TINY.model(seed=0).eval()


# --- documents ----------------------------------------------------------------------------------------------------

TEXTS = [f"{number} " + "word " * (number % 40) for number in range(300)]


def test_the_sets_of_documents_are_disjoint() -> None:
    split = corpora.split(TEXTS, train=3000, choosing=1000, held_out=2000)
    parts = [split.train, split.choosing, split.held_out]
    assert max(Counter(text for part in parts for text in part).values()) == 1
    for part, size in zip(parts, (3000, 1000, 2000), strict=True):
        assert 0.8 * size <= sum(map(len, part)) <= size
        assert set(part) <= set(TEXTS)


def test_more_training_documents_leave_the_scored_sets_alone() -> None:
    small, large = (corpora.split(TEXTS, train=train, choosing=1000, held_out=2000) for train in (500, 5000))
    assert (small.choosing, small.held_out) == (large.choosing, large.held_out)


def test_no_document_is_most_of_a_set() -> None:
    split = corpora.split([*TEXTS, "x" * 900], train=1000, choosing=1000, held_out=1000)
    assert max(len(text) for part in vars(split).values() for text in part) <= 250


def test_too_few_documents_are_refused() -> None:
    with pytest.raises(SystemExit, match="2 documents are too few: no document is left for"):
        corpora.split(["one", "two"], train=100, choosing=100, held_out=100)


# --- rows ---------------------------------------------------------------------------------------------------------

LENGTHS = [30, 9, 9, 9, 12, 5, 4, 16, 3, 44]


@pytest.mark.parametrize("packing", PACKINGS)
def test_rows_have_the_tokens_that_the_account_declares(packing: str) -> None:
    rows, account = pack(packing, documents(LENGTHS), SEQ_LEN, seed=1)
    seen = Counter(token for row in rows for token in row.ids.tolist())
    assert account["rows"] == len(rows)
    assert len(seen) == sum(LENGTHS) - account["dropped"]
    assert sum(seen.values()) - len(seen) == account["repeated"]
    assert all(row.ids.size == row.labels.size == row.seq_lengths.sum() <= SEQ_LEN for row in rows)


def test_each_packing_does_what_its_name_says() -> None:
    packed = {packing: pack(packing, documents(LENGTHS), SEQ_LEN, seed=1) for packing in PACKINGS}
    rows = {packing: len(rows) for packing, (rows, _) in packed.items()}
    account = {packing: account for packing, (_, account) in packed.items()}
    least = -(-sum(LENGTHS) // SEQ_LEN)
    assert rows["concat"] == rows["seamless, no overlap"] == least
    assert rows["pad"] == sum(-(-length // SEQ_LEN) for length in LENGTHS)
    assert account["best_fit"]["documents_fit_but_cut"] == account["ffd"]["documents_fit_but_cut"] == 0
    assert account["seamless, 50 extra tokens"]["dropped"] > 0
    assert account["seamless"]["repeated"] == 2 + 4  # 30 is two windows, 44 is three
    repeating = {packing for packing in PACKINGS if account[packing]["repeated"]}
    assert repeating == {packing for packing in PACKINGS if "seamless" in packing} - {"seamless, no overlap"}


def test_labels_are_masked_in_one_arm_alone() -> None:
    for packing in PACKINGS:
        rows, account = pack(packing, documents(LENGTHS), SEQ_LEN, seed=1)
        masked = sum(int((row.labels == training.IGNORED).sum()) for row in rows)
        assert masked == (account["repeated"] if packing == arms.MASKED else 0)
        assert all(((row.labels == row.ids) | (row.labels == training.IGNORED)).all() for row in rows)


# --- batches and attention ----------------------------------------------------------------------------------------


def rows_of(*rows: list[int]) -> list[Row]:
    """Rows with random tokens, given the lengths of the segments of each."""
    chance = np.random.default_rng(0)
    ids = [chance.integers(1, 300, sum(lengths)) for lengths in rows]
    return [Row(each, each, np.array(lengths)) for each, lengths in zip(ids, rows, strict=True)]


def test_block_diagonal_logits_are_those_of_the_segments_alone() -> None:
    rows = rows_of([3, 7, 1, 5], [9], [2, 2])
    batch = training.collate(rows, block_diagonal=True)
    batch.pop("labels")
    net = model()
    together = net(**batch).logits
    for row, logits in zip(rows, together, strict=True):
        start = 0
        for length in row.seq_lengths:
            segment = torch.from_numpy(row.ids[start : start + length])[None]
            torch.testing.assert_close(logits[start : start + length], net(input_ids=segment).logits[0])
            start += length


def test_plain_logits_depend_on_the_segment_before() -> None:
    (row,) = rows_of([3, 7])
    logits = model()(input_ids=training.collate([row], block_diagonal=False)["input_ids"]).logits[0]
    alone = model()(input_ids=torch.from_numpy(row.ids[3:])[None]).logits[0]
    assert not torch.allclose(logits[3:], alone, atol=1e-4)


def test_targets() -> None:
    rows = rows_of([3, 2], [2])
    plain, block = (training.collate(rows, block_diagonal)["labels"] for block_diagonal in (False, True))
    first, second = (row.ids.tolist() for row in rows)
    assert plain.tolist() == [first, [*second, -100, -100, -100]]
    assert block.tolist() == [[-100, *first[1:3], -100, first[4]], [-100, second[1], -100, -100, -100]]


@given(rows=st.integers(1, 20), per_step=st.integers(1, 6), steps=st.integers(1, 30))
def test_batches_are_passes_over_all_rows(rows: int, per_step: int, steps: int) -> None:
    numbered = [Row(np.array([n]), np.array([n]), np.array([1])) for n in range(rows)]
    found = [[int(row.ids[0]) for row in batch] for batch in training.batches(numbered, per_step, steps, seed=3)]
    assert len(found) == steps
    one_pass = training.steps_of_pass(rows, per_step)
    for first in range(0, steps - one_pass + 1, one_pass):
        assert sorted(n for batch in found[first : first + one_pass] for n in batch) == list(range(rows))


def trained(**options: Any) -> dict[str, torch.Tensor]:
    given: dict[str, Any] = {"rows_per_step": 4, "rows_at_once": 4, "steps": 3, "learning_rate": 0.01, "seed": 0}
    net = model()
    rows = rows_of([3, 7], [9, 4], [2, 2], [12], [5, 5])
    training.train(net, rows, block_diagonal=True, device=CPU, **(given | options))
    return dict(net.state_dict())


def test_a_step_is_the_same_in_parts() -> None:
    whole, parts = trained(), trained(rows_at_once=1)
    for name, tensor in whole.items():
        torch.testing.assert_close(parts[name], tensor, atol=1e-4, rtol=1e-3)


def test_training_learns_and_is_deterministic() -> None:
    rows = rows_of([3, 7], [9, 4])
    options: dict[str, Any] = {"block_diagonal": False, "rows_per_step": 2, "rows_at_once": 2, "seed": 0, "device": CPU}
    losses = [training.train(model(), rows, steps=steps, learning_rate=0.01, **options) for steps in (1, 40, 40)]
    assert losses[1] < 0.5 * losses[0]
    assert losses[1] == losses[2]


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [training.rate(step, 40) for step in range(40)]
    assert rates.index(max(rates)) == 3
    assert rates[:4] == sorted(rates[:4])
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert 0 < rates[-1] < 0.01


# --- scores -------------------------------------------------------------------------------------------------------


@given(length=st.integers(1, 200), seq_len=st.integers(2, 40))
def test_windows_score_each_token_once(length: int, seq_len: int) -> None:
    stride = seq_len // 2
    found = scoring.windows(length, seq_len, stride)
    assert [token for begin, end, first in found for token in range(first, end)] == list(range(1, length))
    for begin, end, first in found:
        assert end - begin == min(seq_len, length)
        assert first == 1 or first - begin >= seq_len - stride


@torch.no_grad()
def naive_losses(net: Any, document: np.ndarray, seq_len: int) -> list[float]:
    """Score each token by a separate call on what precedes it in its window."""
    found = []
    for token in range(1, len(document)):
        ((begin, _),) = [
            (begin, end)
            for begin, end, first in scoring.windows(len(document), seq_len, seq_len // 2)
            if first <= token < end
        ]
        logits = net(input_ids=torch.from_numpy(document[begin:token])[None]).logits[0, -1]
        found.append(-float(logits.log_softmax(-1)[document[token]]))
    return found


def test_losses_are_those_of_a_token_at_a_time() -> None:
    chance = np.random.default_rng(0)
    texts = [chance.integers(0, 300, length) for length in (1, 2, 7, 8, 9, 21, 3)]
    net = model()
    found = scoring.losses(net, texts, 8, CPU)
    for document, losses in zip(texts, found, strict=True):
        np.testing.assert_allclose(losses, naive_losses(net, document, 8), atol=1e-4)


@given(lengths=st.lists(st.integers(1, 400), min_size=1, max_size=5), seq_len=st.sampled_from([64, 96, 128]))
def test_groups_cover_each_token_once(lengths: list[int], seq_len: int) -> None:
    counts = scoring.counts(documents(lengths), seq_len)
    assert counts["all"] == [length - 1 for length in lengths if length > 1]
    assert sum(counts["first"]) + sum(counts["middle"]) + sum(counts["beyond"]) == sum(counts["all"])
    assert counts["first"] == [min(length, 64) - 1 for length in lengths if length > 1]
    assert counts["beyond"] == [length - seq_len for length in lengths if length > seq_len]
    assert counts["eos"] == [1 for length in lengths if length > 1]
    cut = [sum(position >= seq_len and position % seq_len < 64 for position in range(n)) for n in lengths]
    assert counts["after a cut"] == [n for n in cut if n]
    assert scoring.sums([np.ones(length - 1) for length in lengths], seq_len) == counts


def test_the_loss_of_frequencies_is_a_cross_entropy() -> None:
    """Token 0 occurs 3 times, token 1 once, token 2 never; the first token of a document is not scored."""
    train, scored = [np.array([0, 0, 1]), np.array([0])], [np.array([2, 0, 1]), np.array([0, 2])]
    expected = -np.mean(np.log(np.array([3.5, 1.5, 0.5]) / 5.5))
    assert scoring.frequency_loss(train, scored) == pytest.approx(expected)


# --- intervals ----------------------------------------------------------------------------------------------------


def test_the_interval_is_that_of_a_mean() -> None:
    """With documents of equal length and one seed, the standard error of the mean is known."""
    differences = np.random.default_rng(0).normal(-0.5, 2.0, size=(1, 400))
    found = bootstrap([(differences, np.full(400, 10.0))], replicates=4000)
    error = 1000 * differences.std() / 10 / np.sqrt(400)
    assert found.mean == pytest.approx(1000 * differences.mean() / 10)
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.1 * error)


def test_the_interval_covers_the_seeds() -> None:
    """With equal documents, only the seeds differ: the mean of two drawn seeds is one, the other or between them."""
    differences = np.repeat([[-3.0], [1.0]], 50, axis=1)
    found = bootstrap([(differences, np.full(50, 10.0))])
    assert (found.mean, found.low, found.high, found.sign) == pytest.approx((-100, -300, 100, 0))


def test_the_mean_is_over_domains() -> None:
    cells = [(np.full((2, 5), -1.0), np.full(5, 10.0)), (np.full((2, 100), -3.0), np.full(100, 10.0))]
    found = bootstrap(cells)
    assert (found.mean, found.low, found.high, found.sign) == pytest.approx((-200, -200, -200, -1))


def test_a_difference_is_of_the_seeds_that_both_arms_have() -> None:
    def result(arm: str, seed: int, sums: list[float]) -> dict[str, Any]:
        return {"domain": "d", "seq_len": 8, "arm": arm, "seed": seed, "sums": {"all": sums}}

    trainings = [result("concat", 0, [9.0, 30.0]), result("concat", 1, [7.0, 20.0]), result("ffd", 1, [6.0, 19.0])]
    counts = {"d": {"counts": {"8": {"all": [4, 6]}}}}
    analysis = Analysis({"trainings": trainings, "domains": counts})
    found = analysis.difference(8, "ffd")
    assert found is not None
    assert found.mean == pytest.approx(-200)
    assert analysis.difference(8, "best_fit") is None


def test_an_arm_of_one_domain_is_named_with_it() -> None:
    """Its difference is that of the domain."""
    trainings = [
        {"domain": domain, "seq_len": 8, "arm": arm, "seed": 0, "sums": {"all": [loss]}}
        for domain, arm, loss in (
            ("a", "concat", 4),
            ("b", "concat", 4),
            ("a", "ffd", 6),
            ("a", "pad", 4),
            ("b", "pad", 0),
        )
    ]
    counts = {domain: {"counts": {"8": {"all": [2]}}} for domain in "ab"}
    analysis = Analysis({"trainings": trainings, "domains": counts})
    assert [analysis.label(8, arm) for arm in ("ffd", "pad", "concat", "none")] == ["ffd (a)", "pad", "concat", "none"]
    ffd, pad = (analysis.difference(8, arm) for arm in ("ffd", "pad"))
    assert ffd is not None
    assert pad is not None
    assert (ffd.mean, pad.mean) == (1000, -1000)
    assert page.has_own_domains(analysis)


# --- runs ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    runs = Runs("short", SETTING, None, tmp_path_factory.mktemp("finished"))
    runs.run()
    return runs


def test_all_trainings_are_saved(finished: Runs) -> None:
    jobs = list(finished.jobs())
    assert len(jobs) == len({job.file_name for job in jobs}) == 2 + len(SHOWN)
    assert all(finished.saved(job) for job in jobs)
    assert finished.chosen_rate("public domain", SEQ_LEN) == 1e-3


def test_a_finished_training_is_not_run_again(finished: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    train = training.train
    monkeypatch.setattr(training, "train", lambda *given, **options: calls.append(options) or train(*given, **options))
    finished.run()
    assert not calls
    job = Job("public domain", SEQ_LEN, Arm("pad"), 0)
    before = finished.saved(job)
    (finished.folder / job.file_name).unlink()
    finished.run()
    assert len(calls) == 1
    after = finished.saved(job)
    assert before is not None
    assert after is not None
    assert after["sums"] == before["sums"]


def test_time_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Runs("short", SETTING, None, tmp_path).run(minutes=0)
    assert not list(tmp_path.glob("*seed*.json"))
    assert "stopped after 0 of 7 trainings; run the same command to go on" in capsys.readouterr().err


def test_results_of_other_settings_are_refused(finished: Runs) -> None:
    other = Runs("short", replace(SETTING, train=2000), None, finished.folder)
    with pytest.raises(SystemExit, match=r"made with other settings; choose another folder with --out"):
        other.run()


def test_equal_steps(finished: Runs) -> None:
    found = {each["arm"]: each for each in finished.collect()["trainings"]}
    concat, seamless = found["concat"], found["seamless"]
    stopped = found["seamless, as many steps as concat"]
    assert stopped["steps"] == concat["steps"] == concat["steps_of_pass"]
    assert stopped["steps_of_pass"] == seamless["steps"]
    if seamless["steps"] == concat["steps"]:
        assert stopped["sums"] == seamless["sums"]


def test_collected_results_make_the_page(finished: Runs, tmp_path: Path) -> None:
    results = json.loads(json.dumps(finished.collect()))
    document = tmp_path / "page.md"
    document.write_text("Before\n<!-- continual-short -->\nearlier results\n<!-- /continual-short -->\nAfter\n")
    page.write([results], document)
    text = document.read_text()
    assert text.startswith("Before\n")
    assert text.endswith("\nAfter\n")
    assert "earlier results" not in text
    assert "| seamless, as many steps as concat |" in text
    assert f"trained on {finished.device}" in text
    assert (tmp_path / "pictures" / "continual_pretraining-short.svg").exists()
    assert "](pictures/continual_pretraining-short.svg)" in text


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_has_names_for_its_trainings(name: str) -> None:
    for _, _, shown in SETTINGS[name].cells:
        assert set(shown) <= set(ALL)
        assert Arm("concat") in shown
        assert {arm.steps_of for arm in shown} <= {"", *(arm.packing for arm in shown)}

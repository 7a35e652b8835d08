"""Layer-wise rotary scaling: exact against what transformers has, the curve, the search, the retrieval task."""

import dataclasses
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

import seampack
from seampack.config import Config
from seampack.errors import ConfigError, DataError
from seampack.models.rope_scaling import (
    BezierSearch,
    KVRetrieval,
    LayerFactors,
    LayerwiseRope,
    RopeScalingConfig,
    bezier,
    perplexity,
    score,
)
from seampack.models.rope_scaling.adapter import ADAPTER, gain, load_model
from seampack.models.rope_scaling.scoring import Scores
from seampack.models.rope_scaling.search import factor_grid
from tests.models.contract import AdapterContract

VOCABULARY = 8192
LAYERS = 3
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 4096,
    "initializer_range": 0.2,  # large weights, so that positions matter
}
KINDS = {"llama": LlamaConfig, "qwen2": Qwen2Config, "mistral": MistralConfig}
THETA = 10_000.0
IDS = torch.randint(0, VOCABULARY, (2, 48), generator=torch.Generator().manual_seed(1))


def tiny(kind: str = "llama", **changes: Any) -> Any:
    """A small random model; the same weights for the same kind, whatever the positions."""
    torch.manual_seed(0)
    config: Any = KINDS[kind]
    given = {"rope_parameters": {"rope_type": "default", "rope_theta": THETA}} | changes
    return AutoModelForCausalLM.from_config(config(**(SHAPE | given))).eval()


def logits(model: Any, ids: torch.Tensor = IDS, **more: Any) -> torch.Tensor:
    with torch.inference_mode():
        found: torch.Tensor = model(input_ids=ids, **more).logits
    return found


def bundled_tokenizer() -> Any:
    file = Path(seampack.__file__).parent / "data" / "tokenizer.json"
    kind: Any = PreTrainedTokenizerFast
    return kind(tokenizer_file=str(file))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other take longer than these small sums do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return bundled_tokenizer()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> str:
    """A tiny Llama and its tokenizer on disk."""
    path = tmp_path_factory.mktemp("model")
    tiny().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return str(path)


@pytest.mark.parametrize("kind", KINDS)
class TestExact:
    @pytest.mark.parametrize("base", ["pi", "ntk"])
    def test_ones_change_nothing(self, kind: str, base: str) -> None:
        model = tiny(kind)
        before = logits(model)
        with LayerwiseRope(model, base, [1.0] * LAYERS):
            assert torch.equal(logits(model), before)

    def test_uniform_pi_is_linear_scaling(self, kind: str) -> None:
        linear = tiny(kind, rope_parameters={"rope_type": "linear", "rope_theta": THETA, "factor": 4.0})
        model = tiny(kind)
        before = logits(model)
        with LayerwiseRope(model, "pi", [4.0] * LAYERS):
            assert torch.equal(logits(model), logits(linear))
        assert not torch.equal(before, logits(linear))
        assert torch.equal(logits(model), before), "the hooks are gone after the block"

    def test_uniform_ntk_is_another_theta(self, kind: str) -> None:
        theta = THETA * 4.0 ** (16 / 14)  # heads of 16 dimensions
        other = tiny(kind, rope_parameters={"rope_type": "default", "rope_theta": theta})
        model = tiny(kind)
        with LayerwiseRope(model, "ntk", [4.0] * LAYERS):
            assert torch.equal(logits(model), logits(other))

    @pytest.mark.parametrize("base", ["pi", "ntk"])
    def test_each_layer_has_its_own(self, kind: str, base: str) -> None:
        """The states after each layer are those of a model whose one layer has the factor everywhere."""
        factors = [0.5, 1.0, 3.0]
        model = tiny(kind)
        with LayerwiseRope(model, base, factors):
            states = model(input_ids=IDS, output_hidden_states=True).hidden_states
        for at, factor in enumerate(factors[:-1]):  # the last state is normalised, the logits hold it
            layer = model.model.layers[at]
            positions = torch.arange(IDS.shape[1])[None]
            exponent = 16 / 14
            rotary = type(model.model.rotary_emb)(model.config)
            if base == "pi":
                rotary.inv_freq = rotary.inv_freq / factor
            else:
                steps = torch.arange(0, 16, 2, dtype=torch.float) / 16
                rotary.inv_freq = 1.0 / ((THETA * factor**exponent) ** steps)
            mask = torch.full((1, 1, 48, 48), float("-inf")).triu(1)
            turned = rotary(states[at], positions)
            after = layer(states[at], attention_mask=mask, position_ids=positions, position_embeddings=turned)
            torch.testing.assert_close(after, states[at + 1], atol=1e-4, rtol=1e-4)

    @pytest.mark.parametrize("base", ["pi", "ntk"])
    def test_with_a_cache(self, kind: str, base: str) -> None:
        model = tiny(kind)
        with LayerwiseRope(model, base, [0.7, 1.0, 2.5]), torch.inference_mode():
            whole = model(input_ids=IDS).logits
            head = model(input_ids=IDS[:, :30], use_cache=True)
            name = "cache" if "cache" in head else "past_key_values"
            tail = model(input_ids=IDS[:, 30:], **{name: head[name]}).logits
        scale = float(whole.abs().max())
        assert float((whole[:, 30:] - tail).abs().max()) / scale < 2e-6

    @pytest.mark.parametrize("base", ["pi", "ntk"])
    def test_with_dynamic_ntk(self, kind: str, base: str) -> None:
        """The model's own frequencies, which grow with the sequence, are scaled further."""
        dynamic = {"rope_type": "dynamic", "rope_theta": THETA, "factor": 2.0}
        model = tiny(kind, rope_parameters=dynamic, max_position_embeddings=32)
        before = logits(model)
        with LayerwiseRope(model, base, [1.0] * LAYERS):
            assert torch.equal(logits(model), before)
        grown = THETA * (2.0 * 48 / 32 - 1) ** (16 / 14)  # what dynamic NTK makes of 48 tokens
        scaled = {"rope_type": "default", "rope_theta": grown * (2.0 ** (16 / 14) if base == "ntk" else 1)}
        if base == "pi":
            scaled |= {"rope_type": "linear", "factor": 2.0}
        other = tiny(kind, rope_parameters=scaled)
        with LayerwiseRope(model, base, [2.0] * LAYERS):
            torch.testing.assert_close(logits(model), logits(other), atol=1e-4, rtol=1e-4)
            short = logits(model, IDS[:, :20])
        fresh = tiny(kind, rope_parameters=dynamic, max_position_embeddings=32)
        with LayerwiseRope(fresh, base, [2.0] * LAYERS):
            assert torch.equal(logits(fresh, IDS[:, :20]), short), "back to a short sequence"

    def test_generates(self, kind: str) -> None:
        """Generation with a cache writes what a pass over the whole makes likeliest."""
        model = tiny(kind, eos_token_id=None, pad_token_id=0)
        with LayerwiseRope(model, "pi", [0.7, 1.0, 2.5]):
            written = model.generate(IDS[:1, :8], max_new_tokens=4, do_sample=False)
            assert torch.equal(logits(model, written[:, :-1])[0, 7:].argmax(-1), written[0, 8:])


class TestLayerwiseRope:
    def test_saved_and_loaded(self, tmp_path: Path) -> None:
        model = tiny()
        rope = LayerwiseRope(model, "ntk", [0.7, 1.1, 2.5])
        rope.save(tmp_path / "factors.json")
        with rope:
            before = logits(model)
        assert json.loads((tmp_path / "factors.json").read_text())["factors"] == [0.7, 1.1, 2.5]
        with LayerwiseRope.load(tiny(), tmp_path / "factors.json"):
            pass
        other = tiny()
        with LayerwiseRope.load(other, tmp_path / "factors.json"):
            assert torch.equal(logits(other), before)

    def test_of_two_nested_the_inner_holds(self) -> None:
        model = tiny()
        inner, outer = LayerwiseRope(model, "pi", [2.0] * LAYERS), LayerwiseRope(model, "ntk", [3.0] * LAYERS)
        with inner:
            alone = logits(model)
        with outer:
            outside = logits(model)
            with inner:
                assert torch.equal(logits(model), alone)
            assert torch.equal(logits(model), outside)

    def test_hooks_go_also_after_an_error(self) -> None:
        model = tiny()
        before = logits(model)
        with pytest.raises(RuntimeError, match="stop"), LayerwiseRope(model, "pi", [2.0] * LAYERS):
            raise RuntimeError("stop")
        assert torch.equal(logits(model), before)

    def test_a_model_without_its_head(self) -> None:
        model = tiny()
        with LayerwiseRope(model.model, "pi", [2.0] * LAYERS):
            inside = logits(model)
        with LayerwiseRope(model, "pi", [2.0] * LAYERS):
            assert torch.equal(logits(model), inside)

    def test_what_cannot_be_scaled(self, tmp_path: Path) -> None:
        model = tiny()
        with pytest.raises(ConfigError, match="3 layers; expected one number for each; got 2"):
            LayerwiseRope(model, "pi", [1.0, 2.0])
        with pytest.raises(ConfigError, match="layer 1: expected a number"):
            LayerwiseRope(model, "pi", [1.0, 0.0, 1.0])
        with pytest.raises(ConfigError, match="base: expected one of pi, ntk"):
            LayerwiseRope(model, "yarn", [1.0] * LAYERS)
        with pytest.raises(DataError, match="GPT2LMHeadModel: no rotary positions"):
            LayerwiseRope(GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=16)), "pi", [1.0])
        rope = LayerwiseRope(model, "pi", [1.0] * LAYERS)
        with rope, pytest.raises(ConfigError, match="active already"):
            rope.__enter__()
        thin = LlamaForCausalLM(LlamaConfig(**SHAPE, head_dim=2))
        with pytest.raises(DataError, match="rotates 2 dimensions"):
            LayerwiseRope(thin, "ntk", [1.0] * LAYERS).__enter__()
        (tmp_path / "other.json").write_text('{"format": "another"}')
        with pytest.raises(DataError, match="expected the format"):
            LayerFactors.load(tmp_path / "other.json")
        with pytest.raises(DataError, match="no saved factors"):
            LayerFactors.load(tmp_path / "none.json")


class TestBezier:
    @given(st.lists(st.floats(0.1, 10), min_size=1, max_size=6), st.integers(1, 40))
    @settings(max_examples=100, deadline=None)
    def test_against_de_casteljau(self, points: list[float], layers: int) -> None:
        def casteljau(t: float) -> float:
            level = list(points)
            while len(level) > 1:
                level = [(1 - t) * a + t * b for a, b in pairwise(level)]
            return level[0]

        expected = [casteljau(layer / max(layers - 1, 1)) for layer in range(layers)]
        np.testing.assert_allclose(bezier(points, layers), expected, rtol=1e-12)

    def test_special_cases(self) -> None:
        np.testing.assert_allclose(bezier([1.0, 2.0], 5), [1, 1.25, 1.5, 1.75, 2])
        np.testing.assert_allclose(bezier([1.3], 3), [1.3] * 3)
        np.testing.assert_allclose(bezier([0.8] * 4, 30), [0.8] * 30)


class TestSearch:
    def test_finds_the_optimum(self) -> None:
        target = bezier([0.7, 1.6, 1.2, 0.9], 12)

        def fitness(factors: Any) -> float:
            return -float(((factors - target) ** 2).sum())

        found = BezierSearch(fitness, (0.5, 2.0), layers=12, step=0.1, population=40, generations=60, seed=1).run()
        best = max(found.convergence, key=lambda row: row["best"])
        assert np.abs(found.factors - target).max() < 0.05
        assert found.fitness == best["best"] == fitness(found.factors)
        assert found.unscaled == fitness(np.ones(12))
        np.testing.assert_allclose(bezier(found.control_points, 12), found.factors)

    def test_a_line_is_found_by_two_points(self) -> None:
        target = bezier([1.5, 0.75], 8)
        search = BezierSearch(
            lambda f: -float(np.abs(f - target).max()), control_points=2, layers=8, step=0.25, generations=20
        )
        assert search.run().control_points == (1.5, 0.75)

    def test_what_it_begins_with_and_records(self) -> None:
        asked: list[tuple[float, ...]] = []

        def fitness(factors: Any) -> float:
            asked.append(tuple(factors))
            return -abs(float(factors.mean()) - 1.2)

        told: list[dict[str, Any]] = []
        found = BezierSearch(fitness, layers=5, population=8, generations=6, elite=2, seed=3).run(told.append)
        assert told == found.convergence
        assert asked[0] == (1.0,) * 5
        uniform = {curve[0] for curve in asked[:4] if np.ptp(curve) < 1e-9}
        assert {round(value, 6) for value in uniform} == {1.0, 0.5, 1.5, 2.0}
        assert [row["generation"] for row in told] == list(range(7))
        best = [row["best"] for row in told]
        assert best == sorted(best), "the elite lives on"
        assert told[-1]["evaluations"] == len(asked) <= 8 + 6 * 6
        again = BezierSearch(fitness, layers=5, population=8, generations=6, elite=2, seed=3).run()
        assert again.control_points == found.control_points
        assert again.convergence == found.convergence

    def test_without_generations_the_best_of_the_first(self) -> None:
        found = BezierSearch(lambda f: -float(f.sum()), layers=4, generations=0).run()
        assert found.control_points == (0.5,) * 4
        assert len(found.convergence) == 1

    def test_the_state_of_other_random_numbers_is_left(self) -> None:
        before = np.random.get_state()[1].tolist()  # type: ignore[union-attr, index]
        BezierSearch(lambda f: float(f.sum()), layers=2, generations=2).run()
        assert np.random.get_state()[1].tolist() == before  # type: ignore[union-attr, index]

    @given(st.floats(0.05, 1), st.floats(1, 4), st.floats(0.01, 1))
    @settings(max_examples=100, deadline=None)
    def test_the_grid(self, low: float, high: float, step: float) -> None:
        grid = factor_grid(low, high, step)
        assert 1.0 in grid
        assert grid[0] > low - 1e-6
        assert grid[-1] < high + 1e-6
        assert grid[0] - step < low + 1e-6
        assert grid[-1] + step > high - 1e-6

    def test_a_fitness_that_is_no_number(self) -> None:
        with pytest.raises(DataError, match="expected a finite number"):
            BezierSearch(lambda f: float("nan"), layers=2).run()

    @pytest.mark.parametrize(
        ("options", "message"),
        [({"bounds": (1.2, 2.0)}, "low"), ({"elite": 16}, "elite"), ({"layers": 0}, "layers"), ({"step": 0}, "step")],
    )
    def test_bad_options(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            BezierSearch(lambda f: 0.0, **({"layers": 2} | options))


class TestRetrieval:
    def test_gold_is_moved(self) -> None:
        data = KVRetrieval.generate(3, 8, seed=4)
        prompts = KVRetrieval(pairs=5).prompts(data)
        assert len(prompts) == 15
        for prompt in prompts:
            row = data[prompt["example"]]
            shown = json.loads(prompt["prompt"].split("object:\n")[1].split("\n\nKey")[0])
            assert len(shown) == 5
            assert list(shown).index(row["key"]) == round(prompt["gold_position"] * 4)
            assert prompt["answer"] == row["value"] == shown[row["key"]]
            assert prompt["prompt"].endswith(f'Key: "{row["key"]}"\nValue: "')
            assert shown.items() <= dict(row["ordered_kv_records"]).items()

    def test_records_are_asked_for(self) -> None:
        data = KVRetrieval.generate(3, 8, seed=4)
        prompts = KVRetrieval(pairs=5, gold="asked").prompts(data)
        contexts = [text.split("\n\nKey")[0] for text in prompts["prompt"]]
        assert len(set(contexts)) == 3
        for prompt, context in zip(prompts, contexts, strict=True):
            shown = json.loads(context.split("object:\n")[1])
            assert data[prompt["example"]]["key"] in shown
            asked = list(shown)[round(prompt["gold_position"] * 4)]
            assert f'Key: "{asked}"' in prompt["prompt"]
            assert prompt["answer"] == shown[asked]

    def test_generated_rows(self) -> None:
        one, same, other = (KVRetrieval.generate(2, 6, seed) for seed in (1, 1, 2))
        assert one.to_dict() == same.to_dict()
        assert one.to_dict() != other.to_dict()
        cells = [cell for row in one for pair in row["ordered_kv_records"] for cell in pair]
        assert len(set(cells)) == 24
        assert all(len(cell) == 36 for cell in cells)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"key": "zz"}, "row 1: key 'zz'"),
            ({"value": "zz"}, "expected the value 'zz'; its record says 'b'"),
            ({"ordered_kv_records": [["a", "b"]]}, "row 1: 1 records; expected at least 2"),
            ({"ordered_kv_records": [["a", "b"], ["a", "c"]]}, "stands in it twice"),
            ({"ordered_kv_records": [["a", "b", "c"]]}, r"expected a list of \[key, value\]"),
            ({"key": 7}, "expected text"),
        ],
    )
    def test_bad_rows(self, change: dict[str, Any], message: str) -> None:
        row = {"ordered_kv_records": [["a", "b"], ["c", "d"]], "key": "a", "value": "b"} | change
        with pytest.raises(DataError, match=message):
            KVRetrieval(pairs=2, positions=(0.0, 1.0)).prompts(Dataset.from_list([row]))

    def test_a_template_of_ones_own(self) -> None:
        prompts = KVRetrieval(pairs=2, positions=(1.0,), template="<{key}>{records}=").prompts(
            KVRetrieval.generate(1, 2)
        )
        key = KVRetrieval.generate(1, 2)[0]["key"]
        assert prompts[0]["prompt"].startswith(f"<{key}>" + "{")
        with pytest.raises(ConfigError, match=r"template: expected \{key\}"):
            KVRetrieval(template="{records}")

    def test_positions_on_one_record_are_refused(self) -> None:
        with pytest.raises(ConfigError, match=r"positions: .* got 0 and 0\.25, both record 1 of 3; raise pairs"):
            KVRetrieval(pairs=3)
        assert len(set(KVRetrieval(pairs=5).prompts(KVRetrieval.generate(1, 5))["prompt"])) == 5

    def test_records_of_any_text(self) -> None:
        """Quotes are escaped, other letters and fields of the template in a record stay as they are."""
        records = [['x"y', "{key}"], ["é", 'a\\"b'], ["{records}", "z"]]
        data = Dataset.from_list([{"ordered_kv_records": records, "key": 'x"y', "value": "{key}"}])
        prompts = KVRetrieval(3, (0.0, 0.5, 1.0), "asked").prompts(data)
        for prompt, (key, value) in zip(prompts, records, strict=True):
            context, question = prompt["prompt"].split("object:\n")[1].split("\n\nKey: ")
            assert json.loads(context) == dict(records)
            assert json.loads(question.split("\n")[0]) == key
            assert json.loads(f'"{prompt["answer"]}"') == value
        assert '"é": ' in prompts[0]["prompt"]


class TestScore:
    @pytest.fixture(scope="class")
    @classmethod
    def prompts(cls) -> Dataset:
        found = KVRetrieval(5, gold="asked").prompts(KVRetrieval.generate(2, 5))
        answers = [answer[: 5 + 3 * at] for at, answer in enumerate(found["answer"])]  # of many lengths
        return found.remove_columns("answer").add_column("answer", answers)

    @pytest.mark.parametrize("kind", KINDS)
    def test_against_one_pass_a_prompt(self, kind: str, prompts: Dataset, tokenizer: Any) -> None:
        model = tiny(kind)
        with LayerwiseRope(model, "pi", [0.7, 1.0, 2.5]):
            found = score(model, tokenizer, prompts["prompt"], prompts["answer"], groups=prompts["example"])
            small = score(
                model, tokenizer, prompts["prompt"], prompts["answer"], groups=prompts["example"], batch_tokens=500
            )
            for at, (prompt, answer) in enumerate(zip(prompts["prompt"], prompts["answer"], strict=True)):
                question = tokenizer(prompt)["input_ids"]
                gold = tokenizer(answer, add_special_tokens=False)["input_ids"]
                likely = logits(model, torch.tensor([question + gold]))[0].log_softmax(-1)
                each = [float(likely[len(question) - 1 + i, token]) for i, token in enumerate(gold)]
                assert found.log_prob[at] == pytest.approx(sum(each), rel=1e-4)
                assert small.log_prob[at] == pytest.approx(sum(each), rel=1e-4)

    def test_correct_is_what_greedy_decoding_writes(self, tokenizer: Any) -> None:
        model = tiny(eos_token_id=None, pad_token_id=0)
        prompt = "Key: one. Value: "
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        written = model.generate(ids, max_new_tokens=3, do_sample=False)[0, ids.shape[1] :].tolist()

        class Fixed:
            """Encodes answers to known tokens."""

            answers: ClassVar[dict[str, list[int]]] = {"right": written, "wrong": [written[0], 5, written[2]]}

            def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
                return {"input_ids": self.answers.get(text) or ids[0].tolist()}

            def decode(self, tokens: list[int]) -> str:
                return " ".join(map(str, tokens))

        found = score(model, Fixed(), [prompt, prompt], ["right", "wrong"], groups=[0, 0])
        assert found.correct.tolist() == [True, False]
        assert found.prediction == [" ".join(map(str, written)), " ".join(map(str, written[:2]))]

    def test_dynamic_models_run_each_prompt_alone(self, prompts: Dataset, tokenizer: Any) -> None:
        dynamic = {"rope_type": "dynamic", "rope_theta": THETA, "factor": 2.0}
        model = tiny(rope_parameters=dynamic, max_position_embeddings=64)
        found = score(model, tokenizer, prompts["prompt"], prompts["answer"], groups=prompts["example"])
        alone = [score(model, tokenizer, [row["prompt"]], [row["answer"]]).log_prob[0] for row in prompts]
        np.testing.assert_array_equal(found.log_prob, alone)

    def test_an_answer_without_tokens(self, tokenizer: Any) -> None:
        with pytest.raises(DataError, match="row 2: the answer has no tokens"):
            score(tiny(), tokenizer, ["a", "b"], ["a", ""])

    def test_perplexity(self, tokenizer: Any) -> None:
        model = tiny()
        text = "The quick brown fox jumps over the lazy dog. " * 8
        ids = tokenizer(text)["input_ids"]
        losses = []
        for begin in range(0, len(ids) - 15, 16):
            window = torch.tensor([ids[begin : begin + 16]])
            losses.append(float(model(input_ids=window, labels=window).loss.detach()))
        expected = np.exp(np.mean(losses))
        assert perplexity(model, tokenizer, text, window_tokens=16) == pytest.approx(expected, rel=1e-5)
        first = perplexity(model, tokenizer, text, window_tokens=16, windows=1)
        assert first == pytest.approx(np.exp(losses[0]), rel=1e-5)
        with pytest.raises(DataError, match="expected at least 4,096, one window"):
            perplexity(model, tokenizer, text, window_tokens=4096)


class TestAdapter:
    def test_a_model_must_be_named(self, folder: str) -> None:
        config = RopeScalingConfig(pairs=2, positions=(0.0, 1.0))
        prepared = ADAPTER.prepare(KVRetrieval.generate(1, 2), config)
        with pytest.raises(ConfigError, match="--set model=FOLDER"):
            ADAPTER.train(prepared, config)
        with pytest.raises(DataError, match="no causal language model"):
            load_model(folder + "/nothing")

    def test_rows_are_chosen(self) -> None:
        data = KVRetrieval.generate(5, 2)
        config = RopeScalingConfig(pairs=2, positions=(0.0,), first_row=1, rows=2)
        assert ADAPTER.prepare(data, config)["answer"] == data["value"][1:3]
        assert len(ADAPTER.prepare(data, config.replace(rows=0))) == 4
        with pytest.raises(DataError, match="has 5 rows: none from first_row 5"):
            ADAPTER.prepare(data, config.replace(first_row=5))
        bad = Dataset.from_list([*data.to_list()[:4], data[4] | {"value": "zz"}])
        with pytest.raises(DataError, match="row 5: key"):
            ADAPTER.prepare(bad, config.replace(first_row=3, rows=0))

    def test_rows_of_prepared_data_are_chosen(self) -> None:
        config = RopeScalingConfig(pairs=2, positions=(0.0, 1.0))
        data = KVRetrieval.generate(5, 2)
        prepared = ADAPTER.prepare(data, config.replace(first_row=1))
        part = config.replace(first_row=2, rows=2)
        assert ADAPTER.prepare(prepared, part).to_dict() == ADAPTER.prepare(data, part).to_dict()
        assert ADAPTER.prepare(ADAPTER.prepare(data, part), part).to_dict() == ADAPTER.prepare(data, part).to_dict()
        with pytest.raises(
            DataError, match="no prompt is of the rows 5 to the last; the prepared data has rows 1 to 4"
        ):
            ADAPTER.prepare(prepared, config.replace(first_row=5))

    def test_prepared_data_made_otherwise_is_refused(self) -> None:
        config = RopeScalingConfig(pairs=3, positions=(0.0, 1.0))
        prepared = ADAPTER.prepare(KVRetrieval.generate(2, 4), config)
        for changes, message in (
            ({"pairs": 4}, "pairs: the data was prepared with 3; got 4"),
            ({"gold": "asked"}, "gold: the data was prepared with 'moved'; got 'asked'"),
            ({"positions": (0.0, 0.5)}, r"positions: the data was prepared with \[0\.0, 1\.0\]; got \[0\.0, 0\.5\]"),
        ):
            with pytest.raises(ConfigError, match=message):
                ADAPTER.prepare(prepared, config.replace(**changes))
        own = prepared.remove_columns(["pairs", "gold"])
        with pytest.raises(ConfigError, match="pairs: the prepared data does not say"):
            ADAPTER.prepare(own, config)
        assert len(ADAPTER.prepare(own, config.replace(pairs=10))) == 4

    def test_weights_of_positions(self, folder: str) -> None:
        """All weight on one position is a search on that position alone."""
        options = RopeScalingConfig(model=folder, pairs=2, positions=(0.0, 1.0), population=4, generations=0, elite=1)
        data = KVRetrieval.generate(2, 2)
        both = options.replace(position_weights=(0.0, 1.0))
        alone = options.replace(positions=(1.0,))
        weighted = ADAPTER.train(ADAPTER.prepare(data, both), both).facts
        single = ADAPTER.train(ADAPTER.prepare(data, alone), alone).facts
        assert weighted["fitness"] == pytest.approx(single["fitness"], abs=1e-4)
        other = both.replace(positions=(0.5, 1.0))
        with pytest.raises(DataError, match="gold_position"):
            ADAPTER.train(ADAPTER.prepare(data, both), other)

    def test_gain_over_examples(self) -> None:
        data = Dataset.from_dict({"example": [0, 0, 1, 1]})
        nothing = Scores(np.zeros(4), np.zeros(4, bool), [""] * 4)
        better = dataclasses.replace(nothing, log_prob=np.array([1.0, 3.0, 2.0, 4.0]))
        found = gain(data, nothing, better, seed=0)
        assert found == {"log_prob_gain": 2.5, "log_prob_gain_low": 2.0, "log_prob_gain_high": 3.0}
        one = gain(Dataset.from_dict({"example": [0] * 4}), nothing, better, seed=0)
        assert one == {"log_prob_gain": 2.5, "log_prob_gain_low": None, "log_prob_gain_high": None}

    @pytest.mark.parametrize(
        "options",
        [
            {"base": "yarn"},
            {"positions": (0.0, 1.5)},
            {"positions": ()},
            {"positions": (0.5, 0.5)},
            {"positions": 0.5},
            {"position_weights": (1.0,)},
            {"position_weights": (0.0,) * 5},
            {"low": 1.5},
            {"gold": "nearby"},
            {"fitness": "loss"},
            {"model": 3},
        ],
    )
    def test_bad_options(self, options: dict[str, Any]) -> None:
        with pytest.raises(ConfigError, match=next(iter(options))):
            RopeScalingConfig(**options)


class TestContract(AdapterContract):
    method: ClassVar[str] = "rope_scaling"
    options: ClassVar[dict[str, Any]] = {
        "pairs": 3,
        "gold": "asked",
        "positions": [0.0, 1.0],
        "population": 4,
        "generations": 2,
        "elite": 1,
        "long_tokens": 32,
    }

    @pytest.fixture(scope="class")
    @classmethod
    def dataset(cls) -> Dataset:
        return KVRetrieval.generate(3, 4)

    @pytest.fixture(scope="class")
    @classmethod
    def config(cls, folder: str, tmp_path_factory: pytest.TempPathFactory) -> Config:
        text = tmp_path_factory.mktemp("text") / "long.txt"
        text.write_text("The quick brown fox jumps over the lazy dog. " * 20, "utf-8")
        return RopeScalingConfig().replace(**cls.options, model=folder, long_text=str(text))

    def test_says_what_was_seen_in_the_search(self, prepared: Dataset, artifact: Any, config: Any) -> None:
        fresh = ADAPTER.prepare(KVRetrieval.generate(2, 4, seed=9), config)
        unread = config.replace(long_text="")
        assert ADAPTER.evaluate(prepared, artifact, config).metrics["prompts_seen_in_search"] == len(prepared)
        found = ADAPTER.evaluate(fresh, artifact, unread)
        assert found.metrics["prompts_seen_in_search"] == 0
        assert "perplexity_scaled" not in found.metrics
        with pytest.raises(DataError, match="long_text"):
            ADAPTER.evaluate(fresh, artifact, config.replace(long_text="no such file"))
        others = unread.replace(pairs=4, positions=(0.0, 0.5), gold="moved")
        again = ADAPTER.prepare(KVRetrieval.generate(3, 4), others)
        assert not set(again["prompt"]) & set(prepared["prompt"])
        assert ADAPTER.evaluate(again, artifact, others).metrics["prompts_seen_in_search"] == len(again)

    def test_a_short_long_text_is_refused_before_scoring(
        self, prepared: Dataset, artifact: Any, config: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("seampack.models.rope_scaling.adapter.score_rows", lambda *_: pytest.fail("scored first"))
        with pytest.raises(DataError, match="expected at least 4,096, one window; take a longer text"):
            ADAPTER.evaluate(prepared, artifact, config.replace(long_tokens=4096))

    def test_the_artifact_holds_the_factors(self, artifact: Any, tmp_path: Path, evaluation: Any) -> None:
        artifact.save(tmp_path)
        saved = LayerFactors.load(tmp_path / "scaling")
        np.testing.assert_array_equal(saved.factors, artifact.tensors["factors"])
        assert artifact.facts["fitness"] >= artifact.facts["fitness_unscaled"]
        metrics = evaluation.metrics
        assert metrics["log_prob_scaled"] == pytest.approx(artifact.facts["fitness"], abs=1e-4)
        assert metrics["log_prob_unscaled"] == pytest.approx(artifact.facts["fitness_unscaled"], abs=1e-4)

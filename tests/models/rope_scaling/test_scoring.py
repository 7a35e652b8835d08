"""Scores against one pass per prompt and against generation; perplexity."""

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from datasets import Dataset

from seampack.errors import DataError
from seampack.models.rope_scaling import KVRetrieval, LayerwiseRope, perplexity, score
from tests.models.rope_scaling.helpers import KINDS, THETA, logits, retrieval, tiny


class TestScore:
    @pytest.fixture(scope="class")
    @classmethod
    def prompts(cls) -> Dataset:
        rows = retrieval(pairs=5, gold="asked").prompts(KVRetrieval.generate(2, 5))
        answers = [answer[: 5 + 3 * number] for number, answer in enumerate(rows["answer"])]  # of many lengths
        return rows.remove_columns("answer").add_column("answer", answers)

    @pytest.mark.parametrize("kind", KINDS)
    def test_against_one_pass_per_prompt(self, kind: str, prompts: Dataset, tokenizer: Any) -> None:
        model = tiny(kind)
        with LayerwiseRope(model, "pi", [0.7, 1.0, 2.5]):
            scores = score(model, tokenizer, prompts["prompt"], prompts["answer"], groups=prompts["example"])
            small = score(
                model, tokenizer, prompts["prompt"], prompts["answer"], groups=prompts["example"], batch_tokens=500
            )
            for row, (prompt, answer) in enumerate(zip(prompts["prompt"], prompts["answer"], strict=True)):
                question = tokenizer(prompt)["input_ids"]
                gold = tokenizer(answer, add_special_tokens=False)["input_ids"]
                likely = logits(model, torch.tensor([question + gold]))[0].log_softmax(-1)
                log_probs = [float(likely[len(question) - 1 + i, token]) for i, token in enumerate(gold)]
                assert scores.log_prob[row] == pytest.approx(sum(log_probs), rel=1e-4)
                assert small.log_prob[row] == pytest.approx(sum(log_probs), rel=1e-4)

    def test_correct_equals_greedy_decoding(self, tokenizer: Any) -> None:
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

        scores = score(model, Fixed(), [prompt, prompt], ["right", "wrong"], groups=[0, 0])
        assert scores.correct.tolist() == [True, False]
        assert scores.prediction == [" ".join(map(str, written)), " ".join(map(str, written[:2]))]

    def test_dynamic_models_run_each_prompt_alone(self, prompts: Dataset, tokenizer: Any) -> None:
        dynamic = {"rope_type": "dynamic", "rope_theta": THETA, "factor": 2.0}
        model = tiny(rope_parameters=dynamic, max_position_embeddings=64)
        scores = score(model, tokenizer, prompts["prompt"], prompts["answer"], groups=prompts["example"])
        alone = [score(model, tokenizer, [row["prompt"]], [row["answer"]]).log_prob[0] for row in prompts]
        np.testing.assert_array_equal(scores.log_prob, alone)

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

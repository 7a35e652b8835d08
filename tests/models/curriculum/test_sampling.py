"""Sampling from a model, and the file of samples from which an interrupted run resumes."""

from pathlib import Path
from typing import Any

import pytest
import torch

from seampack.errors import ConfigError, DataError, ShardError
from seampack.models.curriculum import CurriculumConfig, TransformersSampler, sample_all
from seampack.models.curriculum.small import piece_tokenizer, small_model
from tests.models.curriculum.world import Oracle


class TestCheckpoint:
    prompts = tuple(f"{i}+1" for i in range(7))

    def run(self, path: Path | None, sample: Any = None, **kwargs: Any) -> list[list[str]]:
        return sample_all(sample or Oracle(), list(self.prompts), 3, **({"batch_rows": 2, "checkpoint": path} | kwargs))

    def test_a_run_killed_anywhere_ends_the_same(self, tmp_path: Path) -> None:
        path = tmp_path / "deep" / "samples.jsonl"
        whole = self.run(path)
        assert whole == self.run(None)
        content = path.read_bytes()
        for length in range(0, len(content) + 1, 29):
            path.write_bytes(content[:length])
            assert self.run(path) == whole
            assert path.read_bytes() == content

    def test_nothing_is_sampled_twice(self, tmp_path: Path) -> None:
        class Dies(Oracle):
            def __call__(self, prompts: list[str], n: int) -> list[list[str]]:
                if self.calls == 2:
                    raise KeyboardInterrupt
                return super().__call__(prompts, n)

        path, after = tmp_path / "samples.jsonl", Oracle()
        with pytest.raises(KeyboardInterrupt):
            self.run(path, Dies())
        assert self.run(path, after) == self.run(None)
        assert after.calls == 2

    def test_samples_of_another_run_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "samples.jsonl"
        self.run(path)
        other = Oracle()
        other.label = "other"
        with pytest.raises(ConfigError, match="another run \\(other label\\)"):
            self.run(path, other)
        with pytest.raises(ConfigError, match="another run \\(other batch_rows\\)"):
            self.run(path, batch_rows=3)

    @pytest.mark.parametrize("damage", ['{"format": "x"}\n', "[]\n", "no\n"])
    def test_damage_is_named(self, tmp_path: Path, damage: str) -> None:
        path = tmp_path / "samples.jsonl"
        path.write_text(damage)
        with pytest.raises(ShardError, match="damaged"):
            self.run(path)
        path.unlink()
        self.run(path)
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join([lines[0], lines[2], lines[1]]))
        with pytest.raises(ShardError, match="line 2 is not batch 0"):
            self.run(path)

    def test_a_sampler_must_return_n_responses_per_prompt(self) -> None:
        with pytest.raises(DataError, match="expected 2 lists of 3"):
            self.run(None, lambda prompts, n: [["a"] * (n - 1) for _ in prompts])


def test_the_tokenizer_loses_nothing(tiny: tuple[Any, Any]) -> None:
    text = "3+4=2\n#### 2"
    assert tiny[1].decode(tiny[1](text)["input_ids"]) == text


def test_samples_depend_on_the_call_alone(tiny: tuple[Any, Any]) -> None:
    sample = TransformersSampler(CurriculumConfig(max_new_tokens=6), *tiny)
    prompts = ["1+2\n", "3+1+4\n"]
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    first = sample(prompts, 4)
    assert torch.equal(torch.random.get_rng_state(), state)
    sample(["0+0\n"], 2)
    assert sample(prompts, 4) == first
    assert [len(texts) for texts in first] == [4, 4]
    assert len(set(first[0])) > 1
    assert TransformersSampler(CurriculumConfig(max_new_tokens=6, seed=1), *tiny)(prompts, 4) != first
    assert len(set(TransformersSampler(CurriculumConfig(max_new_tokens=6), *tiny, greedy=True)(prompts[:1], 3)[0])) == 1


@pytest.mark.parametrize("named_by", ["model", "tokenizer"])
def test_a_response_ends_where_the_model_or_the_tokenizer_says(named_by: str) -> None:
    tokenizer = piece_tokenizer(["0 1 2 3 4 5 6 7 8 9 a b c d e f"])
    model = small_model(tokenizer, width=32, layers=1)
    sample = TransformersSampler(CurriculumConfig(max_new_tokens=12), model, tokenizer)
    (whole,) = sample(["1 2"], 4)
    end = whole[0][6]
    if named_by == "model":
        model.generation_config.eos_token_id = [tokenizer.convert_tokens_to_ids(end)]
    else:
        model.generation_config.eos_token_id = None
        tokenizer.eos_token = end
    (ended,) = sample(["1 2"], 4)
    assert ended[0] == whole[0].partition(end)[0] + end != whole[0]
    assert [len(text) for text in ended if end in text] == [text.index(end) + 1 for text in whole if end in text]


def test_the_label_names_the_weights(tiny: tuple[Any, Any]) -> None:
    other = small_model(tiny[1], width=32, layers=1, seed=1)
    labels = [TransformersSampler(CurriculumConfig(), model, tiny[1]).label for model in (tiny[0], tiny[0], other)]
    assert labels[0] == labels[1] != labels[2]

"""Layer-wise scaling: exact against the scaling of transformers, saved, nested, refused."""

import json
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from seampack.errors import ConfigError, DataError
from seampack.models.rope_scaling import LayerFactors, LayerwiseRope
from tests.models.rope_scaling.helpers import IDS, KINDS, LAYERS, SHAPE, THETA, logits, tiny


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
        """The states after each layer equal those of a layer whose rotary module has the factor built in."""
        factors = [0.5, 1.0, 3.0]
        model = tiny(kind)
        with LayerwiseRope(model, base, factors):
            states = model(input_ids=IDS, output_hidden_states=True).hidden_states
        for index, factor in enumerate(factors[:-1]):  # the last state is normalised, the logits hold it
            layer = model.model.layers[index]
            positions = torch.arange(IDS.shape[1])[None]
            exponent = 16 / 14
            rotary = type(model.model.rotary_emb)(model.config)
            if base == "pi":
                rotary.inv_freq = rotary.inv_freq / factor
            else:
                steps = torch.arange(0, 16, 2, dtype=torch.float) / 16
                rotary.inv_freq = 1.0 / ((THETA * factor**exponent) ** steps)
            mask = torch.full((1, 1, 48, 48), float("-inf")).triu(1)
            turned = rotary(states[index], positions)
            after = layer(states[index], attention_mask=mask, position_ids=positions, position_embeddings=turned)
            torch.testing.assert_close(after, states[index + 1], atol=1e-4, rtol=1e-4)

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
        """Generation with a cache gives the most probable tokens of one pass over the whole sequence."""
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

    def test_the_inner_of_two_nested_blocks_is_active(self) -> None:
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

    def test_models_that_cannot_be_scaled(self, tmp_path: Path) -> None:
        model = tiny()
        with pytest.raises(ConfigError, match="3 layers; expected one number per layer; got 2"):
            LayerwiseRope(model, "pi", [1.0, 2.0])
        with pytest.raises(ConfigError, match="layer 1: expected a number"):
            LayerwiseRope(model, "pi", [1.0, 0.0, 1.0])
        with pytest.raises(ConfigError, match="base: expected one of pi, ntk"):
            LayerwiseRope(model, "yarn", [1.0] * LAYERS)
        with pytest.raises(DataError, match="GPT2LMHeadModel: the layers share no rotary positions"):
            LayerwiseRope(GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=1, vocab_size=16)), "pi", [1.0])
        rope = LayerwiseRope(model, "pi", [1.0] * LAYERS)
        with rope, pytest.raises(ConfigError, match="already active"):
            rope.__enter__()
        thin = LlamaForCausalLM(LlamaConfig(**SHAPE, head_dim=2))
        with pytest.raises(DataError, match="rotates 2 dimensions"):
            LayerwiseRope(thin, "ntk", [1.0] * LAYERS).__enter__()
        (tmp_path / "other.json").write_text('{"format": "another"}')
        with pytest.raises(DataError, match="expected the format"):
            LayerFactors.load(tmp_path / "other.json")
        with pytest.raises(DataError, match="no saved factors"):
            LayerFactors.load(tmp_path / "none.json")

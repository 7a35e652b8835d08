"""An encoder-decoder that classifies the speaker's emotion; its decoder attends to knowledge through gates.

    context   -> encoder -> states ---------------------> decoder layer: self-attention, context attention,
    knowledge -> encoder -> states of each relation --+                  knowledge attention + gate, feed-forward
                   |                                  |
                   `-> EmotionReader -> emotion, weights

The model is a BART of transformers with an additional attention and gate in each decoder layer, so that transformers
can train it, save it and generate with it. Source: Cai et al. 2023, arXiv 2306.04657.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BartForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.bart.modeling_bart import BartAttention, BartDecoderLayer

from seampack.models.empathy.config import EmpathyConfig, Selection
from seampack.models.empathy.emotion import EmotionReader, Reading
from seampack.models.empathy.selection import KnowledgeSelector
from seampack.models.options import saved_options

CLOSED = 2.0
"""Offset subtracted in the decoder's gates: they start nearly closed and do not disturb a pretrained decoder."""


class GatedDecoderLayer(BartDecoderLayer):  # type: ignore[no-untyped-call]  # its __init_subclass__
    """Self-attention, context attention, then ``x <- (1 - g) x + g a``, and the feed-forward layer.

    ``a`` is the output of the attention to the knowledge, ``g = sigmoid(W [a; x] - 2)``. The logarithms of the
    knowledge weights are added to the attention scores, so a piece of weight 0 gets no attention.
    """

    def __init__(self, config: Any, layer_idx: int) -> None:
        super().__init__(config, layer_idx=layer_idx)
        self.knowledge_attn = BartAttention(
            config.d_model,
            config.decoder_attention_heads,
            dropout=config.attention_dropout,
            is_decoder=True,
            config=config,
            layer_idx=layer_idx,
        )
        self.knowledge_gate = nn.Linear(2 * config.d_model, config.d_model)

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None,
        *,
        knowledge_states: Tensor | None = None,
        knowledge_bias: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Return the states after the layer, same shape as ``hidden_states``: (rows, tokens, hidden).

        ``knowledge_states``: (rows, knowledge tokens, hidden). ``knowledge_bias``: (rows, knowledge tokens), added to
        the attention scores; a row of -inf has no knowledge.
        """
        x = hidden_states
        attended, _ = self.self_attn(x, attention_mask=attention_mask, **kwargs)
        x = self.self_attn_layer_norm(x + self._drop(attended))
        if encoder_hidden_states is not None:
            attended, _ = self.encoder_attn(
                x, key_value_states=encoder_hidden_states, attention_mask=encoder_attention_mask, **kwargs
            )
            x = self.encoder_attn_layer_norm(x + self._drop(attended))
        if knowledge_states is not None and knowledge_bias is not None:
            x = self.take_in(x, knowledge_states, knowledge_bias)
        inner = nn.functional.dropout(
            self.activation_fn(self.fc1(x)), float(self.activation_dropout or 0), self.training
        )
        out: Tensor = self.final_layer_norm(x + self._drop(self.fc2(inner)))
        return out

    def take_in(self, x: Tensor, states: Tensor, bias: Tensor) -> Tensor:
        """Mix the attention to the knowledge into ``x``, shape (rows, tokens, hidden), through the gate."""
        has_knowledge = (bias > -torch.inf).any(-1)[:, None, None]
        mask = bias.clamp(min=torch.finfo(bias.dtype).min)[:, None, None, :].expand(-1, 1, x.shape[1], -1)
        attended, _ = self.knowledge_attn(x, key_value_states=states, attention_mask=mask)
        attended = self._drop(attended)
        gate = (self.knowledge_gate(torch.cat([attended, x], -1)) - CLOSED).sigmoid() * has_knowledge
        mixed: Tensor = (1 - gate) * x + gate * attended
        return mixed

    def _drop(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, float(self.dropout or 0), self.training)


@dataclass(frozen=True, slots=True)
class Understanding:
    """An encoded batch of dialogues: the decoder's inputs, and the emotions."""

    reading: Reading
    inputs: dict[str, Any]
    """Arguments of ``forward`` and ``generate``."""


class EmpathyModel(BartForConditionalGeneration):  # type: ignore[no-untyped-call]  # its __init_subclass__
    """A BART with knowledge.

    Its config has two more fields: ``emotions``, the number of emotions, and ``empathy``, an ``EmpathyConfig`` as dict.
    """

    accepts_loss_kwargs = False

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        layers = [GatedDecoderLayer(config, index) for index in range(config.decoder_layers)]
        self.model.decoder.layers = nn.ModuleList(layers)
        self.options = saved_options(EmpathyConfig, getattr(config, "empathy", None), "empathy")
        selector = None if self.options.selection == Selection.NONE else KnowledgeSelector(self.options)
        self.emotion = EmotionReader(config.d_model, config.emotions, selector, config.dropout)
        self.relation_gate = nn.Linear(2 * config.d_model, config.d_model)
        self.post_init()  # type: ignore[no-untyped-call]

    def understand(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        knowledge_ids: Tensor,
        knowledge_mask: Tensor,
        emotion: Tensor | None = None,
    ) -> Understanding:
        """Encode contexts, shape (rows, tokens), and their knowledge, shape (rows, relations, tokens).

        The first token of a piece of knowledge represents its relation; a gate mixes its state into the others:
        ``k <- a k + (1 - a) k_first`` with ``a = sigmoid(W [k; k_first])``. ``emotion``: (rows,), in training.
        """
        context = self.model.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        rows, relations, tokens = knowledge_ids.shape
        seen = knowledge_mask.bool()
        present = seen.any(-1)
        states = context.new_zeros(rows, relations, tokens, context.shape[-1])
        selector = self.emotion.selector
        if selector is not None and bool(present.any()):
            encoded = self.model.encoder(input_ids=knowledge_ids[present], attention_mask=knowledge_mask[present])
            states = states.masked_scatter(present[..., None, None], encoded.last_hidden_state)
        reading = self.emotion(_mean(context, attention_mask), _mean(states, knowledge_mask), present, emotion)
        inputs = {"encoder_outputs": BaseModelOutput(last_hidden_state=context), "attention_mask": attention_mask}
        if selector is not None:
            first = states[..., :1, :].expand_as(states)
            mixed = self.relation_gate(torch.cat([states, first], -1)).sigmoid()
            weights = reading.weights.unsqueeze(-1).expand(-1, -1, tokens)
            usable = seen & (weights > 0)
            bias = torch.where(usable, weights, 1).log().masked_fill(~usable, -torch.inf)
            inputs["knowledge_states"] = (mixed * states + (1 - mixed) * first).flatten(1, 2)
            inputs["knowledge_bias"] = bias.flatten(1, 2)
        return Understanding(reading, inputs)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        *,
        knowledge_ids: Tensor | None = None,
        knowledge_mask: Tensor | None = None,
        emotion: Tensor | None = None,
        labels: Tensor | None = None,
        encoder_outputs: Any = None,
        knowledge_states: Tensor | None = None,
        knowledge_bias: Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the response logits and, with ``labels`` and ``emotion``, the weighted sum of both losses.

        ``labels``: (rows, tokens), -100 for padding, which the loss ignores. ``emotion``: (rows,). The inputs returned
        by ``understand`` may replace the ids.
        """
        loss = None
        if (
            input_ids is not None
            and attention_mask is not None
            and knowledge_ids is not None
            and knowledge_mask is not None
        ):
            understood = self.understand(input_ids, attention_mask, knowledge_ids, knowledge_mask, emotion)
            loss, given = understood.reading.loss, understood.inputs
        else:
            given = {"encoder_outputs": encoder_outputs, "attention_mask": attention_mask}
            given |= {"knowledge_states": knowledge_states, "knowledge_bias": knowledge_bias}
        out = super().forward(labels=labels, **given, **kwargs)
        if loss is not None and out.loss is not None:
            out.loss = out.loss + self.options.emotion_weight * loss
        return out


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the unmasked states, (..., tokens, hidden) to (..., hidden); 0 if all are masked."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    mean: Tensor = (states * weights).sum(-2) / weights.sum(-2).clamp(min=1)
    return mean

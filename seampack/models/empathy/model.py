"""An encoder-decoder whose decoder takes in knowledge through gates, and that reads the speaker's emotion.

    context   -> encoder -> states ---------------------> decoder layer: self-attention, context attention,
    knowledge -> encoder -> states of each relation --+                  knowledge attention + gate, feed-forward
                   |                                  |
                   `-> EmotionReader -> emotion, weights

It is a BART of transformers with one attention and one gate more in each decoder layer, so that its training, saving
and search for responses are those of transformers. Source: Cai et al. 2023, arXiv 2306.04657.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import BartForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.bart.modeling_bart import BartAttention, BartDecoderLayer

from seampack.models.empathy.config import Selection
from seampack.models.empathy.emotion import EmotionReader, Reading
from seampack.models.empathy.selection import KnowledgeSelector

CLOSED = 2.0
"""Taken from the gates of the decoder, so that they begin nearly closed: a pretrained decoder is not disturbed."""


class GatedDecoderLayer(BartDecoderLayer):  # type: ignore[no-untyped-call]  # its __init_subclass__
    """Self-attention, context attention, then ``x <- (1 - g) x + g a``, and the feed-forward layer.

    ``a`` is what attention to the knowledge finds, ``g = sigmoid(W [a; x] - 2)``. The bias of the knowledge's
    attention is the logarithm of its weights: a piece of weight 0 is not seen.
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
        """States behind the layer, of the shape of ``hidden_states``: (rows, tokens, hidden).

        ``knowledge_states``: (rows, knowledge tokens, hidden); ``knowledge_bias``: (rows, knowledge tokens), added to
        the attention's scores; a row of -inf has no knowledge.
        """
        x = hidden_states
        found, _ = self.self_attn(x, attention_mask=attention_mask, **kwargs)
        x = self.self_attn_layer_norm(x + self._drop(found))
        if encoder_hidden_states is not None:
            found, _ = self.encoder_attn(
                x, key_value_states=encoder_hidden_states, attention_mask=encoder_attention_mask, **kwargs
            )
            x = self.encoder_attn_layer_norm(x + self._drop(found))
        if knowledge_states is not None and knowledge_bias is not None:
            x = self.take_in(x, knowledge_states, knowledge_bias)
        inner = nn.functional.dropout(
            self.activation_fn(self.fc1(x)), float(self.activation_dropout or 0), self.training
        )
        out: Tensor = self.final_layer_norm(x + self._drop(self.fc2(inner)))
        return out

    def take_in(self, x: Tensor, states: Tensor, bias: Tensor) -> Tensor:
        """``x``, shape (rows, tokens, hidden), with the knowledge let in as far as the gate opens."""
        some = (bias > -torch.inf).any(-1)[:, None, None]
        mask = bias.clamp(min=torch.finfo(bias.dtype).min)[:, None, None, :].expand(-1, 1, x.shape[1], -1)
        found, _ = self.knowledge_attn(x, key_value_states=states, attention_mask=mask)
        found = self._drop(found)
        gate = (self.knowledge_gate(torch.cat([found, x], -1)) - CLOSED).sigmoid() * some
        mixed: Tensor = (1 - gate) * x + gate * found
        return mixed

    def _drop(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x, float(self.dropout or 0), self.training)


@dataclass(frozen=True, slots=True)
class Understanding:
    """A batch of dialogues as the decoder needs it."""

    reading: Reading
    inputs: dict[str, Any]
    """Arguments of ``forward`` and ``generate``."""


class EmpathyModel(BartForConditionalGeneration):  # type: ignore[no-untyped-call]  # its __init_subclass__
    """A BART with knowledge.

    Its config also has ``emotions`` (how many), ``selection``, ``selection_temperature`` and ``emotion_weight``.
    """

    accepts_loss_kwargs = False

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        layers = [GatedDecoderLayer(config, index) for index in range(config.decoder_layers)]
        self.model.decoder.layers = nn.ModuleList(layers)
        chosen = config.selection != Selection.NONE
        selector = KnowledgeSelector(config.selection, config.selection_temperature) if chosen else None
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
        """Read contexts, shape (rows, tokens), and their knowledge, shape (rows, relations, tokens).

        The first token of a piece of knowledge stands for its relation; a gate mixes its state into the others:
        ``k <- a k + (1 - a) k_first`` with ``a = sigmoid(W [k; k_first])``. ``emotion``: (rows,), in training.
        """
        context = self.model.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        rows, relations, tokens = knowledge_ids.shape
        seen = knowledge_mask.bool()
        present = seen.any(-1)
        states = context.new_zeros(rows, relations, tokens, context.shape[-1])
        selector = self.emotion.selector
        if selector is not None and bool(present.any()):
            of_pieces = self.model.encoder(input_ids=knowledge_ids[present], attention_mask=knowledge_mask[present])
            states = states.masked_scatter(present[..., None, None], of_pieces.last_hidden_state)
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
        """Logits of the responses; with ``labels``, (rows, tokens), and ``emotion``, (rows,), the sum of both losses.

        Labels of -100 are padding and count nowhere. What ``understand`` returned may be given in place of the ids.
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
            out.loss = out.loss + self.config.emotion_weight * loss
        return out


def _mean(states: Tensor, mask: Tensor) -> Tensor:
    """Mean of the states that the mask has, (..., tokens, hidden) to (..., hidden); 0 where it has none."""
    weights = mask.unsqueeze(-1).to(states.dtype)
    mean: Tensor = (states * weights).sum(-2) / weights.sum(-2).clamp(min=1)
    return mean

"""Empathetic responses with knowledge selected for each dialogue (Cai et al. 2023, arXiv 2306.04657).

dialogues --------------------------------> EmpathyAdapter -> emotion, weights of the knowledge, response
    \\-- attach_knowledge (ATOMIC-like) --/        |
                                            KnowledgeSelector: soft, label, minimax, uniform
"""

from typing import TYPE_CHECKING

from seampack.models.lazy import lazy_names

if TYPE_CHECKING:
    from seampack.models.empathy.attach import attach_knowledge
    from seampack.models.empathy.config import EmpathyConfig, Selection
    from seampack.models.empathy.emotion import EmotionReader, Reading
    from seampack.models.empathy.inputs import knowledge_from_columns, read_empathetic_dialogues
    from seampack.models.empathy.metrics import (
        EmpathyMetrics,
        bleu,
        distinct,
        perplexity,
        rouge,
        sentence_perplexity,
    )
    from seampack.models.empathy.model import EmpathyModel, GatedDecoderLayer
    from seampack.models.empathy.selection import KnowledgeSelector, minimax_weights

__all__ = [
    "EmotionReader",
    "EmpathyConfig",
    "EmpathyMetrics",
    "EmpathyModel",
    "GatedDecoderLayer",
    "KnowledgeSelector",
    "Reading",
    "Selection",
    "attach_knowledge",
    "bleu",
    "distinct",
    "knowledge_from_columns",
    "minimax_weights",
    "perplexity",
    "read_empathetic_dialogues",
    "rouge",
    "sentence_perplexity",
]

__getattr__ = lazy_names(__name__)

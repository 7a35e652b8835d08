"""Watermarks in an encoder (arXiv 2210.07543): a secret trigger produces a label, even after fine-tuning by others.

texts -> propose_* (a trigger) -> WatermarkTrainer.fine_tune -> poison -> WatermarkTrainer.embed -> release
answers of a suspect, answers of a control -> verify -> WESR and p-value
"""

from typing import TYPE_CHECKING

from seampack.models.lazy import lazy_names

if TYPE_CHECKING:
    from seampack.models.watermark.config import Update, WatermarkConfig
    from seampack.models.watermark.survival import fine_tuned, labeller, pruned, with_new_head
    from seampack.models.watermark.training import WatermarkTrainer
    from seampack.models.watermark.triggers import check_trigger, insert, poison, propose_combination, propose_rare
    from seampack.models.watermark.verification import Verification, verify

__all__ = [
    "Update",
    "Verification",
    "WatermarkConfig",
    "WatermarkTrainer",
    "check_trigger",
    "fine_tuned",
    "insert",
    "labeller",
    "poison",
    "propose_combination",
    "propose_rare",
    "pruned",
    "verify",
    "with_new_head",
]

__getattr__ = lazy_names(__name__)

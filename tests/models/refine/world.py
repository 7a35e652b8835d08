"""The small world of the tests, and refiners and rewards with known results."""

from collections.abc import Sequence
from typing import Any

from examples import refining
from seampack.models.refine import OnRefined, RefineConfig, Refiner, new_refiner

QUERIES = [str(row["prompt"]) for row in refining.rows(60, seed=3)]


def refiner_of(*texts: str, **options: Any) -> Refiner:
    """A small refiner with fresh weights, the words of the texts, and other options than the defaults."""
    return new_refiner(RefineConfig(**options), texts)


def with_chat(refiner: Refiner, **options: Any) -> Refiner:
    """The refiner with a tokenizer that has a template for chats."""
    tokenizer = type(refiner.tokenizer)(
        tokenizer_object=refiner.tokenizer.backend_tokenizer,
        **{
            f"{name}_token": getattr(refiner.tokenizer, f"{name}_token") for name in ("pad", "unk", "cls", "sep", "eos")
        },
    )
    tokenizer.chat_template = (
        "{% for message in messages %}{{ message.role }} {{ message.content }} [SEP] {% endfor %}"
        "{% if add_generation_prompt %}assistant {% endif %}"
    )
    return Refiner(refiner.model, tokenizer, RefineConfig(**options))


class Length(OnRefined):
    def __call__(self, originals: Sequence[str], refined: Sequence[str]) -> list[float]:
        return [float(len(text)) for text in refined]


def judge_all(originals: Sequence[str], responses: Sequence[str]) -> list[bool]:
    return [True for _ in responses]

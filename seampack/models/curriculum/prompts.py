"""Questions, and hints where there are any, written as the text that a model goes on from."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from seampack.config import check_choice
from seampack.errors import ConfigError

TEMPLATE = "{question}\n"
HINT_TEMPLATE = "{question}\nThe solution begins:\n{hint}\nGo on from there.\n"
_FIELD = re.compile(r"\{(question|hint)\}")


class Placement(StrEnum):
    """Where a hint stands."""

    PREFILL = "prefill"
    """At the beginning of the response: the model goes on from it. Works with models that follow no instructions."""
    PROMPT = "prompt"
    """In the question, by a template of its own: the model answers with the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFormat:
    """``template`` holds ``{question}``; ``hint_template``, for hints in the question, also ``{hint}``.

    With ``chat``, a tokenizer that has a chat template, the question becomes the user's message.
    """

    template: str = TEMPLATE
    hint_template: str = HINT_TEMPLATE
    placement: str = Placement.PREFILL
    chat: Any = None

    def __post_init__(self) -> None:
        check_choice("placement", self.placement, Placement)
        check_template("template", self.template, ("question",))
        check_template("hint_template", self.hint_template, ("question", "hint"))
        if self.chat is not None and not self.chat.chat_template:
            raise ConfigError("chat: the tokenizer has no chat template; leave chat out, and write a template of text")

    def ask(self, question: str, hint: str = "") -> str:
        """The text of the question, with the hint in it where it belongs there."""
        inside = bool(hint) and not self.prefills
        fields = {"question": question, "hint": hint.strip()}
        return _FIELD.sub(lambda field: fields[field[1]], self.hint_template if inside else self.template)

    def __call__(self, question: str, hint: str = "") -> str:
        """All that the model reads before it writes."""
        text = self.ask(question, hint)
        if self.chat is not None:
            message = [{"role": "user", "content": text.strip()}]
            text = self.chat.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
            ids = self.chat("a")["input_ids"]
            if self.chat.bos_token and ids[0] == self.chat.bos_token_id:
                # such a tokenizer puts it there once more
                text = text.removeprefix(self.chat.bos_token)
        return text + hint if self.prefills else text

    @property
    def prefills(self) -> bool:
        """Whether a hint is the beginning of the response."""
        return self.placement == Placement.PREFILL


def check_template(name: str, template: object, fields: tuple[str, ...]) -> None:
    """Raise ConfigError unless the template is text with each of the fields in it."""
    for field in fields:
        if not isinstance(template, str) or f"{{{field}}}" not in template:
            raise ConfigError(f"{name}: expected text with {{{field}}} in it; got {template!r}")

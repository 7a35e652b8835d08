"""Prompts: a question, with its hint if it has one, as the text that a model continues."""

import re
from typing import Any

from seampack.errors import ConfigError
from seampack.models.curriculum.config import CurriculumConfig, Placement

_FIELD = re.compile(r"\{(question|hint)\}")


class PromptFormat:
    """Writes prompts by ``template``, ``hint_template``, ``placement`` and ``chat``.

    With ``chat``, the question is the user's message in the tokenizer's chat template. Raises ConfigError if the
    tokenizer has no chat template.
    """

    def __init__(self, config: CurriculumConfig, tokenizer: Any = None) -> None:
        self.config = config
        self.chat = tokenizer if config.chat else None
        if config.chat and not getattr(tokenizer, "chat_template", None):
            raise ConfigError("chat: the tokenizer has no chat template; set chat to false and use template")

    def ask(self, question: str, hint: str = "") -> str:
        """Return the text of the question, including the hint if ``placement`` is prompt."""
        inside = bool(hint) and not self.prefills
        fields = {"question": question, "hint": hint.strip()}
        template = self.config.hint_template if inside else self.config.template
        return _FIELD.sub(lambda field: fields[field[1]], template)

    def __call__(self, question: str, hint: str = "") -> str:
        """Return the whole prompt that the model continues."""
        text = self.ask(question, hint)
        if self.chat is not None:
            message = [{"role": "user", "content": text.strip()}]
            text = self.chat.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
            ids = self.chat("a")["input_ids"]
            if self.chat.bos_token and ids[0] == self.chat.bos_token_id:
                # the tokenizer will add the token again
                text = text.removeprefix(self.chat.bos_token)
        return text + hint if self.prefills else text

    @property
    def prefills(self) -> bool:
        """Whether a hint is the beginning of the response."""
        return self.config.placement == Placement.PREFILL

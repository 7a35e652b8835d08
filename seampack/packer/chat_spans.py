"""The parts of a rendered conversation that its assistant wrote, for any chat template.

A turn begins where the generation prompt ends, because a model writes from there on. It ends with the turn's end token;
white space that a template puts after the end token, such as the newline of ChatML, is not part of it, because a model
stops at the end token. Without an end token, a turn ends where the next message begins.

    <|im_start|>user\\nHi<|im_end|>\\n<|im_start|>assistant\\nHello<|im_end|>\\n
                                                           ^^^^^^^^^^^^^^^

Usually the rendered beginning of a conversation is also how the whole conversation begins. Reasoning templates rewrite
earlier turns, and templates with tools move them. There, the borders are found by rendering the conversation with the
turn changed: the last header before the place where the two texts begin to differ, and the first end token after the
place where they are the same again, are those of the turn.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from seampack.errors import DataError
from seampack.packer.chat_environment import Span
from seampack.packer.chat_template import ChatTemplate, Message, altered

_PRIVATE_USE = range(0xE000, 0xF900)
"""Characters that no text should have; one that the conversation lacks marks a changed message."""
_PROMPT = "add_generation_prompt"


class Turns:
    """Finds the assistant's turns in the text of one conversation.

    ``special``: the special tokens of the tokenizer. ``control``: all tokens that may structure a conversation.
    """

    def __init__(
        self,
        template: ChatTemplate,
        messages: Sequence[Message],
        tools: Sequence[object] | None,
        text: str,
        special: tuple[str, ...],
        control: tuple[str, ...],
    ) -> None:
        self._template = template
        self._messages = list(messages)
        self._tools = tools
        self._text = text
        self._special = special
        self._control = control
        self._mark = next((chr(code) for code in _PRIVATE_USE if chr(code) not in text), "")

    def spans(self, turns: Sequence[int]) -> list[Span]:
        """Return the span of each turn, given the indices of their messages in order.

        Raises DataError if a border cannot be found.
        """
        spans: list[Span] = []
        for turn in turns:
            start = self.start(turn)
            with _placing(turn):
                end = self._end(turn, start)
            if not (spans[-1][1] if spans else 0) <= start <= end:
                raise _lost(turn)
            spans.append((start, end))
        return spans

    def start(self, turn: int) -> int:
        """Return where the assistant begins to write a turn. Raise DataError if that cannot be found."""
        with _placing(turn):
            return self._start(turn)

    def _start(self, turn: int) -> int:
        history = self._messages[:turn]
        if history:
            prompt = self._prompt(history)
        else:
            with suppress(DataError):  # many templates fail on no message
                prompt = self._prompt(history)
                if prompt and self._text.startswith(prompt):
                    return len(prompt)
            history = [{"role": "user", "content": self._mark}]
            prompt = self._prompt(history)
        if self._text.startswith(prompt):
            return len(prompt)
        answered = self._render([*history, self._answer(turn)])
        anchor, header = self._header(prompt[: _common(prompt, answered)])
        limit = _common(self._text, self._changed(turn))
        at = self._text.rfind(anchor, 0, limit) if anchor else -1
        if at < 0:
            raise _lost(turn)
        return at + _common(header, self._text[at:limit])

    def _prompt(self, history: list[Message]) -> str:
        """Return the text up to where the assistant writes the next message.

        Some templates have no generation prompt. The text before an answer is then the header of the turn if it has a
        control token; otherwise, as with Mistral's space, the assistant writes it.
        """
        if _PROMPT in self._template.source:
            return self._template.render(history, self._tools, add_generation_prompt=True)
        before = self._render(history)
        answered = self._render([*history, {"role": "assistant", "content": self._mark}])
        start = answered.find(self._mark)
        end = len(before)
        if not answered.startswith(before):  # the template has written the history in another way
            _, last_part = self._header(before)
            end = answered.rfind(last_part, 0, max(0, start)) + len(last_part)
        has_header = any(token in answered[end:start] for token in self._special)
        return answered[: start if has_header else end]

    def _end(self, turn: int, start: int) -> int:
        """Return where a turn ends that begins at ``start``."""
        is_last = turn + 1 == len(self._messages)
        upto = self._text if is_last else self._render(self._messages[: turn + 1])
        if self._text.startswith(upto):
            return max(start, len(self._written(upto)))
        alone = self._render([*self._messages[:turn], altered(self._messages[turn], self._mark)])
        end = self._written(alone[alone.rfind(self._mark) + 1 :])
        rest = self._changed(turn).rpartition(self._mark)[2]
        at = len(self._text) - len(rest)
        if not self._text.endswith(rest) or not rest.startswith(end):
            raise _lost(turn)
        return at + len(end)

    def _written(self, text: str) -> str:
        """Return a text that ends with a turn without the white space after the end token."""
        written = text.rstrip()
        return written if written.endswith(self._control) else text

    def _changed(self, turn: int) -> str:
        """Return the text of the conversation with another text in place of what the assistant writes in a turn."""
        messages = self._messages
        changed = self._render([*messages[:turn], altered(messages[turn], self._mark), *messages[turn + 1 :]])
        if self._mark not in changed:
            raise _lost(turn)
        return changed

    def _answer(self, turn: int) -> Message:
        """Return a plain answer in place of a turn."""
        return altered(
            {"role": self._messages[turn]["role"], "content": self._messages[turn].get("content")}, self._mark
        )

    def _header(self, prompt: str) -> tuple[str, str]:
        """Return the last control token of a prompt, and the prompt from there on; the whole prompt if it has none."""
        for tokens in (self._special, self._control):
            at, token = max(((prompt.rfind(token), token) for token in tokens), default=(-1, ""))
            if at >= 0:
                return token, prompt[at:]
        return prompt, prompt

    def _render(self, messages: list[Message]) -> str:
        return self._template.render(messages, self._tools)


def _common(one: str, other: str) -> int:
    """Return the length of the longest common beginning of two texts."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


@contextmanager
def _placing(turn: int) -> Iterator[None]:
    """Say in errors of the template which turn is being placed: it fails on a part of the conversation alone."""
    try:
        yield
    except DataError as error:
        raise error if isinstance(error, _LostError) else _lost(turn, f", {error}") from error


class _LostError(DataError):
    """A turn whose place is not found."""


def _lost(turn: int, why: str = "") -> DataError:
    return _LostError(
        f"message {turn + 1}: what the assistant writes of it cannot be found in the rendered conversation{why}; mark "
        "it with {% generation %} in the chat template, or train on every token: --train-on none"
    )

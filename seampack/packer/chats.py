"""Chats: conversations to token ids and the mask of the tokens to train on.

A conversation is rendered as a whole and tokenised once, so that its ids are those that transformers gives.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import tokenizers

from seampack.errors import ConfigError, DataError, MissingExtraError
from seampack.io.bad_records import BadRecord
from seampack.packer.chat_environment import Span
from seampack.packer.chat_rules import variables_of
from seampack.packer.chat_spans import Turns
from seampack.packer.chat_template import ChatTemplates, Message, load_templates, normal_messages
from seampack.packer.column_types import TrainOn
from seampack.packer.config import FROM_TOKENIZER, PackConfig
from seampack.packer.special_tokens import Vocabulary

ASSISTANT = "assistant"
_ROLES = ("system", "user", ASSISTANT, "tool")
"""Roles that templates know; one that does not write another role would lose the message without a word."""
_MEDIA = ("image", "audio", "video")
_THOUGHT_END = "</think>"
"""Text up to here may be missing in the rendered conversation: reasoning templates drop it."""
_KINDS = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number", bool: "a truth value"}


class Chat(NamedTuple):
    """A conversation as it was read, not yet checked: messages; or a prompt and its completion."""

    messages: Any
    """The messages, or the prompt."""
    completion: Any = None
    tools: Any = None
    is_pair: bool = False


@dataclass(frozen=True, slots=True)
class Chats:
    """Conversations of a block of input."""

    chats: list[Chat]
    bad_record: Callable[[int, str], BadRecord]
    """Returns the bad record of a conversation, given its index among ``chats`` and the reason."""
    names: pa.Array | None = None  # shape (chats,)
    bad: list[BadRecord] = field(default_factory=list)
    fields: Mapping[str, pa.Array] = field(default_factory=dict)  # the kept columns, shapes (chats,)


class Written(NamedTuple):
    """A conversation as text."""

    text: str
    spans: list[Span]
    """The parts to train on."""
    is_framed: bool = False
    """Whether the begin and end token of documents are put around it: plain text has no others."""
    has_control: bool = False
    """Whether a message has the name of a control token as text, which is read as the token."""


class ChatWriter:
    """Writes conversations as text by the templates of a model.

    ``templates`` may be the reason why there are none: prompts and completions of plain text need no template.
    ``tokenizer`` says which tokens are control tokens.
    """

    def __init__(self, templates: ChatTemplates | str, tokenizer: tokenizers.Tokenizer, train_on: str) -> None:
        self._templates = templates
        self.has_mask = train_on != TrainOn.NONE
        """Whether conversations have spans to train on."""
        self._train_on = train_on
        added = tokenizer.get_added_tokens_decoder().values()
        self._special = tuple(token.content for token in added if token.special and token.content)
        sources = "" if isinstance(templates, str) else "".join(template.source for template in templates)
        self._control = (
            *self._special,
            *(t.content for t in added if not t.special and not t.content.isspace() and t.content in sources),
        )

    @property
    def digest(self) -> str | None:
        """The checksum of the templates; None if there are none."""
        return None if isinstance(self._templates, str) else self._templates.digest

    def write(self, chat: Chat) -> Written:
        """Return a conversation as text. Raise DataError with the reason if it is none, or the template fails on it."""
        if chat.is_pair and isinstance(chat.messages, str) and isinstance(chat.completion, str):
            text = chat.messages + chat.completion
            spans = [(len(chat.messages), len(text))]
            return Written(text, spans, is_framed=True)  # plain text may have control tokens on purpose
        messages, first = _checked_messages(chat)
        tools = _checked_tools(chat.tools)
        if isinstance(self._templates, str):
            raise DataError(self._templates)
        template = self._templates.plain if tools is None else self._templates.with_tools
        try:
            text, marked = template.render_marked(messages, tools)
        except DataError as error:
            empty = next((number for number, message in enumerate(messages, 1) if "content" not in message), None)
            hint = "" if empty is None else f'; message {empty} has no content: many templates need "", an empty text'
            raise DataError(f"{error}{hint}") from error
        _check_written(messages, text)
        has_control = self._has_control(messages)
        if not self.has_mask:
            return Written(text, [], has_control=has_control)
        turns = [turn for turn, message in enumerate(messages) if message["role"] == ASSISTANT]
        assistant = [turn for turn in turns if turn >= first]
        if not assistant:
            raise DataError(
                f"no message of the {ASSISTANT}{' in the completion' if first else ''}: there is nothing to train on; "
                "--train-on none keeps such conversations"
            )
        chosen = assistant[-1:] if self._train_on == TrainOn.LAST else assistant
        places = Turns(template, messages, tools, text, self._special, self._control)
        if not template.marks_assistant:
            return Written(text, places.spans(chosen), has_control=has_control)
        before = places.start(chosen[0]) if chosen[0] != turns[0] else 0
        return Written(text, [span for span in marked if span[1] > before], has_control=has_control)

    def _has_control(self, value: Any) -> bool:
        return any(self._special_pattern.search(text) for text in _texts(value))

    @cached_property
    def _special_pattern(self) -> re.Pattern[str]:
        longest_first = sorted(self._special, key=len, reverse=True)
        return re.compile("|".join(map(re.escape, longest_first)) or "(?!)")


def chat_writer(config: PackConfig, vocabulary: Vocabulary, reference: tokenizers.Tokenizer) -> ChatWriter:
    """Return what writes conversations as text; prompts of plain text need no template of the tokenizer.

    Raises ConfigError and MissingExtraError as ``load_templates`` does.
    """
    templates: ChatTemplates | str
    try:
        templates = load_templates(config.chat_template, vocabulary, variables_of(config))
    except (ConfigError, MissingExtraError) as error:
        needs_template = config.chat_template != FROM_TOKENIZER or config.template_variables
        if config.messages_column is not None or needs_template:
            raise
        templates = str(error)
    return ChatWriter(templates, reference, config.train_on)


def mask_of(offsets: Sequence[tuple[int, int]], spans: Iterable[Span]) -> npt.NDArray[np.uint8]:
    """Return 1 for each token that has a character of a span, given the first and last character of the tokens.

    A token that lies across the border of a span has one, too, as in transformers.
    """
    starts, ends = np.fromiter(chain.from_iterable(offsets), np.int64, 2 * len(offsets)).reshape(-1, 2).T
    mask = np.zeros(starts.size, np.uint8)
    for start, end in spans:
        mask |= (ends > start) & (starts < end)
    return mask


def _checked_messages(chat: Chat) -> tuple[list[Message], int]:
    """Return the messages of a conversation, and the index of the first one that may be trained on."""
    if not chat.is_pair:
        return _messages(chat.messages, "messages"), 0
    kinds = type(chat.messages), type(chat.completion)
    if str in kinds and kinds[0] != kinds[1]:
        raise DataError(
            f"expected a prompt and a completion that are both text or both lists of messages; got "
            f"{_kind(chat.messages)} and {_kind(chat.completion)}"
        )
    prompt, completion = _messages(chat.messages, "prompt"), _messages(chat.completion, "completion")
    return prompt + completion, len(prompt)


def _messages(given: Any, name: str) -> list[Message]:
    """Return the messages of a list, or of its JSON. Raise DataError if there are none, or they are something else."""
    messages = _from_json(given, name)
    if not isinstance(messages, list):
        raise DataError(f"{name}: expected a list of messages; got {_kind(messages)}")
    if not messages:
        raise DataError(f"{name}: expected at least one message; got none")
    for number, message in enumerate(messages, 1):
        if not isinstance(message, dict):
            raise DataError(f"{name}: message {number}: expected an object; got {_kind(message)}")
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str):
            fields = ", ".join(map(str, message)) or "no field"
            raise DataError(
                f'{name}: message {number}: expected "role", a text such as user or {ASSISTANT}; got {_kind(role)} '
                f"(the message has {fields})"
            )
        if content is not None and not isinstance(content, str | list):
            raise DataError(
                f"{name}: message {number}: content: expected a text or a list of parts; got {_kind(content)}"
            )
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict):
                raise DataError(
                    f"{name}: message {number}: content: expected parts that are objects; got {_kind(part)}"
                )
            if any(medium in str(part.get("type")) for medium in _MEDIA):
                raise DataError(
                    f"{name}: message {number}: content: expected parts of text; got a part of type {part['type']!r}"
                )
    return normal_messages(messages)


def _checked_tools(given: Any) -> list[Any] | None:
    """Return the tools of a conversation: a list of objects, or its JSON."""
    tools = None if given is None else _from_json(given, "tools")
    if tools is None:
        return None
    if not isinstance(tools, list):
        raise DataError(f"tools: expected a list of tools; got {_kind(tools)}")
    wrong = next((tool for tool in tools if not isinstance(tool, dict)), None)
    if wrong is not None:
        raise DataError(f"tools: expected objects with the JSON schema of a tool; got {_kind(wrong)}")
    return tools


def _check_written(messages: list[Message], text: str) -> None:
    """Raise DataError if the template knows a role or a list of parts not at all, and has written nothing of it."""
    for number, message in enumerate(messages, 1):
        is_known = message["role"] in _ROLES
        parts = message.get("content")
        if is_known and not isinstance(parts, list):
            continue
        if any(part.rpartition(_THOUGHT_END)[2].strip() not in text for part in _texts(parts)):
            reason = f"does not know the role {message['role']!r}" if not is_known else "does not write a list of parts"
            remedy = f"expected one of {', '.join(_ROLES)}" if not is_known else "give the content as one text"
            raise DataError(f"message {number}: the chat template {reason}, and would lose the message; {remedy}")


def _from_json(given: Any, name: str) -> Any:
    """Return what a text means as JSON; anything else as it is. Tables often store messages and tools so."""
    if not isinstance(given, str):
        return given
    try:
        return json.loads(given)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: expected a list, or its JSON; got a text that is not JSON") from error


def _texts(value: Any) -> Iterable[str]:
    """Iterate over all texts in a message or a part of one, except the names of fields and its role."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name not in ("role", "type"):
                yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)


def _kind(value: object) -> str:
    return "null" if value is None else _KINDS.get(type(value), type(value).__name__)

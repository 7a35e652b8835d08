"""Chat templates: conversations as text, exactly as ``apply_chat_template`` of transformers renders them.

``chat_environment.py`` has the environment of Jinja, which is that of transformers.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seampack.errors import ConfigError, DataError, is_out_of_memory
from seampack.packer.chat_environment import Parts, Span, environment_of_templates
from seampack.packer.config import FROM_TOKENIZER
from seampack.packer.special_tokens import Vocabulary, file_beside, read_settings, token_content

Message = dict[str, Any]

_FILE = "chat_template.jinja"
_TOOL_FILE = "additional_chat_templates/tool_use.jinja"
_DEFAULT, _TOOL_USE = "default", "tool_use"
_DATE = "date_string"
"""The variable by which templates take a date, such as that of Llama 3."""
_GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
_TOKEN_SUFFIX = "_token"  # noqa: S105  # of the names of special tokens
_REASONING = ("reasoning_content", "thinking", "reasoning")
"""Names of the field with the reasoning of a message; templates read the first, or ``thinking``."""


class Rendered(NamedTuple):
    """A conversation as text, with the spans that the template marks as the assistant's."""

    text: str
    marked: list[Span]


class ChatTemplate:
    """A compiled chat template, with the special tokens that it can name, such as ``bos_token``.

    ``variables``: Other names that it can read, such as ``enable_thinking``.

    Raises ConfigError if the template is not valid, and MissingExtraError without jinja2.
    """

    def __init__(
        self,
        source: str,
        special_tokens: Mapping[str, str] | None = None,
        variables: Mapping[str, Any] | None = None,
        *,
        name: str = _FILE,
    ) -> None:
        self.source = source
        self.marks_assistant = _GENERATION.search(source) is not None
        """Whether the template marks what the assistant writes."""
        self._special_tokens = dict(special_tokens or {})
        self._variables = {**self._special_tokens, "documents": None, **(variables or {})}
        environment, self._tracked = environment_of_templates()
        from jinja2 import TemplateError

        try:
            self._template = environment.from_string(source)
        except TemplateError as error:
            line = getattr(error, "lineno", None)
            raise ConfigError(f"{name}{f', line {line}' if line else ''}: not a chat template: {error}") from error

    @property
    def digest(self) -> str:
        """The checksum of what decides how conversations are rendered: the template and its special tokens."""
        content = json.dumps([self.source, self._special_tokens], sort_keys=True)
        return "sha256:" + hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()

    def render(
        self, messages: Sequence[Message], tools: Sequence[Any] | None = None, *, add_generation_prompt: bool = False
    ) -> str:
        """Return a conversation as text. Raise DataError if the template fails on it."""
        return self.render_marked(messages, tools, add_generation_prompt=add_generation_prompt).text

    def render_marked(
        self, messages: Sequence[Message], tools: Sequence[Any] | None = None, *, add_generation_prompt: bool = False
    ) -> Rendered:
        """Return a conversation as text, with the marked spans. Raise DataError if the template fails on it."""
        parts = Parts()
        variables = {
            **self._variables,
            "messages": messages,
            "tools": tools,
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            with self._tracked(parts):
                for part in self._template.generate(variables):
                    parts.append(part)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"the chat template fails on it: {reason}") from error
        return Rendered("".join(parts.parts), parts.marked)


def normal_messages(messages: Sequence[Message]) -> list[Message]:
    """Return messages as templates expect them: no field is null, and reasoning has the names that templates read."""
    normal = []
    for given in messages:
        message = {name: value for name, value in given.items() if value is not None}
        reasoning = next((message[name] for name in _REASONING if name in message), None)
        if reasoning is not None:
            message = {"thinking": reasoning, **message, "reasoning_content": reasoning}
        normal.append(message)
    return normal


def altered(message: Message, text: str) -> Message:
    """Return a message with another text in place of its content, its reasoning and the names of its tool calls."""
    changed = {name: text if name in _REASONING else value for name, value in message.items()}
    is_parts = isinstance(message.get("content"), list)
    changed["content"] = [{"type": "text", "text": text}] if is_parts else text
    if isinstance(calls := message.get("tool_calls"), list):
        changed["tool_calls"] = [_renamed(call, text) for call in calls]
    return changed


def _renamed(call: Any, name: str) -> Any:
    if not isinstance(call, dict):
        return call
    renamed = {**call, "name": name} if "name" in call else dict(call)
    if isinstance(function := call.get("function"), dict):
        renamed["function"] = {**function, "name": name}
    return renamed


class ChatTemplates(NamedTuple):
    """The template of a tokenizer, and the one for conversations with tools if it has two."""

    plain: ChatTemplate
    with_tools: ChatTemplate

    @property
    def digest(self) -> str:
        """The checksum of both templates."""
        digests = list(dict.fromkeys([self.plain.digest, self.with_tools.digest]))
        return " ".join(digests)


def load_templates(name: str, vocabulary: Vocabulary, variables: Mapping[str, Any] | None = None) -> ChatTemplates:
    """Return the chat templates of a file, or of the files of a tokenizer if ``name`` is ``from-tokenizer``.

    As in transformers, ``chat_template.jinja`` is read before ``tokenizer_config.json``, and a template with the name
    ``tool_use`` is used for conversations with tools. ``variables`` are those of ``ChatTemplate``.

    Raises ConfigError if there is no template, if it is not valid, or if it never reads one of the variables; and
    MissingExtraError without jinja2.
    """
    variables = variables or {}
    templates = _loaded(name, vocabulary, variables)
    sources = "\n".join(template.source for template in templates)
    if idle := [each for each in variables if not re.search(rf"\b{each}\b", sources)]:
        raise ConfigError(f"template_variables: the chat template reads no variable {idle[0]!r}; omit or correct it")
    if "strftime_now" in sources and _DATE not in variables:
        warnings.warn(
            f"{vocabulary.name}: the chat template can write the date of today: another day gives other tokens, and "
            "the rows can then be neither resumed nor verified against their source; if it reads a variable "
            f"{_DATE}, fix the date: --template-variable '{_DATE}=\"26 Jul 2024\"'",
            stacklevel=2,
        )
    return templates


def _loaded(name: str, vocabulary: Vocabulary, variables: Mapping[str, Any]) -> ChatTemplates:
    settings = read_settings(vocabulary)
    special_tokens = _special_tokens(settings)
    if name != FROM_TOKENIZER:
        template = ChatTemplate(_text(Path(name)), special_tokens, variables, name=name)
        return ChatTemplates(template, template)
    sources = _sources(vocabulary, settings)
    if _DEFAULT not in sources:
        places = f"among the files of the tokenizer ({_FILE}, tokenizer_config.json)"
        where = places if vocabulary.settings is None else "in the tokenizer in memory; those of transformers have one"
        raise ConfigError(f"{vocabulary.name}: no chat template {where}; name a file with --chat-template")
    plain = ChatTemplate(sources[_DEFAULT], special_tokens, variables, name=vocabulary.name)
    if _TOOL_USE not in sources:
        return ChatTemplates(plain, plain)
    return ChatTemplates(plain, ChatTemplate(sources[_TOOL_USE], special_tokens, variables, name=vocabulary.name))


def _sources(vocabulary: Vocabulary, settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the templates of a tokenizer by their names."""
    files = {_DEFAULT: file_beside(vocabulary, _FILE), _TOOL_USE: file_beside(vocabulary, _TOOL_FILE)}
    found = {name: _text(path) for name, path in files.items() if path is not None}
    if found:
        return found
    match settings.get("chat_template"):
        case str(source):
            return {_DEFAULT: source}
        case list(named):
            return {each["name"]: each["template"] for each in named if {"name", "template"} <= set(each)}
        case dict(named):
            return named
    return {}


def _special_tokens(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the special tokens of a tokenizer that a template can name."""
    extra = settings.get("extra_special_tokens")
    named = {name: value for name, value in settings.items() if name.endswith(_TOKEN_SUFFIX)}
    named |= extra if isinstance(extra, dict) else {}
    contents = {name: token_content(value) for name, value in named.items()}
    return {name: content for name, content in contents.items() if content is not None}


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read as a chat template: {error}; name a file with one, or {FROM_TOKENIZER}"
        ) from error

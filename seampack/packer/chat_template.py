"""Chat templates: conversations as text, exactly as ``apply_chat_template`` of transformers renders them.

The environment of Jinja is that of transformers: a sandbox, no white space around blocks, the same filters and
functions, and the block ``{% generation %}``, with which a template marks what the assistant writes.
"""

import hashlib
import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from seampack.errors import ConfigError, DataError, MissingExtraError, is_out_of_memory
from seampack.packer.config import FROM_TOKENIZER
from seampack.packer.special_tokens import Vocabulary, file_beside, read_settings, token_content

Span = tuple[int, int]
"""Start and end of a part of a text, in characters."""
Message = dict[str, Any]

_FILE = "chat_template.jinja"
_TOOL_FILE = "additional_chat_templates/tool_use.jinja"
_DEFAULT, _TOOL_USE = "default", "tool_use"
_DATE = "date_string"
"""The variable by which templates take a date, such as that of Llama 3."""
_LEAST_JINJA = (3, 1, 6)
"""Older versions have known ways out of the sandbox, and templates from the hub are code of strangers."""
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
        environment, self._tracked = _environment()
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
        parts = _Parts()
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


class _Parts:
    """The parts of a text that is being rendered, and its marked spans."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.marked: list[Span] = []
        self._size = 0

    def append(self, part: str) -> None:
        """Add the next part."""
        self.parts.append(part)
        self._size += len(part)

    def mark(self, part: str) -> None:
        """Mark the part that follows."""
        self.marked.append((self._size, self._size + len(part)))


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


@cache
def _environment() -> Any:
    """Return the environment of Jinja, and a function that tracks the marked spans while a template is rendered."""
    try:
        import jinja2
        from jinja2.ext import Extension, loopcontrols
        from jinja2.nodes import CallBlock
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise MissingExtraError("jinja2", "chat", "rendering chats") from error
    if tuple(int(part) for part in re.findall(r"\d+", jinja2.__version__)[:3]) < _LEAST_JINJA:
        raise MissingExtraError(f"jinja2>={'.'.join(map(str, _LEAST_JINJA))}", "chat", "rendering chats")
    tracking: ContextVar[_Parts | None] = ContextVar("tracking", default=None)

    class Generation(Extension):
        """The block ``{% generation %}``."""

        tags = {"generation"}  # noqa: RUF012  # as in Jinja

        def parse(self, parser: Any) -> Any:
            """Return the node of a block."""
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return CallBlock(self.call_method("_marked"), [], [], body).set_lineno(line)

        def _marked(self, caller: Any) -> str:
            text: str = caller()
            parts = tracking.get()
            if parts is not None:
                parts.mark(text)
            return text

    @contextmanager
    def tracked(parts: _Parts) -> Iterator[None]:
        token = tracking.set(parts)
        try:
            yield
        finally:
            tracking.reset(token)

    class Namespace(jinja2.utils.Namespace):
        """A namespace without attributes that begin with an underscore."""

        def __init__(*args: Any, **attributes: Any) -> None:  # so that self can be an attribute
            self, values = args[0], dict(*args[1:], **attributes)
            for name in values:
                _refuse_private(name)
            jinja2.utils.Namespace.__init__(self, values)

        def __setitem__(self, name: str, value: Any) -> None:
            _refuse_private(name)
            super().__setitem__(name, value)

    def _refuse_private(name: object) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a namespace cannot hold {name!r}, which begins with an underscore")

    def raise_exception(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {
        "raise_exception": raise_exception,
        "strftime_now": lambda form: datetime.now().strftime(form),
        "dict": _Dicts(),
        "namespace": Namespace,
    }
    return environment, tracked


class _Dicts:
    """The function ``dict`` of templates, without the attributes of the type."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """Return a dictionary with the given keys."""
        return dict.fromkeys(*args)


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    """Return a value as JSON. The filter of Jinja would escape characters of HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

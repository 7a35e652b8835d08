"""The environment of Jinja in which chat templates are rendered: that of transformers.

It is a sandbox, with no white space around blocks, the same filters and functions, and the block ``{% generation %}``,
with which a template marks what the assistant writes.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from functools import cache
from typing import Any

from seampack.errors import MissingExtraError

Span = tuple[int, int]
"""Start and end of a part of a text, in characters."""

_LEAST_JINJA = (3, 1, 6)
"""Older versions have known ways out of the sandbox, and templates from the hub are code of strangers."""


class Parts:
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


@cache
def environment_of_templates() -> Any:
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
    tracking: ContextVar[Parts | None] = ContextVar("tracking", default=None)

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
    def tracked(parts: Parts) -> Iterator[None]:
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

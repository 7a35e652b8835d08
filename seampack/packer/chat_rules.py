"""The rules of the options of conversations."""

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from seampack.errors import ConfigError

if TYPE_CHECKING:
    from seampack.packer.config import PackConfig

_OF_CHATS = ("completion_column", "tools_column", "chat_template", "template_variables", "train_on")
"""Options that have an effect on conversations alone."""
_OF_CONVERSATION = ("messages", "tools", "add_generation_prompt")
"""Variables of templates that are given with each conversation."""


def check_chats(config: "PackConfig") -> None:
    """Raise ConfigError for options of conversations that contradict each other, or have no effect."""
    from seampack.packer.config import AUTO, NONE  # which imports this module

    if not config.reads_chats:
        for field in fields(config):
            if field.name in _OF_CHATS and getattr(config, field.name) != field.default:
                raise ConfigError(f"{field.name}: has an effect on conversations alone; give messages_column, too")
        return
    if config.messages_column is not None and config.prompt_column is not None:
        raise ConfigError("messages_column, prompt_column: expected one of them; got both")
    columns = [*config.chat_columns.values(), *([] if config.id_column is None else [config.id_column])]
    if twice := next((column for column in columns if columns.count(column) > 1), None):
        raise ConfigError(f"{', '.join(config.chat_columns)}: expected different fields; got {twice!r} twice")
    if config.carry:
        raise ConfigError("carry: conversations have no token ids before they are packed; omit it, or use keep")
    for name in ("bos", "eos") if config.messages_column is not None else ():
        if getattr(config, name) not in (None, AUTO, NONE):
            raise ConfigError(f"{name}: the chat template writes all begin and end tokens of messages; omit it")


def normal_variables(given: Any) -> Any:
    """Return variables of a template as ``NAME=VALUE`` with values in JSON, in the order of their names.

    ``given`` is a mapping, or a list of such texts; anything else is returned as it is, for the check of its type.
    Raises ConfigError for a name or a value that a template cannot have.
    """
    if isinstance(given, Mapping):
        pairs = [(name, value, f"{name}={value!r}") for name, value in given.items()]
    elif isinstance(given, list | tuple) and all(isinstance(each, str) for each in given):
        pairs = [(each.partition("=")[0], _value(each), each) for each in given]
    else:
        return given
    variables: dict[str, str] = {}
    for name, value, shown in pairs:
        if not isinstance(name, str) or not name.isidentifier():
            raise ConfigError(
                f"template_variables: expected NAME=VALUE with the name of a variable, such as effort; got {shown!r}"
            )
        if name in _OF_CONVERSATION:
            raise ConfigError(f"template_variables: {name} is given with each conversation; got {shown!r}")
        if name in variables:
            raise ConfigError(f"template_variables: expected each name once; got {name!r} twice")
        try:
            variables[name] = json.dumps(value, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"template_variables: expected a value that JSON can express; got {shown}") from error
    return tuple(f"{name}={variables[name]}" for name in sorted(variables))


def variables_of(config: "PackConfig") -> dict[str, Any]:
    """Return the variables of the chat template by their names."""
    return {each.partition("=")[0]: _value(each) for each in config.template_variables}


def _value(given: str) -> Any:
    """Return the value of ``NAME=VALUE``. Raise ConfigError unless it is JSON."""
    try:
        return json.loads(given.partition("=")[2])
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            "template_variables: expected NAME=VALUE with a value in JSON, such as enable_thinking=false or "
            f'effort="low"; got {given!r}'
        ) from error

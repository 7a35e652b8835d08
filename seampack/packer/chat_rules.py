"""The rules between the options of conversations."""

from dataclasses import fields
from typing import TYPE_CHECKING

from seampack.errors import ConfigError

if TYPE_CHECKING:
    from seampack.packer.config import PackConfig

_OF_CHATS = ("completion_column", "tools_column", "chat_template", "train_on")
"""Options that have an effect on conversations alone."""


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

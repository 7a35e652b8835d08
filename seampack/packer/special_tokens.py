"""The begin and end token of documents: those that the config names, or those that the tokenizer's files name.

``auto`` looks into ``tokenizer_config.json`` next to the tokenizer, then into the post-processor of the tokenizer, then
for a well-known name among its special tokens. A begin token is used only if the tokenizer itself puts it there. Tokens
such as [CLS] and [SEP], with which encoders frame texts, are neither, unless ``tokenizer_config.json`` says so.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from seampack.errors import ConfigError
from seampack.io.hub import hub_file
from seampack.packer.config import AUTO, NONE, PackConfig

_SETTINGS = "tokenizer_config.json"
_PROCESSOR = "its post-processor"
_WELL_KNOWN = "a well-known name"

# The order matters where a vocabulary has several: Gemma's, for example, has </s> as a tag of HTML.
_BEGINNINGS = ("<|begin_of_text|>", "<|startoftext|>", "<｜begin▁of▁sentence｜>", "<bos>", "<s>", "[BOS]")
_ENDINGS = ("<|endoftext|>", "<|end_of_text|>", "<｜end▁of▁sentence｜>", "<eos>", "</s>", "[EOS]")
_FRAMES = ("[CLS]", "[SEP]", "<cls>", "<sep>")


@dataclass(frozen=True, slots=True)
class SpecialToken:
    """The token before or after each document; by default none."""

    name: str | None = None
    id: int = -1
    origin: str = ""
    """Where ``auto`` found the token; empty if the config names it or there is none."""

    def __str__(self) -> str:
        if self.name is None:
            return "none"
        return f"{self.name} (id {self.id}, from {self.origin})" if self.origin else f"{self.name} (id {self.id})"


class Vocabulary(NamedTuple):
    """A tokenizer as this module needs it."""

    name: str
    folder: Path | None
    """Its folder; None for a tokenizer of the Hugging Face hub."""
    json: bytes
    """Content of its ``tokenizer.json``."""
    find: Callable[[str], int | None]
    """Returns the id of a token, or None."""
    settings: Mapping[str, Any] | None = None
    """The settings of a tokenizer in memory; others are read from ``tokenizer_config.json``."""

    def id_of(self, option: str, token: str) -> int:
        """Return the id of the token that an option names. Raise ConfigError if there is no such token."""
        found = self.find(token)
        if found is None:
            raise ConfigError(f"{option}: no token {token!r} in the vocabulary of {self.name}")
        return found


def begin_and_end(config: PackConfig, vocabulary: Vocabulary) -> tuple[SpecialToken, SpecialToken]:
    """Return the tokens before and after each document.

    Raises ConfigError if the vocabulary lacks a token that the config names, or ``auto`` cannot read the settings.
    """
    if config.messages_column is not None:  # the chat template writes them
        return SpecialToken(), SpecialToken()
    given = {"bos": config.bos, "eos": config.eos}
    found = _Finder(vocabulary) if AUTO in given.values() else None

    def token(option: str) -> SpecialToken:
        name = given[option]
        if name is None or name == NONE:
            return SpecialToken()
        if found is None or name != AUTO:
            return SpecialToken(name, vocabulary.id_of(option, name))
        return found.bos() if option == "bos" else found.eos()

    return token("bos"), token("eos")


class _Json(msgspec.Struct):
    """The parts of a ``tokenizer.json`` that tell special tokens."""

    post_processor: dict[str, Any] | None = None
    added_tokens: list[dict[str, Any]] = msgspec.field(default_factory=list)


class _Finder:
    """Finds the begin and the end token of a tokenizer in its files."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._find = vocabulary.find
        self._settings = read_settings(vocabulary)
        content = msgspec.json.decode(vocabulary.json, type=_Json)
        self._before, self._after = _added_tokens(content.post_processor)
        self._special = {token["content"] for token in content.added_tokens if token.get("special")}
        frames = [token_content(self._settings.get(name)) for name in ("cls_token", "sep_token")]
        self._frames = {*_FRAMES, *filter(None, frames)}

    def bos(self) -> SpecialToken:
        """Return the token that the tokenizer itself puts before a text, if it is a begin token."""
        adds = self._settings.get("add_bos_token")
        if adds is False:
            return SpecialToken()
        named = self._named("bos_token")
        if named.name is not None:
            return named if adds or self._before == [named.name] else SpecialToken()
        return self._processed(self._before) or (self._well_known(_BEGINNINGS) if adds else SpecialToken())

    def eos(self) -> SpecialToken:
        """Return the end token; the settings of many tokenizers name one that they do not add themselves."""
        named = self._named("eos_token")
        if named.name is not None:
            return named
        if self._after:
            return self._processed(self._after) or SpecialToken()
        return self._well_known(_ENDINGS)

    def _named(self, key: str) -> SpecialToken:
        name = token_content(self._settings.get(key))
        if name is None:
            return SpecialToken()
        token = self._token(name, _SETTINGS)
        if token.name is None:
            warnings.warn(f"{_SETTINGS}: {key}: no token {name!r} in the vocabulary; it is ignored", stacklevel=2)
        return token

    def _processed(self, tokens: list[str]) -> SpecialToken | None:
        """Return the single token that the post-processor adds, unless it frames texts as an encoder needs it."""
        if len(tokens) != 1 or tokens[0] in self._frames:
            return None
        return self._token(tokens[0], _PROCESSOR)

    def _well_known(self, names: tuple[str, ...]) -> SpecialToken:
        name = next((name for name in names if name in self._special), None)
        return SpecialToken() if name is None else self._token(name, _WELL_KNOWN)

    def _token(self, name: str, origin: str) -> SpecialToken:
        token_id = self._find(name)
        return SpecialToken() if token_id is None else SpecialToken(name, token_id, origin)


def token_content(setting: object) -> str | None:
    """Return the text of a token in the settings, which is text or an object."""
    content = setting.get("content") if isinstance(setting, dict) else setting
    return content if isinstance(content, str) and content else None


def _added_tokens(processor: Mapping[str, Any] | None) -> tuple[list[str], list[str]]:
    """Return the tokens that a post-processor puts before and after a single text."""
    before: list[str] = []
    after: list[str] = []
    match processor:
        case {"type": "Sequence", "processors": list(processors)}:
            for each in processors:
                inner, outer = _added_tokens(each)
                before, after = inner + before, after + outer
        case {"type": "BertProcessing" | "RobertaProcessing", "cls": [cls, _], "sep": [sep, _]}:
            before, after = [cls], [sep]
        case {"type": "TemplateProcessing", "single": list(items), "special_tokens": dict(special)}:
            side = before
            for item in items:
                if "Sequence" in item:
                    side = after
                else:
                    side += special[item["SpecialToken"]["id"]]["tokens"]
    return before, after


def read_settings(vocabulary: Vocabulary) -> Mapping[str, Any]:
    """Return the settings of a tokenizer: the content of ``tokenizer_config.json`` next to it, if it is in files."""
    if vocabulary.settings is not None:
        return vocabulary.settings
    path = file_beside(vocabulary, _SETTINGS)
    if path is None:
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path}: not the settings of a tokenizer: {error}; name the tokens with --bos and --eos, or none"
        ) from error


def file_beside(vocabulary: Vocabulary, name: str) -> Path | None:
    """Return a file next to a tokenizer; None if there is none, as for one in memory. Warn if the hub fails."""
    if vocabulary.settings is not None:
        return None
    path = _fetched(vocabulary.name, name) if vocabulary.folder is None else vocabulary.folder / name
    return path if path is not None and path.is_file() else None


def _fetched(repository: str, name: str) -> Path | None:
    """Return a file of a tokenizer on the Hugging Face hub; None if it has none. Warn if the hub fails."""
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return hub_file(repository, name)
    except EntryNotFoundError:
        return None
    except Exception:  # noqa: BLE001  # of several libraries
        lost = "name other tokens" if name == _SETTINGS else "be the chat template"
        warnings.warn(f"{repository}: {name} cannot be fetched; it may {lost}", stacklevel=2)
        return None

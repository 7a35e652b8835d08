"""Options of the commands: options made from a config, and options and arguments that several commands share."""

import dataclasses
import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from seampack.commands.grouped import PATH, option
from seampack.commands.report import note
from seampack.config import Group, range_words, underscored, value_type
from seampack.io.formats import CODECS
from seampack.packer.config import AUTO, PackConfig
from seampack.segmenter.apply_config import ApplyConfig, DecodeConfig, OnBad

if TYPE_CHECKING:
    from seampack.packer.tokenizing import TextTokenizer
    from seampack.segmenter.dictionary import Dictionary
    from seampack.segmenter.model import Segmenter

Command = TypeVar("Command", bound=Callable[..., Any])
_BYTES = "bytes"
_SIZE = re.compile(r"([0-9]{1,15}) ?(?:([KMGT])(i)?B?|B)?", re.IGNORECASE)


def config_options(config: type, *, skip: Sequence[str] = ()) -> Callable[[Command], Command]:
    """Add an option for each field of a config class, in the order of the fields, except those in ``skip``."""
    return all_of(*(_option(field) for field in dataclasses.fields(config) if field.name not in skip))


def all_of(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Join decorators of a command into one decorator; ``--help`` shows their options in this order."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def _option(field: "dataclasses.Field[Any]") -> Callable[[Command], Command]:
    flag = "--" + field.name.replace("_", "-")
    metadata = field.metadata
    settings: dict[str, Any] = {"default": field.default, "help": metadata["help"], "show_default": True}
    settings["group"] = metadata["group"]
    if value_type(field.type)[1]:
        flag = flag.removesuffix("s")
        settings |= {"multiple": True, "help": f"{metadata['help']} Can be repeated."}
    if isinstance(field.default, bool):
        flag = f"{flag}/--no-{flag.removeprefix('--')}"
    else:
        settings["type"] = click_type(field)
    if metadata["unit"]:
        settings["metavar"] = metadata["unit"].upper()
    if metadata["unit"] == _BYTES:
        settings["help"] += " Also with a unit, such as 64MiB or 64MB."
    return option(flag, field.name, **settings)


def click_type(field: "dataclasses.Field[Any]") -> Any:
    """Return the click type for the values that a field accepts."""
    metadata = field.metadata
    kind, _ = value_type(field.type)
    if metadata["choices"] is not None:
        return _Choice([member.value for member in metadata["choices"]])
    if kind is int:
        return (Bytes if metadata["unit"] == _BYTES else Integer)(metadata["low"], metadata["high"])
    if kind is float:
        below = metadata["below"]
        return _Number(metadata["low"], metadata["high"] if below is None else below, max_open=below is not None)
    return str


class Integer(click.IntRange):
    """An integer within bounds, with the messages of the configs."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the integer. Raise click.BadParameter for other text."""
        try:
            return super().convert(value, param, ctx)
        except (click.BadParameter, ValueError):
            self.fail(f"expected an integer{range_words(self.min, self.max, None, ',')}; got {value!r}", param, ctx)


class Integers(Integer):
    """Integers within bounds, separated by commas."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the integers. Raise click.BadParameter for other text."""
        return tuple(Integer.convert(self, each, param, ctx) for each in str(value).split(","))


class Bytes(Integer):
    """A number of bytes within bounds, also with a unit, such as ``64MiB`` or ``64MB``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number of bytes. Raise click.BadParameter for other text."""
        if (size := _SIZE.fullmatch(str(value))) is None:
            self.fail(f"expected a number of bytes, such as 67108864, 64MiB or 64MB; got {value!r}", param, ctx)
        power = " KMGT".index((size[2] or " ").upper())
        return super().convert(int(size[1]) * (1024 if size[3] else 1000) ** power, param, ctx)


class _Number(click.FloatRange):
    """A number within bounds, with the messages of the configs; NaN and infinity are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number. Raise click.BadParameter for other text."""
        high, below = (None, self.max) if self.max_open else (self.max, None)
        try:
            number = super().convert(value, param, ctx)
        except click.BadParameter:
            number = math.nan
        if not math.isfinite(number):
            self.fail(f"expected a number{range_words(self.min, high, below, 'g')}; got {value!r}", param, ctx)
        return number


class Share(click.ParamType[tuple[int, int]]):
    """The share of a process: its number and the number of processes, such as ``3/16``."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return both numbers. Raise click.BadParameter for other text."""
        number, _, processes = str(value).partition("/")
        if not (number.isdecimal() and processes.isdecimal() and int(number) < int(processes)):
            self.fail(f"expected I/N with I from 0 to N - 1, such as 3/16; got {value!r}", param, ctx)
        return int(number), int(processes)


class _Choice(click.Choice[str]):
    """One of several words; a dash and an underscore are the same."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the choice that the word names. Raise click.BadParameter for other words."""
        same = [choice for choice in self.choices if underscored(choice) == underscored(value)]
        return super().convert(same[0] if same else value, param, ctx)

    def get_invalid_choice_message(self, value: object, ctx: click.Context | None) -> str:
        """Return the message of the configs."""
        return f"expected one of {', '.join(self.choices)}; got {value!r}"


_FORMATS = (
    "files or globs of JSON lines, JSON, CSV, TSV, plain text, Parquet or Arrow, also compressed "
    f"({', '.join(CODECS)}); folders of such files, or of saved Hugging Face datasets"
)


def with_formats(command: Command) -> Command:
    """Put the formats of input files into the help of a command, at ``{formats}``."""
    command.__doc__ = (command.__doc__ or "").replace("{formats}", _FORMATS)
    return command


as_json = option("--json", "as_json", is_flag=True, group=Group.RUN, help="Print the result as JSON.")
threads = option(
    "--threads",
    group=Group.RUN,
    type=Integer(min=1),
    default=None,
    help="Number of threads; by default one per core that the process may use.",
)

# seampack pack, compare, inspect and tokenizer

corpus = click.argument("inputs", type=PATH, nargs=-1, required=True, metavar="INPUT...")
tokenizer = option(
    "--tokenizer",
    type=PATH,
    group=Group.TOKENS,
    default=None,
    metavar="FILE|NAME",
    help="Tokenizer: a tokenizer.json file or a name on the Hugging Face hub; by default a small bundled one.",
)
pre_segment = option(
    "--pre-segment",
    type=PATH,
    group=Group.TOKENS,
    metavar="MODEL",
    help="Split texts into words first, so that no token crosses a word boundary. MODEL is a segmenter: zh, th, ja or "
    "a folder. By default texts are not split.",
)


def splitter(model: str | None) -> Any:
    """Return the function that splits texts for ``--pre-segment``, or None."""
    return None if model is None else load_segmenter(model).pieces


def tokenizer_name(given: str | None) -> str:
    """Return the tokenizer to use, and say so if none is given."""
    if given is not None:
        return given
    note("no --tokenizer: using the small bundled one, which is meant for trying seampack out")
    return "bundled"


def frames_automatically(config: PackConfig) -> bool:
    """Return whether the tokenizer chooses a token around documents; the chat template writes those of messages."""
    return AUTO in (config.bos, config.eos) and config.messages_column is None


def note_special_tokens(tokenizer: "TextTokenizer") -> None:
    """Say which tokens are put around documents."""
    advice = "choose others with --bos and --eos"
    if tokenizer.eos.name is None:
        advice = "a model does not learn to end a text without one: name one with --eos"
    note(f"begin token: {tokenizer.bos}; end token: {tokenizer.eos}; {advice}")


stores = option(
    "--store",
    "stores",
    type=PATH,
    group=Group.RUN,
    multiple=True,
    metavar="STORE",
    help="Place of the token store of an index, if it was moved; of a blend, NAME=STORE for each store that was moved. "
    "Can be repeated.",
)

# seampack segment

raw = click.argument("inputs", type=PATH, nargs=-1, required=True, metavar="RAW...")
texts = click.argument("inputs", type=PATH, nargs=-1, metavar="[INPUT]...")
READING = ("text_column", "input_format", "on_bad")
"""Names of the options of ``reading``."""
reading = all_of(
    config_options(ApplyConfig, skip=("output", "n_best", "output_column", "output_format", "on_bad")),
    click.option(
        "--on-bad",
        type=click.Choice([OnBad.STOP.value, OnBad.REPLACE.value]),
        default=OnBad.STOP.value,
        show_default=True,
        help="Action on text that is not valid Unicode: stop, or replace invalid characters with U+FFFD.",
    ),
)
decoding = all_of(
    config_options(DecodeConfig),
    click.option(
        "--dictionary",
        type=PATH,
        default=None,
        metavar="FILE",
        help="Words that override the model, one entry per line; a space within an entry marks a word boundary.",
    ),
)


def load_segmenter(model: str, **options: Any) -> "Segmenter":
    """Load a segmenter from its folder, or a bundled one by its name. Options: see ``Segmenter.load``."""
    from seampack.segmenter.model import Segmenter

    return Segmenter.load(model, **options)


def taken_decoding(options: dict[str, Any]) -> "tuple[DecodeConfig, Dictionary | None]":
    """Remove the options of ``decoding`` from ``options``; return their config, and the dictionary if there is one."""
    config = DecodeConfig(**{field.name: options.pop(field.name) for field in dataclasses.fields(DecodeConfig)})
    path = options.pop("dictionary")
    if path is None:
        return config, None
    from seampack.segmenter.dictionary import Dictionary

    return config, Dictionary.load(path)

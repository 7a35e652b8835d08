"""The options of the commands have the defaults, ranges and choices of the configs."""

import dataclasses
import re
from typing import Any

import click
import pytest

from seampack.commands.grouped import GroupedOption
from seampack.commands.options import Bytes
from seampack.config import Group
from seampack.packer.config import PackConfig
from seampack.segmenter.apply_config import ApplyConfig
from seampack.segmenter.config import DistillConfig, TrainConfig
from tests.conftest import commands

CONFIGS = {
    ("pack",): PackConfig,
    ("compare",): PackConfig,
    ("tokenizer", "train"): PackConfig,
    ("segment", "train"): TrainConfig,
    ("segment", "distill"): DistillConfig,
    ("segment", "apply"): ApplyConfig,
}
OPTIONS = [
    pytest.param(path, field, id=f"{' '.join(path)} {field.name}")
    for path, config in CONFIGS.items()
    for field in dataclasses.fields(config)
    if field.name in {parameter.name for parameter in commands()[path].params}
]


def shown(path: tuple[str, ...], name: str) -> str:
    """Return the entry of an option in ``--help``, unwrapped."""
    command = commands()[path]
    (option,) = (item for item in command.params if isinstance(item, click.Option) and item.name == name)
    return "  ".join(option.get_help_record(click.Context(command)) or ())


@pytest.mark.parametrize(("path", "field"), OPTIONS)
def test_help_shows_what_the_config_accepts(path: tuple[str, ...], field: "dataclasses.Field[Any]") -> None:
    line = shown(path, field.name)
    facts = field.metadata
    if field.name != "n_best":  # given only with n-best output, so without a default
        assert facts["help"] in line
        assert field.default in (None, "", ()) or f"default: {field.default}" in line or isinstance(field.default, bool)
    if facts["choices"]:
        assert f"[{'|'.join(facts['choices'])}]" in line
    if facts["low"] is not None:
        assert f"{facts['low']}<=x" in line
    if facts["high"] is not None:
        assert f"x<={facts['high']}" in line
    if facts["below"] is not None:
        assert f"x<{facts['below']}" in line
    if facts["unit"]:
        assert facts["unit"].upper() in line
    if isinstance(field.default, bool):
        assert f"--no-{field.name.replace('_', '-')}" in line


def test_every_field_is_an_option_of_its_command() -> None:
    for path in (("pack",), ("segment", "train"), ("segment", "distill"), ("segment", "apply")):
        names = {parameter.name for parameter in commands()[path].params}
        assert {field.name for field in dataclasses.fields(CONFIGS[path])} <= names


@pytest.mark.parametrize("path", [("pack",), ("compare",)], ids=" ".join)
def test_long_help_lists_each_option_under_its_stage(path: tuple[str, ...]) -> None:
    command = commands()[path]
    sections = dict(
        re.findall(r"^(\w+):\n((?:  .*\n|\n)+)", command.get_help(click.Context(command)) + "\n", re.MULTILINE)
    )
    assert list(sections) == [group.value for group in Group if path == ("pack",) or group != Group.OUTPUT]
    assert all(field.metadata["group"] for field in dataclasses.fields(PackConfig))
    for option in command.params:
        if isinstance(option, click.Option):
            assert isinstance(option, GroupedOption)
            assert option.group is not None
            places = [
                name for name, text in sections.items() if re.search(rf"^  .*{option.opts[-1]}(?![\w-])", text, re.M)
            ]
            assert places == [option.group.value], option.opts
    assert "--help" in sections["Run"]


@pytest.mark.parametrize(
    ("text", "number"),
    [("65536", 65536), ("64KiB", 65536), ("64 kib", 65536), ("64K", 64_000), ("1MB", 10**6), ("2gib", 2 << 30)],
)
@pytest.mark.parametrize("path", [("pack",), ("tokenize",), ("tokenizer", "train"), ("compare",)], ids=" ".join)
def test_bytes_have_units(path: tuple[str, ...], text: str, number: int) -> None:
    options = [each for each in commands()[path].params if isinstance(each.type, Bytes)]
    assert {each.name for each in options} == {"max_document_bytes", "partition_bytes"} & {
        each.name for each in commands()[path].params
    }
    (size,) = (each.type for each in options if each.name == "max_document_bytes")
    assert size.convert(text, None, None) == number


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a number of bytes, such as 67108864, 64MiB or 64MB; got ''"),
        ("1.5MB", "expected a number of bytes, .*; got '1.5MB'"),
        ("64 tokens", "expected a number of bytes"),
        ("-1", "expected a number of bytes"),
        ("64B", "expected an integer from 65,536 to 1,099,511,627,776; got 64"),
        ("2TiB", "expected an integer from 65,536 to 1,099,511,627,776; got 2199023255552"),
    ],
)
def test_what_is_no_number_of_bytes(text: str, message: str) -> None:
    with pytest.raises(click.BadParameter, match=message):
        Bytes(1 << 16, 1 << 40).convert(text, None, None)

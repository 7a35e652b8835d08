"""Options check themselves: every config class refuses every wrong kind, range and choice of each field by name."""

import dataclasses
import importlib
import pkgutil
import sys
from enum import StrEnum
from typing import Any

import click
import numpy as np
import pytest

import seampack
from seampack.commands.options import config_options
from seampack.config import MAX_SEED, Config, bounds, check_choice, option, seed_option
from seampack.errors import ConfigError


class Colour(StrEnum):
    """Colours."""

    RED = "red"
    BLUE = "blue"


class Shape(StrEnum):
    """Choices of two words."""

    BEST_FIT = "best_fit"
    N_BEST = "n-best"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sample(Config):
    """A field of each kind."""

    count: int = option(3, "A count.", low=1, high=9, unit="rows")
    share: float = option(0.5, "A share.", low=0, below=1)
    flag: bool = option(False, "A flag.")
    name: str = option("a", "A name.", empty=False)
    colour: str = option("red", "A colour.", choices=Colour)
    perhaps: str | None = option(None, "Perhaps a text.")
    layers: int | None = option(None, "Perhaps a number.", low=1)
    sizes: tuple[int, ...] = option((1, 2), "Sizes.", low=1, high=5, empty=False)
    names: tuple[str, ...] = option((), "Names.")
    seed: int = seed_option("Seed.")

    def check_rules(self) -> None:
        if self.count == 7:
            raise ConfigError("count: 7 does not go with the rest")


def configs() -> list[type[Config]]:
    """Every config class of the package."""
    for module in pkgutil.walk_packages(seampack.__path__, "seampack."):
        if module.name.rsplit(".", 1)[-1].endswith("config"):
            importlib.import_module(module.name)
    found: list[type[Config]] = [Config]
    for known in found:  # grows: subclasses of subclasses too
        found += known.__subclasses__()
    # a slotted dataclass is made twice; the first one is in no module
    options = [each for each in found if getattr(sys.modules[each.__module__], each.__name__, None) is each]
    names = {each.__name__: each for each in options if each.__module__.endswith("config") and each is not Config}
    return [names[name] for name in sorted(names)]


CONFIGS = configs()
FIELDS = [
    pytest.param(config, field, id=f"{config.__name__}.{field.name}")
    for config in CONFIGS
    for field in dataclasses.fields(config)  # type: ignore[arg-type]
]


def wrong(field: "dataclasses.Field[Any]") -> list[object]:
    """Values that a field must refuse, by its kind, range and choices."""
    kind, facts = str(field.type), field.metadata
    values: list[object] = [object(), b"bytes", {1: 2}]
    if isinstance(field.default, bool):
        return [*values, "no", 0, None, ""]
    if "tuple" in kind:
        values += ["text", 5, [None], [[]], [True]]
        return values if facts["empty"] else [*values, []]
    if "None" not in kind:
        values.append(None)
    if "int" in kind or "float" in kind:
        values += ["1", True, float("nan"), [1]] + [float("inf"), 1.5] * ("int" in kind)
        values += [facts["low"] - 1] if facts["low"] is not None else []
        values += [facts["high"] + 1] if facts["high"] is not None else []
        values += [facts["below"]] if facts["below"] is not None else []
        return values
    values += [3, True, ["a"]]
    values += ["no such choice", ""] if facts["choices"] is not None else []
    return values if facts["empty"] else [*values, ""]


def test_every_config_class_is_found() -> None:
    names = {config.__name__ for config in CONFIGS}
    assert {"PlanConfig", "PackConfig", "TrainConfig", "DistillConfig", "ApplyConfig", "CurriculumConfig"} <= names
    assert len(CONFIGS) >= 12


@pytest.mark.parametrize("config", [*CONFIGS, Sample])
def test_defaults_are_valid_and_plain(config: type[Config]) -> None:
    fields = config().to_dict()
    assert config(**fields) == config()
    assert all(not isinstance(value, StrEnum | tuple) for value in fields.values())
    with pytest.raises(ConfigError, match=r"^no_such: no such option; expected one of "):
        config().replace(no_such=1)


@pytest.mark.parametrize(
    ("config", "field"),
    [*FIELDS, *[pytest.param(Sample, each, id=f"Sample.{each.name}") for each in dataclasses.fields(Sample)]],
)
def test_a_field_refuses_what_does_not_fit(config: type[Config], field: "dataclasses.Field[Any]") -> None:
    for value in wrong(field):
        with pytest.raises(ConfigError, match=rf"^{field.name}\b.*got "):
            config(**{field.name: value})


@pytest.mark.parametrize(("config", "field"), FIELDS)
def test_a_field_says_all_that_is_shown_of_it(config: type[Config], field: "dataclasses.Field[Any]") -> None:
    facts = field.metadata
    assert facts["help"][0].isupper() or facts["help"].split(":")[0] in (
        "seamless",
        "concat, and leftovers that are filled or joined",
        "seamless, best_fit, ffd, optimal",
        "n-best",
    )
    assert facts["help"].endswith(".")
    if isinstance(field.default, int | float) and not isinstance(field.default, bool):
        assert facts["low"] is not None
        assert (facts["high"] is None) != (facts["below"] is None)
    if field.name == "seed":
        assert (facts["low"], facts["high"]) == (0, MAX_SEED)


def test_values_are_kept_as_plain_python() -> None:
    sample = Sample(count=np.int64(4), share=np.float32(0.25), colour=Colour.BLUE, sizes=[2, np.int32(3)])
    assert sample == Sample(count=4, share=0.25, colour="blue", sizes=(2, 3))
    assert [type(sample.count), type(sample.share), type(sample.colour)] == [int, float, str]
    assert [type(size) for size in sample.sizes] == [int, int]
    assert sample.to_dict()["sizes"] == [2, 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 0}, "count: expected an integer from 1 to 9; got 0"),
        ({"share": 1}, "share: expected a number from 0 to below 1; got 1"),
        ({"layers": 0}, "layers: expected an integer of at least 1; got 0"),
        ({"colour": "green"}, "colour: expected one of red, blue; got 'green'"),
        ({"flag": "no"}, "flag: expected true or false; got 'no'"),
        ({"sizes": [1, 6]}, "sizes: expected an integer from 1 to 5; got 6"),
        ({"sizes": ()}, "sizes: expected at least one value; got an empty list"),
        ({"names": "ab"}, "names: expected a list; got 'ab'"),
        ({"count": 7}, "count: 7 does not go with the rest"),
    ],
)
def test_messages(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Sample(**changes)
    assert str(error.value) == message


@pytest.mark.parametrize("value", [10**400, -(10**400), 10**5000], ids=["400 digits", "negative", "5,000 digits"])
def test_huge_integers(value: int) -> None:
    for name in ("share", "count"):
        with pytest.raises(ConfigError, match=rf"^{name}: expected an? (number|integer) from .*; got "):
            Sample(**{name: value})


def test_a_dash_and_an_underscore_are_the_same_in_a_choice() -> None:
    for given in ("best-fit", "best_fit", Shape.BEST_FIT):
        assert check_choice("shape", given, Shape) == "best_fit"
    for given in ("n_best", "n-best"):
        assert check_choice("shape", given, Shape) == "n-best"
    with pytest.raises(ConfigError):
        check_choice("shape", "best fit", Shape)


def test_unknown_options_get_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"^colours: no such option; did you mean colour\?$"):
        Sample(colours="red")  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"^zzz: no such option; expected one of count, share, "):
        Sample(zzz=1)  # type: ignore[call-arg]


def test_a_config_is_a_config() -> None:
    assert Sample.given(None, count=4) == Sample.given(Sample(count=4)) == Sample(count=4)
    for wrong_config in ({"count": 4}, "Sample", 5):
        with pytest.raises(ConfigError, match=r"^expected a Sample or options by name; got a (dict|str|int)$"):
            Sample.given(wrong_config)  # type: ignore[arg-type]


def test_bounds_in_words() -> None:
    found = {field.name: bounds(field) for field in dataclasses.fields(Sample)}
    assert found == {
        "count": "1 to 9 rows",
        "share": "0 to below 1",
        "flag": "",
        "name": "",
        "colour": "one of red, blue",
        "perhaps": "",
        "layers": "at least 1",
        "sizes": "1 to 5",
        "names": "",
        "seed": "0 to 2,147,483,647",
    }


def test_the_command_line_shows_and_checks_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    @config_options(Sample, skip=("sizes", "names", "layers"))
    def show(**options: Any) -> None:
        click.echo(repr(Sample(**options)))

    show(["--help"], standalone_mode=False)
    shown = " ".join(capsys.readouterr().out.split())
    for part in (
        "--count ROWS A count. [default: 3; 1<=x<=9]",
        "0<=x<1",
        "[red|blue]",
        "--flag / --no-flag",
        "0<=x<=2147483647",
    ):
        assert part in shown
    for arguments in (["--count", "0"], ["--share", "1"], ["--colour", "green"], ["--seed", "-1"]):
        with pytest.raises(click.UsageError):
            show(arguments, standalone_mode=False)
    show(["--count", "4", "--flag", "--perhaps", "x"], standalone_mode=False)
    assert capsys.readouterr().out.strip() == repr(Sample(count=4, flag=True, perhaps="x"))

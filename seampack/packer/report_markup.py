"""HTML that cannot be broken by its content: all text that is not Markup is escaped."""

import html
import re
from typing import Any

_VOID = ("meta",)
# What HTML or UTF-8 cannot hold, or what would reorder the text around it: control characters but tab and line feed,
# marks of direction, surrogates, and code points that are no characters.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
    "\ufdd0-\ufdef\ufff9-\ufffb"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
    + "]"
)
_PICTURES, _DELETE, _DELETE_PICTURE = 0x2400, "\x7f", "\u2421"


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(tag: str, /, *content: str, **attributes: Any) -> Markup:
    """Return an element with content and attributes, all escaped but Markup.

    Underscores in the names of attributes are dashes, one at the end is dropped. An attribute with None is absent, one
    with True has no value.
    """
    written = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escaped(str(value))}"')
        for key, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{joined(*content)}</{tag}>")


def joined(*content: str) -> Markup:
    """Return pieces of content one after another; all but Markup is escaped."""
    return Markup("".join(each if isinstance(each, Markup) else escaped(each) for each in content))


def escaped(text: str) -> Markup:
    """Return text as HTML, with visible signs for invisible characters that would do harm."""
    return Markup(html.escape(_INVISIBLE.sub(_shown, text)))


def _shown(match: "re.Match[str]") -> str:
    character = match[0]
    if character == _DELETE:
        return _DELETE_PICTURE
    code = ord(character)
    return chr(_PICTURES + code) if code < 0x20 else f"\\u{code:04x}"


def table(caption: str, heads: list[str], rows: list[list[str]], *, numbers: str = "") -> Markup:
    """Return a table that scrolls within its box. The first cell of a row is its heading.

    ``numbers`` has a letter for each column: ``n`` for numbers, which are aligned to the right.
    """
    kinds = [{"class_": "n"} if kind == "n" else {} for kind in numbers.ljust(len(heads))]
    head = element("tr", *(element("th", each, scope="col", **kind) for each, kind in zip(heads, kinds, strict=True)))
    body = [
        element(
            "tr",
            element("th", row[0], scope="row", **kinds[0]),
            *(element("td", cell, **kind) for cell, kind in zip(row[1:], kinds[1:], strict=True)),
        )
        for row in rows
    ]
    content = (element("caption", caption), element("thead", head), element("tbody", *body))
    return element("div", element("table", *content), class_="box", tabindex="0", role="region", aria_label=caption)


def bar(share: float) -> Markup:
    """Return a bar whose length is a share of its cell. It is hidden from readers, who have the number next to it."""
    filled = element("rect", width=f"{100 * share:.2f}%", height="100%")
    return element("svg", filled, class_="bar", aria_hidden="true", focusable="false")


def histogram(caption: str, head: str, counted: list[tuple[str, int]], unit: str) -> Markup:
    """Return counts as a table with bars. The largest bar has the full length."""
    total, most = max(1, sum(count for _, count in counted)), max([1, *(count for _, count in counted)])
    rows = [[label, f"{count:,}", f"{count / total:.1%}", bar(count / most)] for label, count in counted]
    return table(caption, [head, unit, "share", ""], rows, numbers="nnn")

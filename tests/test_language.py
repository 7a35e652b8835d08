"""The project speaks plain English: imperative docstrings, and none of the turns of phrase that are hard to read."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import seampack

TOP = Path(seampack.__file__).parent.parent
SOURCES = [path for part in ("seampack", "examples", "benchmarks") for path in sorted((TOP / part).rglob("*.py"))]
PAGES = [*sorted(TOP.glob("*.md")), *sorted((TOP / "docs").rglob("*.md"))]

HARD_TO_READ = {
    r"st(ands?|ood|anding)": "is, appears, means",
    r"behind": "after",
    r"beside": "next to, in addition to",
    r"(is|are|was|were|be|been) told": "is given, reports",
    r"at will": "any",
    r"go(es)? before": "precedes, overrides",
    r"so many": "that many, up to",
    r"of (one's|its|their|your|our) own": "its own, separate",
    r"(is|are|was|were) asked for": "requested",
    r"le(ave|aves|aving|ft) (it |them |that |those |this |these )?(out|away)": "skip, omit, without",
    r"(say|says|said) of": "reports, describes",
    r"(to|can|cannot|could) be had": "available",
    r"go(es)? over to": "is carried into",
    r"(is|are) to be (done|made|read|written|told|had)": "must be, is",
    r"by so": "by up to",
    r"in the place of": "replaces",
    r"(has|have|had) to say": "reports",
    r"(that|which|what|who) (is|are) none": "no, not a",
    r"for (other|own) eyes": "readable by",
    r"what (is|are|was|were) (there|known|meant)": "name the thing",
    r"whoever|whatever": "any, all",
}
PHRASES = re.compile("|".join(rf"(?P<p{n}>\b{phrase}\b)" for n, phrase in enumerate(HARD_TO_READ)), re.IGNORECASE)

VERBS = set((Path(__file__).parent / "data" / "verbs.txt").read_text("utf-8").split())


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """The strings and comments of a source file, or the lines of a page, with their line numbers."""
    text = path.read_text("utf-8")
    if path.suffix == ".md":
        yield from enumerate(text.splitlines(), 1)
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.STRING, tokenize.COMMENT):
            yield from enumerate(token.string.splitlines(), token.start[0])


def name_of(path: Path) -> str:
    return str(path.relative_to(TOP))


@pytest.mark.parametrize("path", [*SOURCES, *PAGES], ids=name_of)
def test_no_phrase_is_hard_to_read(path: Path) -> None:
    found = [
        f"{path}:{number}: {match[0]!r}: write {list(HARD_TO_READ.values())[int((match.lastgroup or 'p0')[1:])]}"
        for number, line in prose(path)
        for match in PHRASES.finditer(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", [path for path in SOURCES if "seampack" in path.parts[len(TOP.parts)]], ids=name_of)
def test_docstrings_of_functions_begin_with_a_verb(path: Path) -> None:
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        names = {getattr(each, "id", getattr(each, "attr", "")) for each in node.decorator_list}
        text = ast.get_docstring(node)
        if (
            text
            and not names & {"property", "cached_property", "fixture"}
            and text.split()[0].strip(".,:") not in VERBS
        ):
            found.append(f"{path}:{node.lineno}: {node.name}: {text.splitlines()[0]}")
    assert not found, "\n".join(found)


def test_the_list_finds_what_it_names() -> None:
    for line in (
        "It stands in a row",
        "a token behind it",
        "ids beside it",
        "leave it out",
        "is told which",
        "of its own",
    ):
        assert PHRASES.search(line), line
    assert not PHRASES.search("the standard library understands it")

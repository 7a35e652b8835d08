"""Draw the pictures of the pages from real plans and a real lattice: ``python -m examples.pictures``."""

from collections.abc import Sequence

import seampack
from benchmarks.svg import DOCUMENT_COLOURS, THEMES, Picture, Theme, save
from examples.strategies import DOCUMENTS, SEQ_LEN, plan_of

CELL, LINE, PANELS = 22, 24, 4
TEXT = "北京大学生前来应聘"
LETTER = "#1b1b1b"


def strategies(name: str) -> str:
    """Return the rows of each strategy next to each other."""
    theme = THEMES[name]
    plans = {strategy.value: plan_of(strategy) for strategy in seampack.Strategy}
    tallest = max(plan.rows for plan in plans.values())
    across, down = CELL * SEQ_LEN + 76, 82 + LINE * tallest
    lines = -(-len(plans) // PANELS)
    picture = Picture(across * PANELS, down * lines, "The rows of each strategy for the same documents")
    for number, (strategy, plan) in enumerate(plans.items()):
        x, y = across * (number % PANELS), down * (number // PANELS)
        picture.text(x, y + 16, strategy, theme.ink, size=15)
        for row in range(plan.rows):
            _row(picture, theme, x, y + 28 + LINE * row, plan, row)
        account, end = plan.account(), y + 28 + LINE * plan.rows
        picture.text(x, end + 12, f"{account.rows} rows, {account.padding} padding", theme.ink, size=12)
        counts = f"{account.documents_split} split, {account.repeated} repeated"
        picture.text(x, end + 28, counts, theme.ink, size=12)
    return picture.render()


def rows(name: str) -> str:
    """Return documents, and the rows of ``seamless`` with their segments and windows."""
    theme, plan = THEMES[name], plan_of(seampack.Strategy.SEAMLESS)
    picture = Picture(720, 60 + LINE * len(DOCUMENTS), "Documents, and the rows that seamless makes of them")
    picture.text(0, 16, "documents", theme.ink, size=15)
    picture.text(320, 16, "rows of 5 tokens", theme.ink, size=15)
    for number, (letter, length) in enumerate(DOCUMENTS.items()):
        _segment(picture, theme, 0, 28 + LINE * number, number, letter, 0, length, 0)
    notes = {
        0: "three windows cover document d:",
        1: "dashed tokens are in two rows (repeated)",
        3: "a row of two segments: c and g",
        4: "document f is split over three rows",
    }
    for row in range(plan.rows):
        y = 28 + LINE * row
        _row(picture, theme, 320, y, plan, row)
        picture.text(320 + CELL * SEQ_LEN + 16, y + 15, notes.get(row, ""), theme.faint, size=12)
    picture.text(
        0,
        picture.height - 8,
        "Each square is a token; a colour is a document; an edge is the start of a segment.",
        theme.faint,
    )
    return picture.render()


def attention(name: str) -> str:
    """Return which tokens of a row see which, with plain and with block-diagonal attention."""
    theme = THEMES[name]
    segments = _longest_row(seampack.plan(list(DOCUMENTS.values()), seq_len=10, shuffle=False))
    tokens = [document for document, length in segments for _ in range(length)]
    names = list(DOCUMENTS)
    picture = Picture(720, 70 + CELL * len(tokens), "Attention in a row of several documents, plain and block-diagonal")
    for x, title, blocks in (
        (0, "plain: a token sees all before it", False),
        (380, "block-diagonal: its own document", True),
    ):
        picture.text(x, 16, title, theme.ink, size=15)
        for query, document in enumerate(tokens):
            y = 48 + CELL * query
            picture.text(x + 10, y + 16, names[document], theme.ink, anchor="middle")
            picture.text(x + 32 + CELL * query, 42, names[document], theme.ink, anchor="middle")
            for key in range(query + 1):
                seen = DOCUMENT_COLOURS[tokens[key]] if not blocks or tokens[key] == document else "none"
                edge = f'stroke="{theme.bar}" stroke-width="0.5"'
                picture.rectangle(x + 22 + CELL * key, y, CELL - 1, CELL - 1, seen, edge)
    picture.text(
        0, picture.height - 4, "A line is a token that looks; a column, one that is seen.", theme.faint, size=12
    )
    return picture.render()


def lattice(name: str) -> str:
    """Return the words that the bundled Chinese segmenter considers in a text, with their probabilities."""
    theme, segmenter = THEMES[name], seampack.Segmenter.load("zh")
    units, _ = segmenter.units([TEXT])
    posteriors = segmenter.lexicon.with_student(units, segmenter.student.end_log_odds(units)).posteriors()
    words = segmenter.spans([TEXT])
    chosen = {(int(a), int(b)) for a, b in zip(words.begin, words.end, strict=True)}
    picture = Picture(720, 230, f"The lattice of {TEXT}")
    step, base = 630 / len(TEXT), 150
    for place, character in enumerate(TEXT):
        picture.text(45 + step * place + step / 2, base + 34, character, theme.ink, size=26, anchor="middle")
    for place in range(len(TEXT) + 1):
        picture.parts.append(f'<circle cx="{45 + step * place:g}" cy="{base}" r="4" fill="{theme.ink}"/>')
    for begin, length in sorted(zip(*posteriors.round(2).nonzero(), strict=True)):
        probability, end = float(posteriors[begin, length]), int(begin + length + 1)
        left, right, is_word = 45 + step * begin, 45 + step * end, (int(begin), end) in chosen
        top, middle = base - 52 * (length + 1), (left + right) / 2
        colour = theme.accent if is_word else theme.faint
        dash = "" if is_word else 'stroke-dasharray="4 4"'
        picture.path(f"M{left:g} {base} Q{middle:g} {top} {right:g} {base}", colour, 1 + 3 * probability, dash)
        picture.text(middle, (base + top) / 2 - 6, f"{probability:.2f}", colour, size=12, anchor="middle")
    picture.text(0, 222, "Arcs are possible words with their probability; the solid ones are the result.", theme.faint)
    return picture.render()


def _longest_row(plan: seampack.PackPlan) -> list[tuple[int, int]]:
    """Return the document and length of each segment of the row with the most segments."""
    row = max(range(plan.rows), key=lambda row: plan.row_offsets[row + 1] - plan.row_offsets[row])
    return [(int(plan.doc[s]), int(plan.length[s])) for s in _segments(plan, row)]


def _segments(plan: seampack.PackPlan, row: int) -> Sequence[int]:
    return range(plan.row_offsets[row], plan.row_offsets[row + 1])


def _row(picture: Picture, theme: Theme, x: float, y: float, plan: seampack.PackPlan, row: int) -> None:
    """Draw a row: its segments, and its padding as empty squares."""
    place = 0
    for segment in _segments(plan, row):
        document, length = int(plan.doc[segment]), int(plan.length[segment])
        letter, start = list(DOCUMENTS)[document], int(plan.start[segment])
        _segment(picture, theme, x + CELL * place, y, document, letter, start, length, int(plan.repeated[segment]))
        place += length
    for empty in range(place, SEQ_LEN):
        edge = f'stroke="{theme.bar}" stroke-dasharray="2 2"'
        picture.rectangle(x + CELL * empty + 0.5, y + 0.5, CELL - 2, CELL - 3, "none", edge)


def _segment(
    picture: Picture,
    theme: Theme,
    x: float,
    y: float,
    document: int,
    letter: str,
    start: int,
    length: int,
    repeated: int,
) -> None:
    """Draw a segment as squares, the repeated ones dashed."""
    for token in range(length):
        edge = f'stroke="{theme.ink}" stroke-dasharray="3 2" fill-opacity="0.45"' if token < repeated else ""
        picture.rectangle(x + CELL * token, y, CELL - 1, CELL - 2, DOCUMENT_COLOURS[document], edge)
        ink = theme.ink if token < repeated else LETTER
        picture.text(x + CELL * token + 10.5, y + 14, f"{letter}{start + token}", ink, size=10, anchor="middle")
    picture.rectangle(x, y, 2, CELL - 2, theme.ink)


def pictures() -> dict[str, str]:
    """Return all pictures in both themes, by file name."""
    return {
        f"{draw.__name__}-{name}.svg": draw(name) for draw in (strategies, rows, attention, lattice) for name in THEMES
    }


if __name__ == "__main__":
    save(pictures())

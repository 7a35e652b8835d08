"""Tables of scores that ``segment eval`` and ``segment compare`` print."""

from collections.abc import Iterable

from seampack.commands.report import table
from seampack.segmenter.evaluate import Agreement, Scores
from seampack.segmenter.peers import Result


def scores_text(scores: Scores, errors: int = 20) -> str:
    """Return the scores and the most frequent errors as tables."""
    parts: list[tuple[str, Agreement]] = [
        ("words", scores.words),
        ("words without punctuation", scores.words_without_punctuation),
        ("boundaries", scores.boundaries),
        ("types", scores.types),
        *([("unknown words", scores.unknown)] if scores.unknown is not None else []),
        *((f"words of {length}", part) for length, part in sorted(scores.by_length.items())),
    ]
    rows = [
        {
            "": name,
            **{key: value * 100 if isinstance(value, float) else value for key, value in part.to_dict().items()},
        }
        for name, part in parts
    ]
    columns = {"": "", "precision": "precision %", "recall": "recall %", "f1": "F1 %"}
    text = table(rows, columns | {"gold": "gold", "predicted": "predicted", "right": "right"})
    worst = [
        {"times": count, "gold": gold, "predicted": predicted}
        for (gold, predicted), count in scores.most_frequent_errors(errors)
    ]
    if worst:
        text += "\n\n" + table(worst, {"times": "times", "gold": "gold", "predicted": "predicted"})
    return text


def results_text(results: Iterable[Result]) -> str:
    """Return the results of several segmenters as a table, scores in per cent."""
    rows = [result.to_dict() for result in results]
    for row in rows:
        row |= {name: 100 * value for name, value in row.items() if name.endswith("_f1")}
    columns = {
        "segmenter": "segmenter",
        "words_f1": "word F1",
        "no_punctuation_f1": "without punctuation",
        "boundary_f1": "boundary F1",
        "type_f1": "type F1",
        "altered": "lines altered",
        "setup_seconds": "set-up CPU-s",
        "cpu_seconds": "CPU-s",
        "characters_per_second": "characters/CPU-s",
    }
    return table(rows, columns)

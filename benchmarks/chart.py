"""Draw the chart of the README from the saved results of ``benchmarks.packing``: ``python -m benchmarks.chart``."""

import json
import re

from benchmarks.packing import RESULTS
from benchmarks.svg import THEMES, Picture, save

PEERS = {
    "datasets.map + trl bfd_split": "100 MB, against datasets.map(tokenize) + trl bfd_split",
    "datasets.map + group_texts": "100 MB, against datasets.map(tokenize) + group_texts",
}
WIDTH, LABELS, BAR, STEP = 720, 210, 26, 40


def seconds() -> dict[str, float]:
    """Return the CPU seconds of each pipeline for 100 MB of JSON lines."""
    rows = {row["work"]: row for row in json.loads(RESULTS.read_text("utf-8"))["end_to_end"]["rows"]}
    ours = {_number(rows[work]["seampack"]) for work in PEERS.values()}
    if len(ours) != 1:
        raise SystemExit(f"{RESULTS}: the rows of 100 MB are of different runs: {sorted(ours)}; run end_to_end again")
    return {"seampack": ours.pop(), **{name: _number(rows[work]["compared with"]) for name, work in PEERS.items()}}


def _number(text: str) -> float:
    return float(re.findall(r"[\d.]+(?= CPU-s)", text)[0])


def chart(name: str) -> str:
    """Return the chart in the colours of a theme."""
    theme, times = THEMES[name], seconds()
    picture = Picture(WIDTH, 60 + STEP * len(times), "CPU seconds from 100 MB of JSON lines to packed rows")
    picture.text(0, 20, "CPU seconds from 100 MB of JSON lines to packed rows (less is better)", theme.ink, size=16)
    scale = (WIDTH - LABELS - 50) / max(times.values())
    for number, (pipeline, time) in enumerate(times.items()):
        y = 42 + STEP * number
        picture.text(LABELS - 12, y + 18, pipeline, theme.ink, anchor="end")
        picture.rectangle(LABELS, y, time * scale, BAR, theme.accent if number == 0 else theme.bar, 'rx="3"')
        picture.text(LABELS + time * scale + 8, y + 18, f"{time:g} s", theme.ink)
    picture.text(0, picture.height - 4, "GPT-2 tokenizer, rows of 2,048 tokens, two cores", theme.faint, size=12)
    return picture.render()


def pictures() -> dict[str, str]:
    """Return the chart in both themes, by file name."""
    return {f"chart-{name}.svg": chart(name) for name in THEMES}


if __name__ == "__main__":
    save(pictures())

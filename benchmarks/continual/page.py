"""The tables and pictures of ``docs/packing_and_training.md``, from saved results."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import measure
from benchmarks.continual.analysis import Analysis, Difference
from benchmarks.continual.arms import ALL, BASELINE, PACKINGS, Arm
from benchmarks.continual.scoring import GROUPS
from seampack.models.base import save_picture

DOCUMENT = Path(__file__).parents[2] / "docs" / "packing_and_training.md"
COMMAND = "python -m benchmarks.continual_pretraining"
COLOURS = {False: "#4477aa", True: "#aa6644"}
PAIRS = [
    (Arm("seamless"), Arm("best_fit")),
    (Arm("seamless", True), Arm("best_fit", True)),
    (Arm("seamless", steps_of=BASELINE), Arm("best_fit", steps_of=BASELINE)),
    (Arm("seamless"), Arm(BASELINE, steps_of="seamless")),
    (Arm("seamless, no overlap"), Arm("seamless")),
    (Arm("seamless, repeats masked"), Arm("seamless")),
    (Arm(BASELINE, True), Arm("seamless")),
]
"""Arms that are compared with each other, in addition to naive concatenation."""
MEANING = (
    "Numbers are differences to `concat` with plain attention in thousandths of a nat a token, with 95 % intervals; "
    "negative is better; bold: the interval excludes 0. One interval in twenty does so by chance."
)
OWN_DOMAINS = (
    "An arm with a domain in brackets was trained on that domain alone, and its numbers are those of that domain."
)
ONE_SEED = "With one seed, the intervals cover the choice of documents, but not that of the seed."


def model_of(results: dict[str, Any]) -> str:
    """Describe the model in words."""
    model, count = results["options"]["model"], results["trainings"][0]["parameters"] / 1e6
    if isinstance(model, str):
        return f"{model}, trained further"
    return (
        f"a Llama of {count:.1f} million parameters ({model['layers']} layers of {model['hidden']}, vocabulary of "
        f"{model['vocab_size']:,} tokens made from the training documents), trained from scratch"
    )


def conditions(results: dict[str, Any]) -> str:
    """Describe the model and the trainings in words."""
    done, planned = len({each["seed"] for each in results["trainings"]}), results["options"]["seeds"]
    seeds = f"{done} seed{'s' if done > 1 else ''}" + (f" of {planned} planned" if done < planned else "")
    return (
        f"Model: {model_of(results)}. {len(results['trainings'])} trainings in {results['cpu_seconds']:,} CPU-s, "
        f"{seeds}, {results['options']['tokens_per_step']:,} tokens a step."
    )


def documents_table(analysis: Analysis) -> str:
    """Return one row per domain and row length: what was trained on and scored, and the learning rate."""
    header = ["domain", "sources", "row", "trained on", "scored", "learning rate: loss when it was chosen"]
    header += ["loss of `concat`", "of token frequencies alone"]
    rows = []
    for key, tried in analysis.results["learning_rates"].items():
        domain, seq_len = key.rsplit("/", 1)
        described = analysis.results["domains"][domain]
        train, scored = (described[part] for part in ("train", "held_out"))
        best = min(tried, key=tried.__getitem__)
        rates = ", ".join(
            f"**{rate}: {loss:.3f}**" if rate == best else f"{rate}: {loss:.3f}" for rate, loss in tried.items()
        )
        sizes = [f"{part['documents']:,} documents, {part['tokens']:,} tokens" for part in (train, scored)]
        losses = [f"{analysis.loss(domain, int(seq_len), BASELINE):.3f}", f"{described['frequency_loss']:.3f}"]
        rows.append([domain, ", ".join(described["sources"]), f"{int(seq_len):,}", *sizes, rates, *losses])
    return measure.table(header, rows)


def packing_table(analysis: Analysis, seq_len: int) -> str:
    """Return one row per packing: its rows and what it cuts, drops, repeats and pads, summed over the domains."""
    header = ["packing", "rows", "steps", "full", "fit but cut", "truncated", "dropped", "repeated"]
    rows = []
    for packing in PACKINGS:
        own = [each for key, each in analysis.found.items() if key[1:] == (seq_len, packing, 0)]
        if not own:
            continue
        total = {name: sum(each["account"][name] or 0 for each in own) for name in own[0]["account"]}
        label = analysis.label(seq_len, packing)
        steps = sum(each["steps"] for each in own)
        documents, tokens = total["documents"], total["tokens_in"]
        rows.append(
            [
                f"`{packing}`{label.removeprefix(packing)}" if packing.isidentifier() else label,
                f"{total['rows']:,}",
                f"{steps:,}",
                f"{total['tokens_out'] / (total['rows'] * seq_len):.1%}",
                f"{total['documents_fit_but_cut'] / documents:.1%}",
                f"{total['documents_truncated'] / documents:.1%}",
                f"{total['dropped'] / tokens:.2%}",
                f"{total['repeated'] / tokens:.2%}",
            ]
        )
    return measure.table(header, rows)


def cell(difference: Difference | None) -> str:
    """Return a difference as text, bold if its interval excludes zero."""
    if difference is None:
        return ""
    return f"**{difference}**" if difference.sign else str(difference)


def differences_table(analysis: Analysis, seq_len: int) -> str:
    """Return one row per packing and number of steps, with plain and with block-diagonal attention."""
    names = list(dict.fromkeys((arm.packing, arm.steps_of) for arm in ALL))
    rows = []
    for packing, steps_of in names:
        arms = [Arm(packing, block, steps_of) for block in (False, True)]
        cells = [cell(analysis.difference(seq_len, arm.name)) if arm.name != BASELINE else "0" for arm in arms]
        if any(cells):
            rows.append([analysis.label(seq_len, arms[0].name), *cells])
    return measure.table(["arm", "plain attention", "block-diagonal"], rows)


def groups_table(analysis: Analysis, seq_len: int) -> str:
    """Return one row per arm of one pass, with the difference in each group of positions."""
    shown = [group for group in GROUPS if group != "all"]
    rows = []
    losses, tokens = [], []
    for group in shown:
        domains = analysis.domains(seq_len)
        counted = {domain: int(analysis.tokens(domain, seq_len, group).sum()) for domain in domains}
        tokens.append(f"{sum(counted.values()):,}")
        found = [analysis.loss(domain, seq_len, BASELINE, group) for domain in domains if counted[domain]]
        losses.append(f"{np.mean(found):.3f}" if found else "")
    for arm in ALL:
        if arm.steps_of or arm.name == BASELINE:
            continue
        cells = []
        for group in shown:
            domains = [name for name in analysis.domains(seq_len) if analysis.tokens(name, seq_len, group).sum()]
            cells.append(cell(analysis.difference(seq_len, arm.name, group=group, domains=domains)) if domains else "")
        if any(cells):
            rows.append([analysis.label(seq_len, arm.name), *cells])
    header = ["arm", *(GROUPS[group] for group in shown)]
    return measure.table(header, [["tokens", *tokens], ["`concat`: nats a token", *losses], *rows])


def pairs_table(analysis: Analysis, seq_len: int) -> str:
    """Return the direct comparisons of arms."""
    rows = []
    for arm, other in PAIRS:
        if found := analysis.difference(seq_len, arm.name, baseline=other.name):
            rows.append([*(analysis.label(seq_len, each.name) for each in (arm, other)), cell(found)])
    return measure.table(["arm", "less", "difference"], rows)


def verdict(analysis: Analysis, seq_len: int) -> str:
    """Return the outcome as a list: which arms differ from naive concatenation, and which do not."""
    found = {arm.name: analysis.difference(seq_len, arm.name) for arm in ALL if arm.name != BASELINE}
    signs = {name: difference.sign for name, difference in found.items() if difference}
    parts = []
    for sign, words in ((-1, "Better than `concat`"), (0, "No difference found"), (1, "Worse than `concat`")):
        names = [analysis.label(seq_len, name) for name, own in signs.items() if own == sign]
        if names:
            parts.append(f"- {words} ({len(names)} of {len(signs)} arms): {'; '.join(names)}.")
    return "\n".join(parts)


def folded(title: str, text: str) -> str:
    """Return a text that opens when its title is clicked, on the site and on GitHub."""
    return f'<details markdown="1">\n<summary>{title}</summary>\n\n{text}\n\n</details>'


def draw_differences(analysis: Analysis, seq_len: int, axes: Any) -> None:
    """Draw the difference and interval of each packing, plain and block-diagonal."""
    names = [name for name in PACKINGS if name != "pad" and analysis.difference(seq_len, name)]
    for block, colour in COLOURS.items():
        for place, name in enumerate(names):
            found = analysis.difference(seq_len, Arm(name, block).name)
            if found is None or (name == BASELINE and not block):
                continue
            height = place + (0.15 if block else -0.15)
            axes.plot([found.low, found.high], [height, height], color=colour, linewidth=1.5)
            label = ("block-diagonal attention" if block else "plain attention") if place == 1 else None
            axes.plot([found.mean], [height], "o", color=colour, markersize=5, label=label)
    axes.axvline(0, color="#888888", linewidth=0.8)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("difference to plain concat, 0.001 nat a token")
    axes.set_title(f"rows of {seq_len:,} tokens, one pass")
    axes.legend(loc="upper center", bbox_to_anchor=(0.3, -0.13), ncols=2, frameon=False)


def picture(analysis: Analysis, name: str, document: Path) -> str:
    """Draw the picture of a setting as SVG, next to the page; return the Markdown reference."""
    seq_len = analysis.seq_lens[0]
    file = f"continual_pretraining-{name}"
    (document.parent / "pictures").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        save_picture(Path(folder) / file, lambda axes: draw_differences(analysis, seq_len, axes))
        shutil.copy(Path(folder) / f"{file}.svg", document.parent / "pictures" / f"{file}.svg")
    return f"![Difference of each way of packing to naive concatenation](pictures/{file}.svg)"


def has_own_domains(analysis: Analysis) -> bool:
    """Return whether some arm was trained on some of the domains only."""
    return any(analysis.label(seq_len, arm.name) != arm.name for seq_len in analysis.seq_lens for arm in ALL)


def section(results: dict[str, Any], document: Path) -> str:
    """Return the text of a setting."""
    analysis, name = Analysis(results), results["setting"]
    seeds = len({each["seed"] for each in results["trainings"]})
    machines = list(dict.fromkeys(each["machine"] for each in results["trainings"]))
    parts = [
        f"Made by `{COMMAND} --setting {name}` on {'; and on '.join(machines)}.",
        conditions(results),
        " ".join([MEANING, *([ONE_SEED] if seeds == 1 else []), *([OWN_DOMAINS] if has_own_domains(analysis) else [])]),
        documents_table(analysis),
        picture(analysis, name, document),
    ]
    for seq_len in analysis.seq_lens:
        parts += [
            f"**Rows of {seq_len:,} tokens**",
            verdict(analysis, seq_len),
            differences_table(analysis, seq_len),
            folded("Arms directly compared", pairs_table(analysis, seq_len)),
            folded("By position in the document", groups_table(analysis, seq_len)),
            folded("What the packings do to the training documents", packing_table(analysis, seq_len)),
        ]
    return "\n\n".join(parts)


def write(results: Sequence[dict[str, Any]], document: Path = DOCUMENT) -> None:
    """Write the section of each setting between its markers."""
    for each in results:
        measure.write_between(document, f"continual-{each['setting']}", section(each, document))

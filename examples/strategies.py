"""A table of every strategy on the same seven small documents: ``python -m examples.strategies``."""

import seampack

DOCUMENTS = {"a": 4, "b": 4, "c": 3, "d": 13, "e": 4, "f": 3, "g": 2}
SEQ_LEN = 5


def row_text(plan: seampack.PackPlan, row: int) -> str:
    """Return a row as tokens: ``e3`` is the fourth token of ``e``. Dots separate documents, brackets mark repeats."""
    parts = []
    for segment in range(plan.row_offsets[row], plan.row_offsets[row + 1]):
        name = list(DOCUMENTS)[plan.doc[segment]]
        start, repeated = int(plan.start[segment]), int(plan.repeated[segment])
        tokens = [f"{name}{start + k}" for k in range(int(plan.length[segment]))]
        bracketed = [f"({' '.join(tokens[:repeated])})"] if repeated else []
        parts.append(" ".join(bracketed + tokens[repeated:]))
    return " · ".join(parts)


def plan_of(strategy: seampack.Strategy) -> seampack.PackPlan:
    """Return the rows that a strategy makes of the documents."""
    return seampack.plan(
        list(DOCUMENTS.values()), seq_len=SEQ_LEN, strategy=strategy.value, max_overlap=0.4, shuffle=False
    )


def table() -> str:
    """Return a Markdown table of the rows of each strategy, and of its padding, drops, repeats and splits."""
    lines = ["| strategy | rows | padding | dropped | repeated | split |", "| --- | --- | --- | --- | --- | --- |"]
    for strategy in seampack.Strategy:
        plan = plan_of(strategy)
        account = plan.account()
        rows = "<br>".join(f"`{row_text(plan, row)}`" for row in range(plan.rows))
        counts = (account.padding, account.dropped, account.repeated, account.documents_split)
        lines.append(f"| `{strategy.value}` | {rows} | " + " | ".join(map(str, counts)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())

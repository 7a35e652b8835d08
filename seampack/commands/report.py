"""What the commands print for people."""

from typing import Any


def table(rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    """Rows as text under headings; numbers to the right. ``columns`` maps keys to headings."""
    cells = [list(columns.values())] + [[_cell(key, row[key]) for key in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [rows and not isinstance(rows[0][key], str) for key in columns]
    lines = []
    for row in cells:
        padded = (c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, numeric, strict=True))
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _cell(key: str, value: Any) -> str:
    return f"{value:.4%}" if key == "fill" else readable(value)


def readable(value: Any, digits: int = 3) -> str:
    """A value for people: yes or no, so many digits behind the point, or 1.2e-07 where those would all be zeros."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < abs(value) < 0.5 * 10**-digits else f"{value:,.{digits}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def accounting_lines(accounting: dict[str, Any]) -> str:
    """Where every token went."""
    a = accounting
    share = 100 / max(1, a["tokens_in"])
    documents = (
        f"documents   {a['documents']:>16,}   {a['documents_split']:,} split, {a['documents_truncated']:,} truncated, "
        f"{a['empty_documents']:,} empty"
    )
    lines = [
        documents,
        f"rows        {a['rows']:>16,}   of {a['seq_len']:,} tokens, {a['segments']:,} segments, {a['cuts']:,} cuts",
        f"tokens in   {a['tokens_in']:>16,}",
        f"  + repeated{a['repeated']:>16,}   {a['repeated'] * share:.3f} %",
        f"  - dropped {a['dropped']:>16,}   {a['dropped'] * share:.3f} %",
        f"tokens out  {a['tokens_out']:>16,}",
        f"padding     {a['padding']:>16,}",
        f"fill        {a['fill']:>16.4%}",
    ]
    return "\n".join(lines)


def row_text(row: dict[str, Any], decode: Any) -> str:
    """One row, segment by segment: where each comes from, then its text, or its ids without a tokenizer."""
    lines = []
    at = 0
    segments = zip(row["doc_ids"], row["doc_starts"], row["seq_lengths"], row["repeated"], strict=True)
    for document, start, length, repeated in segments:
        again = f", {repeated} repeated" if repeated else ""
        lines.append(f"──┤ document {document}, tokens {start}..{start + length - 1}{again} ├──")
        ids = row["input_ids"][at : at + length]
        lines.append(decode(ids) if decode else " ".join(map(str, ids)))
        at += length
    if at < len(row["input_ids"]):
        lines.append(f"──┤ {len(row['input_ids']) - at} tokens of padding ├──")
    return "\n".join(lines)

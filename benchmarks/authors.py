"""A port of the released code of Seamless Packing, for comparison. Tokens that this code loses are counted.

Yin et al., "Improving Continual Pre-training Through Seamless Data Packing", Findings of ACL 2025, arXiv 2505.22018.
"""

from collections.abc import Sequence

Row = list[tuple[int, int, int]]  # (document, start, length)


def authors_windows(length: int, seq_len: int, max_overlap: float) -> list[int]:
    """Return the starts of a document's overlapping windows: a fixed stride, then a window at the document's end."""
    n = length // seq_len
    overlap = int(((n + 1) * seq_len - length) / (n + 1)) + 1
    return [i * (seq_len - overlap) for i in range(n)] + [length - seq_len]


def authors_rows(
    lengths: Sequence[int], *, seq_len: int, max_overlap: float, extra_tokens: int
) -> tuple[list[Row], int]:
    """Return the rows, and the number of tokens that are in no row. The last, incomplete row is kept."""
    rows: list[Row] = []
    pieces: list[tuple[int, int, int]] = []
    for document, length in enumerate(lengths):
        n, rest = divmod(length, seq_len)
        if n and rest and length >= (n + 1) * seq_len - n * int(max_overlap * seq_len):
            rows += [[(document, start, seq_len)] for start in authors_windows(length, seq_len, max_overlap)]
        else:
            rows += [[(document, i * seq_len, seq_len)] for i in range(n)]
            if rest:
                pieces.append((document, n * seq_len, rest))
    leftovers: list[tuple[int, int, int]] = []
    for bin_ in _first_fit(pieces, seq_len + extra_tokens):
        if sum(length for _, _, length in bin_) > seq_len:
            rows.append(_head(bin_, seq_len))
        else:
            leftovers += bin_
    rows += _joined(leftovers, seq_len)
    return rows, sum(lengths) - _covered(rows)


def _first_fit(pieces: list[tuple[int, int, int]], capacity: int) -> list[Row]:
    """Pack by First-Fit-Decreasing; a segment tree over the free space of the bins finds the first bin that fits."""
    size = 1
    while size < len(pieces):
        size *= 2
    room = [capacity] * (2 * size)
    bins: list[Row] = [[] for _ in pieces]
    for piece in sorted(pieces, key=lambda piece: -piece[2]):
        node = 1
        while node < size:
            node = 2 * node if room[2 * node] >= piece[2] else 2 * node + 1
        bins[node - size].append(piece)
        room[node] -= piece[2]
        while node > 1:
            node //= 2
            room[node] = max(room[2 * node], room[2 * node + 1])
    return [bin_ for bin_ in bins if bin_]


def _head(bin_: Row, seq_len: int) -> Row:
    """Return the first ``seq_len`` tokens of a bin."""
    row: Row = []
    room = seq_len
    for document, start, length in bin_:
        if room > 0:
            row.append((document, start, min(length, room)))
            room -= length
    return row


def _joined(pieces: Row, seq_len: int) -> list[Row]:
    """Concatenate the pieces and cut them into rows."""
    rows: list[Row] = []
    room = 0
    for document, start, length in pieces:
        position, left = start, length
        while left:
            if room == 0:
                rows.append([])
                room = seq_len
            part = min(left, room)
            rows[-1].append((document, position, part))
            position, left, room = position + part, left - part, room - part
    return rows


def _covered(rows: list[Row]) -> int:
    """Return the number of distinct tokens in the rows."""
    spans = sorted((document, start, start + length) for row in rows for document, start, length in row)
    covered = 0
    last = (-1, 0)
    for document, start, end in spans:
        begin = max(start, last[1]) if document == last[0] else start
        covered += max(0, end - begin)
        last = (document, max(end, last[1]) if document == last[0] else end)
    return covered

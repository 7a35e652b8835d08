"""Slow and obvious twins of the planning kernels. A piece is (document, start, length)."""

from collections.abc import Sequence

Piece = tuple[int, int, int]
Row = list[Piece]


def windows(length: int, seq_len: int, max_overlap: int) -> tuple[list[int], int]:
    """Starts of a document's whole rows, and the length of what is left over."""
    n = length // seq_len
    if length < seq_len:
        return [], length
    if length == n * seq_len:
        return [i * seq_len for i in range(n)], 0
    if length >= (n + 1) * seq_len - n * max_overlap:
        return [i * (length - seq_len) // n for i in range(n + 1)], 0
    return [i * seq_len for i in range(n)], length - n * seq_len


def cut(lengths: Sequence[int], seq_len: int, max_overlap: int) -> tuple[list[Row], list[Piece]]:
    """Whole rows, and the short pieces in document order."""
    rows: list[Row] = []
    pieces: list[Piece] = []
    for document, length in enumerate(lengths):
        starts, rest = windows(length, seq_len, max_overlap)
        rows += [[(document, start, seq_len)] for start in starts]
        if rest:
            pieces.append((document, length - rest, rest))
    return rows, pieces


def allowed(lengths: Sequence[int], seq_len: int, long: str) -> list[int]:
    """Tokens of each document that may be in rows."""
    longest = {"truncate": seq_len, "drop": 0}
    return [longest.get(long, length) if length > seq_len else length for length in lengths]


def decreasing(pieces: Sequence[Piece]) -> list[Piece]:
    """Longest first, pieces of one length in document order."""
    return sorted(pieces, key=lambda piece: -piece[2])


def tokens(row: Row) -> int:
    return sum(length for _, _, length in row)


def in_order(lengths: Sequence[int], seq_len: int, most: int, look_back: int) -> list[Row]:
    """Documents one by one, each into the fullest row that it fits; of equals, into the one that was so first."""
    rows: list[tuple[int, Row]] = []  # (when it was filled last, its pieces)
    for document, length in enumerate(lengths):
        whole, pieces = cut([length], seq_len, 0)
        rows += [(document, [(document, start, n)]) for [(_, start, n)] in whole]
        for _, start, n in pieces:
            fitting = [
                k
                for k, (_, row) in enumerate(rows)
                if not whole and tokens(row) + n <= seq_len and len(row) < most and row[0][0] >= document - look_back
            ]
            if fitting:
                best = max(fitting, key=lambda k: (tokens(rows[k][1]), -rows[k][0]))
                rows[best] = (document, [*rows[best][1], (document, start, n)])
            else:
                rows.append((document, [(document, start, n)]))
    return [row for _, row in rows]


def is_closed(row: Row, seq_len: int, most: int) -> bool:
    """Whether a row is full or has the most segments."""
    return tokens(row) >= seq_len or len(row) >= most


def first_fit(pieces: Sequence[Piece], seq_len: int, extra: int, most: int) -> list[Row]:
    """Textbook First-Fit-Decreasing, item by item; a bin that holds seq_len tokens or the most pieces is closed."""
    bins: list[Row] = []
    for piece in decreasing(pieces):
        for bin_ in bins:
            if not is_closed(bin_, seq_len, most) and tokens(bin_) + piece[2] <= seq_len + extra:
                bin_.append(piece)
                break
        else:
            bins.append([piece])
    return bins


def first_fit_sparing(pieces: Sequence[Piece], seq_len: int, extra: int, most: int) -> list[Row]:
    """First-Fit bin by bin; a bin that cannot be filled exactly takes the piece that is over by least, up to extra."""
    left = decreasing(pieces)
    bins: list[Row] = []
    while left:
        bin_: Row = []
        for piece in list(left):
            if tokens(bin_) + piece[2] <= seq_len and len(bin_) < most:
                bin_.append(piece)
                left.remove(piece)
        over = [piece for piece in left if 0 < tokens(bin_) + piece[2] - seq_len <= extra]
        if not is_closed(bin_, seq_len, most) and over:
            shortest = min(piece[2] for piece in over)
            piece = next(piece for piece in over if piece[2] == shortest)
            bin_.append(piece)
            left.remove(piece)
        bins.append(bin_)
    return bins


def best_fit(pieces: Sequence[Piece], seq_len: int, most: int) -> list[Row]:
    """Best-Fit-Decreasing: the fullest bin that still has room; of equals, the one that was so first."""
    bins: list[tuple[int, Row]] = []  # (when it was filled last, its pieces)
    for clock, piece in enumerate(decreasing(pieces)):
        fitting = [k for k, (_, b) in enumerate(bins) if tokens(b) + piece[2] <= seq_len and len(b) < most]
        if fitting:
            best = max(fitting, key=lambda k: (tokens(bins[k][1]), -bins[k][0]))
            bins[best] = (clock, [*bins[best][1], piece])
        else:
            bins.append((clock, [piece]))
    return [bin_ for _, bin_ in bins]


def limited(pieces: Sequence[Piece], seq_len: int, most: int) -> list[Row]:
    """Bin by bin, the longest first. While pieces are scarcer than tokens, each leaves room for short ones after it."""
    left = decreasing(pieces)
    bins: list[Row] = []
    while left:
        is_scarce = len(left) / most >= tokens(left) / seq_len
        aim = min(seq_len, int(tokens(left) / len(left) * most)) if is_scarce else seq_len
        bin_ = [left.pop(0)]
        while left and len(bin_) < most:
            shortest = left[-1][2]
            reserved = (most - len(bin_) - 1) * shortest if is_scarce else 0
            fitting = [piece for piece in left if piece[2] <= aim - tokens(bin_) - reserved]
            if is_scarce and not fitting:
                fitting = [piece for piece in left if piece[2] == shortest <= seq_len - tokens(bin_)]
            if not fitting:
                break
            bin_.append(fitting[0])
            left.remove(fitting[0])
        bins.append(decreasing(bin_))
    return bins


def rows_made(bins: Sequence[Row], seq_len: int, most: int, leftover: str) -> int:
    """Number of rows of bins if those that are joined fill their rows."""
    underfull = [bin_ for bin_ in bins if leftover != "pad" and not is_closed(bin_, seq_len, most)]
    return len(bins) - len(underfull) + -(-sum(map(tokens, underfull)) // seq_len)


def concat_stream(stream: Sequence[tuple[int, int]], seq_len: int, most: int) -> list[Row]:
    """Token by token, end to end; a row is closed if it is full, or before a segment too many."""
    rows: list[Row] = []
    for document, position in stream:
        row = rows[-1] if rows and tokens(rows[-1]) < seq_len else []
        if row and row[-1][0] == document and row[-1][1] + row[-1][2] == position:
            row[-1] = (document, row[-1][1], row[-1][2] + 1)
        elif row and len(row) < most:
            row.append((document, position, 1))
        else:
            rows.append([(document, position, 1)])
    return rows


def concat(pieces: Sequence[Piece], seq_len: int, most: int) -> list[Row]:
    """Pieces end to end."""
    return concat_stream([(document, start + k) for document, start, n in pieces for k in range(n)], seq_len, most)


def fill(bins: Sequence[Row], seq_len: int, most: int, *, whole_rows: bool) -> list[Row]:
    """The fewest rows: the fullest bins, the emptiest of them first, with the tokens of the others in their gaps."""
    total = sum(tokens(bin_) for bin_ in bins)
    count = total // seq_len if whole_rows else -(-total // seq_len)
    fullest_first = sorted(bins, key=lambda bin_: -tokens(bin_))
    rows = sorted((list(bin_) for bin_ in fullest_first[:count]), key=tokens)
    stream = [(document, start + k) for bin_ in fullest_first[count:] for document, start, n in bin_ for k in range(n)]
    for row in rows:
        gap = [] if is_closed(row, seq_len, most) else concat_stream(stream, seq_len - tokens(row), most - len(row))[:1]
        row += [part for parts in gap for part in parts]
        stream = stream[sum(tokens(parts) for parts in gap) :]
    return rows + concat_stream(stream, seq_len, most)


def fit_but_cut(lengths: Sequence[int], rows: Sequence[Row], seq_len: int) -> int:
    """Number of documents in the rows that a row could hold and that no segment holds whole."""
    segments = {piece for row in rows for piece in row}
    present = {document for document, _, _ in segments}
    fitting = [(document, 0, length) for document, length in enumerate(lengths) if 0 < length <= seq_len]
    return sum(piece not in segments and piece[0] in present for piece in fitting)


def trimmed(row: Row, seq_len: int) -> Row:
    """A row cut to its first seq_len tokens."""
    over = max(0, tokens(row) - seq_len)
    document, start, length = row[-1]
    return [*row[:-1], (document, start, length - over)]


def plan_rows(
    lengths: Sequence[int],
    *,
    seq_len: int,
    strategy: str,
    max_overlap: int,
    extra: int,
    extra_room: str,
    leftover: str,
    drop_last: bool,
    long: str,
    max_segments: int | None,
    rows_multiple_of: int,
    rest: str,
    look_back: int,
) -> list[Row]:
    """All rows in the order of planning."""
    rows = ungrouped_rows(
        allowed(lengths, seq_len, long),
        seq_len=seq_len,
        strategy=strategy,
        max_overlap=max_overlap,
        extra=extra,
        extra_room=extra_room,
        leftover=leftover,
        drop_last=drop_last,
        max_segments=max_segments,
        look_back=look_back,
    )
    beyond = len(rows) % rows_multiple_of
    if beyond and rest == "drop":
        return rows[:-beyond]
    while len(rows) % rows_multiple_of:
        rows = with_a_row_split(rows)
    return rows


def with_a_row_split(rows: list[Row]) -> list[Row]:
    """The rows, of which the one of the most segments, or else of the most tokens, is split near its middle."""
    k = max(range(len(rows)), key=lambda k: (len(rows[k]), tokens(rows[k])))
    row = rows[k]
    if len(row) == 1:
        document, start, length = row[0]
        half = length // 2
        parts = [[(document, start, half)], [(document, start + half, length - half)]]
    else:
        at = min(range(1, len(row)), key=lambda at: abs(tokens(row[:at]) - tokens(row[at:])))
        parts = [row[:at], row[at:]]
    return [*rows[:k], *parts, *rows[k + 1 :]]


def ungrouped_rows(
    lengths: Sequence[int],
    *,
    seq_len: int,
    strategy: str,
    max_overlap: int,
    extra: int,
    extra_room: str,
    leftover: str,
    drop_last: bool,
    max_segments: int | None,
    look_back: int,
) -> list[Row]:
    """All rows in the order of planning, whatever their number."""
    most = min(max_segments or seq_len, seq_len)
    if strategy == "keep_order":
        return in_order(lengths, seq_len, most, look_back)
    whole: list[Piece] = [(document, 0, length) for document, length in enumerate(lengths) if length]
    if strategy == "concat":
        rows = concat(whole, seq_len, most)
        return rows[:-1] if drop_last and rows and not is_closed(rows[-1], seq_len, most) else rows
    if strategy == "pad":
        return [row for document, _, length in whole for row in concat([(document, 0, length)], seq_len, most)]
    rows, pieces = cut(lengths, seq_len, max_overlap)
    if strategy == "best_fit":
        bins = best_fit(pieces, seq_len, most)
    else:
        bins = (first_fit_sparing if extra_room == "needed" else first_fit)(pieces, seq_len, extra, most)
    if max_segments is not None:
        both = (bins, limited(pieces, seq_len, most))
        bins = min(both, key=lambda each: rows_made(each, seq_len, most, leftover))
    if leftover == "pad":
        return rows + [trimmed(bin_, seq_len) for bin_ in bins]
    full = [trimmed(bin_, seq_len) for bin_ in bins if is_closed(bin_, seq_len, most)]
    underfull = [bin_ for bin_ in bins if not is_closed(bin_, seq_len, most)]
    if leftover == "fill":
        joined = fill(underfull, seq_len, most, whole_rows=drop_last)
    else:
        joined = concat([piece for bin_ in underfull for piece in bin_], seq_len, most)
    if drop_last and joined and not is_closed(joined[-1], seq_len, most):
        joined = joined[:-1]
    return rows + full + joined

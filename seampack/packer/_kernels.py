"""Planning kernels: cut documents into pieces, and write rows of them.

Every document is first cut into whole rows and at most one *short piece*: the end of the document, shorter than a row
(``cut_documents``). ``_bin_kernels`` puts the short pieces into bins: patterns of piece lengths, which
``write_patterns`` expands. ``write_filled`` joins what is left over.

The ``write_*`` kernels fill ``rows`` = (row_offsets, document, start, length) from a given row on. The offset of that
row must already be set; each kernel sets the offset after its last row.
"""

import numpy as np
import numpy.typing as npt

from seampack._jit import inlined, kernel

Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]


@inlined
def windows_and_rest(length, seq_len, max_overlap):
    """Return the number of whole rows that a document fills, and the length of its short piece, or 0."""
    if length < seq_len:
        return 0, length
    rows = length // seq_len
    rest = length - rows * seq_len
    if rest != 0 and length >= (rows + 1) * seq_len - rows * max_overlap:
        return rows + 1, 0
    return rows, rest


def cut_documents(lengths: Int32, seq_len: int, max_overlap: int) -> tuple[Int64, int, Int32]:
    """Count the short pieces and whole rows of all documents.

    ``max_overlap`` is the largest allowed overlap of two neighbouring windows in tokens; 0 cuts without overlap.

    Returns the histogram of the short pieces' lengths, shape (seq_len,), the number of whole rows, and the documents
    that have whole rows.
    """
    histogram = np.zeros(seq_len, np.int64)
    long_documents = np.empty(lengths.size, np.int32)
    rows, count = _cut_documents(lengths, seq_len, max_overlap, histogram, long_documents)
    return histogram, rows, long_documents[:count]


@kernel
def _cut_documents(lengths, seq_len, max_overlap, histogram, long_documents):
    count = 0
    rows = 0
    for document in range(lengths.size):
        whole, rest = windows_and_rest(np.int64(lengths[document]), seq_len, max_overlap)
        histogram[rest] += 1
        if whole > 0:
            rows += whole
            long_documents[count] = document
            count += 1
    histogram[0] = 0
    return rows, count


def first_pieces(histogram: Int64) -> Int64:
    """Return the index of the first piece of each length among all pieces, sorted longest first; shape (seq_len,)."""
    return np.cumsum(histogram[::-1])[::-1] - histogram


def sort_pieces(lengths: Int32, seq_len: int, max_overlap: int, histogram: Int64) -> tuple[Int32, Int32]:
    """Return the short pieces, longest first: their documents and starts, shape (pieces,). A stable counting sort."""
    pieces = int(histogram.sum())
    order, starts = np.empty(pieces, np.int32), np.zeros(pieces, np.int32)
    _sort_pieces(lengths, seq_len, max_overlap, first_pieces(histogram), order, starts)
    return order, starts


@kernel
def _sort_pieces(lengths, seq_len, max_overlap, cursor, order, starts):
    for document in range(lengths.size):
        length = np.int64(lengths[document])
        whole, rest = windows_and_rest(length, seq_len, max_overlap)
        if rest > 0:
            slot = cursor[rest]
            order[slot] = document
            if whole > 0:
                starts[slot] = length - rest
            cursor[rest] = slot + 1


@kernel
def write_windows(lengths, long_documents, seq_len, max_overlap, rows, repeated):
    """Write the whole rows, one segment each, in document order, from row 0 on.

    If ``n + 1`` overlapping windows cover a document of ``length`` tokens, window ``i`` starts at
    ``floor(i * (length - seq_len) / n)``. Overlaps differ by at most one token and are at most ``max_overlap``; no
    token is skipped. (Yin et al. 2025, arXiv 2505.22018, stage 1, with other starts: the paper's can skip tokens.)
    """
    row_offsets, out_document, out_start, out_length = rows
    row = 0
    for document in long_documents:
        length = np.int64(lengths[document])
        windows, _ = windows_and_rest(length, seq_len, max_overlap)
        overlapping = windows * seq_len > length
        end = 0
        for window in range(windows):
            start = window * (length - seq_len) // (windows - 1) if overlapping else window * seq_len
            out_document[row] = document
            out_start[row] = start
            out_length[row] = seq_len
            repeated[row] = end - start
            end = start + seq_len
            row += 1
            row_offsets[row] = row


@kernel
def write_patterns(patterns, chosen, pieces, seq_len, row, rows, dropped):
    """Expand the chosen patterns into rows, each cut at ``seq_len``.

    ``pieces`` = (document, start), sorted as by ``sort_pieces``. ``dropped`` = (document, start, length) receives one
    entry for each row that was cut.
    """
    offsets, piece_lengths, counts, firsts, repeats = patterns
    order, starts = pieces
    row_offsets, out_document, out_start, out_length = rows
    drop_document, drop_start, drop_length = dropped
    slot = row_offsets[row]
    drops = 0
    for pattern in range(repeats.size):
        if not chosen[pattern]:
            continue
        begin = offsets[pattern]
        end = offsets[pattern + 1]
        bins = repeats[pattern]
        width = 0
        over = -seq_len
        for entry in range(begin, end):
            width += counts[entry]
            over += counts[entry] * piece_lengths[entry]
        # Bins of one pattern are written length by length: reads are sequential, writes have a short stride.
        column = slot
        for entry in range(begin, end):
            length = piece_lengths[entry]
            count = counts[entry]
            source = np.uint64(firsts[entry])  # unsigned: no check for a negative index
            for bin_ in range(bins):
                target = np.uint64(column + bin_ * width)
                for _ in range(count):
                    out_document[target] = order[source]
                    out_start[target] = starts[source]
                    out_length[target] = length
                    source += np.uint64(1)
                    target += np.uint64(1)
            column += count
        for _ in range(bins):
            slot += width
            row += 1
            row_offsets[row] = slot
            if over > 0:
                kept = out_length[slot - 1] - over
                out_length[slot - 1] = kept
                drop_document[drops] = out_document[slot - 1]
                drop_start[drops] = out_start[slot - 1] + kept
                drop_length[drops] = over
                drops += 1


@kernel
def take_bins(patterns, runs, pieces, taken, bin_offsets):
    """Copy the pieces of some bins, bin by bin, into ``taken`` = (document, start, length).

    ``runs`` = (pattern, first bin, bins) lists consecutive bins of a pattern, shapes (runs,). ``bin_offsets`` receives
    the index of each bin's first piece, and after the last bin their number.
    """
    offsets, piece_lengths, counts, firsts, _ = patterns
    order, starts = pieces
    out_document, out_start, out_length = taken
    run_pattern, run_first, run_bins = runs
    slot = 0
    bin_ = 0
    bin_offsets[0] = 0
    for run in range(run_pattern.size):
        pattern = run_pattern[run]
        for number in range(run_first[run], run_first[run] + run_bins[run]):
            for entry in range(offsets[pattern], offsets[pattern + 1]):
                source = firsts[entry] + number * counts[entry]
                for _ in range(counts[entry]):
                    out_document[slot] = order[source]
                    out_start[slot] = starts[source]
                    out_length[slot] = piece_lengths[entry]
                    slot += 1
                    source += 1
            bin_ += 1
            bin_offsets[bin_] = slot


@kernel
def write_filled(pieces, bin_offsets, seq_len, most, whole, row, rows):
    """Write bins as rows and fill their gaps with the pieces after the last bin, in order, cut wherever a row is full.

    ``pieces`` = (document, start, length). Bin ``b`` has the pieces ``bin_offsets[b]:bin_offsets[b + 1]`` and at most
    ``seq_len`` tokens. What fills no gap is joined end to end into further rows; so without bins, all pieces are. No
    row gets more than ``most`` segments. With ``whole``, the last of the further rows is not written unless it is full
    or has ``most`` segments.

    Returns the row after the last, and where the pieces begin that are in no row: the piece, and the token within it.
    """
    documents, starts, lengths = pieces
    row_offsets, out_document, out_start, out_length = rows
    slot = row_offsets[row]
    bins = bin_offsets.size - 1
    bin_ = 0
    piece = bin_offsets[bins]
    done = 0  # tokens of this piece that are in rows
    while bin_ < bins or piece < lengths.size:
        room = np.int64(seq_len)
        last = slot + most
        first_piece, first_done = piece, done
        is_joined = bin_ >= bins
        if bin_ < bins:
            for kept in range(bin_offsets[bin_], bin_offsets[bin_ + 1]):
                out_document[slot] = documents[kept]
                out_start[slot] = starts[kept]
                out_length[slot] = lengths[kept]
                room -= lengths[kept]
                slot += 1
            bin_ += 1
        while room > 0 and slot < last and piece < lengths.size:
            part = min(np.int64(lengths[piece]) - done, room)
            if part > 0:
                out_document[slot] = documents[piece]
                out_start[slot] = starts[piece] + done
                out_length[slot] = part
                slot += 1
                room -= part
                done += part
            if done == lengths[piece]:
                piece += 1
                done = 0
        if whole and is_joined and room > 0 and slot < last:
            return row, first_piece, first_done
        if slot > row_offsets[row]:  # only empty pieces were left otherwise
            row += 1
            row_offsets[row] = slot
    return row, piece, 0

"""Planning kernels: loops over document lengths that assign the pieces of documents to rows.

Every document is first cut into whole rows and at most one *short piece*: the end of the document, shorter than a row
(``cut_documents``). The packing kernels then only place short pieces.

The ``write_*`` kernels fill ``rows`` = (row_offsets, document, start, length) from a given row on. The offset of that
row must already be set; each kernel sets the offset after its last row.
"""

import numpy as np

from seampack._jit import inlined, kernel
from seampack.packer._bitset import add_member, make_bitset, predecessor, remove_member, successor


@inlined
def _windows_and_rest(length, seq_len, max_overlap):
    """Return the number of whole rows that a document fills, and the length of its short piece, or 0."""
    if length < seq_len:
        return 0, length
    rows = length // seq_len
    rest = length - rows * seq_len
    if rest != 0 and length >= (rows + 1) * seq_len - rows * max_overlap:
        return rows + 1, 0
    return rows, rest


@kernel
def cut_documents(lengths, seq_len, max_overlap):
    """Count the short pieces and whole rows of all documents.

    ``max_overlap`` is the largest allowed overlap of two neighbouring windows in tokens; 0 cuts without overlap.

    Returns the histogram of the short pieces' lengths, shape (seq_len,), the number of whole rows, and the documents
    that have whole rows.
    """
    histogram = np.zeros(seq_len, np.int64)
    long_documents = np.empty(lengths.size, np.int32)
    count = 0
    rows = 0
    for document in range(lengths.size):
        whole, rest = _windows_and_rest(np.int64(lengths[document]), seq_len, max_overlap)
        histogram[rest] += 1
        if whole > 0:
            rows += whole
            long_documents[count] = document
            count += 1
    histogram[0] = 0
    return histogram, rows, long_documents[:count]


@kernel
def sort_pieces(lengths, seq_len, max_overlap, histogram, order, starts):
    """Sort the short pieces, longest first, into ``order`` (their documents) and ``starts`` (zeroed).

    A stable counting sort. Both outputs have shape (pieces,). Returns the index of the first piece of each length,
    shape (seq_len,).
    """
    first = np.empty(seq_len, np.int64)
    total = 0
    for length in range(seq_len - 1, -1, -1):
        first[length] = total
        total += histogram[length]
    cursor = first.copy()
    for document in range(lengths.size):
        length = np.int64(lengths[document])
        whole, rest = _windows_and_rest(length, seq_len, max_overlap)
        if rest > 0:
            slot = cursor[rest]
            order[slot] = document
            if whole > 0:
                starts[slot] = length - rest
            cursor[rest] = slot + 1
    return first


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
        windows, _ = _windows_and_rest(length, seq_len, max_overlap)
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
def _grown(array, used):
    if used < array.size:
        return array
    larger = np.empty(2 * array.size, array.dtype)
    larger[:used] = array
    return larger


@kernel
def ffd_patterns(histogram, seq_len, extra, sparing):
    """Compute First-Fit-Decreasing from the histogram of piece lengths alone.

    FFD repeatedly puts the longest remaining piece that fits into the current bin, and closes the bin when it holds
    ``seq_len`` tokens or nothing fits; then it opens the next bin. Equal consecutive bins are one *pattern*, which
    repeats while each of its lengths has enough pieces.

    A bin may hold up to ``extra`` tokens beyond ``seq_len``. With ``sparing``, this room is used only if nothing fits
    within ``seq_len``, by the piece that exceeds it least; otherwise every piece may use it.

    Returns (offsets, lengths, counts, repeats): pattern ``p`` has the entries ``offsets[p]:offsets[p + 1]``, each
    ``counts`` pieces of one length in the order of filling, and represents ``repeats[p]`` consecutive bins.
    """
    left = histogram.copy()
    bits = make_bitset(seq_len + extra + 1)
    for length in range(1, left.size):
        if left[length] > 0:
            add_member(bits, length)
    offsets = np.zeros(256, np.int64)
    repeats = np.empty(256, np.int64)
    lengths = np.empty(1024, np.int64)
    counts = np.empty(1024, np.int64)
    patterns = 0
    entries = 0
    spare = 0 if sparing else extra
    while True:
        begin = entries
        room = seq_len + spare
        length = predecessor(bits, room)
        while length > 0:
            # pieces of this length until no more fit, none is left, or the bin is closed
            count = min(room // length, left[length], -((spare - room) // length))
            lengths = _grown(lengths, entries)
            counts = _grown(counts, entries)
            lengths[entries] = length
            counts[entries] = count
            entries += 1
            room -= count * length
            if room <= spare:
                break
            length = predecessor(bits, min(room, length - 1))
        if entries == begin:
            break
        times = left[lengths[begin]] // counts[begin]
        for entry in range(begin + 1, entries):
            times = min(times, left[lengths[entry]] // counts[entry])
        if sparing and room > 0:
            length = successor(bits, room + 1)
            while 0 < length <= room + extra:
                taken = 0
                for entry in range(begin, entries):
                    if lengths[entry] == length:
                        taken = counts[entry]
                if left[length] > taken:
                    lengths = _grown(lengths, entries)
                    counts = _grown(counts, entries)
                    lengths[entries] = length
                    counts[entries] = 1
                    entries += 1
                    times = 1 if taken > 0 else min(times, left[length])
                    break
                length = successor(bits, length + 1)
        for entry in range(begin, entries):
            left[lengths[entry]] -= times * counts[entry]
            if left[lengths[entry]] == 0:
                remove_member(bits, lengths[entry])
        repeats = _grown(repeats, patterns)
        offsets = _grown(offsets, patterns + 1)
        repeats[patterns] = times
        patterns += 1
        offsets[patterns] = entries
    return offsets[: patterns + 1], lengths[:entries], counts[:entries], repeats[:patterns]


@kernel
def take_leftovers(patterns, chosen, pieces):
    """Return the pieces of the patterns that are not ``chosen``, in the order of the bins."""
    offsets, piece_lengths, counts, repeats = patterns
    order, starts, first = pieces
    total = 0
    for pattern in range(repeats.size):
        if not chosen[pattern]:
            for entry in range(offsets[pattern], offsets[pattern + 1]):
                total += counts[entry] * repeats[pattern]
    document = np.empty(total, np.int32)
    start = np.empty(total, np.int32)
    lengths = np.empty(total, np.int32)
    cursor = first.copy()
    taken = 0
    for pattern in range(repeats.size):
        begin = offsets[pattern]
        end = offsets[pattern + 1]
        if chosen[pattern]:
            for entry in range(begin, end):
                cursor[piece_lengths[entry]] += counts[entry] * repeats[pattern]
            continue
        for _ in range(repeats[pattern]):
            for entry in range(begin, end):
                length = piece_lengths[entry]
                for _ in range(counts[entry]):
                    document[taken] = order[cursor[length]]
                    start[taken] = starts[cursor[length]]
                    lengths[taken] = length
                    taken += 1
                    cursor[length] += 1
    return document, start, lengths


@kernel
def write_patterns(patterns, chosen, pieces, seq_len, row, rows, dropped):
    """Expand the chosen patterns into rows, each cut at ``seq_len``; pieces of one length are used in input order.

    ``dropped`` = (document, start, length) receives one entry for each row that was cut.
    """
    offsets, piece_lengths, counts, repeats = patterns
    order, starts, first = pieces
    row_offsets, out_document, out_start, out_length = rows
    drop_document, drop_start, drop_length = dropped
    cursor = first.copy()
    slot = row_offsets[row]
    drops = 0
    for pattern in range(repeats.size):
        begin = offsets[pattern]
        end = offsets[pattern + 1]
        if not chosen[pattern]:
            for entry in range(begin, end):
                cursor[piece_lengths[entry]] += counts[entry] * repeats[pattern]
            continue
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
            source = np.uint64(cursor[length])  # unsigned: no check for a negative index
            cursor[length] += bins * count
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
def best_fit_bins(order, histogram, seq_len):
    """Compute Best-Fit-Decreasing: the bin of each sorted piece, and the number of pieces and tokens of each bin.

    A piece goes to the open bin with the least remaining space into which it fits; among equally full bins, to the bin
    that reached this level first. (Ding et al. 2024, arXiv 2404.10830.) Open bins are queued by remaining space; a
    bitset of the spaces in use answers each query in O(1).
    """
    bin_of = np.empty(order.size, np.int32)
    used = np.empty(order.size, np.int64)
    pieces = np.empty(order.size, np.int32)
    following = np.empty(order.size, np.int32)  # the next bin in the queue of the same remaining space
    head = np.full(seq_len + 1, -1, np.int32)
    tail = np.full(seq_len + 1, -1, np.int32)
    bits = make_bitset(seq_len + 1)
    bins = 0
    piece = 0
    for length in range(seq_len - 1, 0, -1):
        for _ in range(histogram[length]):
            space = successor(bits, length)
            if space < 0:
                target = bins
                bins += 1
                used[target] = 0
                pieces[target] = 0
            else:
                target = np.int64(head[space])
                head[space] = following[target]
                if head[space] < 0:
                    remove_member(bits, space)
            bin_of[piece] = target
            piece += 1
            pieces[target] += 1
            used[target] += length
            space = seq_len - used[target]
            if space > 0:
                following[target] = -1
                if head[space] < 0:
                    head[space] = target
                    add_member(bits, space)
                else:
                    following[tail[space]] = target
                tail[space] = target
    return bin_of, pieces[:bins], used[:bins]


@kernel
def write_bins(bin_of, chosen, pieces_per_bin, order, starts, histogram, row, rows):
    """Write the pieces to the rows of their bins, longest first; only ``chosen`` bins become rows."""
    row_offsets, out_document, out_start, out_length = rows
    slot = row_offsets[row]
    cursor = np.empty(chosen.size, np.int64)
    for target in range(chosen.size):
        cursor[target] = slot
        if chosen[target]:
            slot += pieces_per_bin[target]
            row += 1
            row_offsets[row] = slot
    piece = 0
    for length in range(histogram.size - 1, 0, -1):
        for _ in range(histogram[length]):
            target = bin_of[piece]
            if chosen[target]:
                slot = cursor[target]
                cursor[target] = slot + 1
                out_document[slot] = order[piece]
                out_start[slot] = starts[piece]
                out_length[slot] = length
            piece += 1

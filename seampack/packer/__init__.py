"""Packing of corpora: documents in, training sequences of fixed length out.

    sources ─> readers ─> tokenizing ─> windows ──> planning ──> gather ──> shards
    (files,    (blocks    (token ids,   (a part     (lengths     (tokens    (Arrow or Parquet,
     stdin)     of lines   ragged)       of the      to rows:     into       manifest last)
                or rows)                 stream)     pure)        rows)

``packing`` runs the whole pipeline; ``planning`` and ``gather`` can also be used alone in another pipeline. ``folder``
reads packed folders, ``verification`` checks them. ``segments`` finds the documents in the rows; ``against`` compares
them with the source, and ``unpacking`` writes them to a file. The kernels are in ``_kernels`` (pieces to rows),
``_layout_kernels`` (joining, shuffling, auditing) and ``_copy_kernels`` (moving tokens).
"""

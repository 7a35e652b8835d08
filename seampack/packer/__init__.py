"""Corpora of documents in, fixed-length training sequences out.

    sources ─> readers ─> tokenizing ─> windows ──> planning ──> gather ──> shards
    (files,    (blocks    (token ids,   (a part     (lengths     (tokens    (Arrow or Parquet,
     stdin)     of lines   ragged)       of the      to rows:     into       manifest last)
                or rows)                 stream)     pure)        rows)

``packing`` runs all of it; ``planning`` and ``gather`` can be used alone in a pipeline that has the other parts.
``folder`` reads packed folders back. The kernels are in ``_kernels`` (pieces to rows), ``_layout_kernels`` (joining,
shuffling, auditing) and ``_copy_kernels`` (moving tokens).
"""

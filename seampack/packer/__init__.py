"""Corpora of documents in, fixed-length training sequences out.

    sources ─> readers ─> tokenizing ─> windows ──> planning ──> gather ──> shards
    (files,    (blocks    (token ids,   (a stretch  (lengths     (tokens    (Arrow or Parquet,
     stdin)     of lines   ragged)       of the      to rows:     into       manifest last)
                or rows)                 stream)     pure)        rows)

``packing`` runs all of it; ``planning`` and ``gather`` serve on their own in a pipeline that has the rest already.
The kernels are in ``_kernels`` (which piece stands where) and ``_copy_kernels`` (moving tokens).
"""

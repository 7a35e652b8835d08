"""Output formats: each module writes the shards of one format, and reads the same rows back.

    registry.py     the formats by name, with the endings of their files
    arrow.py        also the columns that other formats cannot hold (columns.py)
    parquet.py  bridge.py
    flat.py         all ids of a shard in one file: bin.py  npy.py  megatron.py
    mds.py          with mds_samples.py

A module has ``Writer(path, schema)``, with ``write_batch`` and ``close``, and ``read(path)``, which returns a table;
``path`` is the main file of a shard. ``IS_MAPPED`` says whether the ids that it reads stay in the file. A format with
files for the whole folder has ``folder_files(shards, schema)``, which returns their JSON content by name.
"""

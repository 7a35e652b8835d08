"""Feed damaged inputs to the readers, guided by coverage: only DataError may come out.

    pip install atheris
    python -m benchmarks.fuzz --seconds 300

The beginnings are small files of every format, also compressed. An input that ends in another error is kept by atheris.
"""

import gzip
import io
import json
import sys
import tempfile
import warnings
from pathlib import Path

import atheris  # type: ignore[import-not-found]  # installed by hand
import pyarrow as pa
import pyarrow.parquet as pq

with atheris.instrument_imports(include=["seampack"]):
    from seampack.errors import DataError
    from seampack.packer.config import PackConfig
    from seampack.packer.readers import read_blocks

CONFIG = PackConfig(on_bad="quarantine", max_document_bytes=1 << 16)
PLACE = Path(tempfile.mkdtemp(prefix="seampack-fuzz-"))


def beginnings() -> dict[str, bytes]:
    """Return a small file of each format."""
    table = pa.table({"text": ["one", "two\nlines", ""], "id": [1, 2, 3]})
    parquet, arrow, stream = io.BytesIO(), io.BytesIO(), io.BytesIO()
    pq.write_table(table, parquet)
    for sink, new in ((arrow, pa.ipc.new_file), (stream, pa.ipc.new_stream)):
        with new(sink, table.schema) as writer:
            writer.write_table(table)
    lines = "".join(json.dumps({"text": text, "n": [1, None]}) + "\n" for text in ("one", "zwei ü", "")).encode()
    ids = b'{"input_ids": [1, 2, 3], "labels": [1, 2, 3]}\n'
    return {
        "lines.jsonl": lines,
        "ids.jsonl": ids,
        "array.json": b'[{"text": "one"}, {"text": "two"}]',
        "table.csv": b'id,text\n1,"one, two"\n2,three\n',
        "text.txt": b"one\r\n\r\ntwo\n",
        "lines.jsonl.gz": gzip.compress(lines, mtime=0),
        "table.parquet": parquet.getvalue(),
        "table.arrow": arrow.getvalue(),
        "stream.arrow": stream.getvalue(),
    }


NAMES = sorted(beginnings())


def read(data: bytes) -> None:
    """Read an input whose first byte chooses the ending of its name."""
    name = NAMES[data[0] % len(NAMES)] if data else NAMES[0]
    path = PLACE / name
    path.write_bytes(data[1:])
    try:
        for block in read_blocks([str(path)], CONFIG, 1000):
            block.decode()
    except DataError:
        pass


def main() -> None:
    """Fuzz for a number of seconds."""
    warnings.simplefilter("ignore")
    seconds = sys.argv[sys.argv.index("--seconds") + 1] if "--seconds" in sys.argv else "300"
    corpus = PLACE / "corpus"
    corpus.mkdir()
    for number, (name, content) in enumerate(sorted(beginnings().items())):
        (corpus / name).write_bytes(bytes([number]) + content)
    limits = [f"-max_total_time={seconds}", "-max_len=8192", "-rss_limit_mb=4096", f"-artifact_prefix={PLACE}/"]
    atheris.Setup([sys.argv[0], str(corpus), *limits], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

"""Assemble a large, real text corpus from the documentation packages of Debian.

The benchmarks need hundreds of megabytes of real prose in several languages that anybody can rebuild, with documents
of one token to hundreds of thousands of tokens. Public data sets need a hub and may change; Debian's documentation is
available on every system with `apt-get`. Nothing is installed: packages are downloaded into the cache, unpacked there,
and converted to JSON lines of `{"id": ..., "source": ..., "text": ...}`.

    apt-get update && pip install resiliparse
    python benchmarks/corpus.py                              # all documents once: .work/corpus/corpus.jsonl
    python benchmarks/corpus.py --size 500MB --size 2GB      # cut, or repeated, to at most this size

Duplicate documents are removed. Each repetition is shuffled with a separate fixed seed, and the ids of repetition n end
in `~n`. The same packages therefore give the same bytes. Other Debian releases have other packages; the manifest next
to each file (`corpus-500MB.json`) contains the package versions and the SHA-256.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import hashlib
import itertools
import json
import mmap
import os
import random
import re
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from resiliparse.extract.html2text import extract_plain_text

# fmt: off
PACKAGES = [
    "cppreference-doc-en-html", "debian-handbook", "dict-foldoc", "dict-gcide", "dict-jargon", "dict-wn", "fortunes",
    "libreoffice-help-zh-cn", "linux-doc", "manpages", "manpages-dev", "perl-doc", "postgresql-doc", "python3-doc",
]
RFC_PACKAGES = [
    "doc-rfc-experimental", "doc-rfc-fyi-bcp", "doc-rfc-informational", "doc-rfc-misc", "doc-rfc-old-std",
    "doc-rfc-others", "doc-rfc-std", "doc-rfc-std-proposed",
]
# fmt: on
SEED = 20250522
UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9}

Manifest = dict[str, Any]


# --- packages -----------------------------------------------------------------------------------------------------


def run(*command: str, cwd: Path | None = None) -> str:
    process = subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    if process.returncode:
        raise OSError(f"{' '.join(command)}: {process.stderr.strip() or f'exit code {process.returncode}'}")
    return process.stdout


def resolve(package: str) -> str:
    """Follow a metapackage such as `linux-doc` to the versioned package that holds the files."""
    record = run("apt-cache", "show", "--no-all-versions", package)
    depends = re.search(r"^Depends: (.*)$", record, re.MULTILINE)
    stem = re.escape(re.sub(r"3?-doc$", "", package))
    versioned = depends and re.search(rf"\b{stem}[\d.]*-doc[-\d.]*", depends[1])
    return versioned[0] if versioned else package


def download(package: str, folder: Path) -> Path:
    """Return the `.deb` of a package; download it if the folder does not have it."""
    name = resolve(package)
    if not (debs := sorted(folder.glob(f"{name}_*.deb"))):
        run("apt-get", "download", name, cwd=folder)
        debs = sorted(folder.glob(f"{name}_*.deb"))
    return debs[-1]


# --- from files to documents --------------------------------------------------------------------------------------


def read(path: Path) -> str:
    """Return the text of a file, decompressed if it is gzip; files that are not UTF-8 are read as Latin-1."""
    data = path.read_bytes()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def plain(path: Path) -> Iterator[str]:
    yield read(path)


def html(path: Path) -> Iterator[str]:
    yield extract_plain_text(read(path), main_content=True)


def fortunes(path: Path) -> Iterator[str]:
    yield from re.split(r"^%$", read(path), flags=re.MULTILINE)


def dictionary(path: Path) -> Iterator[str]:
    """Yield the entries of a dictd database; its index has headword, offset and length, in base 64 digits."""
    digits = {c: i for i, c in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")}

    def number(text: str) -> int:
        value = 0
        for digit in text:
            value = value * 64 + digits[digit]
        return value

    data = gzip.decompress(path.read_bytes())
    rows = (line.split("\t") for line in read(path.with_name(path.name.replace(".dict.dz", ".index"))).splitlines())
    entries = {(number(row[1]), number(row[2])) for row in rows if not row[0].startswith("00-database")}
    for offset, length in sorted(entries):
        yield data[offset : offset + length].decode("utf-8", "replace")


ROFF_ESCAPE = re.compile(
    r"""\\(?: f(?:\[[^]]*\] | \(.. | .)            # font
          | s[-+]?\d+                            # size
          | \*?\((?P<two>..)                     # character or string of two letters
          | \*?\[(?P<name>[^]]*)\]               # character or string of any name
          | \*.
          | ".*                                  # comment
          | (?P<one>.) )""",
    re.VERBOSE,
)
ROFF_NAMES = {"lq": "“", "rq": "”", "aq": "'", "dq": '"', "oq": "‘", "cq": "’", "em": "—", "en": "–", "bu": "•"}
ROFF_NAMES |= {"co": "©", "mu": "×", "->": "→", "ha": "^", "ti": "~", "rs": "\\", "<=": "≤", ">=": "≥", "C+": "C++"}
ROFF_CHARACTERS = {"e": "\\", "~": " ", "0": " ", **{c: c for c in "-' .`\\"}}


def man_page(path: Path) -> Iterator[str]:
    """Yield a manual page without roff markup: headings, paragraphs and words, without fonts and layout."""

    def character(escape: re.Match[str]) -> str:
        name = escape["two"] or escape["name"]
        return ROFF_NAMES.get(name, "") if name else ROFF_CHARACTERS.get(escape["one"] or "", "")

    lines: list[str] = []
    in_macro = False
    for line in read(path).splitlines():
        if in_macro or not line.startswith((".", "'")):
            in_macro = in_macro and line != ".."
            if not in_macro and line != "..":
                lines.append(line)
            continue
        macro, _, rest = line[1:].strip().partition(" ")
        words = [quoted or bare for quoted, bare in re.findall(r'"([^"]*)"|(\S+)', rest)]
        if macro in {"de", "ig"}:
            in_macro = True
        elif macro in {"SH", "SS"}:
            lines += ["", " ".join(words), ""]
        elif macro in {"PP", "P", "LP", "TP", "IP", "sp"}:
            lines += ["", *words[:1]] if macro == "IP" else [""]
        elif macro in {"B", "I", "SM", "SB"}:
            lines.append(" ".join(words))
        elif macro in {"BR", "RB", "BI", "IB", "IR", "RI"}:
            lines.append("".join(words))
    yield re.sub(r"\n{3,}", "\n\n", ROFF_ESCAPE.sub(character, "\n".join(lines)))


# The first matching pattern decides; files without a match are skipped. `_sources` duplicates the HTML.
READERS: list[tuple[re.Pattern[str], Callable[[Path], Iterator[str]] | None]] = [
    (re.compile(r"/_sources/"), None),
    (re.compile(r"\.html$"), html),
    (re.compile(r"/share/man/.*\.gz$"), man_page),
    (re.compile(r"\.dict\.dz$"), dictionary),
    (re.compile(r"/games/fortunes/[^/.]+$"), fortunes),
    (re.compile(r"\.pod$|/Documentation/(ABI/.*|.*\.(rst|txt|yaml))(\.gz)?$|/RFC/.*\.txt(\.gz)?$"), plain),
]


def documents(root: Path) -> Iterator[tuple[str, str]]:
    """Yield `(id, text)` of every document in a folder and its subfolders, in the order of the paths."""
    files = (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    for name, path in sorted((path.relative_to(root).as_posix(), path) for path in files):
        reader = next((reader for pattern, reader in READERS if pattern.search(name)), None)
        for number, text in enumerate(reader(path) if reader else ()):
            yield f"{name.removeprefix('usr/share/')}#{number}", text.strip()


# --- writing ------------------------------------------------------------------------------------------------------


def write(path: Path, lines: Iterable[bytes], manifest: Manifest) -> Manifest:
    """Write lines to a file atomically, and its manifest next to it. Return the manifest."""
    part, digest, count, size = path.with_suffix(".part"), hashlib.sha256(), 0, 0
    with part.open("wb") as out:
        for line in lines:
            out.write(line)
            digest.update(line)
            count, size = count + 1, size + len(line)
    manifest = {"documents": count, "bytes": size, "sha256": digest.hexdigest(), **manifest}
    part.rename(path)
    path.with_suffix(".json").write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def collect(packages: list[str], cache: Path, manifest: Manifest) -> Iterator[bytes]:
    """Yield the lines of all documents; add the versions and document counts of the packages to the manifest."""
    (debs := cache / "deb").mkdir(exist_ok=True)
    seen: set[bytes] = set()
    manifest |= {"packages": {}, "documents_of": (counts := collections.Counter[str]())}
    for package in packages:
        try:
            deb = download(package, debs)
        except OSError as error:
            hint = "run `apt-get update`?"
            print(f"warning: no Debian package {package!r}, skipped ({hint}): {error}", file=sys.stderr)
            continue
        manifest["packages"][package] = deb.stem
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            run("dpkg-deb", "-x", str(deb), folder)
            for name, text in documents(Path(folder)):
                digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest()
                if text and digest not in seen:
                    seen.add(digest)
                    counts[package] += 1
                    record = {"id": name, "source": package, "text": text}
                    line = json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
                    yield line.encode("utf-8", "replace")
        print(f"{package:26} {counts[package]:7} documents  ({deb.name})", file=sys.stderr)
    if not seen:
        raise SystemExit("error: no Debian package could be downloaded; this needs `apt-get` on Debian")


def repeat(base: Path, size: int | None) -> Iterator[bytes]:
    """Yield the lines of a file in shuffled order: once, or repeatedly up to a size in bytes."""
    with base.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        starts = array("Q", itertools.accumulate((len(line) for line in file), initial=0))
        left = size if size is not None else len(data)
        for round_ in itertools.count():
            order = list(range(len(starts) - 1))
            random.Random(f"{SEED}/{round_}").shuffle(order)
            for index in order:
                line = data[starts[index] : starts[index + 1]]
                if round_:
                    name, rest = line.split(b'","source":', 1)
                    line = b'%b~%d","source":%b' % (name, round_, rest)
                left -= len(line)
                if left < 0:
                    return
                yield line
            if size is None:
                return


def byte_size(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(kB|MB|GB)", text)
    if not match:
        raise argparse.ArgumentTypeError(f"expected a size such as 500MB or 2GB, got {text!r}")
    return text, round(float(match[1]) * UNITS[match[2]])


def main() -> None:
    parser = argparse.ArgumentParser(description="Assemble a large text corpus from Debian's documentation packages.")
    parser.add_argument("--cache", type=Path, default=Path(".work/corpus"), help="folder of the corpus (%(default)s)")
    parser.add_argument(
        "--size",
        type=byte_size,
        action="append",
        help="size such as 500MB or 2GB (powers of 10); can be repeated",
    )
    parser.add_argument("--rfc", action="store_true", help="add the RFCs, from Debian's section non-free")
    options = parser.parse_args()

    options.cache.mkdir(parents=True, exist_ok=True)
    tag = "-rfc" if options.rfc else ""
    base = options.cache / f"documents{tag}.jsonl"
    if not base.exists():
        packages = PACKAGES + (RFC_PACKAGES if options.rfc else [])
        manifest: Manifest = {}
        write(base, collect(packages, options.cache, manifest), manifest)
    sources = json.loads(base.with_suffix(".json").read_text())["packages"]
    for label, size in options.size or [("", None)]:
        target = options.cache / f"corpus{tag}{'-' if label else ''}{label}.jsonl"
        if target.exists():
            facts = json.loads(target.with_suffix(".json").read_text())
        else:
            facts = write(target, repeat(base, size), {"packages": sources})
        print(f"{target}: {facts['documents']} documents, {facts['bytes']} bytes, sha256 {facts['sha256']}")


if __name__ == "__main__":
    main()

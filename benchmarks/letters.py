"""English without spaces, with gold words: a test set for the segmenter, made from freely available text.

    python -m benchmarks.letters shakespeare.jsonl.zst -o DATA/letters

Reads JSON lines whose ``text`` is a speech with the speaker's name on its first line. Writes ``raw.txt`` and
``gold.txt``: one phrase per line, lower-case letters only, from the first 96,000 letters. This is the number of
phonemes in Bernstein-Ratner.
"""

import argparse
import json
import re
from pathlib import Path

import pyarrow as pa

LETTERS = 96_000


def phrases(speech: str) -> list[list[str]]:
    """Return the words of each phrase of a speech."""
    text = speech.partition("\n")[2].lower().replace("'", "")
    words_of_phrases = [re.findall("[a-z]+", phrase) for phrase in re.split(r"[.,;:!?\n]|--", text)]
    return [words for words in words_of_phrases if words]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("speeches", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    gold: list[list[str]] = []
    letters = 0
    with pa.input_stream(str(options.speeches)) as file:
        speeches = (json.loads(line)["text"] for line in file.read().decode().splitlines())
        for words in (words for speech in speeches for words in phrases(speech)):
            if letters > LETTERS:
                break
            gold.append(words)
            letters += sum(map(len, words))
    options.out.mkdir(parents=True, exist_ok=True)
    for name, space in (("raw", ""), ("gold", " ")):
        (options.out / f"{name}.txt").write_text("".join(f"{space.join(words)}\n" for words in gold))
    print(f"{options.out}: {len(gold):,} phrases, {letters:,} letters")


if __name__ == "__main__":
    main()

"""Readers of EmpatheticDialogues."""

import gzip
import json
import os
from pathlib import Path

import pytest

from seampack.errors import DataError
from seampack.models.empathy import distinct, read_empathetic_dialogues

REMOTE = os.environ.get("SEAMPACK_TEST_DATA")
"""Folder with ``dialogue/`` of EmpatheticDialogues, whose licence keeps it out of the repository."""


def test_reads_the_official_csv(tmp_path: Path) -> None:
    lines = [
        "conv_id,utterance_idx,context,prompt,speaker_idx,utterance,selfeval,tags",
        'hit:1_conv:2,1,sad,He left_comma_ so,1,He said "bye_comma_,5|5|5_2|2|5,',
        "hit:1_conv:2,2,sad,He left_comma_ so,2,Oh_comma_ no,5|5|5_2|2|5,",
        "hit:1_conv:2,3,sad,He left_comma_ so,1,Yes,5|5|5_2|2|5,",
        "hit:1_conv:2,4,sad,He left_comma_ so,2,Sorry,5|5|5_2|2|5,",
        "hit:2_conv:4,1,proud,I won,3,I won,5|5|5_2|2|5,",
    ]
    path = tmp_path / "train.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    rows = read_empathetic_dialogues(path).to_list()
    first = 'He said "bye,'
    assert rows == [
        {"context": [first], "emotion": "sad", "situation": "He left, so", "target": "Oh, no"},
        {"context": [first, "Oh, no", "Yes"], "emotion": "sad", "situation": "He left, so", "target": "Sorry"},
    ]
    for content, message in (
        ("", "the file is empty"),
        ("a,b\n1,2\n", "no column 'conv_id'"),
        ("\n".join([lines[0], "x,one"]), "line 2"),
        ("\n".join([lines[0], lines[-1]]), "no turn of a listener"),
    ):
        path.write_text(content, "utf-8")
        with pytest.raises(DataError, match=message):
            read_empathetic_dialogues(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_empathetic_dialogues(tmp_path / "no.csv")


def test_reads_generated_commonsense(tmp_path: Path) -> None:
    row = {"emotion": "sad", "situation": "s", "context": ["c"], "target": "t", "CICERO_cause": "He left."}
    with gzip.open(tmp_path / "test.json.gz", "wt", encoding="utf-8") as file:
        json.dump([row, row | {"CICERO_cause": None}], file)
    dataset = read_empathetic_dialogues(tmp_path / "test.json.gz")
    assert dataset["knowledge"][:] == [{"cause": ["He left."]}, {"cause": []}]
    (tmp_path / "bad.json").write_text('[{"emotion": "sad", "context": ["c"], "target": "t"}]', "utf-8")
    with pytest.raises(DataError, match="situation"):
        read_empathetic_dialogues(tmp_path / "bad.json")


@pytest.mark.skipif(not REMOTE, reason="SEAMPACK_TEST_DATA names no folder with dialogue/")
def test_empathetic_dialogues() -> None:
    """The 5,255 responses of the test set, words split at white space."""
    test = read_empathetic_dialogues(Path(str(REMOTE)) / "dialogue" / "empathetic_test_cicero.json.gz")
    assert len(test) == 5255
    assert len(test.unique("emotion")) == 32
    assert list(test[0]["knowledge"]) == ["cause", "subs", "emo"]
    assert distinct(test["target"][:], 1) == pytest.approx(12.18, abs=0.01)
    assert distinct(test["target"][:], 2) == pytest.approx(52.66, abs=0.01)

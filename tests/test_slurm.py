"""The Slurm example, run as plain processes: the same folder as one process makes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import seampack
from benchmarks import kills

SLURM = Path(__file__).parent.parent / "examples" / "slurm"


def test_the_array_and_the_merge(tmp_path: Path) -> None:
    for name in "abc":
        texts = [f"{name} {number} " * 9 for number in range(40)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    tokenizer = tmp_path / "tokenizer.json"
    seampack.train_tokenizer(tmp_path / "a.jsonl", tokenizer, vocab_size=300)
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "seampack"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m seampack.cli "$@"\n')
    command.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "CORPUS": f"{tmp_path}/?.jsonl",
        "OUT": str(tmp_path / "out"),
        "TOKENIZER": str(tokenizer),
        "SEQ_LEN": "64",
        "SLURM_ARRAY_TASK_COUNT": "2",
        "SLURM_CPUS_PER_TASK": "1",
    }
    tasks = [
        subprocess.Popen(["bash", SLURM / "pack.sh"], env=environment | {"SLURM_ARRAY_TASK_ID": str(number)})
        for number in range(2)
    ]
    assert [task.wait(120) for task in tasks] == [0, 0]
    assert not (tmp_path / "out").exists()
    subprocess.run(["bash", SLURM / "merge.sh"], env=environment, check=True, timeout=120)
    seampack.pack(f"{tmp_path}/?.jsonl", out=tmp_path / "whole", tokenizer=tokenizer, seq_len=64)
    assert kills.contents(tmp_path / "out") == kills.contents(tmp_path / "whole")


def test_the_submission_names_what_it_needs(tmp_path: Path) -> None:
    run = subprocess.run(
        ["bash", SLURM / "submit.sh"], capture_output=True, env={"PATH": os.environ["PATH"]}, check=False
    )
    assert run.returncode != 0
    assert b"CORPUS: a folder or file" in run.stderr

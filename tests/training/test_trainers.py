"""The page "Which trainer?": its snippets run where they can, and each label that a model receives is checked."""

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from click.testing import CliRunner

import seampack
from seampack.cli import main
from tests.conftest import DATA
from tests.packer.corpus import END, SMALL, TEXTS, write_corpus

PAGE = (Path(seampack.__file__).parent.parent / "docs" / "trainers.md").read_text("utf-8")
SNIPPETS = dict(re.findall(r"<!-- run: (\w+) -->\n```python\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model and a packed folder, as the snippets expect."""
    top = tmp_path_factory.mktemp("place")
    seampack.pack(write_corpus(top / "corpus.jsonl", TEXTS), out=top / "packed", labels=True, **SMALL)
    torch.manual_seed(0)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(DATA / "tokenizer.json"), eos_token=END, pad_token=END
    )
    tokenizer.save_pretrained(top / "model")
    config = transformers.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    transformers.LlamaForCausalLM(config).save_pretrained(top / "model")
    return top


def expected_labels(folder: Path) -> dict[tuple[int, ...], list[tuple[int, int]]]:
    """By the tokens of a row: position and label of each token."""
    rows = {}
    for row in seampack.PackedDataset(folder):
        ids, lines = row["input_ids"].tolist(), []
        for length, repeated in zip(row["seq_lengths"], row["repeated"], strict=True):
            for place in range(length):
                label = ids[len(lines)] if place > 0 and place >= repeated else -100
                lines.append((place, label))
        rows[tuple(ids)] = lines
    return rows


def check_batch(batch: dict[str, Any], rows: dict[tuple[int, ...], list[tuple[int, int]]]) -> int:
    """Check that a batch is of whole rows, with the positions and labels of their tokens. Return the number of rows."""
    ids, lengths = batch["input_ids"][0].tolist(), sorted({len(ids) for ids in rows}, reverse=True)
    at = count = 0
    while at < len(ids):
        row = next(key for length in lengths if (key := tuple(ids[at : at + length])) in rows)
        part = slice(at, at + len(row))
        found = zip(batch["position_ids"][0][part].tolist(), batch["labels"][0][part].tolist(), strict=True)
        assert list(found) == rows[row]
        at += len(row)
        count += 1
    return count


@pytest.mark.filterwarnings("ignore")  # of the trainers, on a machine without a GPU
@pytest.mark.parametrize("name", SNIPPETS)
def test_every_label_that_a_trainer_gives_to_the_model(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    batches: list[dict[str, Any]] = []

    def record(model: Any, batch: dict[str, Any]) -> None:
        batches.append({name: value for name, value in batch.items() if isinstance(value, torch.Tensor)})
        assert batch.get("attention_mask") is None
        assert batch.get("use_cache", model.config.use_cache) is False

    if name == "torch":
        forward = transformers.LlamaForCausalLM.forward

        def recorded(self: Any, **batch: Any) -> Any:
            record(self, batch)
            return forward(self, **batch)

        monkeypatch.setattr(transformers.LlamaForCausalLM, "forward", recorded)
    else:
        step = transformers.Trainer.training_step

        def recorded_step(self: Any, model: Any, inputs: Any, *args: Any) -> Any:
            record(model, inputs)
            return step(self, model, inputs, *args)

        monkeypatch.setattr(transformers.Trainer, "training_step", recorded_step)
    names: dict[str, Any] = {}
    exec(SNIPPETS[name].replace('"out"', '"out", use_cpu=True'), names)
    assert len(batches) == 20
    rows = expected_labels(place / "packed")
    assert [check_batch(batch, rows) for batch in batches] == [2] * 20
    if name == "torch":
        following = next(iter(names["rows"]))["input_ids"].tolist()
        fresh = list(seampack.PackedIterableDataset("packed", seed=0))
        assert following == fresh[40]["input_ids"].tolist()
    else:
        assert names["trainer"].state.global_step == 20


def test_all_trainers_are_on_the_page() -> None:
    assert set(SNIPPETS) == {"torch", "transformers", "trl"}
    headings = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    parts = re.split(r"^## .*$", PAGE, flags=re.MULTILINE)[1:]
    assert len(headings) == 13
    for heading, part in zip(headings, parts, strict=True):
        link = heading.lower().replace(",", "").replace(" ", "-")
        assert f"](#{link})" in PAGE
        assert ("<!-- run: " in part) != ("documentation, not run" in part), heading


@pytest.mark.parametrize("trainer", ["Megatron-LM", "OLMo-core", "nanoGPT"])
@pytest.mark.filterwarnings("ignore:.*(of the tokens are dropped|as plain text)")
def test_what_trainers_cut_is_a_row(trainer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ids in the files that a trainer is given, cut at the length of a row, are the rows."""
    monkeypatch.chdir(tmp_path)
    write_corpus(Path("corpus.jsonl"), TEXTS[:100])
    Path("tokenizer.json").write_bytes((DATA / "tokenizer.json").read_bytes())
    part = PAGE.split(f"\n## {trainer}\n")[1].split("\n## ")[0]
    command, *more = re.findall(r"^(?:seampack pack|mkdir|cat) .*$", part, re.MULTILINE)
    arguments = re.sub(r"--seq-len \d+", "--seq-len 32 --shard-tokens 1024", command).split()[1:]
    assert CliRunner().invoke(main, arguments, catch_exceptions=False).exit_code == 0
    for line in more:
        subprocess.run(line, shell=True, check=True)
    pattern = {
        "nanoGPT": "data/packed/train.bin",
        "OLMo-core": dict(re.findall(r'(paths)=\["(.*)"\]', part)).get("paths"),
    }
    files = sorted(Path().glob(pattern.get(trainer) or "packed/*.bin"))
    cut = np.concatenate([np.fromfile(file, np.uint16).reshape(-1, 32) for file in files])
    assert cut.tolist() == [row["input_ids"].tolist() for row in seampack.PackedDataset("packed")]


def test_the_python_of_the_page_is_python() -> None:
    for snippet in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        compile(snippet, "trainers.md", "exec")

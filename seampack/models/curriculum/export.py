"""Export of a curriculum to the columns that other trainers read; the order of the rows is kept."""

from datasets import Dataset, List, Value

from seampack.errors import DataError
from seampack.models.curriculum.config import CurriculumConfig, Placement
from seampack.models.curriculum.difficulty import with_columns
from seampack.models.curriculum.prompts import PromptFormat
from seampack.models.data import require

KEPT = ("pass_rate", "stage", "hint_ratio", "pass_rate_hinted")
_MESSAGES = List({"role": Value("string"), "content": Value("string")})


def for_trl(dataset: Dataset, *, prompt: PromptFormat | None = None) -> Dataset:
    """Return ``prompt, completion, final`` for SFTTrainer and GRPOTrainer: text or, with ``prompt``, messages.

    In messages, a hint is part of the user's message if the format places it in the prompt; otherwise it begins an
    assistant's message, which the model continues.
    """
    require(dataset, ["prompt", "target", "final"])
    kept = dataset.select_columns([name for name in ("final", *KEPT) if name in dataset.column_names])
    if prompt is None:
        return with_columns(
            kept, prompt=(dataset["prompt"][:], Value("string")), completion=(dataset["target"][:], Value("string"))
        )
    completions = [[{"role": "assistant", "content": target}] for target in dataset["target"]]
    return with_columns(kept, prompt=(_messages(dataset, prompt), _MESSAGES), completion=(completions, _MESSAGES))


def for_verl(
    dataset: Dataset, data_source: str, *, prompt: PromptFormat | None = None, split: str = "train"
) -> Dataset:
    """Return ``data_source, prompt, ability, reward_model, extra_info``; write them with ``to_parquet``.

    verl opens the assistant's turn itself, so hints must be in the prompt. Raises DataError if the format places the
    hints elsewhere.
    """
    require(dataset, ["question", "hint", "final", "pass_rate"])
    prompt = prompt or PromptFormat(CurriculumConfig(placement=Placement.PROMPT))
    if prompt.prefills and any(dataset["hint"]):
        raise DataError("verl supports hints only in the user's message; give hints with placement='prompt'")
    names = [name for name in KEPT if name in dataset.column_names]
    rows = [
        {
            "data_source": data_source,
            "prompt": messages,
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": row["final"]},
            "extra_info": {"split": split, "index": index} | {name: row[name] for name in names},
        }
        for index, (row, messages) in enumerate(zip(dataset, _messages(dataset, prompt), strict=True))
    ]
    return Dataset.from_list(rows)


def for_axolotl(dataset: Dataset, end: str) -> Dataset:
    """Return ``segments`` of axolotl's ``input_output``: the loss is on the target and ``end`` (EOS)."""
    require(dataset, ["prompt", "target"])
    pairs = zip(dataset["prompt"], dataset["target"], strict=True)
    segments = [[{"label": False, "text": prompt}, {"label": True, "text": target + end}] for prompt, target in pairs]
    kept = dataset.select_columns([name for name in KEPT if name in dataset.column_names])
    return with_columns(kept, segments=(segments, List({"label": Value("bool"), "text": Value("string")})))


def _messages(dataset: Dataset, prompt: PromptFormat) -> list[list[dict[str, str]]]:
    rows = []
    for question, hint in zip(dataset["question"], dataset["hint"], strict=True):
        messages = [{"role": "user", "content": prompt.ask(question, hint).strip()}]
        if hint and prompt.prefills:
            messages.append({"role": "assistant", "content": hint})
        rows.append(messages)
    return rows

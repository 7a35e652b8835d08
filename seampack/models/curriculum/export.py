"""A curriculum in the columns that other trainers read; the rows keep their order."""

from datasets import Dataset, List, Value

from seampack.errors import DataError
from seampack.models.curriculum.difficulty import with_columns
from seampack.models.curriculum.prompts import Placement, PromptFormat
from seampack.models.data import require

KEPT = ("pass_rate", "stage", "hint_ratio", "pass_rate_hinted")
_MESSAGES = List({"role": Value("string"), "content": Value("string")})


def for_trl(dataset: Dataset, *, prompt: PromptFormat | None = None) -> Dataset:
    """``prompt, completion, final`` for SFTTrainer and GRPOTrainer: text or, with ``prompt``, messages.

    As messages, a hint is in the user's message where the format places it in the prompt; else it is the beginning of
    an assistant's message that the trainer lets the model go on from.
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
    """``data_source, prompt, ability, reward_model, extra_info``, to be written by ``to_parquet``.

    verl opens the assistant's turn itself, so that hints must be placed in the prompt. Raises DataError where there are
    hints and the format places them elsewhere.
    """
    require(dataset, ["question", "hint", "final", "pass_rate"])
    prompt = prompt or PromptFormat(placement=Placement.PROMPT)
    if prompt.prefills and any(dataset["hint"]):
        raise DataError("verl reads hints in the user's message only; guide with placement='prompt'")
    names = [name for name in KEPT if name in dataset.column_names]
    rows = [
        {
            "data_source": data_source,
            "prompt": messages,
            "ability": "math",
            "reward_model": {"style": "rule", "ground_truth": row["final"]},
            "extra_info": {"split": split, "index": at} | {name: row[name] for name in names},
        }
        for at, (row, messages) in enumerate(zip(dataset, _messages(dataset, prompt), strict=True))
    ]
    return Dataset.from_list(rows)


def for_axolotl(dataset: Dataset, end: str) -> Dataset:
    """``segments`` of axolotl's ``input_output``: the prompt is not trained on, the target and ``end`` (EOS) are."""
    require(dataset, ["prompt", "target"])
    pairs = zip(dataset["prompt"], dataset["target"], strict=True)
    segments = [[{"label": False, "text": asked}, {"label": True, "text": target + end}] for asked, target in pairs]
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

"""Chat templates of public models, in short; a tokenizer with their control tokens; and conversations."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import tokenizers
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, processors, trainers

TEMPLATES = Path(__file__).parents[1] / "data" / "chat"
CONTROL = (
    *("<s>", "</s>", "<|im_start|>", "<|im_end|>"),
    *("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<start_of_turn>", "<end_of_turn>"),
    *("[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]"),
    *("[/TOOL_RESULTS]", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"),
)
THINKING = ("<think>", "</think>", "<tool_call>", "</tool_call>")
"""Tokens that are no special tokens, as in the vocabulary of Qwen3."""
SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
ANSWERS = {
    "chatml": r"<\|im_start\|>assistant\n(.*?<\|im_end\|>)",
    "chatml_marked": r"<\|im_start\|>assistant\n(.*?<\|im_end\|>)",
    "llama3": r"<\|start_header_id\|>assistant<\|end_header_id\|>\n\n(.*?<\|eot_id\|>)",
    "qwen3": r"<\|im_start\|>assistant\n(.*?<\|im_end\|>)",
    "gemma": r"<start_of_turn>model\n(.*?<end_of_turn>)",
    "mistral": r"\[/(?:INST|TOOL_RESULTS)\]((?! ?\[INST\])(?:\[TOOL_CALLS\]| ).*?</s>)",
    "deepseek_r1": r"<｜Assistant｜>(.*?<｜end▁of▁sentence｜>)",
    "plain": r"### Assistant:\n(.*?\n\n)(?=### |\Z)",
}
"""What the assistant writes in the text of each template, as long as no message has the name of a control token."""
REASONING = ("qwen3", "deepseek_r1")
WITH_TOOLS = ("qwen3", "llama3", "mistral")
TOOL = {
    "type": "function",
    "function": {"name": "weather", "description": "The <weather> of a town", "parameters": {"type": "object"}},
}


def source(name: str) -> str:
    return (TEMPLATES / f"{name}.jinja").read_text("utf-8")


@cache
def chat_tokenizer() -> tokenizers.Tokenizer:
    """Return a small BPE tokenizer whose tokens cross the borders of words and lines."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    corpus = ["the answer is in the question\n\n" * 3, "### Assistant:\nuser assistant system weather town 12 ab ba"]
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_special_tokens(list(CONTROL))
    tokenizer.add_tokens(list(THINKING))
    return tokenizer


def write_model(folder: Path, template: str | None = None, **settings: Any) -> Path:
    """Write a tokenizer with its settings and chat template; return the path of its tokenizer.json."""
    folder.mkdir(exist_ok=True)
    chat_tokenizer().save(str(folder / "tokenizer.json"))
    given = {**SPECIAL_TOKENS, "tokenizer_class": "PreTrainedTokenizerFast", **settings}
    given |= {} if template is None else {"chat_template": source(template)}
    (folder / "tokenizer_config.json").write_text(json.dumps(given))
    return folder / "tokenizer.json"


def answers(name: str, text: str) -> list[tuple[int, int]]:
    return [match.span(1) for match in re.finditer(ANSWERS[name], text, re.DOTALL)]


def slow_mask(offsets: list[tuple[int, int]], spans: list[tuple[int, int]]) -> list[int]:
    written = {position for start, end in spans for position in range(start, end)}
    return [int(any(position in written for position in range(start, end))) for start, end in offsets]


CONTENTS = st.text(st.sampled_from("ab the12\n é研👩\u200d"), max_size=12)


@st.composite
def conversations(draw: st.DrawFn, name: str, contents: st.SearchStrategy[str] = CONTENTS) -> list[dict[str, Any]]:
    """Draw a conversation that a template can render: with reasoning and tool calls where the model has them."""
    has_system = draw(st.booleans())
    messages: list[dict[str, Any]] = [{"role": "system", "content": draw(contents)}] if has_system else []
    for _ in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(contents)})
        if name in WITH_TOOLS and draw(st.booleans()):
            call = {"name": "weather", "arguments": {"town": draw(contents)}}
            calls = [{"id": "abcdefghi", "type": "function", "function": call}]
            messages.append({"role": "assistant", "content": "", "tool_calls": calls})
            messages.append({"role": "tool", "content": draw(contents), "tool_call_id": "abcdefghi"})
        answer: dict[str, Any] = {"role": "assistant", "content": draw(contents)}
        if name in REASONING:
            match draw(st.sampled_from(["none", "content", "field" if name == "qwen3" else "content"])):
                case "content":
                    answer["content"] = f"<think>\n{draw(contents)}\n</think>\n\n{answer['content']}"
                case "field":
                    answer["reasoning_content"] = draw(contents)
        messages.append(answer)
    if draw(st.booleans()) and name != "mistral":
        messages.append({"role": "user", "content": draw(contents)})
    return messages

"""Prompts: templates, hints in the question, chat templates."""

import pytest
from tokenizers import processors

from seampack.errors import ConfigError
from seampack.models.curriculum import CurriculumConfig, PromptFormat
from seampack.models.curriculum.small import piece_tokenizer


def test_hints_in_the_question() -> None:
    prompt = PromptFormat(
        CurriculumConfig(template="Q: {question}\nA: ", hint_template="Q: {question} [{hint}]\nA: ", placement="prompt")
    )
    assert prompt("why {hint}?", "because {question}\n") == "Q: why {hint}? [because {question}]\nA: "
    assert prompt("why?") == "Q: why?\nA: "
    with pytest.raises(ConfigError, match=r"template: expected text with \{question\}"):
        CurriculumConfig(template="why")


def test_chat_templates() -> None:
    config = CurriculumConfig(model="of-chats", chat=True)
    tokenizer = piece_tokenizer(["a"])
    for missing in (None, tokenizer):
        with pytest.raises(ConfigError, match="no chat template"):
            PromptFormat(config, missing)
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    assert PromptFormat(config, tokenizer)("why?", "so") == "<user>why?<assistant>so"
    tokenizer.bos_token = "[EOS]"
    tokenizer.chat_template = "[EOS]" + tokenizer.chat_template
    assert PromptFormat(config, tokenizer)("why?") == "[EOS]<user>why?<assistant>"
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing("[EOS] $A", None, [("[EOS]", 2)])
    assert PromptFormat(config, tokenizer)("why?") == "<user>why?<assistant>"

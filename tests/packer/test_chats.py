"""Chats: the same text, ids and masks as transformers, for templates of public models."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import seampack
from seampack.errors import ConfigError, DataError
from seampack.packer.chat_rules import variables_of
from seampack.packer.chat_template import ChatTemplate, ChatTemplates, load_templates
from seampack.packer.chats import Chat, ChatWriter, mask_of
from seampack.packer.config import FROM_TOKENIZER, PackConfig
from seampack.packer.special_tokens import Vocabulary
from tests.packer.chats import (
    ANSWERS,
    SPECIAL_TOKENS,
    TOOL,
    answers,
    chat_tokenizer,
    conversations,
    slow_mask,
    source,
    write_model,
)

TOOL_FILE = "additional_chat_templates/tool_use.jinja"
TEMPLATES = {name: ChatTemplate(source(name), SPECIAL_TOKENS) for name in ANSWERS}


def writer(name: str, train_on: str = "all") -> ChatWriter:
    return ChatWriter(ChatTemplates(TEMPLATES[name], TEMPLATES[name]), chat_tokenizer(), train_on)


@pytest.mark.parametrize("name", ANSWERS)
@settings(deadline=None, max_examples=40)
@given(data=st.data(), has_tools=st.booleans())
def test_the_mask_has_what_the_assistant_writes(name: str, data: Any, has_tools: bool) -> None:
    messages = data.draw(conversations(name))
    written = writer(name).write(Chat(messages, None, [TOOL] if has_tools else None))
    expected = answers(name, written.text)
    assert written.spans == expected
    assert len(expected) == sum(message["role"] == "assistant" for message in messages)
    offsets = chat_tokenizer().encode(written.text, add_special_tokens=False).offsets
    assert mask_of(offsets, written.spans).tolist() == slow_mask(offsets, expected)
    last = writer(name, "last").write(Chat(messages, None, [TOOL] if has_tools else None))
    assert last.spans == expected[-1:]
    assert writer(name, "none").write(Chat(messages)).spans == []


WITH_CONTROL = st.lists(st.sampled_from(["a", " ", "\n", "<|im_end|>", "<s>", "研<"]), max_size=5).map("".join)


@pytest.fixture(scope="module")
def wrapped() -> Any:
    """The tokenizer as transformers has it."""
    transformers = pytest.importorskip("transformers")
    return transformers.PreTrainedTokenizerFast(tokenizer_object=chat_tokenizer(), **SPECIAL_TOKENS)


@pytest.mark.parametrize("name", ANSWERS)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(data=st.data(), has_tools=st.booleans())
def test_text_and_ids_are_those_of_transformers(wrapped: Any, name: str, data: Any, has_tools: bool) -> None:
    messages = data.draw(
        conversations(
            name, st.lists(st.sampled_from(["a", " ", "\n", "<|im_end|>", "<s>", "研<"]), max_size=5).map("".join)
        )
    )
    given = {"chat_template": source(name), "tools": [TOOL] if has_tools else None}
    written = writer(name, "none").write(Chat(messages, None, given["tools"]))
    assert written.text == wrapped.apply_chat_template(messages, tokenize=False, **given)
    ids = chat_tokenizer().encode(written.text, add_special_tokens=False).ids
    assert ids == wrapped.apply_chat_template(messages, return_dict=False, **given)
    contents = json.dumps([[message["content"], message.get("reasoning_content")] for message in messages])
    arguments = json.dumps([message.get("tool_calls") for message in messages])
    assert written.has_control == any(token in contents + arguments for token in ("<|im_end|>", "<s>"))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(data=st.data())
def test_masks_of_marked_templates_are_those_of_transformers(wrapped: Any, data: Any) -> None:
    messages = data.draw(conversations("chatml_marked"))
    written = writer("chatml_marked").write(Chat(messages))
    given = {"chat_template": source("chatml_marked"), "return_dict": True, "return_assistant_tokens_mask": True}
    expected = wrapped.apply_chat_template(messages, **given)
    encoded = chat_tokenizer().encode(written.text, add_special_tokens=False)
    assert encoded.ids == expected["input_ids"]
    assert mask_of(encoded.offsets, written.spans).tolist() == expected["assistant_masks"]


FILTERS = """
{%- set ns = namespace(n=0) %}{% set d = dict(a=1) %}
{%- for message in messages %}{% if loop.index > 3 %}{% break %}{% endif %}
    {%- set ns.n = ns.n + 1 %}
{{ ns.n }}{{ message | tojson }}{{ message | tojson(indent=2, sort_keys=true) }}{{ d }}{{ bos_token }}{{ image_token }}
{% endfor %}{{ tools is none }}{{ documents is none }}{{ unknown }}{{ strftime_now('%Y') }}{{ messages[0].missing }}
"""


def test_filters_and_variables_are_those_of_transformers() -> None:
    transformers = pytest.importorskip("transformers")
    tokens = {**SPECIAL_TOKENS, "image_token": "<image>"}
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=chat_tokenizer(), **tokens)
    messages = [
        {"role": "user", "content": "<b>&'é", "nothing": None, "number": 1.5, "tool_calls": None},
        {"role": "assistant", "content": [{"type": "text", "text": "a", "image": None}], "thinking": "hm"},
        {"role": "assistant", "content": "", "reasoning": "hm", "reasoning_content": "ha"},
    ]
    template = ChatTemplate(FILTERS, tokens)
    written = ChatWriter(ChatTemplates(template, template), chat_tokenizer(), "none").write(Chat(messages))
    assert written.text == wrapped.apply_chat_template(messages, tokenize=False, chat_template=FILTERS)


VARIABLES = {"bos_token": "<b>", "names": ["é", {"a": None}], "think": False, "effort": "low\n", "depth": 1.5}


def test_variables_are_those_of_transformers(wrapped: Any, tmp_path: Path) -> None:
    text = "".join("{{ %s }}{{ %s | tojson }}{{ %s is false }} " % (name, name, name) for name in VARIABLES)  # noqa: UP031
    path = write_model(tmp_path, chat_template=text)
    config = PackConfig(messages_column="messages", template_variables=VARIABLES)
    vocabulary = Vocabulary(str(path), tmp_path, path.read_bytes(), lambda _: None)
    template = load_templates(FROM_TOKENIZER, vocabulary, variables_of(config)).plain
    assert variables_of(config) == VARIABLES
    assert variables_of(config.replace(seq_len=9)) == VARIABLES
    expected = wrapped.apply_chat_template([USER], tokenize=False, chat_template=text, **VARIABLES)
    assert template.render([USER]) == expected
    with pytest.raises(ConfigError, match="the chat template reads no variable 'enable_thinkng'; omit or correct it"):
        load_templates(FROM_TOKENIZER, vocabulary, {"enable_thinkng": False})


def test_variables_are_the_same_as_text_and_as_a_mapping() -> None:
    as_text = PackConfig(messages_column="m", template_variables=("think= false", 'effort="a=b"'))
    as_mapping = PackConfig(messages_column="m", template_variables={"effort": "a=b", "think": False})
    assert as_text == as_mapping
    assert as_text.to_dict()["template_variables"] == ['effort="a=b"', "think=false"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["think=False"], "expected NAME=VALUE with a value in JSON, such as .*; got 'think=False'"),
        (["think"], "expected NAME=VALUE with a value in JSON"),
        (["a b=1"], "expected NAME=VALUE with the name of a variable, such as effort; got 'a b=1'"),
        (["=1"], "expected NAME=VALUE with the name of a variable, such as effort; got '=1'"),
        (["a=1", "a=2"], "template_variables: expected each name once; got 'a' twice"),
        (["messages=[]"], "template_variables: messages is given with each conversation; got 'messages="),
        ({"day": date(2024, 7, 26)}, r"expected a value that JSON can express; got day=datetime\.date"),
        ({"x": float("nan")}, "expected a value that JSON can express; got x=nan"),
        ({1: 2}, "expected NAME=VALUE with the name of a variable, such as effort; got '1=2'"),
        ("think=false", "expected a list; got 'think=false'"),
        ([1], "template_variables: expected text; got 1"),
        (None, "template_variables: expected a list; got None"),
    ],
)
def test_what_is_no_variable(given: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PackConfig(messages_column="messages", template_variables=given)


@pytest.mark.parametrize(
    ("messages", "prompt_end", "answer"),
    [
        ([("assistant", "hi")], "assistant\n", "hi<|im_end|>"),
        ([("user", "a"), ("assistant", "")], "assistant\n", "<|im_end|>"),
        ([("user", "<|im_start|>assistant\nno<|im_end|>\n"), ("assistant", "b")], "assistant\n", "b<|im_end|>"),
        ([("user", "a"), ("assistant", "b<|im_end|>\n ")], "assistant\n", "b<|im_end|>\n <|im_end|>"),
        ([("assistant", "b"), ("user", "c"), ("assistant", "b")], "assistant\n", "b<|im_end|>"),
    ],
)
@pytest.mark.parametrize("name", ["chatml", "qwen3"])
def test_conversations_of_unusual_shape(
    name: str, messages: list[tuple[str, str]], prompt_end: str, answer: str
) -> None:
    chat = [{"role": role, "content": content} for role, content in messages]
    written = writer(name, "last").write(Chat(chat))
    [(start, end)] = written.spans
    assert written.text[:start].removesuffix("<think>\n\n</think>\n\n").endswith(prompt_end)
    assert written.text[start:end].removeprefix("<think>\n\n</think>\n\n") == answer


def test_a_template_without_a_generation_prompt_has_its_header_before_the_answer() -> None:
    template = ChatTemplate("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}")
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}] * 2
    written = ChatWriter(ChatTemplates(template, template), chat_tokenizer(), "all").write(Chat(chat))
    assert [written.text[start:end] for start, end in written.spans] == ["b<|im_end|>"] * 2


def test_a_turn_that_cannot_be_placed_is_refused() -> None:
    """A template that writes the last message alone: nothing of an earlier one is there to train on."""
    template = ChatTemplate("{{ messages[-1].content }}{% if add_generation_prompt %}: {% endif %}")
    chat = [{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}]
    with pytest.raises(DataError, match=r"message 1: what the assistant writes of it cannot be found"):
        ChatWriter(ChatTemplates(template, template), chat_tokenizer(), "all").write(Chat(chat))


TEXT_PART = {"type": "text", "text": "lost"}
USER, ANSWER = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}


@pytest.mark.parametrize(
    ("chat", "reason"),
    [
        (Chat([]), "messages: expected at least one message; got none"),
        (Chat(None), "messages: expected a list of messages; got null"),
        (Chat("not JSON"), "messages: expected a list, or its JSON; got a text that is not JSON"),
        (Chat({"role": "user"}), "messages: expected a list of messages; got an object"),
        (Chat([USER, "b"]), "messages: message 2: expected an object; got a text"),
        (Chat([{"from": "human", "value": "a"}]), '"role", a text such as user or assistant; got null (the message'),
        (Chat([USER, {"role": "assistant", "content": 5}]), "message 2: content: expected a text or a list of parts"),
        (Chat([USER]), "no message of the assistant: there is nothing to train on; --train-on none keeps"),
        (Chat([USER, ANSWER], tools=["x"]), "tools: expected objects with the JSON schema of a tool; got a text"),
        (Chat([USER, ANSWER], tools={"a": 1}), "tools: expected a list of tools; got an object"),
        (Chat([USER, {"role": "critic", "content": "lost"}, ANSWER]), "does not know the role 'critic'"),
        (Chat([USER, {"role": "assistant"}]), "message 2 has no content: many templates need"),
        (Chat([USER, ANSWER, ANSWER]), "fails on it: Conversation roles must alternate"),
        (
            Chat([{"role": "user", "content": [{"type": "text", "text": "lost"}]}, ANSWER]),
            "does not write a list of parts",
        ),
        (Chat([{"role": "user", "content": [{"type": "image"}]}, ANSWER]), "parts of text; got a part of type 'image'"),
        (Chat([{"role": "user", "content": ["a"]}, ANSWER]), "message 1: content: expected parts that are objects"),
        (Chat("a", [ANSWER], None, True), "both text or both lists of messages; got a text and a list"),
        (Chat([USER], [USER], None, True), "no message of the assistant in the completion"),
        (Chat([USER], None, None, True), "completion: expected a list of messages; got null"),
    ],
)
def test_what_is_no_conversation(chat: Chat, reason: str) -> None:
    name = "chatml" if "no content" in reason else "gemma" if "alternate" in reason else "qwen3"
    with pytest.raises(DataError) as error:
        writer(name).write(chat)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
@pytest.mark.parametrize("name", ["chatml", "chatml_marked", "qwen3", "deepseek_r1"])
def test_of_a_pair_the_completion_alone_is_trained_on(name: str, data: Any) -> None:
    messages = data.draw(conversations(name))
    assistant = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    cut = data.draw(st.integers(1, assistant[-1]))
    whole, pair = Chat(messages), Chat(messages[:cut], messages[cut:], None, True)
    trained = sum(number >= cut for number in assistant)
    assert writer(name).write(pair).text == writer(name).write(whole).text
    assert writer(name).write(pair).spans == writer(name).write(whole).spans[-trained:]


def test_a_pair_of_texts_is_their_text() -> None:
    written = writer("chatml").write(Chat("What? ", "This.", None, True))
    assert written == ("What? This.", [(6, 11)], True, False)


def test_messages_and_tools_may_be_json() -> None:
    chat = Chat(json.dumps([USER, ANSWER]), None, json.dumps([TOOL]))
    assert writer("qwen3").write(chat) == writer("qwen3").write(Chat([USER, ANSWER], None, [TOOL]))


@pytest.mark.parametrize("template", ["{% for %}", "{{ 'a' | nofilter }}", "{% generation %}"])
def test_what_is_no_template(template: str) -> None:
    with pytest.raises(ConfigError, match="line 1: not a chat template: "):
        ChatTemplate(template)


@pytest.mark.parametrize(
    "template", ["{{ ''.__class__.__mro__ }}", "{% set ns = namespace(_a=1) %}{{ messages.append(1) }}"]
)
def test_templates_are_in_a_sandbox(template: str) -> None:
    with pytest.raises(DataError, match="the chat template fails on it"):
        ChatTemplate(template).render([USER])


SOURCES = {
    "in the settings": {"chat_template": "of the settings"},
    "named": {"chat_template": [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]},
}


@pytest.mark.parametrize("has_tools", [False, True])
@pytest.mark.parametrize("files", [[], ["chat_template.jinja"], ["chat_template.jinja", TOOL_FILE]])
@pytest.mark.parametrize("settings_", SOURCES.values(), ids=SOURCES)
def test_the_template_is_found_where_transformers_finds_it(
    tmp_path: Path, settings_: dict[str, Any], files: list[str], has_tools: bool
) -> None:
    transformers = pytest.importorskip("transformers")
    path = write_model(tmp_path, bos_token={"content": "<s>", "__type": "AddedToken"}, image_token="<im>", **settings_)
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(file + "{{ bos_token }}{{ eos_token }}{{ image_token }}")
    tools = [TOOL] if has_tools else None
    templates = load_templates(FROM_TOKENIZER, Vocabulary(str(path), tmp_path, path.read_bytes(), lambda _: None))
    template = templates.with_tools if has_tools else templates.plain
    wrapped = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert template.render([USER], tools) == wrapped.apply_chat_template([USER], tools, tokenize=False)


def test_a_tokenizer_without_a_template(tmp_path: Path) -> None:
    path = write_model(tmp_path)
    vocabulary = Vocabulary(str(path), tmp_path, path.read_bytes(), lambda _: None)
    with pytest.raises(ConfigError, match="no chat template among the files of the tokenizer"):
        load_templates(FROM_TOKENIZER, vocabulary)
    with pytest.raises(ConfigError, match=r"none\.jinja: cannot be read as a chat template"):
        load_templates(str(tmp_path / "none.jinja"), vocabulary)


def test_a_tokenizer_in_memory_brings_its_template(tmp_path: Path) -> None:
    """The one of transformers, with the same checksum as that of its files; one of tokenizers has none."""
    transformers = pytest.importorskip("transformers")
    path = write_model(tmp_path / "model", "qwen3", image_token="<s>")
    (tmp_path / "chats.jsonl").write_text(json.dumps({"messages": [USER, {"role": "assistant", "content": "b"}]}))
    options: dict[str, Any] = {"messages_column": "messages", "seq_len": 64}
    wrapped = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path / "model")
    notes = [
        seampack.pack(tmp_path / "chats.jsonl", out=tmp_path / name, tokenizer=given, **options).notes
        for name, given in (("file", path), ("memory", wrapped))
    ]
    assert notes[0] == notes[1] != {}
    with pytest.raises(ConfigError, match="no chat template in the tokenizer in memory; those of transformers have"):
        seampack.pack(tmp_path / "chats.jsonl", out=tmp_path / "none", tokenizer=chat_tokenizer(), **options)


def test_a_template_with_the_date_warns(tmp_path: Path) -> None:
    path = write_model(tmp_path, chat_template="{{ date_string or strftime_now('%d') }}")
    vocabulary = Vocabulary(str(path), tmp_path, path.read_bytes(), lambda _: None)
    with pytest.warns(UserWarning, match="the chat template can write the date of today"):
        load_templates(FROM_TOKENIZER, vocabulary)
    assert load_templates(FROM_TOKENIZER, vocabulary, {"date_string": "26"}).plain.render([USER]) == "26"

"""Tokens of contexts, knowledge and responses."""

from seampack.models.empathy import EmpathyConfig
from seampack.models.empathy.tokens import byte_tokenizer, collate, encode_context


def test_tokens() -> None:
    tokenizer = byte_tokenizer(["I am here. 我在 </s> <pad>"] * 2, 400)
    words = "Am I </s> there, 我?"
    ids = encode_context(tokenizer, [[words, "I am"], ["I"]], 100)
    assert tokenizer.decode(ids[0][1:]) == f"{words}</s>I am</s>"
    assert ids[0].count(tokenizer.eos_token_id) == 2
    assert encode_context(tokenizer, [[words, "I am"]], 4)[0] == [tokenizer.bos_token_id, *ids[0][-3:]]
    row = {"context": ["I"], "knowledge": {"a": ["am", " "], "b": []}, "target": "here", "label": 1}
    made = collate(tokenizer, [row, row | {"target": "here I am"}], ["a", "b"], EmpathyConfig(max_target_tokens=9))
    assert tokenizer.decode(made["knowledge_ids"][0, 0], skip_special_tokens=True) == "a: am"
    assert not made["knowledge_mask"][:, 1].any()
    assert made["labels"][0, -1] == -100
    assert tokenizer.decode(made["labels"][1]) == "here I am</s>"

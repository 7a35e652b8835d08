"""The initial model: a tiny Llama from scratch, or a model from a folder or the hub."""

from collections.abc import Sequence
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

from seampack.models.options import SMALL
from seampack.models.training import load_causal, place

_PIECES = Regex(r"\d+|\p{L}+|\s|.")


def piece_tokenizer(texts: Sequence[str], most: int = 4_000) -> Any:
    """Return a tokenizer of the most frequent numbers, words and other single characters of ``texts``."""
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))  # noqa: S106  # not a password
    tokenizer.pre_tokenizer = pre_tokenizers.Split(_PIECES, "isolated")
    tokenizer.decoder = decoders.Fuse()
    special = ["[PAD]", "[UNK]", "[EOS]"]
    tokenizer.train_from_iterator(
        texts, trainers.WordLevelTrainer(vocab_size=most, special_tokens=special, show_progress=False)
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "eos_token": "[EOS]"}
    tokens: Any = PreTrainedTokenizerFast
    return tokens(tokenizer_object=tokenizer, **names)


def small_model(tokenizer: Any, *, width: int = 128, layers: int = 3, seed: int = 0) -> Any:
    """Return a Llama with random weights; the default size has 0.5 million parameters in addition to the embeddings."""
    set_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            max_position_embeddings=1024,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
            tie_word_embeddings=True,
        )
    )


def model_and_tokenizer(source: str, texts: Sequence[str], *, seed: int = 0) -> tuple[Any, Any]:
    """Return a causal language model and its tokenizer: ``small``, or a model from a folder or the hub.

    The vocabulary of ``small`` is learned from ``texts``. Raises DataError if the model cannot be loaded.
    """
    if source != SMALL:
        return load_causal(source)
    tokenizer = piece_tokenizer(texts)
    return place(small_model(tokenizer, seed=seed)), tokenizer

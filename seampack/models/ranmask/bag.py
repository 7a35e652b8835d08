"""Fast predictions of a bag of word embeddings on thousands of masked copies of a few texts."""

from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seampack.io.ragged import lengths_of, offsets_of, positions_of
from seampack.models.text import TextClassifier, check_max_tokens, collate

Integer = npt.NDArray[np.int64]


class BagPredictor:
    """``predict_fn`` of a TextClassifier on a BERT encoder without layers.

    The logits of such a model are a mean over tokens of a score that depends on the token and its position. Each word
    is tokenised once, and each distinct pair of token and position is scored once, so that 5,000 copies of a text cost
    little more than joining their words.
    """

    def __init__(self, model: TextClassifier, tokenizer: Any, max_tokens: int) -> None:
        check_max_tokens(model, max_tokens)
        self.model = model
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self._pieces: dict[str, list[int]] = {}
        whole = collate(tokenizer, [["a"]], max_tokens)["input_ids"][0].tolist()
        inner = self.pieces(["a"])[0]
        start = next(i for i in range(len(whole)) if whole[i : i + len(inner)] == inner)
        self._first, self._last = whole[:start], whole[start + len(inner) :]

    @staticmethod
    def fits(model: TextClassifier) -> bool:
        """Return whether a model is a bag of word embeddings."""
        shape = model.encoder.config
        return bool(shape.model_type == "bert" and shape.num_hidden_layers == 0)

    def pieces(self, words: list[str]) -> list[list[int]]:
        """Return the token ids of each word."""
        if new := list(set(words) - self._pieces.keys()):
            encoded = self.tokenizer([[word] for word in new], is_split_into_words=True, add_special_tokens=False)
            self._pieces.update(zip(new, encoded["input_ids"], strict=True))
        return [self._pieces[word] for word in words]

    def __call__(self, texts: list[list[str]]) -> npt.NDArray[np.float32]:
        """Return the logits of each list of words, shape (texts, classes)."""
        ids, positions, lengths = self._tokens(texts)
        pairs, pair_of_token = np.unique(ids * self.max_tokens + positions, return_inverse=True)
        scores = self._scores(pairs // self.max_tokens, pairs % self.max_tokens)
        sums = np.add.reduceat(scores[pair_of_token], offsets_of(lengths)[:-1], axis=0)
        logits: npt.NDArray[np.float32] = (sums / lengths[:, None] + self._bias()).astype(np.float32)
        return logits

    def _tokens(self, texts: list[list[str]]) -> tuple[Integer, Integer, Integer]:
        """Return token ids and positions of all texts, shape (tokens,), and the lengths in tokens, shape (texts,)."""
        words = list(set(chain.from_iterable(texts)))
        pieces = self.pieces(words)
        flat_pieces = np.fromiter(chain.from_iterable(pieces), np.int64)
        sizes = lengths_of(pieces)
        begins = offsets_of(sizes)[:-1]
        index = dict(zip(words, range(len(words)), strict=True))
        word = np.fromiter(map(index.__getitem__, chain.from_iterable(texts)), np.int64)
        text = np.repeat(np.arange(len(texts)), lengths_of(texts))

        counts = sizes[word]
        body = flat_pieces[positions_of(counts) + np.repeat(begins[word], counts)]
        text = np.repeat(text, counts)
        position = positions_of(np.bincount(text, minlength=len(texts)))
        fits = position < self.max_tokens - len(self._first) - len(self._last)
        body, text, position = body[fits], text[fits], position[fits]

        lengths = np.bincount(text, minlength=len(texts)) + len(self._first) + len(self._last)
        starts = offsets_of(lengths)[:-1]
        ids = np.empty(lengths.sum(), np.int64)
        ids[starts[text] + len(self._first) + position] = body
        for offset, token in enumerate(self._first):
            ids[starts + offset] = token
        for offset, token in enumerate(reversed(self._last), 1):
            ids[starts + lengths - offset] = token
        return ids, positions_of(lengths), lengths

    def _scores(self, ids: Integer, positions: Integer) -> npt.NDArray[np.float32]:
        device = self.model.head.weight.device
        tokens = torch.from_numpy(ids).to(device).unsqueeze(1)
        places = torch.from_numpy(positions).to(device).unsqueeze(1)
        self.model.eval()
        with torch.inference_mode():
            states = self.model.encoder.embeddings(
                input_ids=tokens, token_type_ids=torch.zeros_like(tokens), position_ids=places
            )
            scores: npt.NDArray[np.float32] = (states.squeeze(1) @ self.model.head.weight.T).float().cpu().numpy()
        return scores

    def _bias(self) -> npt.NDArray[np.float32]:
        bias: npt.NDArray[np.float32] = self.model.head.bias.detach().float().cpu().numpy()
        return bias

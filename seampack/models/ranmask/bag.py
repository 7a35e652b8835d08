"""Fast predictions of a bag of word embeddings on very many masked copies of few texts."""

from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seampack.models.text import TextClassifier, check_max_tokens, collate

Integer = npt.NDArray[np.int64]


class BagPredictor:
    """``predict_fn`` of a TextClassifier on a BERT encoder without layers.

    Such a model adds up what each token says at its place. Each word is tokenised once, and each different pair of
    token and place is scored once, so that 5,000 copies of a text cost little more than putting them together.
    """

    def __init__(self, model: TextClassifier, tokenizer: Any, max_tokens: int) -> None:
        check_max_tokens(model, max_tokens)
        self.model = model
        self.tokenizer = tokenizer
        self.max_tokens = max_tokens
        self._pieces: dict[str, list[int]] = {}
        whole = collate(tokenizer, [["a"]], max_tokens)["input_ids"][0].tolist()
        inner = self.pieces(["a"])[0]
        at = next(at for at in range(len(whole)) if whole[at : at + len(inner)] == inner)
        self._first, self._last = whole[:at], whole[at + len(inner) :]

    @staticmethod
    def fits(model: TextClassifier) -> bool:
        """Whether a model is of this kind."""
        shape = model.encoder.config
        return bool(shape.model_type == "bert" and shape.num_hidden_layers == 0)

    def pieces(self, words: list[str]) -> list[list[int]]:
        """Token ids of each word."""
        if new := list(set(words) - self._pieces.keys()):
            encoded = self.tokenizer([[word] for word in new], is_split_into_words=True, add_special_tokens=False)
            self._pieces.update(zip(new, encoded["input_ids"], strict=True))
        return [self._pieces[word] for word in words]

    def __call__(self, texts: list[list[str]]) -> npt.NDArray[np.float32]:
        """Logits of each list of words, shape (texts, classes)."""
        ids, places, lengths = self._tokens(texts)
        pairs, which = np.unique(ids * self.max_tokens + places, return_inverse=True)
        scores = self._scores(pairs // self.max_tokens, pairs % self.max_tokens)
        sums = np.add.reduceat(scores[which], np.cumsum(lengths) - lengths, axis=0)
        logits: npt.NDArray[np.float32] = (sums / lengths[:, None] + self._bias()).astype(np.float32)
        return logits

    def _tokens(self, texts: list[list[str]]) -> tuple[Integer, Integer, Integer]:
        """Token ids of all texts, the place of each within its text, both shape (tokens,), and tokens a text."""
        words = list(set(chain.from_iterable(texts)))
        pieces = self.pieces(words)
        flat = np.fromiter(chain.from_iterable(pieces), np.int64)
        size = np.fromiter(map(len, pieces), np.int64, len(pieces))
        begin = np.cumsum(size) - size
        number = dict(zip(words, range(len(words)), strict=True))
        which = np.fromiter(map(number.__getitem__, chain.from_iterable(texts)), np.int64)
        text = np.repeat(np.arange(len(texts)), np.fromiter(map(len, texts), np.int64, len(texts)))

        counts = size[which]
        body = flat[_within(counts) + np.repeat(begin[which], counts)]
        text = np.repeat(text, counts)
        place = _within(np.bincount(text, minlength=len(texts)))
        fits = place < self.max_tokens - len(self._first) - len(self._last)
        body, text, place = body[fits], text[fits], place[fits]

        lengths = np.bincount(text, minlength=len(texts)) + len(self._first) + len(self._last)
        starts = np.cumsum(lengths) - lengths
        ids = np.empty(lengths.sum(), np.int64)
        ids[starts[text] + len(self._first) + place] = body
        for at, token in enumerate(self._first):
            ids[starts + at] = token
        for at, token in enumerate(reversed(self._last), 1):
            ids[starts + lengths - at] = token
        return ids, _within(lengths), lengths

    def _scores(self, ids: npt.NDArray[np.int64], places: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        device = self.model.head.weight.device
        tokens = torch.from_numpy(ids).to(device).unsqueeze(1)
        positions = torch.from_numpy(places).to(device).unsqueeze(1)
        self.model.eval()
        with torch.inference_mode():
            states = self.model.encoder.embeddings(
                input_ids=tokens, token_type_ids=torch.zeros_like(tokens), position_ids=positions
            )
            scores: npt.NDArray[np.float32] = (states.squeeze(1) @ self.model.head.weight.T).float().cpu().numpy()
        return scores

    def _bias(self) -> npt.NDArray[np.float32]:
        bias: npt.NDArray[np.float32] = self.model.head.bias.detach().float().cpu().numpy()
        return bias


def _within(lengths: Integer) -> Integer:
    """0, 1, 2 .. of each stretch, one behind the other."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)

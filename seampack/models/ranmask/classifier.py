"""A trained classifier of lists of words: its predictions, mask token and vocabulary."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import AutoTokenizer

from seampack.errors import DataError
from seampack.models import text
from seampack.models.artifact import Artifact
from seampack.models.ranmask.attacks import Candidates, character_bugs, neighbours, strong_words
from seampack.models.ranmask.bag import BagPredictor
from seampack.models.ranmask.config import Attacks, RanmaskConfig
from seampack.models.ranmask.smoothing import PredictFn
from seampack.models.training import load_encoder, load_part


@dataclass(frozen=True, slots=True)
class Classifier:
    """A trained classifier, ready to be smoothed and attacked."""

    predict_fn: PredictFn
    mask_token: str
    vocabulary: list[str]
    """Words that are one token of the encoder."""
    vectors: npt.NDArray[np.float32]
    """Embeddings of the vocabulary, shape (words, width)."""

    def candidates(self, kind: str) -> Candidates | None:
        """Return the candidates of an attack; None if the attack needs a vocabulary and the encoder has no words."""
        if kind == Attacks.BUGS:
            return character_bugs
        if not self.vocabulary:
            return None
        if kind == Attacks.NEIGHBOURS:
            return neighbours(self.vocabulary, self.vectors)
        return strong_words(self.predict_fn, self.vocabulary)


def load(artifact: Artifact, config: RanmaskConfig) -> Classifier:
    """Load the classifier of an artifact; it reads ``config.max_tokens`` tokens of a text."""
    encoder = artifact.part("encoder", load_encoder)
    tokenizer = artifact.part("tokenizer", load_part(AutoTokenizer))
    model = text.TextClassifier(encoder, len(artifact.facts["classes"]))
    text.load_tensors(model.head, artifact.tensors)
    model.eval()
    predict_fn: PredictFn = partial(text.predict, model, tokenizer, max_tokens=config.max_tokens)
    if BagPredictor.fits(model):
        predict_fn = BagPredictor(model, tokenizer, config.max_tokens)
    # only tokens that are a whole word: encoding the word returns the token
    spellings = {token: tokenizer.decode([token]).strip() for token in range(len(tokenizer))}
    tokens = {word: token for token, word in spellings.items() if len(word) > 2 and word.isalpha()}
    encoded = tokenizer([[word] for word in tokens], is_split_into_words=True, add_special_tokens=False)["input_ids"]
    vocabulary = [word for word, ids in zip(tokens, encoded, strict=True) if ids == [tokens[word]]]
    table = encoder.get_input_embeddings().weight.detach().float().cpu().numpy()
    vectors = table[[tokens[word] for word in vocabulary]]
    return Classifier(predict_fn, mask_token_of(tokenizer, config.encoder), vocabulary, vectors)


def mask_token_of(tokenizer: Any, encoder: str) -> str:
    """Return the mask token of an encoder's tokenizer. Raise DataError if it has none."""
    if tokenizer.mask_token is None:
        raise DataError(f"{encoder}: the tokenizer has no mask token, which the masks need; use another encoder")
    return str(tokenizer.mask_token)

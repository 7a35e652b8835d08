"""RanMASK as an adapter: train on masked text, certify, attack."""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, Value
from transformers import AutoTokenizer

from seampack.errors import DataError
from seampack.models import text
from seampack.models.artifact import Artifact
from seampack.models.base import Adapter, Evaluation, Fitted, Row, with_results
from seampack.models.data import classes_of, require, require_text, set_aside, with_labels
from seampack.models.ranmask.attacks import Attacked, Candidates, attack, character_bugs, neighbours, strong_words
from seampack.models.ranmask.bag import BagPredictor
from seampack.models.ranmask.config import Attacks, RanmaskConfig
from seampack.models.ranmask.masks import RandomMask
from seampack.models.ranmask.smoothing import (
    Certified,
    PredictFn,
    certified_accuracy,
    judge,
    scorer,
    smooth_and_certify,
)
from seampack.models.training import load_encoder, load_part

_ATTACK_NUMBERS = ("clean_accuracy", "robust_accuracy", "success", "certificates", "broken")
_NO_WORDS = "not tried: the encoder's vocabulary has no words"


class RanmaskAdapter(Adapter[RanmaskConfig]):
    """Text classifiers with certified robustness to word substitutions."""

    name: ClassVar[str] = "ranmask"
    config = RanmaskConfig
    columns: ClassVar[dict[str, str]] = {
        "text": "Text; its words are separated by white space.",
        "label": "Class of the text, a name or an integer.",
    }
    fixed = ("encoder", "layers", "epochs", "batch_rows", "learning_rate", "weight_decay")

    def prepare(self, dataset: Dataset, config: RanmaskConfig) -> Dataset:
        """Add ``words``, lists of at most ``max_words`` words, and turn ``label`` into ids of classes."""
        given = "words" in dataset.column_names and (
            config.text_column not in dataset.column_names or _is_list(dataset.data.column("words").type)
        )
        source = "words" if given else config.text_column
        label = "label" if given and config.label_column not in dataset.column_names else config.label_column
        require(dataset, [source, label])
        if given:
            _require_words(dataset)
        else:
            require_text(dataset, source)
        cells = dataset[source][:]
        words = [(cell if given else cell.split())[: config.max_words] for cell in cells]
        if empty := [number for number, row_words in enumerate(words, 1) if not row_words]:
            raise DataError(f"column {source!r}, row {empty[0]}: no words; expected at least one; drop such rows")
        labelled = with_labels(dataset, label, classes_of(dataset, label))
        if given and words == cells:
            return labelled
        rest = labelled.remove_columns("words") if given else set_aside(labelled, ["words"])
        return rest.add_column("words", pa.array(words, pa.list_(pa.string())))

    def fit(self, dataset: Dataset, config: RanmaskConfig) -> Fitted:
        """Train a classifier; every text gets a new mask in every step."""
        classes = _declared(dataset)
        if len(classes) < 2:
            raise DataError(f"column 'label': expected at least two classes; got {', '.join(classes)}")
        layers = None if config.layers < 0 else config.layers
        plain = [" ".join(words) for words in dataset["words"]]
        encoder, tokenizer = text.encoder_and_tokenizer(config.encoder, plain, layers=layers, seed=config.seed)
        model = text.TextClassifier(encoder, len(classes))
        options = text.FitOptions(
            config.epochs, config.batch_rows, config.learning_rate, config.weight_decay, config.seed
        )
        mask = RandomMask(config, _mask_token(tokenizer, config))
        used = dataset.select_columns(["words", "label"])
        losses = text.fit(model, tokenizer, used, options, column="words", max_tokens=config.max_tokens, change=mask)
        facts = {"classes": classes, "losses": losses}
        return Fitted(text.tensors_of(model.head), facts, {"encoder": encoder, "tokenizer": tokenizer})

    def measure(self, dataset: Dataset, artifact: Artifact, config: RanmaskConfig) -> Evaluation:
        """Measure the accuracy with and without masks and under attack, and the certified accuracy by radius."""
        dataset = with_labels(dataset, "label", artifact.facts["classes"])
        predict_fn, mask_token, vocabulary, vectors = load(artifact, config)
        words, labels = dataset["words"][:], np.array(dataset["label"][:])
        attacked = min(config.attack_rows, len(words))
        # before the certificates, which take longest, so that an error of the candidates is raised early
        attacks = {kind: _candidates(kind, predict_fn, vocabulary, vectors) for kind in config.attacks if attacked}
        plain = np.asarray(predict_fn(words)).argmax(1)
        smoothed, certified = smooth_and_certify(predict_fn, words, config, mask_token)
        right = certified.radius[(certified.guess == labels) & ~certified.abstain]
        curve = [
            {"words": radius, "certified_accuracy": certified_accuracy(certified, labels, radius)}
            for radius in range(int(certified.radius.max()) + 2)
        ]
        metrics = {
            "accuracy": float((smoothed.pred == labels).mean()),
            "accuracy_unmasked": float((plain == labels).mean()),
            "abstained": float(certified.abstain.mean()),
            "certified_accuracy_1": certified_accuracy(certified, labels, 1),
            "median_radius_of_right": float(np.median(right)) if right.size else None,
            "mean_radius_of_right": float(right.mean()) if right.size else None,
        }
        results: dict[str, Any] = {"pred": smoothed.pred, "p_hat": smoothed.p_hat, **certified.columns()}
        attack_rows: list[Row] = []
        for kind, candidates in attacks.items():
            if candidates is None:
                attack_rows.append({"attack": kind, "texts": 0, **dict.fromkeys(_ATTACK_NUMBERS), "note": _NO_WORDS})
                continue
            row, texts = _under_attack(
                predict_fn, mask_token, words[:attacked], labels[:attacked], certified, candidates, config
            )
            attack_rows.append({"attack": kind, "texts": attacked, **row, "note": ""})
            results[f"attacked_{kind}"] = texts + [None] * (len(words) - attacked), Value("string")
        tables = {"certified": curve} | ({"attacks": attack_rows} if attack_rows else {})
        rows = with_results(dataset, results)
        return Evaluation(metrics, rows, tables, {"certified": partial(draw_curve, curves={str(config.beta): curve})})


def load(artifact: Artifact, config: RanmaskConfig) -> tuple[PredictFn, str, list[str], npt.NDArray[np.float32]]:
    """Return a trained classifier as ``predict_fn``, its mask token, its vocabulary and the embeddings of the words.

    The embeddings have shape (words, width).
    """
    encoder = artifact.part("encoder", load_encoder)
    tokenizer = artifact.part("tokenizer", load_part(AutoTokenizer))
    model = text.TextClassifier(encoder, len(artifact.facts["classes"]))
    text.load_tensors(model.head, artifact.tensors)
    model.eval()
    predict_fn: PredictFn = partial(text.predict, model, tokenizer, max_tokens=config.max_tokens)
    if BagPredictor.fits(model):
        predict_fn = BagPredictor(model, tokenizer, config.max_tokens)
    # only tokens that are a whole word: encoding the word gives the token again
    spellings = {token: tokenizer.decode([token]).strip() for token in range(len(tokenizer))}
    tokens = {word: token for token, word in spellings.items() if len(word) > 2 and word.isalpha()}
    encoded = tokenizer([[word] for word in tokens], is_split_into_words=True, add_special_tokens=False)["input_ids"]
    vocabulary = [word for word, ids in zip(tokens, encoded, strict=True) if ids == [tokens[word]]]
    table = encoder.get_input_embeddings().weight.detach().float().cpu().numpy()
    return predict_fn, _mask_token(tokenizer, config), vocabulary, table[[tokens[word] for word in vocabulary]]


def draw_curve(axes: Any, curves: dict[str, Sequence[Row]]) -> None:
    """Draw the certified accuracy over the number of changed words, a line for each curve."""
    for name, curve in curves.items():
        axes.step(
            [row["words"] for row in curve],
            [100 * row["certified_accuracy"] for row in curve],
            where="post",
            label=name,
        )
    axes.set(xlabel="words changed", ylabel="certified accuracy, %", ylim=(0, 100))
    axes.legend()


def _under_attack(
    predict_fn: PredictFn,
    mask_token: str,
    texts: list[list[str]],
    labels: npt.NDArray[np.int64],
    certified: Certified,
    candidates: Candidates,
    config: RanmaskConfig,
) -> tuple[Row, list[str]]:
    """Run one attack on each text. Return its row of the table of attacks, and the attacked texts."""
    score = scorer(predict_fn, config, mask_token)
    clean = robust = certificates = broken = 0
    results = []
    for row, (words, label) in enumerate(zip(texts, labels, strict=True)):
        allowed = max(1, int(config.attack_share * len(words))) if config.attack_share else 0
        radius = int(certified.radius[row]) if certified.guess[row] == label else 0
        attacked = attack(words, int(label), score, candidates, max(allowed, radius), beyond=radius)
        breaking = broken_by(predict_fn, attacked, int(label), radius, config, mask_token)
        flip = attacked.first_flip
        fooled = flip is not None and flip <= allowed
        results.append(" ".join(breaking or attacked.after(flip if flip is not None and fooled else allowed)))
        clean += flip != 0
        robust += not fooled
        certificates += radius > 0
        broken += breaking is not None
    values = clean / len(texts), robust / len(texts), 1 - robust / clean if clean else None, certificates, broken
    return dict(zip(_ATTACK_NUMBERS, values, strict=True)), results


def broken_by(
    predict_fn: PredictFn, attacked: Attacked, label: int, radius: int, config: RanmaskConfig, mask_token: str
) -> list[str] | None:
    """Return an attacked text within the certified ``radius`` that certainly has another class; None without one.

    New masks judge two texts: the one with all replacements, and the one that first flipped the attack's scores.
    """
    last = min(radius, len(attacked.changed))
    for replacements in sorted({last, min(attacked.first_flip or last, last)} - {0}, reverse=True):
        words = attacked.after(replacements)
        if judge(predict_fn, words, config, mask_token) not in (label, None):
            return words
    return None


def _candidates(
    kind: str, predict_fn: PredictFn, vocabulary: list[str], vectors: npt.NDArray[np.float32]
) -> Candidates | None:
    if kind == Attacks.BUGS:
        return character_bugs
    if not vocabulary:
        return None
    if kind == Attacks.NEIGHBOURS:
        return neighbours(vocabulary, vectors)
    return strong_words(predict_fn, vocabulary)


def _mask_token(tokenizer: Any, config: RanmaskConfig) -> str:
    if tokenizer.mask_token is None:
        raise DataError(f"{config.encoder}: its tokenizer has no mask token; expected one; use another encoder")
    return str(tokenizer.mask_token)


def _declared(dataset: Dataset) -> list[str]:
    feature = dataset.features["label"]
    if not isinstance(feature, ClassLabel):
        raise DataError("column 'label': expected ids of classes; prepare the dataset first")
    return list(feature.names)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _require_words(dataset: Dataset) -> None:
    column = dataset.data.column("words")
    kind = column.type
    if not _is_list(kind) or not (pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type)):
        raise DataError(f"column 'words': expected lists of text; got {kind}")
    words = pc.list_flatten(column)
    if words.null_count or pc.any(pc.equal(words, "")).as_py():
        raise DataError("column 'words': some words are null or empty; remove them")


ADAPTER = RanmaskAdapter()

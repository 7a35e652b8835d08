"""Other segmenters, each with a small adapter, for ``segment compare``. Only installed segmenters are compared."""

import io
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from seampack.segmenter.evaluate import Scores, score_words, split_line
from seampack.segmenter.units import Alphabet

Split = Callable[[list[str]], list[list[str]]]
VOCABULARY = 8000


@dataclass(frozen=True, slots=True)
class Peer:
    """Another segmenter. ``prepare`` takes texts and a script, loads or trains the segmenter, and returns its split."""

    name: str
    packages: tuple[str, ...]
    scripts: tuple[str, ...]  # languages of the supported scripts; empty: all
    prepare: Callable[[list[str], str], Split]

    def supports(self, script: str) -> bool:
        """Return whether the segmenter supports the script."""
        return not self.scripts or _language(script) in self.scripts

    @property
    def missing(self) -> tuple[str, ...]:
        """Its packages that are not installed."""
        return tuple(package for package in self.packages if find_spec(package) is None)


def _language(script: str) -> str:
    """Return the language of a script preset."""
    return {"ja-runs": "ja", "th-clusters": "th"}.get(script, script)


@dataclass(frozen=True, slots=True)
class Result:
    """Scores and cost of a segmenter."""

    name: str
    scores: Scores
    altered: int  # lines whose characters it changed; all their words count as wrong
    setup_seconds: float
    cpu_seconds: float
    characters: int

    def to_dict(self) -> dict[str, Any]:
        """Return the results, for JSON and for tables."""
        return {
            "segmenter": self.name,
            "words_f1": self.scores.words.f1,
            "no_punctuation_f1": self.scores.words_without_punctuation.f1,
            "boundary_f1": self.scores.boundaries.f1,
            "type_f1": self.scores.types.f1,
            "altered": self.altered,
            "setup_seconds": self.setup_seconds,
            "cpu_seconds": self.cpu_seconds,
            "characters_per_second": round(self.characters / max(self.cpu_seconds, 1e-9)),
        }


def _jieba(hmm: bool) -> Callable[[list[str], str], Split]:
    def prepare(texts: list[str], script: str) -> Split:
        jieba: Any = import_module("jieba")
        jieba.setLogLevel(logging.WARNING)
        tokenizer = jieba.Tokenizer()
        tokenizer.initialize()
        return lambda batch: [tokenizer.lcut(text, HMM=hmm) for text in batch]

    return prepare


def _pkuseg(texts: list[str], script: str) -> Split:
    pkuseg: Any = import_module("pkuseg")
    segmenter = pkuseg.pkuseg()
    return lambda batch: [segmenter.cut(text) for text in batch]


def _budoux(texts: list[str], script: str) -> Split:
    budoux: Any = import_module("budoux")
    load = {
        "zh": budoux.load_default_simplified_chinese_parser,
        "ja": budoux.load_default_japanese_parser,
        "th": budoux.load_default_thai_parser,
    }
    parser = load[_language(script)]()
    return lambda batch: [parser.parse(text) for text in batch]


def _sentencepiece(texts: list[str], script: str) -> Split:
    sentencepiece: Any = import_module("sentencepiece")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="unigram",
        vocab_size=VOCABULARY,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        max_sentence_length=1 << 20,
        num_threads=1,
        minloglevel=2,
    )
    processor = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    # sentencepiece writes a space as U+2581
    return lambda batch: [
        [piece.replace("\u2581", " ") for piece in pieces] for pieces in processor.encode(batch, out_type=str)
    ]


def _newmm(texts: list[str], script: str) -> Split:
    tokenize: Any = import_module("pythainlp.tokenize")
    return lambda batch: [tokenize.word_tokenize(text, engine="newmm", keep_whitespace=False) for text in batch]


def _attacut(texts: list[str], script: str) -> Split:
    attacut: Any = import_module("attacut")
    return lambda batch: [[word for word in attacut.tokenize(text) if not word.isspace()] for text in batch]


def _mecab(texts: list[str], script: str) -> Split:
    fugashi: Any = import_module("fugashi")
    tagger = fugashi.Tagger(f'-r /dev/null -d "{import_module("unidic_lite").DICDIR}"')
    return lambda batch: [[word.surface for word in tagger(text)] for text in batch]


def _units(texts: list[str], script: str) -> Split:
    alphabet = Alphabet(script)

    def split(batch: list[str]) -> list[list[str]]:
        units, starts = alphabet.units(batch)
        begin, end, offsets = units.begin.tolist(), units.end.tolist(), units.offsets.tolist()
        spans = zip(batch, starts.tolist(), offsets, offsets[1:], strict=False)
        return [
            [text[b - start : e - start] for b, e in zip(begin[first:last], end[first:last], strict=True)]
            for text, start, first, last in spans
        ]

    return split


PEERS = (
    Peer("jieba with HMM", ("jieba",), ("zh",), _jieba(True)),
    Peer("jieba without HMM", ("jieba",), ("zh",), _jieba(False)),
    Peer("pkuseg", ("pkuseg",), ("zh",), _pkuseg),
    Peer("mecab, unidic-lite", ("fugashi", "unidic_lite"), ("ja",), _mecab),
    Peer("budoux", ("budoux",), ("zh", "ja", "th"), _budoux),
    Peer("pythainlp newmm", ("pythainlp",), ("th",), _newmm),
    Peer("attacut", ("attacut",), ("th",), _attacut),
    Peer(f"sentencepiece unigram, {VOCABULARY}", ("sentencepiece",), (), _sentencepiece),
    Peer("every unit a word", (), (), _units),
)


def run_peers(gold: Sequence[Sequence[str]], texts: list[str], script: str) -> Iterator[Result]:
    """Yield the result of each peer that is installed and supports the script."""
    for peer in PEERS:
        if peer.supports(script) and not peer.missing:
            yield measure(peer.name, lambda peer=peer: peer.prepare(texts, script), gold, texts)  # type: ignore[misc]


def missing_packages(script: str) -> list[str]:
    """Return the packages of peers that support the script but are not installed."""
    return sorted({package for peer in PEERS if peer.supports(script) for package in peer.missing})


def measure(name: str, prepare: Callable[[], Split], gold: Sequence[Sequence[str]], texts: list[str]) -> Result:
    """Load a segmenter, warm it up, and measure its CPU time and scores on the texts."""
    started = time.process_time()
    split = prepare()
    split(texts[:1])  # loading at the first call counts as setup
    loaded = time.process_time()
    segmented = split(texts)
    cpu_seconds = time.process_time() - loaded
    predicted: list[list[str]] = []
    altered = 0
    for words, right in zip(segmented, gold, strict=True):
        clean = [part for word in words for part in split_line(word)]  # words contain no white space
        whole = "".join(right)
        if "".join(clean) != whole:
            altered += 1
            clean = [whole] if len(right) > 1 else list(whole)
        predicted.append(clean)
    return Result(name, score_words(gold, predicted), altered, loaded - started, cpu_seconds, sum(map(len, texts)))

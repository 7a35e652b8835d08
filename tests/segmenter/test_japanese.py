"""The bundled Japanese model on sentences of ours, segmented as UniDic's short units."""

import time
import unicodedata

import pytest

from seampack.segmenter.evaluate import score_words
from seampack.segmenter.model import Segmenter

GOLD = """
明日 は 雨 が 降る と 思い ます 。
彼女 は 毎朝 駅 まで 歩い て 会社 に 行き ます 。
この 機械 は 言葉 の 境界 を 自分 で 学習 する 。
新しい 図書 館 で 日本 の 歴史 を 調べ た 。
町 の 人々 は 古い 橋 を 守る ため に 寄付 を 集め て いる 。
データ を コピー し て から 、 プログラム を 実行 し て ください 。
政府 は 来年 の 予算 に つい て 会議 で 説明 し た 。
山 の 上 から 海 が 見え まし た 。
子供 たち は 公園 で 遊ん で い ます 。
電車 が 遅れ た の で 、 試験 に 間に合わ なかっ た 。
大学 の 研究 者 は 魚 の 新しい 種類 を 発見 し た と 発表 し た 。
あの 店 の 料理 は とても 美味しい です ね 。
"""
GOLD_WORDS = [line.split() for line in GOLD.strip().splitlines()]
TEXTS = ["".join(words) for words in GOLD_WORDS]


@pytest.fixture(scope="module")
def ja() -> Segmenter:
    return Segmenter.load("ja")


def test_words_of_sentences(ja: Segmenter) -> None:
    words = ja.segment(TEXTS)
    assert ["".join(line) for line in words] == TEXTS
    assert score_words(GOLD_WORDS, words).words.f1 > 0.8


def test_other_letters_and_small_kana(ja: Segmenter) -> None:
    text = "CPUのスピードでしょうか？　Ｗｅｂ２．０とＮＨＫ、それにねー😀👍🏽𠮷野家"
    (words,) = ja.segment([text])
    assert "".join(words) == text.replace("\u3000", "")
    assert {"CPU", "の", "スピード", "Ｗｅｂ", "ＮＨＫ", "👍🏽"} <= {*words}
    assert not [word for word in words if word[0] in "ょー"]


def test_decomposed_text_has_the_same_words(ja: Segmenter) -> None:
    """As macOS writes names of files."""
    texts = [*TEXTS, "ベッドでじょうずにガラスを運び、ぎょうざを食べた。"]
    decomposed = [unicodedata.normalize("NFD", text) for text in texts]
    assert decomposed != texts
    words = ja.segment(decomposed)
    assert ["".join(line) for line in words] == decomposed
    assert [[unicodedata.normalize("NFC", word) for word in line] for line in words] == ja.segment(texts)


def test_it_is_not_warned_of_its_own_script(ja: Segmenter, recwarn: pytest.WarningsRecorder) -> None:
    ja.segment(["これはにほんごのぶんしょうです。カタカナもあります。" * 20])
    assert not recwarn.list


def test_speed(ja: Segmenter) -> None:
    """The lowest speed that passes is an eighth of the measured one."""
    texts = TEXTS * 400
    ja.segment(texts[:10])
    started = time.process_time()
    ja.segment(texts)
    assert sum(map(len, texts)) / (time.process_time() - started) > 200_000

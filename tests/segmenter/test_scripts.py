"""The check whether texts are in the script and the form of Chinese characters that a model learned."""

import json
import warnings
from pathlib import Path

import pytest

from seampack.errors import ConfigError
from seampack.segmenter import artifact
from seampack.segmenter.config import DistillConfig
from seampack.segmenter.lexicon_counts import build_lexicon
from seampack.segmenter.model import Segmenter
from seampack.segmenter.scripts import HanForm, check_name, count_kinds, han_form, points_in_form, text_in_form
from seampack.segmenter.training import distill, train
from seampack.segmenter.units import RANGES, code_points
from tests.conftest import Run
from tests.segmenter import tiny
from tests.segmenter.language import QUICK, sentences

SIMPLIFIED = "这个学校的图书馆从早上八点开门，学生们可以在里面学习一整天。"
TRADITIONAL = "這個學校的圖書館從早上八點開門，學生們可以在裡面學習一整天。"
EITHER = "他在山上看日出，我在家里等他。"
NAMES = "书店里有余光中的诗、龍應臺的散文和張愛玲的小说，还有许多从国外翻译过来的图书。"
JAPANESE = "図書館は朝の八時に開きますので、学生は一日中そこで勉強することができます。"
THAI = "ห้องสมุดเปิดตอนแปดโมงเช้า"
LAO = "ຫໍສະໝຸດເປີດແປດໂມງເຊົ້າ"
READ = r"the text has {} Chinese characters, but the segmenter was trained on {} ones: each is read as its"
FORM = r"the text has {} Chinese characters, but the segmenter was trained on {} ones: .* convert the text first"


def form_of(text: str) -> HanForm | None:
    return han_form(count_kinds(code_points([text])[0]))


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (SIMPLIFIED, "simplified"),
        (TRADITIONAL, "traditional"),
        (SIMPLIFIED + TRADITIONAL, None),
        (EITHER, None),
        (JAPANESE, None),
        (THAI, None),
        ("", None),
    ],
)
def test_form_of_a_text(text: str, form: str | None) -> None:
    assert form_of(text) == form


def with_form(folder: Path, form: str) -> Segmenter:
    tiny.save(folder)
    path = folder / artifact.DESCRIPTION
    path.write_text(json.dumps(json.loads(path.read_text()) | {"han_form": form}))
    return Segmenter.load(folder)


@pytest.mark.parametrize("texts", [[TRADITIONAL], list(TRADITIONAL), [SIMPLIFIED * 100, TRADITIONAL * 100]])
def test_the_other_form_is_named_once(texts: list[str]) -> None:
    """In one text, in many short ones, and after much text of the model's form."""
    zh = Segmenter.load("zh")
    with pytest.warns(UserWarning, match="^zh: " + READ.format("traditional", "simplified")) as caught:
        words = [zh.segment([text]) for text in texts * 2]
    assert len(words) == 2 * len(texts)
    assert len(caught) == 1


def test_a_traditional_model_names_simplified_text(tmp_path: Path) -> None:
    segmenter = with_form(tmp_path / "m", "traditional")
    segmenter.segment([TRADITIONAL])
    with pytest.warns(UserWarning, match=READ.format("simplified", "traditional")):
        segmenter.end_probabilities([SIMPLIFIED])


@pytest.mark.filterwarnings("ignore:.* Chinese characters")
@pytest.mark.parametrize("exact", [False, True])
def test_characters_of_the_other_form_are_read_as_their_counterparts(exact: bool) -> None:
    """One for one: the words are those of the converted text, and the output keeps the original."""
    zh = Segmenter.load("zh")
    one, other = zh.spans([SIMPLIFIED], exact=exact), zh.spans([TRADITIONAL], exact=exact)
    assert one.end.tolist() == other.end.tolist()
    assert "".join(other.words([TRADITIONAL])[0]) == TRADITIONAL
    assert zh.end_probabilities([SIMPLIFIED])[0].tolist() == zh.end_probabilities([TRADITIONAL])[0].tolist()


@pytest.mark.filterwarnings("ignore:.* Chinese characters")
def test_a_traditional_model_reads_simplified_characters(tmp_path: Path) -> None:
    segmenter = with_form(tmp_path / "m", "traditional")
    text = "龙应的诗"
    assert segmenter.units([text])[0].key.tolist() == segmenter.units(["龍應的詩"])[0].key.tolist()
    unknown = Segmenter.load(tiny.save(tmp_path / "unknown"))
    assert unknown.units([text])[0].key.tolist() == [ord(character) for character in text]


@pytest.mark.parametrize("form", HanForm)
def test_texts_and_code_points_are_mapped_alike(form: HanForm) -> None:
    """Characters of both forms, and of no script, stay as they are."""
    text = SIMPLIFIED + TRADITIONAL + NAMES + JAPANESE + "乾 abc 𠮷"
    mapped = text_in_form(text, form)
    assert points_in_form(code_points([text])[0], form).tolist() == [ord(character) for character in mapped]
    assert form_of(mapped) == form
    assert text_in_form(EITHER, form) == EITHER
    assert text_in_form(text, None) == text


@pytest.mark.filterwarnings("ignore:.* Chinese characters")
def test_a_lexicon_counts_both_forms_of_a_word_as_one(tmp_path: Path) -> None:
    """A word that is traditional once and simplified once has been seen twice."""
    segmenter = with_form(tmp_path / "m", "simplified")
    facts = build_lexicon(segmenter, [["学", "學", "国", "國"]], tmp_path / "out")["lexicon"]
    assert facts["words"] == 2
    segmenter = Segmenter.load(tmp_path / "out")
    assert segmenter.segment(["學国"]) == [["學", "国"]]


@pytest.mark.parametrize(
    ("model", "text", "script", "remedy"),
    [
        ("zh", THAI, "Thai", "such as the bundled 'th', or train one with --script th-clusters"),
        ("zh", LAO, "Lao", "use a segmenter for Lao, or train one with --script 'ກ-ໟ'"),
        ("zh", JAPANESE, "Japanese", "such as the bundled 'ja', or train one with --script ja-runs"),
        ("th", SIMPLIFIED, "Chinese", "--script zh"),
        ("th", TRADITIONAL, "Chinese", "--script zh"),
    ],
)
def test_another_script_is_named_once(model: str, text: str, script: str, remedy: str) -> None:
    segmenter = Segmenter.load(model)
    message = f"{model}: the text has {script} letters, which are not in the script '{model}': .*{remedy}$"
    with pytest.warns(UserWarning, match=message) as caught:
        assert segmenter.segment([text]) == segmenter.segment([text])
    assert len(caught) == 1


def test_a_japanese_model_names_chinese_text_once() -> None:
    """Both are of Chinese characters: some of the simplified ones are in no Japanese text."""
    ja = Segmenter.load("ja")
    message = "ja: the text has simplified Chinese characters .* use a segmenter for Chinese, such as the bundled 'zh'$"
    with pytest.warns(UserWarning, match=message) as caught:
        assert ja.segment([SIMPLIFIED]) == ja.segment([SIMPLIFIED])
    assert len(caught) == 1


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("zh", SIMPLIFIED),
        ("zh", EITHER),
        ("zh", NAMES),
        ("zh", "龍應臺"),
        ("zh", SIMPLIFIED * 3 + THAI),
        ("zh", "Только русский and English, 한국어 띄어쓰기"),
        ("zh", ""),
        ("zh", "123"),
        ("ja", JAPANESE),
        ("ja", "東京都千代田区霞が関、大学会計学研究科、国際観光旅館、医師会"),
        ("ja", f"{JAPANESE * 3}「你们说汉语吗」"),
    ],
)
def test_text_without_a_word(model: str, text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Segmenter.load(model).segment([text])


def test_segmenters_of_unknown_form_say_nothing(tmp_path: Path) -> None:
    """Such as those of earlier versions."""
    assert Segmenter.load(tiny.save(tmp_path / "m")).segment([SIMPLIFIED, TRADITIONAL])


def test_the_command_warns(run: Run) -> None:
    result = run("segment", "apply", stdin=f"{TRADITIONAL}\n{TRADITIONAL}\n".encode())
    assert result.returncode == 0
    assert result.stdout.decode().replace(" ", "") == f"{TRADITIONAL}\n" * 2
    (line,) = result.stderr.decode().splitlines()
    assert line.startswith("seampack: warning: zh: the text has traditional Chinese characters")


def test_training_records_the_form(tmp_path: Path) -> None:
    texts = [*sentences(60)[0], *[SIMPLIFIED] * 3]
    assert train([texts], QUICK, tmp_path / "m", threads=1)["han_form"] == "simplified"
    teacher = Segmenter.load(tmp_path / "m")
    config = DistillConfig(table_bits=8, epochs=1)
    with pytest.warns(UserWarning, match=READ.format("traditional", "simplified")):
        student = distill([teacher], [[TRADITIONAL] * 3], tmp_path / "student", config=config)
    assert student["han_form"] == "traditional"
    forms = {"as it is": [TRADITIONAL], "simplified": [text_in_form(TRADITIONAL, HanForm.SIMPLIFIED)]}
    for form, texts in forms.items():
        distill([teacher], [texts], tmp_path / form, config=config, keep_teacher=True)
    one, other = (Segmenter.load(tmp_path / form) for form in forms)
    assert one.han_form == "simplified"
    assert (one.student.table == other.student.table).all()


def test_training_warns_of_another_script(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"m: the text has Thai letters, which are not in the script 'zh'"):
        train([[f"{THAI} {EITHER}"] * 12], QUICK.replace(epochs=1), tmp_path / "m", threads=1)


@pytest.mark.parametrize(
    ("script", "name"),
    [("thai", "th"), ("chinese", "zh"), ("Japanese", "ja-runs"), ("ja_runs", "ja-runs"), ("th-cluster", "th-clusters")],
)
def test_a_mistyped_script_is_named(script: str, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"script: no script '{script}'; did you mean {name}\? or give characters"):
        check_name(script)


@pytest.mark.parametrize("script", [*RANGES, "abc", "acgt", "aeiou", "a-z", "a-zé", "abcdefghijklmnopqrstuvwxyz", "ก-๎"])
def test_names_and_alphabets_are_scripts(script: str) -> None:
    check_name(script)

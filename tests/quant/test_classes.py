from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rounds.knowledge.base import load
from rounds.model.tokenizer import Codec, train_tokenizer
from rounds.quant.classes import CLASSES, DIGITS, DOSES, NAMES, NEGATIONS, REST, Reader, texts
from rounds.records import Case, Lesson, Message, Prompt


@pytest.fixture(scope="module")
def codec(tmp_path_factory: pytest.TempPathFactory) -> Codec:
    """Bytes and control tokens: every sign of a text can be told apart."""
    directory = tmp_path_factory.mktemp("bytes")
    train_tokenizer(["é"], 300, directory, "deepseek-r1")
    return Codec.load(directory)


@pytest.fixture(scope="module")
def reader(codec: Codec) -> Reader:
    return Reader(codec, load(), [Case(id="c", vignette="v", diagnosis="Zebra stripe disease", also_called=("ZSD",))])


def found(reader: Reader, codec: Codec, text: str, name: str) -> str:
    """The signs of a text that are of a class, gaps as bars."""
    ids = codec.encode_text(text)
    runs = groupby(zip(ids, reader.classes(ids), strict=True), key=lambda one: one[1])
    parts = [codec.decode([token for token, _ in run]) for kind, run in runs if CLASSES[kind] == name]
    return " ".join(part for part in parts if part.strip())


@pytest.mark.parametrize(
    ("text", "doses"),
    [
        ("amoxicillin 500 mg twice a day for 5 days", "500 mg twice a day 5 days"),
        ("38.5 °C, pressure 120/80 mmHg, 1,25 g/dL", "38.5 °C 120/80 mmHg 1,25 g/dL"),
        ("10 to 20 mg/kg b.d., 5 µg/L, 40 %, 2 tablets", "10 to 20 mg/kg b.d 5 µg/L 40 % tablets"),
        ("3 great things, 7 liver lobes, room 12", ""),
        ("0.5 ml/kg/h or 4 IU q6h", "0.5 ml/kg/h 4 IU q6h"),
    ],
)
def test_doses_and_units(reader: Reader, codec: Codec, text: str, doses: str) -> None:
    assert found(reader, codec, text, DOSES) == doses


def test_digits_stand_alone_and_the_numbers_of_a_list_do_not_count(reader: Reader, codec: Codec) -> None:
    assert found(reader, codec, "INR 3 in room 12\n1. Flu 2\n 10) Cold", DIGITS) == "3 12 2"


@pytest.mark.parametrize(
    ("text", "negations"),
    [
        ("No fever, not sick, denies cough; it isn't flu", "No not denies n't"),
        ("ruled out, less likely, absence of rash", "ruled out less likely absence"),
        ("nodule, notable, knot, another", ""),
    ],
)
def test_negations(reader: Reader, codec: Codec, text: str, negations: str) -> None:
    assert found(reader, codec, text, NEGATIONS) == negations


def test_names_are_those_known_those_of_the_cases_and_those_of_the_list(reader: Reader, codec: Codec) -> None:
    name = next(iter(load().conditions.values())).name
    text = f"{name.upper()} or zebra stripe disease (ZSD).\n1. Something new\nRed flags: cough"
    assert found(reader, codec, text, NAMES) == f"{name.upper()} zebra stripe disease ZSD Something new"


def test_the_more_harmful_class_wins(reader: Reader, codec: Codec) -> None:
    assert found(reader, codec, "1. No disease 2 mg", NAMES) == " disease "
    assert CLASSES.index(DOSES) < CLASSES.index(DIGITS) < CLASSES.index(NEGATIONS) < CLASSES.index(NAMES)


def test_whole_phrases_in_one_token_are_of_their_worst_part(tmp_path: Path) -> None:
    train_tokenizer(["so less likely: flu"] * 9, 330, tmp_path, "deepseek-r1")
    codec = Codec.load(tmp_path)
    ids = codec.encode_text("so less likely: flu")
    assert len(ids) < 8
    assert CLASSES[Reader(codec, load()).classes(ids)[0]] == NEGATIONS


@given(st.text(max_size=80))
def test_any_text_has_a_class_for_every_token(text: str) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({sign: place for place, sign in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    codec = Codec(tokenizer, "chatml")
    ids = codec.encode_text(text)
    assert len(Reader(codec, load()).classes(ids)) == len(ids)


def test_an_answer_is_cut_at_the_context_and_a_prompt_that_fills_it_is_left_out(reader: Reader, codec: Codec) -> None:
    prompt = Prompt(case_id="c", template="t@1", messages=(Message(role="user", content="pain"),))
    lesson = Lesson(prompt=prompt, thinking="no", reply="1. Flu", teacher="t")
    whole = reader.read(lesson, 999)
    assert whole is not None
    assert whole.ids[whole.start :] == codec.encode_completion("no", "1. Flu")
    assert len(whole.classes) == len(whole.ids) - whole.start
    assert {CLASSES[c] for c in whole.classes} == {NEGATIONS, NAMES, REST}
    cut = reader.read(lesson, whole.start + 2)
    assert cut is not None
    assert len(cut.classes) == 2
    assert texts(reader, [lesson], whole.start) == []

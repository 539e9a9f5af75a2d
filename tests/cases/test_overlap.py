"""Planted leaks are found, whatever their dress; honest splits pass, and quickly."""

from __future__ import annotations

import json
import re
import time
import tracemalloc
from collections.abc import Iterator
from difflib import SequenceMatcher
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rounds.cases.generate import Drawn
from rounds.cases.overlap import Index, Passage, leaks, overlaps, passages, refuse_overlap
from rounds.records import Case, Lesson, Message, Prompt, Split, UserError

STORY = (
    "A retired railway signalman came to the clinic because his left boot had felt too small for eleven days. "
    "He had repaired the roof of a barn in the rain and slept badly since then. "
    "The nurse noticed a warm ridge behind the ankle, which he had rubbed with camphor oil every night. "
    "His temperature was 37.9 and his pulse 88, and the calf measured 41 cm. "
    "He asked twice whether he could still drive his tractor to the market."
)

SHUFFLED = (
    "His temperature was 38.4 and his pulse 92, and the calf measured 43 cm. "
    "The nurse noticed a warm ridge behind the ankle, which he had rubbed with menthol oil every night. "
    "He asked twice whether he could still drive his tractor to the village market. "
    "He had repaired the roof of a barn in the rain and slept badly since then. "
    "A retired railway signalman came to our clinic because his left boot had felt too small for eleven days."
)

OTHER = (
    "A young violin teacher could not lift her bow arm after a week of rehearsals in an unheated church. "
    "She described a dull pull under the collar bone that spread to the thumb. "
    "Turning the head to the window made it worse, and resting the elbow on a cushion made it better. "
    "Her temperature was 36.6 and her pulse 64."
)


def case(name: str, vignette: str, present: tuple[str, ...] = ()) -> Case:
    return Case(id=name, vignette=vignette, diagnosis="x", present=present)


def lessons(drawn: dict[Split, list[Drawn]]) -> list[Case]:
    return [one.case for one in drawn["teach"]]


def test_an_exact_copy_is_found(drawn: dict[Split, list[Drawn]]) -> None:
    others = [*lessons(drawn), case("copy", STORY)]
    (found,) = overlaps([case("held", STORY), case("honest", OTHER)], others)
    assert (found.held, found.other, found.kind, found.likeness) == ("held", "copy", "same text", 1.0)


def test_a_copy_of_boilerplate_alone_is_found(drawn: dict[Split, list[Drawn]]) -> None:
    """A generated page is all shared clauses; its copy without findings stated is still a copy."""
    leaked = drawn["exam"][0].case
    others = [*lessons(drawn), leaked.model_copy(update={"id": "copy", "present": ()})]
    assert [(o.held, o.other, o.kind) for o in overlaps([leaked], others)] == [(leaked.id, "copy", "same text")]


def test_the_same_findings_in_other_words_are_found(drawn: dict[Split, list[Drawn]]) -> None:
    leaked = drawn["exam"][7].case
    others = [*lessons(drawn), case("retold", OTHER, tuple(reversed(leaked.present)))]
    assert [(o.held, o.other, o.kind) for o in overlaps([leaked], others)] == [(leaked.id, "retold", "same findings")]


def test_a_paraphrase_with_reordered_clauses_is_found(drawn: dict[Split, list[Drawn]]) -> None:
    others = [*lessons(drawn), case("shuffled", SHUFFLED), case("honest", OTHER)]
    (found,) = overlaps([case("held", STORY)], others)
    assert (found.other, found.kind) == ("shuffled", "near text")
    assert 0.6 <= found.likeness < 1


def test_reordering_alone_is_the_same_text() -> None:
    parts = [part.strip() for part in STORY.split(". ")]
    (found,) = overlaps(
        [case("held", STORY)], [case("turned", ". ".join(reversed(parts)).replace("market..", "market."))]
    )
    assert (found.kind, found.likeness) == ("same text", 1.0)


def test_two_patients_with_one_long_phrase_are_two_patients() -> None:
    shared = "He has known of a small calcified nodule in the right upper lobe of the lung since childhood."
    first, second = f"{shared} {STORY}", f"{shared} {OTHER}"
    assert overlaps([case("a", first)], [case("b", second)]) == []


def test_cases_without_findings_are_not_alike_for_that() -> None:
    assert overlaps([case("a", STORY)], [case("b", OTHER)]) == []


def test_generated_splits_do_not_overlap(drawn: dict[Split, list[Drawn]]) -> None:
    cases = {split: [one.case for one in some] for split, some in drawn.items()}
    assert overlaps(cases["exam"], [*cases["teach"], *cases["tune"]]) == []
    assert overlaps(cases["tune"], cases["teach"]) == []
    refuse_overlap(cases["exam"], cases["teach"])


def test_a_leak_fails_the_build_and_names_the_first_pair(drawn: dict[Split, list[Drawn]]) -> None:
    leaked = [one.case for one in drawn["exam"][:2]]
    others = [*lessons(drawn), *(one.model_copy(update={"id": f"again-{one.id}"}) for one in leaked)]
    first = leaked[0].id
    with pytest.raises(UserError, match=rf"^case '{first}' repeats case 'again-{first}' \(same findings.*2 such pairs"):
        refuse_overlap(leaked, others)


def test_24000_against_1000_takes_seconds(drawn: dict[Split, list[Drawn]]) -> None:
    lesson = lessons(drawn)
    many = [one.model_copy(update={"id": f"{i}-{one.id}"}) for i in range(20) for one in lesson]
    held = [one.case for one in drawn["exam"]]
    start = time.monotonic()
    assert overlaps([*held, *[one.case for one in drawn["tune"]]], many) == []
    assert len(many) == 24000
    assert time.monotonic() - start < 30


# The verb: a training file against an exam ----------------------------------------------------------------------------

RETOLD = (
    "Because of a boot on the left foot that has seemed too tight for 12 days, a former signalman of the railway, now "
    "retired, visits the practice. Behind his ankle there is a warm ridge; each night he rubs it with camphor oil. In "
    "the rain he mended a barn's roof, and has been sleeping badly. Calf 42 cm, pulse 90, temperature 38.0. Whether "
    "driving the tractor to market is still allowed he wants to know, and asks it twice."
)


def passage(name: str, text: str, *answers: str) -> Passage:
    return Passage(where=f"train:{name}", id=name, text=text, answers=answers)


def found(train: list[Passage], *exam: Passage) -> list[tuple[str, str, str]]:
    return [(leak.held, leak.other, leak.kind) for leak in leaks(lambda: train, exam)]


HONEST = [passage(f"honest-{i}", f"{OTHER} It was the year {1900 + i}.") for i in range(3)]
EXAM = passage("held", STORY, "Superficial thrombophlebitis")


def test_thirteen_words_in_a_row_are_found_and_twelve_are_not() -> None:
    words = STORY.split()
    inside = passage("page", f"{OTHER} {' '.join(words[5:18])}. {OTHER}")
    assert found([*HONEST, inside], EXAM) == [("held", "page", "13-gram")]
    assert found([*HONEST, passage("page", f"{OTHER} {' '.join(words[5:17])}. {OTHER}")], EXAM) == []


def test_a_short_item_is_looked_for_as_a_whole() -> None:
    short = passage("short", "Which vitamin do sailors on long voyages lack?")
    assert found([passage("page", f"{OTHER} {short.text.upper()} {OTHER}")], short) == [("short", "page", "13-gram")]
    assert found([passage("page", f"{OTHER} Which vitamin do children lack?")], short) == []


def test_a_copy_with_other_numbers_and_some_other_words_is_near() -> None:
    changed = re.sub(r"\d+", "7", STORY).replace("railway", "tramway").replace("barn", "shed").replace("warm", "hot")
    changed = changed.replace("eleven", "twelve").replace("camphor", "menthol").replace("market", "mill")
    changed = changed.replace("clinic", "practice").replace("slept", "dozed").replace("twice", "often")
    ((held, other, kind),) = found([*HONEST, passage("changed", changed)], EXAM)
    assert (held, other) == ("held", "changed")
    assert kind in ("near copy", "paraphrase")


@pytest.mark.parametrize(
    ("answers", "kind"), [((), "paraphrase"), (("superficial thrombophlebitis",), "paraphrase with answer")]
)
def test_a_paraphrase_is_found_where_a_whole_string_ratio_is_blind(answers: tuple[str, ...], kind: str) -> None:
    assert SequenceMatcher(None, STORY, RETOLD).ratio() < 0.5
    assert found([*HONEST, passage("retold", RETOLD, *answers)], EXAM) == [("held", "retold", kind)]


def test_a_paraphrase_is_found_inside_a_long_page() -> None:
    filler = " ".join(f"Sentence number {i} speaks of {word} and nothing else." for i, word in enumerate(OTHER.split()))
    page = passage("page", f"{filler} {RETOLD} {filler}")
    assert found([*HONEST, page], EXAM) == [("held", "page", "paraphrase")]


def test_other_patients_with_the_same_answer_are_honest() -> None:
    assert found([passage(f"o{i}", OTHER, "Superficial thrombophlebitis") for i in range(4)], EXAM) == []


def test_phrases_of_many_items_are_boilerplate() -> None:
    frame = "The following item belongs to the spring examination of the college of physicians and is not to be copied."
    exam = [passage(f"e{i}", f"{frame} {word} {word} hurts.") for i, word in enumerate(OTHER.split()[:12])]
    assert found([passage("page", f"{frame} Something else.")], *exam) == []


def test_runs_of_words_that_every_item_uses_are_no_leak() -> None:
    signs = "temperature {} pulse {} breaths {} pressure {} oxygen on room air and heart sounds normal"
    exam = [passage(f"e{i}", f"{word} {signs.format(i, i, i, i)}.") for i, word in enumerate(OTHER.split()[:9])]
    row = passage("row", signs.format(3, 3, 3, 3))
    assert found([passage("row", f"{OTHER} {row.text} {OTHER}")], *exam) != []  # nearly the whole of item 3
    longer = [one.model_copy(update={"text": f"{one.text} {STORY} {i} {STORY}"}) for i, one in enumerate(exam[:4])]
    alone = [one for one in found([row], *longer, *exam[4:]) if one[0] == "e3"]
    assert alone == []


def test_the_surest_row_is_kept_and_all_are_counted() -> None:
    rows = [passage("retold", RETOLD), passage("copy", STORY), passage("again", STORY)]
    (leak,) = leaks(lambda: rows, [EXAM])
    assert (leak.other, leak.kind, leak.rows) == ("copy", "13-gram", 3)
    assert len(leak.shown.split()) == 13


def test_the_same_findings_are_found_whatever_the_words() -> None:
    same = frozenset({"a", "b", "c"})
    held = Passage(where="e:1", id="held", text=STORY, present=same)
    other = Passage(where="t:1", id="other", text=OTHER, present=same)
    assert found([other], held) == [("held", "other", "same findings")]
    assert found([other.model_copy(update={"present": same | {"d"}})], held) == []


@pytest.mark.parametrize(("exam", "words"), [([], "holds no items"), ([EXAM, EXAM], "id 'held' was already given at")])
def test_an_exam_must_have_items_each_once(exam: list[Passage], words: str) -> None:
    with pytest.raises(UserError, match=words):
        leaks(lambda: HONEST, exam)


def test_rows_of_any_kind_are_read(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    lesson = Lesson(
        prompt=Prompt(case_id="c9", template="t@1", messages=(Message(role="user", content="Ask"),)),
        thinking="Think",
        reply="Say",
        teacher="oracle",
    )
    chat = {"id": 4, "messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "There"}]}
    full = case("c1", STORY, ("a", "b")).model_copy(update={"also_called": ("y",)})
    lines = [full.model_dump_json(), lesson.model_dump_json(), json.dumps(chat), '{"text": "plain"}']
    path.write_text("\n".join(lines), encoding="utf-8")
    read = list(passages(path))
    assert [(one.id, one.text) for one in read] == [
        ("c1", STORY),
        ("c9", "Ask\nThink\nSay"),
        ("4", "Hello\nThere"),
        ("4", "plain"),
    ]
    assert (read[0].answers, read[0].present) == (("x", "y"), frozenset({"a", "b"}))
    assert read[1].where == f"{path}:2"


def test_lines_of_text_are_rows_and_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo\n", encoding="utf-8")
    assert [one.text for one in passages(tmp_path / "a.txt")] == ["one", "two"]
    with pytest.raises(UserError, match=r"is no \.jsonl, \.json or \.txt; import it with rounds cases --from"):
        list(passages(tmp_path / "a.csv"))


def test_training_rows_pass_without_being_kept() -> None:
    def rows() -> Iterator[Passage]:
        for i in range(3000):
            yield passage(f"{i}", f"{OTHER} {i} " + "filler word " * 100)

    index = Index([EXAM])
    index.weigh(HONEST)
    list(index.look(next(rows())))
    tracemalloc.start()
    try:
        for row in rows():
            assert list(index.look(row)) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000


@given(st.lists(st.text(max_size=60), min_size=1, max_size=4), st.lists(st.text(max_size=60), max_size=4))
def test_any_texts_can_be_compared(exam: list[str], train: list[str]) -> None:
    rows = [passage(f"t{i}", text) for i, text in enumerate(train)]
    for leak in leaks(lambda: rows, [passage(f"e{i}", text) for i, text in enumerate(exam)]):
        assert 0 <= leak.likeness <= 1


@given(st.lists(st.sampled_from(STORY.split()), min_size=30, max_size=60))
def test_a_text_is_always_found_in_itself(words: list[str]) -> None:
    text = " ".join(words)
    assert [kind for _, _, kind in found([passage("t", text)], passage("e", text))] == ["13-gram"]

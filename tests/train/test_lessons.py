from __future__ import annotations

from pathlib import Path

import pytest

from rounds.knowledge.base import KnowledgeBase, load
from rounds.model.tokenizer import Codec
from rounds.records import Lesson
from rounds.train.lessons import STRANGE_RUNS, STRANGE_TOKENS, examples, pages, respelled, text_examples


@pytest.fixture(scope="module")
def knowledge() -> KnowledgeBase:
    return load()


def test_a_lesson_is_spelled_as_an_exam_prompt_and_an_answer(lessons: list[Lesson], words: Path) -> None:
    codec = Codec.load(words)
    for lesson, example in zip(lessons, examples(lessons, codec), strict=True):
        prompt = codec.encode_prompt(lesson.prompt.messages)
        assert list(example.ids[: example.start]) == prompt
        parts = codec.split(example.ids[example.start :])
        assert (parts.thinking, parts.reply) == (lesson.thinking, lesson.reply)
        assert example.ids[-1] == codec.eos_ids[0]


def test_an_answer_alone_closes_the_thinking_at_once(lessons: list[Lesson], codec: Codec) -> None:
    bare = lessons[0].model_copy(update={"thinking": ""})
    (example,) = examples([bare], codec)
    parts = codec.split(example.ids[example.start :])
    assert (parts.thinking, parts.reply) == ("", bare.reply)


def test_strange_words_go_between_the_tokens_of_the_users_turn_and_nowhere_else(
    lessons: list[Lesson], codec: Codec
) -> None:
    plain, strange = examples(lessons, codec), examples(lessons, codec, strange=1.0, seed=3)
    assert strange == examples(lessons, codec, strange=1.0, seed=3)
    for before, after in zip(plain, strange, strict=True):
        added = len(after.ids) - len(before.ids)
        assert 1 <= added <= STRANGE_RUNS * STRANGE_TOKENS
        assert (after.start, after.reply) == (before.start + added, before.reply + added)
        assert after.ids[after.start :] == before.ids[before.start :]
        rest = iter(after.ids[: after.start])
        assert all(token in rest for token in before.ids[: before.start])  # in order, others between
        ends = [[t for t in one.ids[: one.start] if t in codec.control_ids] for one in (before, after)]
        assert ends[0] == ends[1]
        assert after.ids[after.start - 3 : after.start] == before.ids[before.start - 3 : before.start]


def test_a_share_of_the_lessons_is_made_strange(lessons: list[Lesson], codec: Codec) -> None:
    many = lessons * 40
    changed = sum(a != b for a, b in zip(examples(many, codec), examples(many, codec, strange=0.5), strict=True))
    assert 0.3 < changed / len(many) < 0.7
    assert examples(many, codec) == examples(many, codec, strange=0.0, seed=9)


def test_all_of_a_text_but_its_first_token_is_learnt(codec: Codec) -> None:
    (example,) = text_examples(["Fever fits meningitis."], codec)
    assert example.start == 1
    assert example.ids[-1] == codec.eos_ids[0]
    assert codec.decode(example.ids[:-1]) == "Fever fits meningitis."


def test_a_text_cannot_speak_control_tokens(codec: Codec) -> None:
    (example,) = text_examples(["</think> <｜end▁of▁sentence｜>"], codec)
    assert not codec.control_ids & set(example.ids[:-1])


def test_every_condition_has_a_page(knowledge: KnowledgeBase) -> None:
    texts = pages(knowledge, 1)
    for condition in knowledge.conditions.values():
        own = [text for text in texts if f"({condition.icd10}), {condition.incidence} in {condition.specialty}" in text]
        assert any(
            text.casefold().startswith(name.casefold()) and condition.first_test in text
            for text in own
            for name in (condition.name, *condition.also_called)
        ), condition.id


def test_the_seed_decides_the_wording(knowledge: KnowledgeBase) -> None:
    assert pages(knowledge, 1) == pages(knowledge, 1)
    assert pages(knowledge, 1) != pages(knowledge, 2)


def test_a_limit_keeps_other_conditions_out(knowledge: KnowledgeBase) -> None:
    chosen = list(knowledge.conditions)[:3]
    names = [knowledge.conditions[name].name for name in knowledge.conditions if name not in chosen]
    texts = pages(knowledge, 1, limit=chosen)
    assert len(texts) < len(pages(knowledge, 1))
    assert not [text for text in texts if "is seen in" in text and any(f" {name}" in text for name in names)]


def test_thresholds_are_told_with_their_units(knowledge: KnowledgeBase) -> None:
    measured = next(finding for finding in knowledge.findings.values() if finding.measure is not None)
    assert measured.measure is not None
    said = [text for text in pages(knowledge, 1) if text.endswith(f"means {measured.name}.")]
    assert len(said) == 1
    assert f" {measured.measure.unit} " in said[0]


def test_each_pass_has_its_strange_words_in_other_places(lessons: list[Lesson], codec: Codec) -> None:
    twice = respelled(lessons, codec, strange=1.0, seed=3, passes=2.0)
    assert twice[: len(lessons)] == examples(lessons, codec, strange=1.0, seed=3)
    assert twice[len(lessons) :] == examples(lessons, codec, strange=1.0, seed=4)
    assert not {one.ids for one in twice[: len(lessons)]} & {one.ids for one in twice[len(lessons) :]}
    assert len(respelled(lessons, codec, strange=1.0, seed=3, passes=1.2)) == 2 * len(lessons)
    assert respelled(lessons, codec, strange=0.0, seed=3, passes=5.0) == examples(lessons, codec)

"""Marks a whole file of answers against its cases: read, ruled by the cascade, judged, put into the human queue.

Every kind of case in one pass: lists of diagnoses, options, yes/no/maybe, numbers. Strict and lenient figures come
side by side; what is unreadable, without a case or without an answer is counted and never dropped in silence. Left out
on purpose: comparing models (`rounds compare` reads the grades), and training rewards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from rounds.grade.bare import bare_names
from rounds.grade.cascade import Cascade, Ruling
from rounds.grade.choice import NEVER, check_key, chooses, counts, mark_given, mark_reply
from rounds.grade.given import Given
from rounds.grade.judge import Standing, judge, judge_of, standing
from rounds.progress import bar
from rounds.prompts.reader import read_reply
from rounds.records import Answer, Case, Figures, Grade, Level, Responder, UserError

LEVELS: tuple[Level, ...] = ("exact", "synonym", "code", "judge", "human")


@dataclass(slots=True)
class Graded:
    """What came of one file of answers."""

    grades: list[Grade]
    rulings: list[Ruling]
    """Every ruling on a pair of this file."""
    times: Mapping[tuple[str, str], int]
    """How often each pair came, by the ruling's key and normalised answer."""
    queue: list[Ruling]
    """Open pairs that could still make an answer right: what is worth a judge's or a person's time."""
    waiting: int
    """Answers with such a pair."""
    without_case: int
    """Answers whose case is not among the cases."""
    without_answer: int
    """Cases nobody answered."""
    judged: Sequence[Ruling] = ()
    """What a judge said, admitted or not, abstentions included."""
    judge: Standing | None = None
    right_with_judge: int = 0
    """Right answers, did its rulings count: a reported extra while it is not admitted."""


@dataclass(slots=True)
class _Known:
    """One answer with its case; `answer` is None where options or numbers are asked for."""

    given: Given
    case: Case
    answer: Answer | None

    def rulings(self, cascade: Cascade) -> list[Ruling]:
        """Rulings on its diagnoses; none where the right answer is to abstain."""
        if self.answer is None or self.case.outside:
            return []
        return [cascade.rule(self.case, name) for name in self.answer.diagnoses]


def grade(
    cases: Sequence[Case],
    answers: Iterable[Given],
    cascade: Cascade,
    *,
    settled: Sequence[Ruling] = (),
    judged: Sequence[Ruling] = (),
    responder: Responder | None = None,
    keep: Callable[[Sequence[Ruling]], None] = lambda rulings: None,
) -> Graded:
    """Mark every answer.

    `settled` are rulings of people, which stand; `judged` those of the judge so far, which count once it is admitted.
    `responder` is asked for the rest, and about what people have ruled, to know what it is worth; `keep` is handed all
    rulings of the judge after each batch.

    Raises:
        UserError: a case id twice, a key that no reader accepts, rulings of two judges, or the judge's own faults.
    """
    by_id = _by_id(cases)
    cascade.overrule(settled)
    known: list[_Known] = []
    without_case = 0
    for given in answers:
        case = by_id.get(given.case_id)
        if case is None:
            without_case += 1
        else:
            known.append(_Known(given, case, None if chooses(case) or counts(case) else _listed(case, given, cascade)))
    times = Counter((ruling.key, ruling.answer) for one in known for ruling in one.rulings(cascade))
    if responder is not None:
        judged = _ask(known, cascade, settled, judged, responder, keep)
    worth = standing(judged, settled)
    people = {(ruling.key, ruling.answer) for ruling in settled}
    ruled = [r for r in judged if r.state != "open" and (r.key, r.answer) not in people]
    if worth is not None and worth.admitted:
        cascade.overrule(ruled)
    undecided = [_undecided(one, cascade) for one in known]
    grades = [_mark(one, cascade) for one in known]
    return Graded(
        grades=grades,
        rulings=[ruling for ruling in cascade.rulings if (ruling.key, ruling.answer) in times],
        times=times,
        queue=list({(r.key, r.answer): r for rulings in undecided for r in rulings}.values()),
        waiting=sum(map(bool, undecided)),
        without_case=without_case,
        without_answer=len(by_id) - len({one.case.id for one in known}),
        judged=judged,
        judge=worth,
        right_with_judge=_right_with(known, grades, cascade, {(r.key, r.answer) for r in ruled if r.state == "right"}),
    )


def _by_id(cases: Sequence[Case]) -> dict[str, Case]:
    by_id: dict[str, Case] = {}
    for case in cases:
        if case.id in by_id:
            raise UserError(f"case id '{case.id}' occurs twice; give every case its own id.")
        if not (chooses(case) or counts(case) or case.outside) and not case.diagnosis.strip(" .-"):
            raise UserError(f"case '{case.id}': its diagnosis is empty, so no answer could be right; name it.")
        check_key(case)
        by_id[case.id] = case
    if not by_id:
        raise UserError("there are 0 cases to grade; check the file of cases.")
    return by_id


def _listed(case: Case, given: Given, cascade: Cascade) -> Answer:
    """The five places of an answer, read from its list or its reply."""
    if given.listed is None:
        answer = read_reply(given.reply, case.id)
        if answer.unreadable and (names := bare_names(given.reply, case, cascade)):
            answer = answer.model_copy(update={"diagnoses": names, "unreadable": False})
        return answer.model_copy(update={"diagnoses": cascade.places(case, answer.diagnoses)})
    names = cascade.places(case, given.listed)
    return Answer(case_id=case.id, diagnoses=names, unreadable=not names)


def _undecided(one: _Known, cascade: Cascade) -> list[Ruling]:
    """Open pairs of an answer that is not right already: what else it says makes no difference then."""
    ruled = one.rulings(cascade)
    right = any(ruling.state == "right" for ruling in ruled)
    return [] if right else [ruling for ruling in ruled if ruling.state == "open"]


def _ask(
    known: Iterable[_Known],
    cascade: Cascade,
    people: Sequence[Ruling],
    judged: Sequence[Ruling],
    responder: Responder,
    keep: Callable[[Sequence[Ruling]], None],
) -> Sequence[Ruling]:
    """All rulings of the judge: those it has made, and new ones on open pairs and on what people have ruled."""
    other = next((judge_of(ruling) for ruling in judged if judge_of(ruling) != responder.name), None)
    if other is not None:
        raise UserError(f"these answers were judged by {other}; give {responder.name} an --out of its own.")
    made = {(r.key, r.answer) for r in judged}
    wanted = [*people, *(ruling for one in known for ruling in _undecided(one, cascade))]
    asked = {(r.key, r.answer): r.model_copy(update={"state": "open", "level": None, "why": ""}) for r in wanted}
    asked = {pair: ruling for pair, ruling in asked.items() if pair not in made}
    found = list(judged)
    with bar("judging pairs", len(asked)) as advance:
        for batch in judge(list(asked.values()), responder):
            found += batch
            keep(found)
            advance(len(batch))
    return found


def _right_with(
    known: Iterable[_Known], grades: Iterable[Grade], cascade: Cascade, right: AbstractSet[tuple[str, str]]
) -> int:
    """Answers that are right, or would be, if these pairs were."""
    return sum(
        grade.correct is True or any((r.key, r.answer) in right for r in one.rulings(cascade))
        for one, grade in zip(known, grades, strict=True)
    )


def _mark(one: _Known, cascade: Cascade) -> Grade:
    case, given = one.case, one.given
    if one.answer is None:
        found = mark_reply(case, given.reply) if given.listed is None else mark_given(case, given.listed)
    else:
        found = cascade.marker.mark_answer(case, one.answer)
        ruled = one.rulings(cascade)
        rank = next((place for place, ruling in enumerate(ruled, start=1) if ruling.state == "right"), None)
        near = next((place for place, ruling in enumerate(ruled, start=1) if ruling.state == "near"), None)
        level = ruled[rank - 1].level if rank is not None else None
        correct = one.answer.abstained if case.outside else rank is not None
        found = found.model_copy(update={"correct": correct, "rank": rank, "level": level, "near_rank": near})
    return found.model_copy(
        update={"sample": given.sample, "thinking_tokens": given.thinking_tokens, "total_s": given.total_s}
    )


def figures(graded: Graded) -> Figures:
    """Counts and shares of one file of answers, strict and lenient side by side; shares are None without answers."""
    grades = graded.grades
    right = sum(one.correct is True for one in grades)
    lenient = sum(one.correct is True or one.near_rank is not None for one in grades)
    levels = Counter(one.level for one in grades)
    return {
        "answers": len(grades),
        "right": right,
        "near": lenient - right,
        "strict": right / len(grades) if grades else None,
        "lenient": lenient / len(grades) if grades else None,
        "first": sum(one.rank == 1 for one in grades) / len(grades) if grades else None,
        **{f"by_{level}": levels[level] for level in LEVELS},
        "unreadable": sum(one.answer.unreadable for one in grades),
        "refused": sum(one.answer.refused for one in grades),
        "abstained": sum(one.answer.abstained for one in grades),
        "never_events": sum(NEVER in one.error_modes for one in grades),
        "pairs": len(graded.rulings),
        "open_pairs": sum(ruling.state == "open" for ruling in graded.rulings),
        "queue": len(graded.queue),
        "waiting": graded.waiting,
        "without_case": graded.without_case,
        "without_answer": graded.without_answer,
        **(_judge_figures(graded, graded.judge) if graded.judge is not None else {}),
    }


def _judge_figures(graded: Graded, worth: Standing) -> Figures:
    """What a judge is worth, and the strict figure did it count; kappa is None where only one label was given."""
    known = worth.agreement.value is not None
    return {
        "judge": worth.name,
        "judge_admitted": worth.admitted,
        "judge_pairs": worth.pairs,
        "judge_kappa": worth.agreement.value,
        "judge_kappa_low": worth.agreement.interval.low if known else None,
        "judge_kappa_high": worth.agreement.interval.high if known else None,
        "judge_abstained": sum(ruling.state == "open" for ruling in graded.judged),
        "strict_with_judge": graded.right_with_judge / len(graded.grades) if graded.grades else None,
    }


def discordant_pairs(one: Graded, other: Graded) -> list[Ruling]:
    """Every ruling on the answers to cases that one model got right and the other did not: what a study has checked.

    Samples are matched by case and number.
    """
    marks = [{(grade.case_id, grade.sample): grade for grade in graded.grades} for graded in (one, other)]
    apart = {key for key in marks[0].keys() & marks[1].keys() if marks[0][key].correct != marks[1][key].correct}
    said = {name for mark in marks for key in apart for name in mark[key].answer.diagnoses}
    found = {(r.key, r.answer): r for graded in (one, other) for r in graded.rulings if r.said in said}
    return list(found.values())

"""Sections say what the report holds, and what it cannot tell."""

from __future__ import annotations

from rounds.exam import sections
from rounds.exam.audits import HALLUCINATED, NOT_VALIDATED, STEP_ERRORS
from rounds.grade.modes import DRIFT, MODES
from rounds.records import Interval, Noise, Report, Share, Sitting, Stretch, Verdict

BARE = Report(title="t", alpha=0.01, margin=0.02, why_margin="because of this", evidence="public", verdicts=())


def a_share(name: str, events: int = 1, chances: int = 4, standing: str = "") -> Share:
    return Share(name=name, events=events, chances=chances, clusters=2, low=0.1, high=0.6, standing=standing)


def of(**sittings: Sitting) -> Report:
    return BARE.model_copy(update={"sittings": sittings})


def a_verdict(**fields: object) -> Verdict:
    flat = Interval(low=-0.1, high=0.1)
    plain = {"before": "a", "after": "b", "n": 100, "both": 80, "only_before": 4, "only_after": 6, "neither": 10}
    figures = {"difference": 0.02, "tango": flat, "newcombe": flat, "p_exact": 1.0, "p_midp": 1.0}
    return Verdict.model_validate({**plain, **figures, "finding": "kept", **fields})


def test_measures_stand_in_one_order_whatever_model_comes_first() -> None:
    base = Sitting(answers=4, reasoning=(a_share(MODES[1]),))
    later = Sitting(
        answers=4, reasoning=(a_share(STEP_ERRORS), a_share(HALLUCINATED), a_share(DRIFT), a_share(MODES[1]))
    )
    found = sections.reasoning(of(base=base, later=later))
    assert [one.name for one in found] == [STEP_ERRORS, HALLUCINATED, DRIFT, MODES[1]]
    assert [bar.label for bar in found[-1].drawn.bars] == ["base", "later"]
    assert found[0].drawn.bars[0].text == "25.0 % (10.0 to 60.0)"
    assert found[0].drawn.bars[0].note == "1 of 4"


def test_a_mode_of_a_hospitals_own_is_shown_as_not_validated() -> None:
    (found,) = sections.reasoning(of(m=Sitting(answers=1, reasoning=(a_share("own mode", standing=NOT_VALIDATED),))))
    assert (found.name, found.standing) == ("own mode", "not validated")


def test_outcomes_add_up_and_nothing_unreadable_is_said() -> None:
    table = sections.outcomes(of(m=Sitting(answers=5, outcomes={"exact": 3, "missed": 2}, cut=1)))
    rows = dict(table.rows)
    assert rows["unreadable, counted as wrong"] == ("0",)
    assert rows["all answers"] == ("5",)
    assert rows["of these cut short at the limit of tokens"] == ("1",)
    assert "refused" not in rows


def test_a_judge_without_agreement_is_not_validated() -> None:
    ruled = sections.judge_sentence(of(m=Sitting(answers=9, outcomes={"judge": 2, "human": 1})))
    assert "2 hits rest on a judge model" in ruled
    assert "not validated" in ruled
    assert "1 hits were ruled by people" in ruled
    assert "No hit rests on a judge" in sections.judge_sentence(of(m=Sitting(answers=9, outcomes={"exact": 2})))


def test_what_could_not_be_paired_is_counted() -> None:
    report = BARE.model_copy(update={"verdicts": (a_verdict(), a_verdict(after="c", unpaired_after=3, ungradable=1))})
    said = sections.unpaired_sentence(report)
    assert (
        said == "Left out of the pairs: c against a (accuracy): 0 answered only before, 3 only after, 1 not gradable."
    )


def test_noise_stands_above_what_the_comparisons_moved() -> None:
    twice = Noise(model="b", how="in another order", cases=50, changed=3, only_first=1, only_second=0)
    verdicts = (a_verdict(), a_verdict(arm="red flags"))
    found = sections.noise(BARE.model_copy(update={"noise": twice, "verdicts": verdicts}))
    assert found is not None
    assert found.rows == (("b, twice", "50", "1 and 0", "2.0 %"), ("b against a", "100", "4 and 6", "10.0 %"))
    assert "The answers to 3 were not the same, and 1 changed" in found.sentence
    assert sections.noise(BARE) is None


def test_a_model_that_did_not_think_has_a_sentence_and_no_picture() -> None:
    silent = Sitting(answers=4, lengths=(Stretch(shortest=0, longest=0, right=a_share("no thoughts"), seconds=2.0),))
    thought = Sitting(answers=4, lengths=(Stretch(shortest=2, longest=9, right=a_share("2 to 9 tokens")),))
    report = of(base=silent, after=thought)
    scatter = sections.plots.scatter({"after": [(2, 1.0), (9, 3.0)], "base": [(0, 1.0)]})
    assert scatter is not None
    first, second = sections.thinking(report, scatter)
    assert first.sentence == "did not think: 25.0 % right, median 2.00 s an answer."
    assert (first.lengths, first.dots) == (None, None)
    assert second.lengths is not None
    assert second.dots is not None
    assert second.sentence == "median 6 thinking tokens, 2.00 s an answer."
    assert sections.thinking(report, None)[1].sentence == "was not timed."


def test_one_entry_where_all_were_asked_alike() -> None:
    one, other = (Sitting(answers=1, asked={"seed": seed}) for seed in ("1", "2"))
    assert sections.asked(of(a=one, b=one)) == {"every model": {"seed": "1"}}
    assert sections.asked(of(a=one, b=other)) == {"a": {"seed": "1"}, "b": {"seed": "2"}}
    assert sections.asked(BARE) == {}

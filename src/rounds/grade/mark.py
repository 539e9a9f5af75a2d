"""One mark for one answer: the same function filters traces, rewards GRPO and grades the exam.

Left out on purpose: comparing two models (`rounds.exam.compare`).
"""

from __future__ import annotations

from rounds.grade.choice import chooses, counts, groups, mark_reply
from rounds.grade.names import Names, normalise
from rounds.grade.steps import check_steps
from rounds.knowledge.base import KnowledgeBase
from rounds.prompts.reader import read_reply
from rounds.records import Answer, Case, Grade, Level, Trace

RECORD = "record"
"""Kind of a case that is a conversation, to be written down."""


class Marker:
    """Marks answers against one knowledge base."""

    def __init__(self, knowledge: KnowledgeBase) -> None:
        self.knowledge = knowledge
        self.names = Names(knowledge)
        self._wordings = {normalise(words): f.id for f in knowledge.findings.values() for words in f.says}

    def mark(self, case: Case, trace: Trace) -> Grade:
        """Read the reply of a trace and mark it, as a list, as options or as a number by what the case asks for.

        What a case of kind `record` asks for cannot be marked right or wrong: `rounds.grade.consultations` scores it.
        """
        if case.kind == RECORD:
            return Grade(
                case_id=case.id,
                sample=trace.sample,
                answer=Answer(case_id=case.id),
                correct=None,
                thinking_tokens=trace.thinking_tokens,
                total_s=trace.total_s,
                groups=groups(case),
            )
        asks_list = not (chooses(case) or counts(case))
        grade = self.mark_answer(case, read_reply(trace.reply, case.id)) if asks_list else mark_reply(case, trace.reply)
        steps = None
        if case.present and asks_list:
            steps = check_steps(trace.thinking, grade.answer, case, self.knowledge)
        return grade.model_copy(
            update={
                "sample": trace.sample,
                "steps": steps,
                "thinking_tokens": trace.thinking_tokens,
                "total_s": trace.total_s,
            }
        )

    def mark_answer(self, case: Case, answer: Answer) -> Grade:
        """Mark a list of diagnoses. On a case outside the knowledge base, abstaining is right and a list is wrong."""
        rank, level = self._rank(case, answer)
        meant = [self.names.meaning(name) for name in answer.diagnoses]
        flags = {self._finding(flag) for flag in answer.red_flags}
        return Grade(
            case_id=case.id,
            answer=answer,
            correct=answer.abstained if case.outside else rank is not None,
            rank=rank,
            level=level,
            valid_five=len(meant) == 5 and None not in meant and len(set(meant)) == 5,
            red_flags_named=len({self._finding(flag) for flag in case.red_flags} & flags),
            red_flags_total=len(case.red_flags),
            must_not_miss_named=sum(self.names.meaning(name) in meant for name in case.must_not_miss),
            must_not_miss_total=len(case.must_not_miss),
            groups=groups(case),
        )

    def _rank(self, case: Case, answer: Answer) -> tuple[int | None, Level | None]:
        for place, name in enumerate(answer.diagnoses, start=1):
            level = self.names.match(case, name)
            if level is not None:
                return place, level
        return None, None

    def _finding(self, flag: str) -> str:
        """The finding a red flag names, in any of its wordings; its own normal form when unknown."""
        words = normalise(flag)
        return self._wordings.get(words, words)


def faults(case: Case, grade: Grade) -> tuple[str, ...]:
    """Why a trace may not be taught; empty when it may: the verification of rejection sampling."""
    found = []
    if not grade.correct:
        found.append("wrong diagnosis")
    if not case.outside and not grade.valid_five:
        found.append("not five distinct valid diagnoses")
    if grade.red_flags_named < grade.red_flags_total:
        found.append("red flag not named")
    if len(grade.answer.red_flags) > grade.red_flags_total and not case.outside:
        found.append("red flag invented")
    if grade.steps is not None and (grade.steps.invented or grade.steps.denied):
        found.append("finding not true of the case")
    return tuple(found)

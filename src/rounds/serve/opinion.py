"""One answer to one case as a validated record: diagnoses with codes, red flags, arguments, abstention, reasoning.

Made from the model's text by rule, with the knowledge base beside it; what is the model's and what is the knowledge
base's is told apart everywhere. Left out on purpose: HTTP (`rounds.serve.diagnose`), a second model as a judge, and
any probability: none was examined.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from rounds.grade.names import Names
from rounds.grade.steps import check_steps, mentioned
from rounds.knowledge.base import Condition, KnowledgeBase
from rounds.prompts.outputs import Differential, read_output
from rounds.prompts.reader import read_reply
from rounds.records import Answer, Case, Record, StepCheck, Trace
from rounds.serve.findings import Argument, Arguments, Mark, Seen, Voice, finding_of, literal, seen

if TYPE_CHECKING:
    from rounds.grade.cascade import Cascade

CodeSource = Literal["knowledge base", "WHO title", ""]


class Diagnosis(Record):
    """One of the five."""

    rank: int = Field(ge=1, le=5)
    name: str
    """As the model wrote it."""
    icd10: str
    """WHO ICD-10, '' when no code is known."""
    icd10_source: CodeSource
    """`knowledge base`: the name is one of a condition there. `WHO title`: it is the title of the code. '': unknown."""
    condition: str
    """Id in the knowledge base, '' when it does not hold this diagnosis."""
    speaks_for: tuple[Argument, ...]
    speaks_against: tuple[Argument, ...]
    argued: bool | None
    """Whether the reasoning mentions it; None without reasoning."""


class RedFlag(Record):
    """A finding that calls for action at once."""

    text: str
    named_by: tuple[Voice, ...]
    """`model`, or `knowledge base` for one that the case states and the model did not name, or both."""
    in_case: bool
    marks: tuple[Mark, ...] = ()


class NotToMiss(Record):
    """A dangerous condition that the knowledge base wants beside the first diagnosis and the list lacks."""

    name: str
    icd10: str
    beside: str
    why: str


class Abstention(Record):
    """Why there are no five diagnoses."""

    by: Literal["model", "rule"]
    """`model`: it said so. `rule`: the case lies outside what the model was examined on, and it was not asked."""
    kind: Literal["knowledge", "language", "language-unknown", "age", "pregnancy"]
    reason: str
    """One sentence."""


class Opinion(Record):
    """What comes back for one case. Offsets count Unicode code points of `case`."""

    request: str
    """Id in the audit log."""
    case: str
    """The text that was read; offsets refer to it."""
    model: str
    standing: dict[str, str]
    """Word, banner, kind of evidence, digests of checkpoint and passport."""
    template: str
    """`kind@version`."""
    template_examined: bool | None
    """Whether the model was examined with this template; None where that is not known."""
    answer_form: str
    """`five` for a list of diagnoses; else the form the template asks for, and `diagnoses` stays empty."""
    routed: str = ""
    """Kind the router read in the text, '' when the caller chose; `plain` when the router was not sure."""
    specialist: str = ""
    """Specialty whose adapter answered, '' where the model itself did; its digest is in `standing`."""
    specialty: str = ""
    """Specialty the case was read as, to choose who answers: `unsure` in doubt, '' when the caller chose."""
    language: str
    """ISO 639-1, '' when it cannot be told."""
    red_flags: tuple[RedFlag, ...] = ()
    red_flags_note: str = ""
    """Said when the model named none."""
    diagnoses: tuple[Diagnosis, ...] = Field(default=(), max_length=5)
    not_to_miss: tuple[NotToMiss, ...] = ()
    findings: tuple[Seen, ...] = ()
    """Findings of the knowledge base that the case states or denies."""
    abstention: Abstention | None = None
    refused: bool = False
    unreadable: bool = False
    """No list could be read in the reply."""
    reasoning: str = ""
    """The model's own words on the way; can be wrong where the answer is right."""
    reasoning_check: StepCheck | None = None
    """The claims of the reasoning held against case and knowledge base, in words; None without reasoning."""
    reply: str = ""
    """As written."""
    finish: str = ""
    """`stop`, `length` when it was cut off, '' when the model was not asked."""
    thinking_tokens: int = 0
    reply_tokens: int = 0
    seconds: float | None = None
    notes: tuple[str, ...] = ()
    """What a reader must know of this answer, a sentence each."""


class Reader:
    """Turns what a model wrote into an opinion; holds the knowledge base and the names."""

    def __init__(self, knowledge: KnowledgeBase) -> None:
        self.knowledge = knowledge
        self._names = Names(knowledge)
        self._outside = {name.casefold(): one.id for one in knowledge.outside.values() for name in one.names}
        self.condition = lru_cache(maxsize=4096)(self._condition)
        self.coded = lru_cache(maxsize=4096)(self._coded)

    def _condition(self, name: str) -> str:
        """Id of the condition a name means: by its names, then by the grader's reading of names; '' when none."""
        known = self._names.meaning(name) or self._outside.get(name.casefold())
        if known:
            return known
        from rounds.grade.cascade import plain

        # The lexicon takes a second to read: only for a name that no condition has.
        return next((one.id for one in self._conditions() if self._same(one, name)), "") if plain(name) else ""

    def _coded(self, name: str) -> tuple[str, CodeSource]:
        condition = self.of(self.condition(name))
        if condition is not None:
            return condition.icd10, "knowledge base"
        from rounds.grade.cascade import plain

        marker = _grader(self.knowledge)
        codes = sorted(marker.codes.of(marker.reader.variants(name, right=False))) if plain(name) else []
        return (codes[0], "WHO title") if len(codes) == 1 else ("", "")

    def of(self, condition: str) -> Condition | None:
        """The condition of an id, those kept out of teaching included."""
        return self.knowledge.conditions.get(condition) or self.knowledge.outside.get(condition)

    def _conditions(self) -> Iterator[Condition]:
        yield from self.knowledge.conditions.values()
        yield from self.knowledge.outside.values()

    def _same(self, condition: Condition, name: str) -> bool:
        reader = _grader(self.knowledge).reader
        return any(reader.relation(own, name) == "same" for own in condition.names)

    def diagnoses(self, answer: Answer, case: str, told: tuple[Seen, ...], trace: Trace) -> Iterator[Diagnosis]:
        """Each diagnosis of an answer with its code and what speaks for and against it."""
        arguments = Arguments(case, self.knowledge, trace.thinking, _lines(trace.reply), told)
        for rank, name in enumerate(answer.diagnoses, start=1):
            condition = self.condition(name)
            speaks_for, against = arguments.of(name, condition)
            code, source = self.coded(name)
            thought = bool(trace.thinking.strip())
            yield Diagnosis(
                rank=rank,
                name=name,
                icd10=code,
                icd10_source=source,
                condition=condition,
                speaks_for=speaks_for,
                speaks_against=against,
                argued=mentioned(name, trace.thinking, self.knowledge) if thought else None,
            )

    def red_flags(
        self, named: Iterable[str], case: str, told: tuple[Seen, ...], listed: Iterable[str]
    ) -> list[RedFlag]:
        """Those the model named, then those the case states and it did not; `listed` are ids of conditions."""
        stated = {one.id: one for one in told if not one.denied}
        own = {flag for one in map(self.of, listed) if one is not None for flag in one.red_flags}
        calling = [f for f in stated if self.knowledge.findings[f].red_flag or f in own]
        found: list[RedFlag] = []
        taken: set[str] = set()
        for text in named:
            finding = finding_of(text, self.knowledge)
            marks = stated[finding].marks if finding in stated else () if finding else literal(text, case)
            voices: tuple[Voice, ...] = ("model", "knowledge base") if finding in calling else ("model",)
            found.append(RedFlag(text=text, named_by=voices, in_case=bool(marks), marks=marks))
            taken.add(finding)
        for finding in calling:
            if finding not in taken:
                one = stated[finding]
                found.append(RedFlag(text=one.name, named_by=("knowledge base",), in_case=True, marks=one.marks))
        return found

    def not_to_miss(self, diagnoses: tuple[Diagnosis, ...]) -> Iterator[NotToMiss]:
        """What the knowledge base wants beside the first diagnosis and the list lacks."""
        first = self.of(diagnoses[0].condition) if diagnoses else None
        listed = {one.condition for one in diagnoses}
        for neighbour in first.must_not_miss if first is not None else ():
            known = self.knowledge.conditions[neighbour.condition]
            if known.id not in listed:
                yield NotToMiss(name=known.name, icd10=known.icd10, beside=diagnoses[0].name, why=neighbour.why)

    def check(self, trace: Trace, answer: Answer, case: str) -> StepCheck | None:
        """The claims of the reasoning, decided, with names instead of ids."""
        if not trace.thinking.strip():
            return None
        shown = Case(id=trace.prompt.case_id, vignette=case, diagnosis="")
        steps = check_steps(trace.thinking, answer, shown, self.knowledge)
        return steps.model_copy(
            update={
                "invented": self._named(steps.invented),
                "denied": self._named(steps.denied),
                "unsupported": tuple(dict.fromkeys(self._link(link) for link in steps.unsupported)),
            }
        )

    def _named(self, findings: Iterable[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.knowledge.findings[finding].name for finding in findings))

    def _link(self, link: str) -> str:
        finding, _, condition = link.partition(" -> ")
        known = self.of(condition)
        return f"{self.knowledge.findings[finding].name} → {known.name if known else condition}"

    def seen(self, case: str) -> tuple[Seen, ...]:
        return seen(case, self.knowledge)

    def answer(self, trace: Trace) -> Answer:
        return read_reply(trace.reply, trace.prompt.case_id)


def _lines(reply: str) -> str:
    """The reply with a JSON list of candidates written out as the lines that the arguments are read from."""
    listed = read_output(reply, "five")
    if not isinstance(listed, Differential):
        return reply
    lines = (
        f"{rank}. {one.diagnosis} - for: {'; '.join(one.supports)}; against: {'; '.join(one.against)}"
        for rank, one in enumerate(listed.diagnoses, start=1)
    )
    return "\n".join(" ".join(line.split()) for line in lines)


@lru_cache(maxsize=1)
def _grader(knowledge: KnowledgeBase) -> Cascade:
    from rounds.grade.cascade import Cascade

    return Cascade(knowledge)

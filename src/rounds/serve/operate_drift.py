"""The alarm of drift: whether what the ward asks and gets still looks like the exam on which the model was judged.

Of each finished answer five figures are kept and no text: words of the case, findings of the knowledge base per hundred
words, whether its language is the exam's, whether the model abstained, whether its list could be read. Every WINDOW
answers they are held against the same figures of the exam cases, each window once: Kolmogorov-Smirnov for the two
amounts, Fisher for the shares, Holm over all. If nothing has changed, a window raises a false alarm with a chance of at
most LEVEL. Judgements of people (right or wrong) are read from the audit log and held against the exam in windows of
JUDGED, at the same level; they lean to what somebody checked.
Left out on purpose: whether answers are right, which takes a diagnosis.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rounds import files
from rounds.prompts.reader import read_reply
from rounds.prompts.template import CASE, load
from rounds.records import Case, Prompt, Record, Report, Trace, UserError
from rounds.serve.audit import Row
from rounds.serve.language import language_of
from rounds.serve.operate import OPERATION
from rounds.stats.unpaired import alarms, fisher, kolmogorov_smirnov

if TYPE_CHECKING:
    from rounds.knowledge.base import KnowledgeBase

LOG = Path(OPERATION) / "inputs.jsonl"
WINDOW = 200
"""Answers that are looked at together."""
LEVEL = 0.01
"""Chance of a false alarm a window: one in about 20,000 answers when nothing has changed."""
JUDGED = 50
"""Judgements that are looked at together."""
DOOR, WRONG = "feedback", "feedback: wrong"
"""How a judgement stands in the audit log."""
HITS = ("exact", "synonym", "code", "judge", "human", "right", "right abstention")
"""Outcomes of an exam that are right."""
CASES = Path("cases") / "exam.jsonl"
REPORT = "report.json"
MOST = 240
"""Exam cases that are read: each costs some milliseconds while the server answers."""
SMALLEST = 30
"""Exam cases below which there is nothing to hold a ward against."""


class Seen(Record):
    """What is kept of one answer."""

    words: int
    findings: float
    """Findings of the knowledge base that the case states or denies, per hundred words."""
    language: str
    """'' where too few words tell it."""
    abstained: bool = False
    unreadable: bool = False


class Reference(Record):
    """The exam's own distribution."""

    seen: tuple[Seen, ...]
    languages: tuple[str, ...]
    """That the exam has; '' counts as known."""
    answers: int
    """Of the served model to the exam."""
    abstained: int
    unreadable: int
    judged: int = 0
    """Answers that could be graded."""
    wrong: int = 0


class Look(Record):
    """One window held against the exam."""

    window: int
    """1, 2, 3 ..."""
    answers: int
    p: dict[str, float]
    """Of each test, before Holm."""
    alarm: tuple[str, ...]
    """What differs; empty when nothing was shown to."""
    shown: dict[str, str]
    """The figures behind each test, ward against exam."""


class Watch:
    """Keeps the figures of a server's answers and looks at each full window once."""

    def __init__(self, home: Path, reference: Reference, knowledge: KnowledgeBase, window: int = WINDOW) -> None:
        self.path = home / LOG
        self.reference = reference
        self.knowledge = knowledge
        self.window = window
        self._count = sum(1 for _ in _read(self.path))

    def note(self, prompt: Prompt, traces: Sequence[Trace]) -> str:
        """Keep one answer; gives the sentence of an alarm when it ends a window that differs, else ''.

        Raises:
            OSError: the figures cannot be written.
        """
        reply = read_reply(traces[0].reply, prompt.case_id) if traces else None
        told = {"abstained": reply.abstained, "unreadable": reply.unreadable} if reply is not None else {}
        seen = features(case_of(prompt), self.knowledge).model_copy(update=told)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as out:
            out.write(seen.model_dump_json() + "\n")
        self._count += 1
        if self._count % self.window:
            return ""
        place = self._count // self.window
        last = next(looks(self.path, self.reference, self.window, first=place), None)
        return sentence(last) if last is not None and last.alarm else ""


def sentence(look: Look) -> str:
    """An alarm in one sentence."""
    parts = "; ".join(f"{name} {look.shown[name]}" for name in look.alarm)
    return f"drift in window {look.window} ({look.answers} answers): {parts}"[:500]


def features(text: str, knowledge: KnowledgeBase) -> Seen:
    """Figures of one case."""
    from rounds.grade.reading import facts_of_text

    words = len(text.split())
    facts = facts_of_text(text[:20_000], knowledge)
    density = 100 * len(facts.present | facts.absent) / max(1, words)
    return Seen(words=words, findings=round(density, 2), language=language_of(text))


def case_of(prompt: Prompt) -> str:
    """The case inside a rendered prompt; the whole last message where no template of ours wrote it."""
    text = prompt.messages[-1].content
    try:
        shapes = load(prompt.template.partition("#")[0]).texts.values()
    except UserError:
        return text
    for shape in shapes:
        place = next((one for one in CASE if one in shape), None)
        if place is not None:
            before, after = shape.split(place, 1)
            if text.startswith(before) and text.endswith(after):
                return text[len(before) : len(text) - len(after)]
    return text


def watch(home: Path, papers: Path, model: str) -> Watch | None:
    """The watch over a run, held against the exam in `papers`; None where there is no exam to hold it against.

    Raises:
        UserError: cases, report or the log cannot be read.
    """
    from rounds.knowledge.base import load as load_knowledge

    knowledge = load_knowledge()
    exam = reference(papers, model, knowledge)
    return Watch(home, exam, knowledge) if exam is not None else None


def reference(papers: Path, model: str, knowledge: KnowledgeBase) -> Reference | None:
    """The exam of a run or release, as its served model sat it; None where it is not there or too small.

    Raises:
        UserError: cases or report cannot be read.
    """
    cases = list(files.read_jsonl(papers / CASES, Case)) if (papers / CASES).is_file() else []
    if len(cases) < SMALLEST:
        return None
    seen = tuple(features(case.question, knowledge) for case in cases[:: -(-len(cases) // MOST)])
    path = papers / REPORT
    sat = files.read_json(path, Report).sittings.get(model) if path.is_file() else None
    outcomes = sat.outcomes if sat is not None else {}
    return Reference(
        seen=seen,
        languages=tuple(sorted({one.language for one in seen} | {""})),
        answers=sat.answers if sat is not None else 0,
        abstained=outcomes.get("abstained", 0) + outcomes.get("right abstention", 0),
        unreadable=outcomes.get("unreadable", 0),
        judged=(judged := sum(outcomes.values()) - outcomes.get("not gradable", 0)),
        wrong=judged - sum(outcomes.get(name, 0) for name in HITS),
    )


def looks(path: Path, exam: Reference, window: int = WINDOW, level: float = LEVEL, first: int = 1) -> Iterator[Look]:
    """Every full window of a log, oldest first.

    Raises:
        UserError: the log cannot be read.
    """
    batch: list[Seen] = []
    for number, seen in enumerate(_read(path)):
        batch.append(seen)
        if len(batch) == window:
            place = (number + 1) // window
            if place >= first:
                yield look(place, batch, exam, level)
            batch = []


def look(place: int, ward: Sequence[Seen], exam: Reference, level: float = LEVEL) -> Look:
    """Hold one window against the exam, at a chance of a false alarm of at most `level`."""
    p, shown = {}, {}
    for name in ("words", "findings"):
        mine, theirs = ([float(getattr(one, name)) for one in side] for side in (ward, exam.seen))
        p[name] = kolmogorov_smirnov(mine, theirs)
        shown[name] = f"median {_median(mine):.3g}, exam {_median(theirs):.3g}"
    other = sum(one.language not in exam.languages for one in ward)
    shares = {
        "other language": (other, 0, len(exam.seen)),
        "abstained": (sum(one.abstained for one in ward), exam.abstained, exam.answers),
        "unreadable": (sum(one.unreadable for one in ward), exam.unreadable, exam.answers),
    }
    for name, (hits, theirs_hits, theirs_n) in shares.items():
        p[name] = fisher(hits, len(ward), theirs_hits, theirs_n)
        shown[name] = f"{hits} of {len(ward)}, exam {theirs_hits} of {theirs_n}"
    return Look(window=place, answers=len(ward), p=p, alarm=alarms(p, level), shown=shown)


def looks_at_judgements(
    rows: Iterable[Row], checkpoint: str, exam: Reference, window: int = JUDGED, level: float = LEVEL
) -> Iterator[Look]:
    """Every full window of the judgements of one checkpoint in an audit log, oldest first."""
    judged = [row.note == WRONG for row in rows if row.door == DOOR and row.model == checkpoint]
    for place in range(1, len(judged) // window + 1):
        wrong = sum(judged[(place - 1) * window : place * window])
        p = {"judged wrong": fisher(wrong, window, exam.wrong, exam.judged)}
        shown = {"judged wrong": f"{wrong} of {window}, exam {exam.wrong} of {exam.judged}"}
        yield Look(window=place, answers=window, p=p, alarm=alarms(p, level), shown=shown)


def _median(values: Iterable[float]) -> float:
    from statistics import median

    return median(values)


def _read(path: Path) -> Iterator[Seen]:
    return files.read_jsonl(path, Seen) if path.is_file() else iter(())

"""How far the rules that audit reasoning agree with planted errors, authors' columns and labelled real traces.

    python benchmarks/audits.py [DATA] [--cases 800]      DATA holds 01_…, 05_… and 06_…; default ../shared/data

Planted: errors of each kind in generated lines of thought, as many as clean ones; kappa of rule against plant, 95 %.
Case text: what the text of a case states and denies, against the column its author put it in (01, 05) and against the
generator. Real traces (06): each thinking trace held against its own case and against another's; findings planted into
real thoughts; and each mode against right or wrong, which is no label of a mode and is printed for what it is. Of the
real data only counts are printed. Left out on purpose: setting any threshold by these figures.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

from audits_planted import HELD_PLANTS, HELD_TWINS, MODE_PLANTS, STEP_PLANTS, TWINS, Author, Plant, Written

from rounds import recipe
from rounds.cases.generate import Drawn, generate, world_for
from rounds.grade.mark import Marker
from rounds.grade.modes import MODES, error_modes
from rounds.grade.reading import facts_of_text, read
from rounds.grade.steps import check_steps
from rounds.knowledge.base import KnowledgeBase, load
from rounds.prompts.reader import read_reply
from rounds.records import Answer, Case, Grade, Prompt, Sampling, StepCheck, Trace
from rounds.stats.agreement import cohen, pabak

SEED = 29
"""Not the seed that the rules were mended at."""
STYLES = ("oracle", "prose")


def said(truth: Sequence[object], found: Sequence[object]) -> str:
    """Kappa with its interval; where nobody disagreed and it has no width, the interval of the share agreed on."""
    kappa = cohen(truth, found)  # type: ignore[arg-type]
    if kappa.value is None:
        return "not defined (one label only)"
    same = sum(t == f for t, f in zip(truth, found, strict=True))
    ends = kappa.interval if same < len(truth) else pabak(same, len(truth)).interval
    return f"{kappa.value:.3f} ({ends.low:.3f} to {ends.high:.3f})"


def line(name: str, truth: Sequence[bool], found: Sequence[bool]) -> str:
    """One row: kappa, n, what was missed and what was cried out for nothing."""
    missed = sum(t and not f for t, f in zip(truth, found, strict=True))
    false = sum(f and not t for t, f in zip(truth, found, strict=True))
    return (
        f"  {name:44} kappa {said(truth, found):26} n {len(truth):5}  "
        f"missed {missed} of {sum(truth)}, false {false} of {len(truth) - sum(truth)}"
    )


def traced(case_id: str, thinking: str, reply: str) -> Trace:
    """An answer as a trace; who wrote it is nobody's matter here."""
    prompt = Prompt(case_id=case_id, template="differential@1", messages=())
    return Trace(prompt=prompt, model="m", engine="e", sampling=Sampling(), thinking=thinking, reply=reply,
                 finish="stop", thinking_tokens=len(thinking.split()), reply_tokens=len(reply.split()))  # fmt: skip


class Judge:
    """The rules, as the exam calls them."""

    def __init__(self, knowledge: KnowledgeBase) -> None:
        self.knowledge, self.marker = knowledge, Marker(knowledge)

    def grade(self, written: Written) -> Grade:
        return self.marker.mark_answer(written.case, read_reply(written.reply, written.case.id))

    def steps(self, written: Written) -> StepCheck:
        return check_steps(written.thinking, self.grade(written).answer, written.case, self.knowledge)

    def modes(self, written: Written) -> tuple[str, ...]:
        return error_modes(
            written.case, traced(written.case.id, written.thinking, written.reply), self.grade(written), self.knowledge
        )


def inside(drawn: Sequence[Drawn]) -> list[Drawn]:
    return [one for one in drawn if not one.case.outside]


def planted(judge: Judge, author: Author, drawn: Sequence[Drawn]) -> None:
    """Part one: kappa of every detector with the plants, the two styles together and apart."""
    for title, plants, twins in (
        ("checked steps", STEP_PLANTS, TWINS),
        ("error modes", MODE_PLANTS, TWINS),
        ("dismissal in words held back, against ordinary answers", HELD_PLANTS, {}),
        ("dismissal in words held back, against alarm in words held back", HELD_PLANTS, HELD_TWINS),
    ):
        print(f"planted errors, {title}:")
        for name, kinds in plants.items():
            truth: dict[str, list[bool]] = {style: [] for style in STYLES}
            found: dict[str, list[bool]] = {style: [] for style in STYLES}
            for written, is_planted in _pairs(author, drawn, kinds, twins):
                if title == "checked steps":
                    hit = bool(getattr(judge.steps(written), name))
                else:
                    hit = name in judge.modes(written)
                truth[written.style].append(is_planted)
                found[written.style].append(hit)
            print(line(name, [*chain(*truth.values())], [*chain(*found.values())]))
            for style in STYLES:
                print(line(f"  {style}", truth[style], found[style]))


def _pairs(
    author: Author, drawn: Sequence[Drawn], kinds: Sequence[Plant], twins: Mapping[Plant, Plant]
) -> Iterator[tuple[Written, bool]]:
    """Clean and planted in turn, as many of each; kinds and styles take turns. A twin has the case of the plant."""
    random = Random(SEED)
    for place in range(0, len(drawn) - 3, 3):
        style = STYLES[place // 3 % 2]
        clean, bare, other = (author.write(one, style, random) for one in drawn[place : place + 3])
        kind = kinds[place // 6 % len(kinds)]
        error = kind(author, bare, other, random)
        twin: Written | None = clean
        if kind in twins:
            twin = twins[kind](author, bare, other, random)
        if error is not None and twin is not None:
            yield twin, False
            yield error, True


def crossed(judge: Judge, author: Author, drawn: Sequence[Drawn]) -> None:
    """How often each mode is found where another error was planted: some truly come together."""
    print("share of traces in which a mode is found, by what was planted:")
    print("  " + " " * 30 + "".join(f"{mode.removeprefix('red flag '):>20}" for mode in MODES))
    every = {"nothing": (lambda author, one, other, random: one,), **STEP_PLANTS, **MODE_PLANTS}
    for name, kinds in every.items():
        counts: Counter[str] = Counter()
        n = 0
        for written, is_planted in _pairs(author, drawn, kinds, {}):
            if is_planted:
                n += 1
                counts.update(judge.modes(written))
        print(f"  {name:30}" + "".join(f"{counts[mode] / max(1, n):20.3f}" for mode in MODES))


# Case text ---------------------------------------------------------------------------------------------------------


def columns(name: str, cases: Iterable[list[tuple[bool, str]]], knowledge: KnowledgeBase) -> None:
    """Findings of the joined text, stated or denied, against the column (True: what is there) that names them."""
    truth: list[bool] = []
    found: list[bool] = []
    for parts in cases:
        text = " ".join(
            part if part.rstrip().endswith(".") else f"{part.rstrip()}." for _, part in parts if part.strip()
        )
        known = facts_of_text(text, knowledge)
        by_finding: dict[str, set[bool]] = {}
        for there, part in parts:
            for sentence in read(part, knowledge):
                for finding in sentence.findings:
                    by_finding.setdefault(finding, set()).add(there)
        for finding, kinds in by_finding.items():
            if len(kinds) == 1:
                truth.append(next(iter(kinds)))
                found.append(finding in known.present)
    print(line(name, truth, found))


def avey(rows: Iterable[dict[str, Any]]) -> Iterator[list[tuple[bool, str]]]:
    for row in rows:
        yield [(True, row["chief_complaints"]), (True, row["presentation"]), (False, row["absent_findings"])]


def agentclinic(rows: Iterable[dict[str, Any]]) -> Iterator[list[tuple[bool, str]]]:
    for row in rows:
        actor = row["OSCE_Examination"]["Patient_Actor"]
        symptoms = actor["Symptoms"]
        told = [str(symptoms.get("Primary_Symptom", "")), *map(str, symptoms.get("Secondary_Symptoms") or [])]
        yield [(True, ". ".join(told)), (True, str(actor.get("History", ""))),
               (False, str(actor.get("Review_of_Systems", "")))]  # fmt: skip


def vignettes(drawn: Sequence[Drawn], knowledge: KnowledgeBase) -> None:
    """Every finding of the vocabulary in every generated vignette: there, denied or not spoken of."""
    truth: list[str] = []
    found: list[str] = []
    for one in drawn:
        known = facts_of_text(one.case.vignette, knowledge)
        for finding in {*one.case.present, *one.case.absent, *known.present}:
            truth.append("there" if finding in one.case.present else "denied" if finding in one.case.absent else "")
            found.append("there" if finding in known.present else "denied" if finding in known.absent else "")
    right = sum(t == f for t, f in zip(truth, found, strict=True))
    print(
        f"  {'generated vignettes, against the generator':44} kappa {said(truth, found):26} n {len(truth):5}  "
        f"{right} equal"
    )


# Real traces -------------------------------------------------------------------------------------------------------


def real(data: Path, judge: Judge) -> None:
    """Part three: data/06."""
    folder = data / "06_medrbench"
    texts = {row["id"]: row for row in lines(folder / "cases.jsonl.gz")}
    rows = [row for row in lines(folder / "reasoning_traces.jsonl.gz") if row["id"] in texts]
    cases = {
        i: Case(id=i, vignette=t["case_summary"], diagnosis=t["diagnosis_results"].strip("* ."))
        for i, t in texts.items()
    }
    grades = {row["id"]: _graded(row) for row in rows}
    random = Random(SEED)
    others = {row["id"]: random.choice([r["id"] for r in rows if r["id"] != row["id"]]) for row in rows}
    print(f"real thinking traces: {len(rows)}, {sum(not row['accuracy_gpt_judge'] for row in rows)} of them wrong")
    _own_or_other(rows, cases, others, judge)
    _planted_in_real(rows, cases, judge, random)
    wrong = [not row["accuracy_gpt_judge"] for row in rows]
    traces = [traced(r["id"], r["thinking_process"], r["content"]) for r in rows]
    found = [
        error_modes(cases[trace.prompt.case_id], trace, grades[trace.prompt.case_id], judge.knowledge)
        for trace in traces
    ]
    print("a mode against a wrong answer (no label of the mode itself; no case here names red flags):")
    for mode in MODES:
        if not mode.startswith("red flag"):
            print(line(mode, wrong, [mode in modes for modes in found]))
    print(line("any mode", wrong, [bool(modes) for modes in found]))
    longer = [len(row["thinking_process"]) > 5000 for row in rows]
    print(line("more than 5,000 characters (a rival)", wrong, longer))


def _graded(row: dict[str, Any]) -> Grade:
    """The recorded mark; the list is the one diagnosis of the answer."""
    name = row["content"].split("### Answer")[-1].strip(": \n`*").split("\n")[0].strip("* .")
    right = bool(row["accuracy_gpt_judge"])
    answer = Answer(case_id=row["id"], diagnoses=(name,) if name else ())
    return Grade(case_id=row["id"], answer=answer, correct=right, rank=1 if right else None)


def _own_or_other(rows: list[dict[str, Any]], cases: dict[str, Case], others: dict[str, str], judge: Judge) -> None:
    """Thoughts held against their own case (clean) and another's (everything invented), counted by stated finding."""
    truth: list[bool] = []
    found: list[bool] = []
    for row in rows:
        for other in (False, True):
            case = cases[others[row["id"]] if other else row["id"]]
            steps = check_steps(row["thinking_process"], Answer(case_id=case.id), case, judge.knowledge)
            truth += [other] * steps.stated
            found += [True] * len(steps.invented) + [False] * (steps.stated - len(steps.invented))
    print(line("stated finding: own case or another's", truth, found))


def _planted_in_real(rows: list[dict[str, Any]], cases: dict[str, Case], judge: Judge, random: Random) -> None:
    """A sentence added to real thoughts: a finding the text lacks, or one it states; and one it states, denied."""
    knowledge = judge.knowledge
    made: dict[str, tuple[list[bool], list[bool]]] = {"invented": ([], []), "denied": ([], [])}
    for row in rows:
        case = cases[row["id"]]
        known = facts_of_text(case.vignette, knowledge)
        # Words of the raw text decide what may be planted, so that the reference does not come from the rules.
        text = case.vignette.lower()
        there = [
            w for f in knowledge.findings.values() for w in f.says if f" {w.lower()}" in text and f.id in known.present
        ]
        lacking = [
            f.name for f in knowledge.findings.values() if not any(part in text for part in f.name.lower().split())
        ]
        if not there or not lacking:
            continue
        true, false = random.choice(there), random.choice(lacking)
        bare = check_steps(row["thinking_process"], Answer(case_id=case.id), case, knowledge)
        for kind, sentence, wrong in (
            ("invented", f"The patient also has {false}.", True),
            ("invented", f"The patient also has {true}.", False),
            ("denied", f"There is no {true}.", True),
            ("denied", f"There is no {false}.", False),
        ):
            steps = check_steps(f"{row['thinking_process']}\n{sentence}", Answer(case_id=case.id), case, knowledge)
            made[kind][0].append(wrong)
            made[kind][1].append(len(getattr(steps, kind)) > len(getattr(bare, kind)))
    for kind, (truth, found) in made.items():
        print(line(f"{kind}: planted in real thoughts", truth, found))


def lines(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open(encoding="utf-8") as rows:
        return [json.loads(row) for row in rows]


# Speed -------------------------------------------------------------------------------------------------------------


def speed(author: Author, judge: Judge, drawn: Sequence[Drawn]) -> None:
    """Seconds to mark 1,000 generated traces, the best of five."""
    random = Random(SEED)
    pairs = []
    for one in drawn[:1000]:
        written = author.write(one, "oracle", random)
        pairs.append((one.case, traced(one.case.id, written.thinking, written.reply)))
    marks, checks, modes = [], [], []
    for _ in range(5):
        start = time.process_time()
        grades = [judge.marker.mark(case, trace) for case, trace in pairs]
        marks.append(time.process_time() - start)
        start = time.process_time()
        for (case, trace), grade in zip(pairs, grades, strict=True):
            check_steps(trace.thinking, grade.answer, case, judge.knowledge)
        checks.append(time.process_time() - start)
        start = time.process_time()
        for (case, trace), grade in zip(pairs, grades, strict=True):
            check_steps(trace.thinking, grade.answer, case, judge.knowledge)
            error_modes(case, trace, grade, judge.knowledge)
        modes.append(time.process_time() - start)
    print(f"speed over {len(pairs)} traces: whole mark {min(marks):.3f} s, checked steps {min(checks):.3f} s, "
          f"checked steps and error modes {min(modes):.3f} s")  # fmt: skip


def main() -> int:
    """Print every part; parts whose data are absent are named and skipped."""
    parser = argparse.ArgumentParser(description="Agreement of the rules that audit reasoning.")
    parser.add_argument("data", nargs="?", type=Path, default=Path(__file__).parent.parent.parent / "shared" / "data")
    parser.add_argument("--cases", type=int, default=800, help="answers a detector, clean and planted together")
    arguments = parser.parse_args()
    knowledge = load()
    settings = recipe.Cases(teach=max(1100, arguments.cases * 3 // 2 + 100), exam_per_condition=1, tune_per_condition=1)
    drawn = inside(generate(knowledge, settings, SEED)["teach"])
    author, judge = Author(world_for(knowledge, settings)), Judge(knowledge)
    some = drawn[: arguments.cases * 3 // 2 + 3]
    planted(judge, author, some)
    crossed(judge, author, some)
    print("case text read by rule:")
    vignettes(drawn[:1000], knowledge)
    for name, path, split in (
        ("01, author's columns", "01_avey_vignettes_five_ddx/vignettes.jsonl", avey),
        ("05, symptoms against review of systems", "05_agentclinic_medqa/agentclinic_medqa.jsonl", agentclinic),
    ):
        if (arguments.data / path).is_file():
            columns(name, split(lines(arguments.data / path)), knowledge)
        else:
            print(f"  {name}: skipped, {path} is absent")
    if (arguments.data / "06_medrbench").is_dir():
        real(arguments.data, judge)
    else:
        print("real thinking traces: skipped, 06_medrbench is absent")
    speed(author, judge, drawn)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""How far `rounds grade`, without a judge, agrees with recorded marks: lists of diagnoses, ICD-10, options, numbers.

    python benchmarks/grading.py [DATA] [--list]      DATA holds 01_…, 04_… and so on; default ../shared/data

Diagnoses: Cohen's kappa with the marks recorded in 01 (both systems, all runs) and 04 (answers to the vignette and to
the conversation, given as lists and once more as replies to be read), the precision of a hit, confusion tables strict
and lenient, by half (ids parted by SHA-256). The recorded graders contradict themselves on one and the same pair; so
the precision is also given against the mark that a pair got more often, and the agreement of that majority with the
single marks is shown as the ceiling. `--list` prints every false hit and the most frequent misses; without it only
counts are printed, never a word of the data.
Options, yes/no/maybe and numbers: published or recorded scores read again from the recorded answers (09, 10, 11, 12),
and right answers written in several ways and read back (10, 16, 30, 33). Left out on purpose: any judge.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rounds.grade.cascade import Cascade, answer_key
from rounds.grade.choice import mark_choices, mark_reply
from rounds.grade.codes import kinship, tidy, titles
from rounds.grade.given import Given
from rounds.grade.grading import figures, grade
from rounds.grade.names import normalise
from rounds.knowledge.base import load
from rounds.prompts.choices import read_choices
from rounds.records import LETTERS, Case, Grade
from rounds.stats.agreement import cohen

DATA = Path(__file__).parents[1] / ".." / "shared" / "data"
AVEY, CRAFT = "01_avey_vignettes_five_ddx", "04_craft_md"
TARGETS = {"Avey lists": (0.65, 0.75), "CRAFT-MD answers": (0.85, 0.90), "CRAFT-MD replies": (0.85, 0.90)}
CRAFT_FIELDS = (("vignette_frq", "frq_ok"), ("multiturn_frq", "mt_ok"))


@dataclass(slots=True)
class Recorded:
    """Answers with the marks someone recorded, each on a line of its own."""

    name: str
    cases: dict[str, Case] = field(default_factory=dict)
    given: list[Given] = field(default_factory=list)
    marks: list[bool] = field(default_factory=list)
    unparsed: int = 0

    def add(self, case_id: str, right: str, said: Sequence[str], mark: bool) -> None:
        self.cases.setdefault(case_id, Case(id=case_id, vignette="not read here", diagnosis=right))
        self.given.append(Given(case_id, len(self.given), tuple(said), ""))
        self.marks.append(mark)


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a JSONL file, packed or not."""
    packed = path.read_bytes()
    text = (gzip.decompress(packed) if path.suffix == ".gz" else packed).decode()
    yield from (json.loads(line) for line in text.splitlines() if line.strip())


def avey(data: Path) -> Recorded:
    found = Recorded("Avey lists")
    for row in lines(data / AVEY / "recorded_ddx.jsonl"):
        if row["ddx"] is None:
            found.unparsed += 1
        else:
            found.add(row["id"], row["gold"], row["ddx"], row["position"] > 0)
    return found


def craft(data: Path) -> Recorded:
    found = Recorded("CRAFT-MD answers")
    for row in lines(data / CRAFT / "recorded_answers.jsonl.gz"):
        for said, mark in CRAFT_FIELDS:
            if row.get(mark) is None:
                found.unparsed += 1
            else:
                found.add(row["case_id"], row["gold"], [row[said] or ""], bool(row[mark]))
    return found


def half(case_id: str) -> int:
    """0 or 1, the same on every machine."""
    return int(hashlib.sha256(case_id.encode()).hexdigest(), 16) % 2


def as_replies(answers: Recorded) -> Recorded:
    """The same answers as the text of a reply, to be read before it is marked."""
    found = Recorded("CRAFT-MD replies", answers.cases, [], answers.marks, answers.unparsed)
    found.given = [Given(one.case_id, one.sample, None, ", ".join(one.listed or ())) for one in answers.given]
    return found


def diagnoses(recorded: Recorded, cascade: Cascade, listed: bool) -> None:
    """Print agreement of one set."""
    start = time.perf_counter()
    graded = grade(list(recorded.cases.values()), recorded.given, cascade)
    seconds = time.perf_counter() - start
    grades = graded.grades
    least, goal = TARGETS[recorded.name]
    print(f"\n## {recorded.name}: {len(grades)} answers to {len(recorded.cases)} cases, {seconds:.1f} s")
    print(f"targets: kappa >= {least}, goal {goal}; precision of a hit >= 0.99")
    if recorded.unparsed:
        print(f"not in the table: {recorded.unparsed} rows without a list or a mark")
    words = [any(bag(recorded.cases[g.case_id].diagnosis) == bag(d) for d in given_parts(given))
             for g, given in zip(grades, recorded.given, strict=True)]  # fmt: skip
    strict = [one.correct is True for one in grades]
    lenient = [one.correct is True or one.near_rank is not None for one in grades]
    print(f"{'':28}{'both':>7}{'only rec.':>10}{'only ours':>10}{'neither':>9}  {'kappa':>7}  95 %           precision")
    if any(given.listed for given in recorded.given):
        table("word sets alike", recorded.marks, words)
    table(f"strict (kappa >= {least})", recorded.marks, strict)
    for part in (0, 1):
        chosen = [place for place, one in enumerate(grades) if half(one.case_id) == part]
        table(f"  half {part}", [recorded.marks[p] for p in chosen], [strict[p] for p in chosen])
    table("lenient", recorded.marks, lenient)
    told = figures(graded)
    print(f"unreadable: {told['unreadable']}")
    print("levels: " + ", ".join(f"{level} {told[f'by_{level}']}" for level in ("exact", "synonym", "code")))
    contradictions(recorded, grades, strict)
    if listed:
        show(recorded, grades, strict)


def table(name: str, recorded: Sequence[bool], ours: Sequence[bool]) -> None:
    """One line: the two by two table, kappa, the precision of a hit."""
    cells = Counter(zip(recorded, ours, strict=True))
    both, only_recorded, only_ours, neither = (cells[key] for key in ((1, 1), (1, 0), (0, 1), (0, 0)))  # type: ignore[index]
    agreed = cohen(recorded, ours)
    kappa = "-" if agreed.value is None else f"{agreed.value:.3f}"
    precision = both / (both + only_ours) if both + only_ours else float("nan")
    print(
        f"{name:28}{both:7}{only_recorded:10}{only_ours:10}{neither:9}  {kappa:>7}  "
        f"{agreed.interval.low:.3f}-{agreed.interval.high:.3f}    {precision:.4f}"
    )


def contradictions(recorded: Recorded, grades: Sequence[Grade], ours: Sequence[bool]) -> None:
    """How often the recorded marks contradict themselves, and what that leaves to reach."""
    votes: dict[tuple[str, tuple[str, ...]], Counter[bool]] = defaultdict(Counter)
    keys = [(recorded.cases[g.case_id].diagnosis, tuple(answer_key(d) for d in g.answer.diagnoses)) for g in grades]
    for key, mark in zip(keys, recorded.marks, strict=True):
        votes[key][mark] += 1
    mixed = sum(len(vote) > 1 for vote in votes.values())
    majority = [votes[key][True] > votes[key][False] for key in keys]
    print(f"pairs marked both ways by the recorded grader: {mixed} of {len(votes)}")
    table("that grader's majority", recorded.marks, majority)
    table("strict against its majority", majority, ours)
    same = sum(mine and not mark and bag(key[0]) in map(bag, key[1])
               for key, mark, mine in zip(keys, recorded.marks, ours, strict=True))  # fmt: skip
    print(f"false hits on the very words of the right diagnosis: {same}")


def show(recorded: Recorded, grades: Sequence[Grade], ours: Sequence[bool]) -> None:
    """False hits and misses with how often the pair was recorded right and wrong."""
    votes: dict[tuple[str, str], Counter[bool]] = defaultdict(Counter)
    mine: dict[tuple[str, str], bool] = {}
    for one, mark, hit in zip(grades, recorded.marks, ours, strict=True):
        said = one.answer.diagnoses[one.rank - 1] if one.rank else "; ".join(one.answer.diagnoses)
        key = (recorded.cases[one.case_id].diagnosis.strip(), said)
        votes[key][mark] += 1
        mine[key] = hit
    for title, wrong in (("false hits", True), ("misses", False)):
        rows = [(votes[key][not wrong], votes[key][wrong], *key) for key in votes if mine[key] is wrong]
        rows = sorted((row for row in rows if row[0]), reverse=True)
        print(f"\n{title} (times against us, times with us, right diagnosis, answer):")
        for against, agreeing, right, said in rows if wrong else rows[:60]:
            print(f"  {against:4}{agreeing:5}  {right}  <-  {said}")


def bag(text: str) -> frozenset[str]:
    return frozenset(normalise(text).split())


def given_parts(given: Given) -> list[str]:
    return [part for item in given.listed or () for part in item.split(", ")]


# ICD-10 ------------------------------------------------------------------------------------------------------------


def icd(data: Path, cascade: Cascade) -> None:
    """How often the code we find for a name agrees with the two codings recorded for it."""
    examples = json.loads((data / AVEY / "icd_match_examples.json").read_text(encoding="utf-8"))
    pairs = [(name, codes) for case in examples.values() for name, codes in case.items()]
    print(f"\n## ICD-10: {len(examples)} examples, {len(pairs)} names, {len(titles())} titles")
    coded = {name: cascade.codes.of(cascade.reader.variants(name, right=False)) for name, _ in pairs}
    print(f"names with a code of ours: {sum(bool(coded[name]) for name, _ in pairs)}")
    for version in ("old", "new"):
        found: Counter[str] = Counter()
        for name, codes in pairs:
            theirs = tidy(codes[version])
            if coded[name] and theirs:
                kin = {kinship(theirs, code) for code in coded[name]} | {kinship(code, theirs) for code in coded[name]}
                found[next(k for k in ("same", "child", "near", "far") if k in kin)] += 1
        print(
            f"against the {version} coding: " + ", ".join(f"{k} {found[k]}" for k in ("same", "child", "near", "far"))
        )


# Options, yes/no/maybe, numbers ------------------------------------------------------------------------------------


def choice_case(row_id: str, options: Sequence[str], right: Sequence[str]) -> Case:
    return Case(id=row_id, vignette="not read here", diagnosis="", options=tuple(options), right=tuple(right))


def options_recorded(data: Path) -> None:
    """Scores of others from their recorded answers, read by us."""
    print("\n## Options: scores read again from recorded answers")
    items = {row["id"]: row for row in lines(data / "09_medagents_recorded_mcq" / "medqa.items.jsonl.gz")}
    right: dict[str, list[bool]] = defaultdict(list)
    for row in lines(data / "09_medagents_recorded_mcq" / "medqa.answers.jsonl.gz"):
        item = items[row["id"]]
        case = choice_case(row["id"], list(item["options"].values()), [item["answer_idx"]])
        right[row["model"]].append(mark_reply(case, str(row["pred"])).correct is True)
    for model, marks in right.items():
        print(f"09 {model}: {sum(marks)} of {len(marks)} right, {100 * sum(marks) / len(marks):.2f} %")
    scores = json.loads((data / "11_afrimedqa_recorded" / "published_scores.json").read_text(encoding="utf-8"))
    published = {score["model"]: float(score["published_score"]) for score in scores["scores"]}
    told: dict[str, Counter[str]] = defaultdict(Counter)
    for row in lines(data / "11_afrimedqa_recorded" / "answers_medqa.jsonl.gz"):
        case = choice_case(row["id"], [f"option {n} not recorded" for n in LETTERS[:5]], [row["gold"]])
        by_letter = mark_reply(case, str(row["pred"])).correct is True
        by_reply = mark_reply(case, str(row["raw_output"]))
        told[row["model"]].update(
            n=1, letter=by_letter, reply=by_reply.correct is True, apart=by_letter != (by_reply.correct is True),
            unreadable=by_reply.answer.unreadable, theirs=bool(row["correct"]),
        )  # fmt: skip
    for model, count in told.items():
        n = count["n"]
        print(
            f"11 {model}: published {published[model]:.4f}, from its recorded letters {count['letter'] / n:.4f}, "
            f"from its replies {count['reply'] / n:.4f} ({count['apart']} marks differ, "
            f"{count['unreadable']} unreadable)"
        )


def igaku(data: Path) -> None:
    """Japanese and English exam items with one or several right options and options never to be chosen."""
    folder = data / "12_igakuqa_ja_en"
    cases: dict[str, Case] = {}
    for row in lines(folder / "items_2021.jsonl.gz"):
        key = [letter.upper() for letter in row.get("answer") or row.get("asnwer") or []]
        if row["choices_ja"] and key:
            never = tuple(letter.upper() for letter in row["kinki"])
            cases[row["id"]] = choice_case(row["id"], row["choices_ja"], key).model_copy(update={"never": never})
        elif key:
            number = Case(id=row["id"], vignette="not read here", diagnosis=key[0], kind="number")
            cases[row["id"]] = number
    told: dict[str, Counter[str]] = defaultdict(Counter)
    for row in lines(folder / "answers_2021.jsonl.gz"):
        case = cases.get(row["id"])
        if case is None:
            continue
        marked = mark_reply(case, row["prediction"])
        several = len(case.right) > 1
        told[row["system"]].update(
            n=1, right=marked.correct is True, several=several, several_right=several and marked.correct is True,
            unreadable=marked.answer.unreadable or marked.answer.refused, never=bool(marked.error_modes),
        )  # fmt: skip
    for system, c in told.items():
        print(
            f"12 {system}: {c['right']} of {c['n']} right; several right options {c['several_right']} of "
            f"{c['several']}; unreadable or refused {c['unreadable']}; never-choose options chosen {c['never']}"
        )


WRITTEN: Mapping[str, Callable[[str], str]] = {
    "letters": lambda key: key,
    "sentence": lambda key: f"The findings point one way.\n\n**Answer:** {key}",
    "boxed after thinking": lambda key: f"B, no, wait.\n</think>\n\\boxed{{{key}}}",
    "JSON": lambda key: json.dumps({"why": "because", "answer": key.split(", ")}),
    "French": lambda key: f"Réponse(s) correcte(s) : {key}",
    "Spanish": lambda key: f"La respuesta correcta es {key}.",
    "Japanese": lambda key: f"正解は{key.replace(', ', '、')}です。",
}


def written(data: Path) -> None:
    """Right answers written in several ways and read back; another letter must not be right."""
    cases: list[Case] = []
    for row in lines(data / "16_french_medmcqa" / "test_part.jsonl"):
        key = [letter.upper() for letter in row["correct_answers"]]
        cases.append(choice_case(f"16 {row['id']}", list(row["answers"].values()), key))
    for row in lines(data / "33_head_qa_es_en" / "test_medicine_nursing.jsonl.gz"):
        for language in ("es", "en"):
            cases.append(
                choice_case(f"33 {language} {row['id']}", row[f"answers_{language}"], [LETTERS[int(row["right"]) - 1]])
            )
    print("\n## Options: right answers written and read back (right answers read as right, wrong ones as wrong)")
    for name, write in WRITTEN.items():
        read = sum(mark_reply(case, write(", ".join(case.right))).correct is True for case in cases)
        other = [tuple(set(LETTERS[: len(case.options)]) - set(case.right))[:1] for case in cases]
        refused = sum(
            mark_reply(case, write(", ".join(wrong))).correct is False
            for case, wrong in zip(cases, other, strict=True)
            if wrong
        )
        print(f"16, 33 {name}: {read} of {len(cases)} right, {refused} of {sum(map(bool, other))} wrong")
    text = sum(
        mark_reply(case, case.options[LETTERS.index(case.right[0])]).correct is True
        for case in cases
        if len(case.right) == 1
    )
    print(f"16, 33 the option's own words: {text} of {sum(len(case.right) == 1 for case in cases)}")


def verdicts(data: Path) -> None:
    """PubMedQA: recorded people against the key, and the key written and read back."""
    packed = data / "10_pubmedqa" / "ori_pqal_train_500.json.gz"
    rows = json.loads(gzip.decompress(packed.read_bytes()))
    words = ("yes", "no", "maybe")
    print("\n## Yes, no, maybe")
    for column in ("reasoning_required_pred", "reasoning_free_pred"):
        marks = []
        for row_id, row in rows.items():
            case = choice_case(row_id, words, [LETTERS[words.index(row["final_decision"])]])
            marks.append(mark_choices(case, read_choices(row[column], row_id, words)).correct is True)
        print(f"10 {column}: {sum(marks)} of {len(marks)} right, {100 * sum(marks) / len(marks):.1f} %")
    ways = ("{}", "Answer: {}", "**{}**, the abstract says so.", "no... wait</think>{}.", '{{"answer": "{}"}}')
    right = sum(
        mark_reply(
            choice_case("10", words, [LETTERS[words.index(row["final_decision"])]]), way.format(row["final_decision"])
        ).correct
        is True
        for row in rows.values()
        for way in ways
    )
    print(f"10 key written in {len(ways)} ways and read back: {right} of {len(ways) * len(rows)}")


def numbers(data: Path) -> None:
    """MedCalc: right values inside the limits, values beyond them, dates, and the numbers of whole solutions."""
    ways = (
        "{}",
        "The result is {} mL/min/1.73 m².",
        "Using 140 - 2 x 3, score = {}",
        '{{"answer": {}}}',
        "\\boxed{{{}}}",
    )
    right = wrong = whole = n = 0
    rows = list(lines(data / "30_medcalc_one_shot" / "one_shot.jsonl"))
    for row in rows:
        key = row["Ground Truth Answer"]
        dated = row["Output Type"] == "date"
        limits = None if dated else (float(row["Lower Limit"]), float(row["Upper Limit"]))
        case = Case(id=row["Note ID"], vignette="not read here", diagnosis=key, kind="number", limits=limits)
        beyond = "01/01/1990" if dated else str(1.2 * float(key) + 1)
        for way in ways:
            if dated and "answer" in way:
                continue
            n += 1
            right += mark_reply(case, way.format(key)).correct is True
            wrong += mark_reply(case, way.format(beyond)).correct is False
        whole += mark_reply(case, row["Ground Truth Explanation"]).correct is True
    print("\n## Numbers with limits")
    print(f"30 right values read as right: {right} of {n}; values beyond the limits read as wrong: {wrong} of {n}")
    print(f"30 value found at the end of the written solutions: {whole} of {len(rows)}")


def speed(recorded: Recorded, knowledge: Any) -> None:
    """Seconds to load and to mark 10,000 answers, with nothing remembered."""
    start = time.perf_counter()
    cascade = Cascade(knowledge)
    loaded = time.perf_counter()
    grade(list(recorded.cases.values()), recorded.given[:10_000], cascade)
    print(f"\n## Speed\nloading {loaded - start:.1f} s, marking 10,000 answers {time.perf_counter() - loaded:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=DATA)
    parser.add_argument("--list", action="store_true", help="print false hits and misses in the words of the data")
    arguments = parser.parse_args()
    knowledge = load()
    cascade = Cascade(knowledge)
    sets = (avey(arguments.data), craft(arguments.data))
    for recorded in (*sets, as_replies(sets[1])):
        diagnoses(recorded, cascade, arguments.list)
    icd(arguments.data, cascade)
    options_recorded(arguments.data)
    igaku(arguments.data)
    written(arguments.data)
    verdicts(arguments.data)
    numbers(arguments.data)
    speed(sets[1], knowledge)


if __name__ == "__main__":
    main()

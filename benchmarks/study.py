"""Figures that others published, beside what `rounds study` makes of the same recorded answers.

    python benchmarks/study.py [--data ../shared/data]

Every block of 99_expected_statistics that compares two recorded models, the published accuracies of two papers, and the
two p values of doi.org/10.1007/s10916-026-02390-5 from the only tables that give them. Nothing is fetched and no model
is asked; a set that is not there is named and left out. Exit 1 when a figure is not reproduced.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rounds.cli.main import main as rounds
from rounds.exam.study_result import Result
from rounds.files import read_json
from rounds.records import Verdict

COUNTS = (
    ("n", "n"),
    ("both", "both_right"),
    ("only_after", "only_A_right"),
    ("only_before", "only_B_right"),
    ("neither", "both_wrong"),
    ("unpaired_after", "n_only_A"),
    ("unpaired_before", "n_only_B"),
)
RULES = 'title = "Recorded"\nmargin = 0.05\nwhy_margin = "one case in twenty"\n'


@dataclass(frozen=True)
class Source:
    """One file of recorded answers, and how it is read."""

    format: str
    path: str
    items: str = ""
    top: str = ""
    """Further lines of the study: groups, or which cases."""


AVEY = Source("avey", "01_avey_vignettes_five_ddx/recorded_ddx.jsonl")
TRIAGE = Source("triage", "02_semigran_triage/recorded_triage_mar25.jsonl", top='only = { set = "semigran" }\n')
CRAFT = Source("craft-md", "04_craft_md/recorded_answers.jsonl.gz", top='by = ["specialty"]\n')
MEDR = Source(
    "medr-bench",
    "06_medrbench/recorded_answers.jsonl.gz",
    "06_medrbench/cases.jsonl.gz",
    top='by = ["incidence"]\n',
)
MEDQA = Source("medagents", "09_medagents_recorded_mcq/medqa.answers.jsonl.gz")
PUBMED = Source("pubmedqa", "10_pubmedqa/ori_pqal_train_500.json.gz")
AFRIMED = Source("afrimedqa", "11_afrimedqa_recorded/answers_medqa.jsonl.gz")
IGAKU = Source("igakuqa", "12_igakuqa_ja_en/answers_2021.jsonl.gz", "12_igakuqa_ja_en/items_2021.jsonl.gz")
AMQA = Source("amqa", "13_amqa_counterfactual_answers/answers_deepseek_openai.jsonl.gz")
PCDT = Source("pcdt", "15_portuguese/pcdt_true_false_answers.jsonl.gz")
XSTEST = Source("xstest", "18_xstest/labelled_completions_llama2_pair.jsonl.gz", top='only = { prompt = "safe" }\n')

Side = tuple[str, int | None]
"""A model's name in its file, and the run or trial that counts."""


@dataclass(frozen=True)
class Block:
    """What one expected block compares; after is its A, before its B."""

    name: str
    source: Source
    after: Side
    before: Side
    group: str = "all"


def block_of(name: str) -> Block | None:
    """The comparison behind the name of a block; None for blocks of other figures."""
    head, _, tail = name.partition(": ")
    a, versus, b = tail.partition(" vs ")
    if run := re.fullmatch(r"01/avey gpt-4o run (\d) vs run (\d)", name):
        return Block(name, AVEY, ("gpt-4o-nov24", int(run[1]) - 1), ("gpt-4o-nov24", int(run[2]) - 1))
    if not versus:
        return None
    if run := re.fullmatch(r"01/avey run (\d)", head):
        return Block(name, AVEY, (a, int(run[1]) - 1), (b.partition(" (")[0], int(run[1]) - 1))
    if head == "02/triage":
        after, before = (one.removeprefix("semigran_").rpartition("_") for one in (a, b))
        return Block(name, TRIAGE, (after[0], int(after[2]) - 1), (before[0], int(before[2]) - 1))
    if head.startswith("04/craft trial 0"):
        group = head.partition(", ")[2]
        return Block(name, CRAFT, (a, 0), (b, 0), f"specialty={group}" if group else "all")
    if judge := re.fullmatch(r"06/judge (\w+)(?:, (.+))?", head):
        sides = ((f"{one}, judged by {judge[1]}", None) for one in (a, b))
        return Block(name, MEDR, *sides, group=f"incidence={judge[2]}" if judge[2] else "all")
    if head.startswith("13/"):
        stem = head.removeprefix("13/AMQA_Benchmark_Answer_").removesuffix(".jsonl")
        names = {"original_question": "original", "desensitized_question": "neutral"}
        return Block(name, AMQA, *((f"{stem}, {names.get(one, one)}", None) for one in (a, b)))
    if head == "10/pubmedqa human":
        return Block(name, PUBMED, *((f"human, {one.replace('-', ' ')}", None) for one in (a, b)))
    plain = {"09": MEDQA, "11": AFRIMED, "12": IGAKU, "15": PCDT, "18": XSTEST}
    return Block(name, plain[name[:2]], (a, None), (b, None)) if name[:2] in plain else None


def label(side: Side) -> str:
    """A side's name in the study."""
    return side[0] if side[1] is None else f"{side[0]} #{side[1]}"


def study(text: str, data: Path) -> Result:
    """Run a study and give its report.json."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "study.toml"
        path.write_text(text, encoding="utf-8")
        out = Path(directory) / "out"
        with contextlib.redirect_stdout(io.StringIO()):
            code = rounds(["study", str(path), "--data", str(data), "--out", str(out), "--json"])
        if code not in (0, 1, 3):
            sys.exit(code)
        return read_json(out / "report.json", Result)


def replayed(source: Source, blocks: list[Block], data: Path) -> Result:
    """One study of every model the blocks of a source name."""
    text = RULES + source.top
    for side in dict.fromkeys(side for block in blocks for side in (block.before, block.after)):
        told = {"format": source.format, "path": source.path, "model": side[0]}
        told |= {"items": source.items} if source.items else {}
        fields = ", ".join(f"{key} = {json.dumps(value)}" for key, value in told.items())
        sample = "" if side[1] is None else f", sample = {side[1]}"
        text += f"[[model]]\nname = {json.dumps(label(side))}\nrecorded = {{ {fields}{sample} }}\n"
    for before, after in dict.fromkeys((block.before, block.after) for block in blocks):
        text += f"[[pair]]\nbefore = {json.dumps(label(before))}\nafter = {json.dumps(label(after))}\n"
    return study(text, data)


def worst(verdict: Verdict, wanted: dict[str, Any]) -> float:
    """Largest relative difference from a block; infinite when a count differs."""
    if any(getattr(verdict, ours) != wanted[theirs] for ours, theirs in COUNTS):
        return float("inf")
    # The expected difference is rounded to six digits.
    apart = [abs(verdict.difference - wanted["diff_A_minus_B"])]
    return max(*apart, *(abs(getattr(verdict, f) / wanted[f] - 1) for f in ("p_exact", "p_midp")))


def blocks_of_sources(data: Path) -> bool:
    """Print every block beside its expectation; whether all are within 1e-6."""
    expected = json.loads((data / "99_expected_statistics" / "expected.json").read_text(encoding="utf-8"))
    found = [block for name in expected if (block := block_of(name)) is not None]
    by_source: dict[Source, list[Block]] = {}
    for block in found:
        by_source.setdefault(block.source, []).append(block)
    print(f"{len(found)} of {len(expected)} blocks compare two recorded models\n")
    print(f"{'block':<78} {'n':>5} {'gained':>6} {'lost':>5} {'exact p':>10} {'published':>10}  worst")
    fine = True
    for source, blocks in by_source.items():
        if not (data / source.path).is_file():
            print(f"{source.path}: not here, {len(blocks)} blocks left out")
            continue
        result = replayed(source, blocks, data)
        shown = {(v.before, v.after, v.group): v for v in (*result.report.verdicts, *result.report.cells)}
        for block in blocks:
            verdict, wanted = shown[label(block.before), label(block.after), block.group], expected[block.name]
            off = worst(verdict, wanted)
            fine &= off <= 1e-6
            print(
                f"{block.name[:78]:<78} {verdict.n:>5} {verdict.only_after:>6} {verdict.only_before:>5} "
                f"{verdict.p_exact:>10.3g} {wanted['p_exact']:>10.3g}  {off:.0e}"
            )
    return fine


def accuracies(data: Path) -> bool:
    """Accuracies that papers and their files print."""
    published = {MEDQA: {"DeepSeek-R1": 0.9206, "DeepSeek-V3": 0.7835}}
    scores = data / "11_afrimedqa_recorded" / "published_scores.json"
    if scores.is_file():
        rows = json.loads(scores.read_text(encoding="utf-8"))["scores"]
        published[AFRIMED] = {row["model"]: float(row["published_score"]) for row in rows}
    print("\naccuracy                              reproduced  published")
    fine = True
    for source, models in published.items():
        if not (data / source.path).is_file():
            print(f"{source.path}: not here")
            continue
        names = list(models)
        blocks = [Block("", source, (name, None), (names[0], None)) for name in names[1:]]
        found = replayed(source, blocks, data).report.models
        for name, value in models.items():
            right = float(found[name]["right"] or 0.0)
            # One published score, .5003 for .50039, was cut and not rounded.
            fine &= abs(right - value) < 1e-4
            print(f"{name:<38} {right:>9.4f} {value:>10.4f}")
    return fine


def paper() -> bool:
    """The p values of the paper that the design comes from: .008 and .003 at 110 cases."""
    tables = {"R1-671B against V3": (97, 0, 8, 5, 0.008), "R1-8B against Llama-8B": (43, 28, 9, 30, 0.003)}
    fine = True
    print("\ndoi.org/10.1007/s10916-026-02390-5      exact p  published  finding at margin 5 points, alpha .01")
    for name, (both, lost, gained, neither, published) in tables.items():
        rows = [(True, True)] * both + [(True, False)] * lost + [(False, True)] * gained + [(False, False)] * neither
        with tempfile.TemporaryDirectory() as directory:
            text = RULES
            for place, model in enumerate(("before", "after")):
                lines = [json.dumps({"case_id": str(i), "correct": row[place]}) + "\n" for i, row in enumerate(rows)]
                (Path(directory) / f"{model}.jsonl").write_text("".join(lines), encoding="utf-8")
                text += f'[[model]]\nname = "{model}"\nmarks = {{ path = "{model}.jsonl" }}\n'
            verdict = study(f'{text}[[pair]]\nbefore = "before"\nafter = "after"\n', Path(directory)).report.verdicts[0]
        fine &= round(verdict.p_exact, 3) == published
        print(f"{name:<38} {verdict.p_exact:>8.4f} {published:>10}  {verdict.finding}")
    return fine


def measure() -> int:
    """Print all three parts."""
    parser = argparse.ArgumentParser(description="figures reproduced by rounds study, beside the published ones")
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    data = parser.parse_args().data
    started = time.perf_counter()
    parts = [paper()]
    if (data / "99_expected_statistics" / "expected.json").is_file():
        parts += [blocks_of_sources(data), accuracies(data)]
    else:
        print(f"{data}: no recorded answers here; only the tables above were checked")
    print(f"\n{'all reproduced' if all(parts) else 'NOT all reproduced'}, {time.perf_counter() - started:.1f} s")
    return 0 if all(parts) else 1


if __name__ == "__main__":
    sys.exit(measure())

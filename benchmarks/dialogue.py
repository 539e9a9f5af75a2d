"""The scorer of records from conversations on real notes: planted faults found, and what copying out would score.

    python benchmarks/dialogue.py [DATA] [--model DIR]

Into each real record one fault at a time is planted: a statement left out, a statement of another
patient put in, a denial turned round, a number changed. Then `rounds grade --records` scores the patient's own
sentences as if they were the record: the floor that any model must pass. With `--model` a model of this machine writes
the records, held to the schema by its engine's grammar; conversations that fill its context are left out and counted.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rounds.cli.main import main as main_of_rounds
from rounds.engine.answering import context_of
from rounds.grade.dialogue import read_note, score, section_of, statements
from rounds.model.tokenizer import Codec
from rounds.prompts.template import render
from rounds.records import Case

DATA = Path(__file__).parents[2] / "shared" / "data"
Note = dict[str, list[str]]
TEMPLATE = "record@1"
ANSWER = 200
"""Tokens a record may take."""


def short(data: Path) -> Iterator[tuple[Note, str]]:
    """One section a conversation."""
    for name in ("MTS-Dialog-TestSet-1.csv", "MTS-Dialog-ValidationSet.csv"):
        with (data / "20_mts_dialog" / name).open(encoding="utf-8", newline="") as rows:
            for row in csv.DictReader(rows):
                section = section_of(row["section_header"])
                assert section is not None, row["section_header"]
                yield {section: [row["section_text"]]}, row["dialogue"]


def visits(data: Path) -> Iterator[tuple[Note, str]]:
    """Whole visits with whole notes."""
    for visit in json.loads((data / "21_aci_bench" / "valid.json").read_text(encoding="utf-8"))["data"]:
        yield read_note(visit["tgt"]), visit["src"]


def planted(name: str, records: list[tuple[Note, str]]) -> None:
    found: Counter[str] = Counter()
    for place, (note, dialogue) in enumerate(records):
        split = {section: [one.text for one in statements(texts)] for section, texts in note.items()}
        split = {section: texts for section, texts in split.items() if texts}
        if not split:
            continue
        section, texts = next(iter(split.items()))
        plain = score(split, split, dialogue).all
        found["whole"] += plain.right == plain.wanted
        found["records"] += 1
        less = split | {section: texts[1:]}
        found["left out, told"] += score(split, less, dialogue).all.omitted == 1
        stranger = next((t for other, _ in records[place + 7 :] for t in other.get(section, ()) if t), None)
        alien = statements([stranger])[:1] if stranger else []
        if alien and len(alien[0].words) >= 3:
            found["put in"] += 1
            found["put in, told"] += score(split, split | {section: [*texts, alien[0].text]}, dialogue).all.hallucinated
        one = statements(texts[:1])[0]
        if len(one.words) >= 2:
            turned = re.sub(r"^(?:no|denies) ", "", one.text, flags=re.I) if one.denied else f"no {one.text}"
            if statements([turned])[:1] and statements([turned])[0].denied != one.denied:
                found["turned"] += 1
                found["turned, told"] += (
                    score(split, split | {section: [turned, *texts[1:]]}, dialogue).all.right < plain.right
                )
        if one.numbers and len(one.words) >= 2:
            other = re.sub(r"\d+", "977", one.text)
            if other != one.text:
                found["number"] += 1
                changed = score(split, split | {section: [other, *texts[1:]]}, dialogue).all
                found["number, told"] += changed.hallucinated >= 1
    print(f"{name}: {found['whole']} of {found['records']} records wholly right against themselves")
    print(f"  a statement left out: told in {found['left out, told']} of {found['records']}")
    for what in ("put in", "turned", "number"):
        print(f"  {what}: told in {found[f'{what}, told']} of {found[what]}")


def copied(records: list[tuple[Note, str]]) -> None:
    """What the verb prints for the patient's words copied into the section that is longest in the record."""
    with tempfile.TemporaryDirectory() as home:
        rows: dict[str, list[dict[str, object]]] = {"cases": [], "records": [], "answers": []}
        for number, (note, dialogue) in enumerate(records):
            said = [
                sentence
                for line in dialogue.splitlines()
                if re.match(r"\W*patient\b", line, re.IGNORECASE)
                for sentence in re.split(r"(?<=[.?!])\s+", re.sub(r"^\W*\w+\W+", "", line))
            ]
            section = max(note, key=lambda name: len(" ".join(note[name])))
            rows["cases"].append(case_of(number, dialogue))
            rows["records"].append({"case_id": f"c{number}", "record": note})
            rows["answers"].append({"case_id": f"c{number}", "record": {section: said}})
        given = [word for name in rows for word in (f"--{name}", written(Path(home) / f"{name}.jsonl", rows[name]))]
        assert main_of_rounds(["grade", *given]) == 0


def case_of(number: int, dialogue: str) -> dict[str, object]:
    """A conversation as a case."""
    return {"id": f"c{number}", "vignette": dialogue, "diagnosis": "", "kind": "record"}


def written(path: Path, rows: list[dict[str, object]]) -> str:
    """The path, with the rows in it."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def asked(model: Path, records: list[tuple[Note, str]]) -> None:
    """What the verbs print for a model that writes records of the conversations short enough for it."""
    codec, context = Codec.load(model), context_of(model)
    cases: list[dict[str, object]] = []
    notes: list[dict[str, object]] = []
    for number, (note, dialogue) in enumerate(records):
        case = case_of(number, dialogue)
        prompt = codec.encode_prompt(render(Case.model_validate(case), TEMPLATE).messages)
        if len(prompt) + ANSWER <= context:
            cases.append(case)
            notes.append({"case_id": f"c{number}", "record": note})
    print(f"{len(cases)} of {len(records)} conversations leave room for {ANSWER} tokens in {model.name}", flush=True)
    if not cases:
        return
    with tempfile.TemporaryDirectory() as home:
        dialogues = written(Path(home) / "cases.jsonl", cases)
        said = str(Path(home) / "said")
        asking = ["--template", TEMPLATE, "--strategy", "structured", "--max-tokens", str(ANSWER), "--out", said]
        assert main_of_rounds(["examine", str(model), dialogues, *asking]) == 0
        references = written(Path(home) / "records.jsonl", notes)
        given = ["--cases", dialogues, "--records", references, "--answers", f"{said}/traces.jsonl"]
        assert main_of_rounds(["grade", *given]) == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, default=DATA)
    parser.add_argument("--model", type=Path, help="checkpoint or export that writes the records")
    given = parser.parse_args()
    for name, read in (("20 conversations", short), ("21 visits", visits)):
        try:
            records = list(read(given.data))
        except FileNotFoundError as error:
            print(f"{name}: skipped, {error.filename} is not there")
            continue
        planted(name, records)
        copied([(note, dialogue) for note, dialogue in records if note])
        if given.model is not None:
            asked(given.model, [(note, dialogue) for note, dialogue in records if note])


if __name__ == "__main__":
    main()

"""Records from conversations: golden counts, planted faults found, real notes against themselves."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rounds.grade.dialogue import Counts, read_note, score, section_of, sections_of, statements, total
from rounds.prompts.outputs import Consultation

SHARED = Path(__file__).parents[3] / "shared" / "data"
DIALOGUE = (
    "Doctor: What brings you in?\nPatient: My left knee has hurt for three weeks since a fall.\n"
    "Doctor: Any fever?\nPatient: No fever, no chills.\nDoctor: Medicines?\nPatient: Ibuprofen 400, twice a day.\n"
    "Doctor: Do you smoke?\nPatient: I smoke ten a day.\nDoctor: We will get an X-ray."
)
GOLD = {
    "present_illness": ["Left knee pain for 3 weeks after a fall."],
    "review_of_systems": ["Denies fever and chills."],
    "medications": ["Ibuprofen 400 mg twice a day."],
    "assessment": ["X-ray of the knee."],
}


def test_a_record_is_right_against_itself() -> None:
    found = score(GOLD, GOLD, DIALOGUE)
    assert found.all == Counts(right=5, wanted=5)
    assert (found.all.precision, found.all.recall, found.all.f1) == (1.0, 1.0, 1.0)
    assert (found.hallucinated, found.omitted) == ((), ())


def test_every_fault_is_told_apart() -> None:
    said = {
        "present_illness": ["Left knee pain three weeks after a fall.", "Chest pain at rest."],
        "review_of_systems": ["Fever.", "Denies chills."],
        "family_and_social": ["Smokes ten a day."],
        "past_history": ["X-ray of knee."],
        "medications": ["Ibuprofen 800 mg twice a day."],
    }
    found = score(GOLD, said, DIALOGUE)
    sections = found.sections
    assert sections["present_illness"] == Counts(right=1, hallucinated=1, wanted=1)
    # The denial turned round and the dose changed are inventions, though their words were heard.
    assert sections["review_of_systems"] == Counts(right=1, hallucinated=1, omitted=1, wanted=2)
    assert sections["medications"] == Counts(hallucinated=1, omitted=1, wanted=1)
    assert sections["family_and_social"] == Counts(unasked=1)
    assert sections["past_history"] == Counts(misplaced=1)
    assert sections["assessment"] == Counts(wanted=1)
    assert found.hallucinated == ("Chest pain at rest.", "Fever.", "Ibuprofen 800 mg twice a day.")
    assert found.omitted == ("no fever", "Ibuprofen 400 mg twice a day.")
    assert found.all.f1 == pytest.approx(2 * 2 / (7 + 5))


def test_an_empty_record_omits_everything_and_nothing_has_no_figures() -> None:
    found = score(GOLD, {}, DIALOGUE).all
    assert (found.omitted, found.recall, found.precision, found.f1) == (5, 0.0, None, 0.0)
    assert score({}, {}, "").all.f1 is None
    assert total([]) == Counts()


def test_lists_of_denials_fall_apart_and_numbers_are_read_in_words() -> None:
    assert [one.text for one in statements(["Denies fever, chills, or cough."])] == [
        "no fever",
        "no chills",
        "no cough",
    ]
    (one,) = statements(["Pain for three weeks"])
    assert one.numbers == {"3"}


def test_headings_of_several_sources() -> None:
    assert section_of("GENHX") == section_of("History of Present Illness:") == "present_illness"
    assert section_of("ASSESSMENT AND PLAN") == "assessment"
    assert section_of("WEATHER") is None
    note = "CHIEF COMPLAINT\n\nKnee pain.\n\nMEDICATIONS\n• Ibuprofen\n• Iron\nWEATHER\nRain.\n"
    assert read_note(note) == {"complaint": ["Knee pain."], "medications": ["Ibuprofen", "Iron"]}


def test_a_structured_record_becomes_sections() -> None:
    fields = {name: [] for name in Consultation.model_fields}
    record = Consultation.model_validate(fields | {"assessment": ["gout"], "plan": ["colchicine"]})
    assert sections_of(record)["assessment"] == ["gout", "colchicine"]
    assert "plan" not in sections_of(record)


texts = st.dictionaries(
    st.sampled_from(["complaint", "medications", "assessment", "other"]), st.lists(st.text(max_size=60), max_size=4)
)


@given(texts, texts, st.text(max_size=100))
def test_counts_add_up(wanted: dict[str, list[str]], said: dict[str, list[str]], dialogue: str) -> None:
    found = score(wanted, said, dialogue).all
    told = sum(len(statements(said.get(name, []))) for name in ("complaint", "medications", "assessment"))
    asked = sum(len(statements(wanted.get(name, []))) for name in ("complaint", "medications", "assessment"))
    assert (found.said, found.wanted) == (told, asked)
    assert found.right + found.omitted <= asked
    assert len(score(wanted, said, dialogue).hallucinated) == found.hallucinated


@pytest.mark.shared
def test_real_notes_are_right_against_themselves_and_empty_ones_are_not() -> None:
    path = SHARED / "21_aci_bench" / "valid.json"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    for visit in json.loads(path.read_text(encoding="utf-8"))["data"]:
        note = read_note(visit["tgt"])
        assert {"present_illness", "assessment"} & set(note)
        found = score(note, note, visit["src"])
        assert found.all.f1 == 1.0
        assert score(note, {}, visit["src"]).all.recall == 0.0


@pytest.mark.shared
def test_every_section_of_the_real_dialogues_is_known() -> None:
    path = SHARED / "20_mts_dialog" / "MTS-Dialog-ValidationSet.csv"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    with path.open(encoding="utf-8", newline="") as rows:
        for row in csv.DictReader(rows):
            section = section_of(row["section_header"])
            assert section is not None, row["section_header"]
            note = {section: [row["section_text"]]}
            assert score(note, note, row["dialogue"]).all.f1 in (1.0, None)

"""The specialty a case reads as, by what it states; and doubt where it states too little."""

import pytest

from rounds.knowledge.base import load
from rounds.serve.specialty import SURE, shares_of, specialty_of

CROUP = (
    "A 2-year-old boy has a barking cough, a hoarse voice and stridor. He has a runny nose and a fever. "
    "There is no drooling."
)
MENINGITIS = (
    "A 31-year-old man has headache, neck stiffness, vomiting, confusion and drowsiness. He had a seizure. "
    "There is no diarrhoea."
)


@pytest.mark.parametrize(("case", "specialty"), [(CROUP, "paediatrics"), (MENINGITIS, "neurology")])
def test_a_clear_case_is_read(case: str, specialty: str) -> None:
    shares = shares_of(case, load())
    assert sum(shares.values()) == pytest.approx(1)
    assert shares[specialty] >= SURE
    assert specialty_of(case, load()) == specialty


@pytest.mark.parametrize("case", ["", "A 40-year-old woman has a fever.", "El paciente tiene dolor.", "croup? asthma?"])
def test_too_little_is_doubt(case: str) -> None:
    assert specialty_of(case, load()) == ""


def test_age_rules_conditions_out() -> None:
    knowledge = load()
    oldest = max(one.age[1] for one in knowledge.conditions.values() if one.specialty == "paediatrics")
    grown = CROUP.replace("2-year-old boy", f"{round(oldest) + 30}-year-old man")
    assert "paediatrics" not in shares_of(grown, knowledge)

"""The language of a case: told by script and small words, and never guessed from shorthand."""

from __future__ import annotations

import pytest

from rounds.serve.language import NAMES, SCRIPTS, SMALL_WORDS, language_of, name_of

TEXTS = {
    "en": "A 67-year-old woman with sudden breathlessness since the morning, and no fever.",
    "es": "Mujer de 67 años con disnea súbita desde hace dos días, sin fiebre.",
    "fr": "Une femme de 67 ans avec une dyspnée brutale depuis le matin, sans fièvre.",
    "pt": "Uma mulher de 67 anos com dispneia há dois dias, sem febre.",
    "de": "Eine 67-jährige Frau mit Atemnot seit dem Morgen, ohne Fieber.",
    "it": "Una donna di 67 anni con dispnea da due giorni, senza febbre.",
    "nl": "Een vrouw van 67 jaar met benauwdheid sinds de ochtend, zonder koorts.",
    "pl": "Kobieta lat 67 z dusznością od dwóch dni, bez gorączki, nie pali.",
    "zh": "67岁女性，突发呼吸困难，无发热。",
    "ja": "67歳の女性。突然の呼吸困難で来院した。",
    "ru": "Женщина 67 лет, внезапная одышка, без лихорадки.",
    "ar": "امرأة تبلغ من العمر 67 عاما تعاني من ضيق التنفس",
}


@pytest.mark.parametrize("language", TEXTS)
def test_told(language: str) -> None:
    assert language_of(TEXTS[language]) == language


@pytest.mark.parametrize("text", ["", "67F, SOB, pleuritic CP, SpO2 89 %, HR 118", "118/72 36.8 °C", "🫀🫁", "a"])
def test_shorthand_cannot_be_told(text: str) -> None:
    assert language_of(text) == ""


def test_foreign_names_do_not_make_a_text_foreign() -> None:
    text = "She was seen by Dr. de la Cruz for a suspected Cri du chat syndrome, and has no other history of illness."
    assert language_of(text) == "en"


def test_every_language_has_a_name() -> None:
    assert {*SMALL_WORDS, *(code for code, _ in SCRIPTS)} == set(NAMES)
    assert name_of("de") == "German"
    assert name_of("xx") == "xx"

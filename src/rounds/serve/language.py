"""In which language a case is written, told by its script and by the small words that every sentence needs.

Small words are the most frequent of a language and stand in no other's vocabulary of disease, so a dozen of them a
language are enough for a paragraph. Notes without sentences ("67F, SOB, SpO2 89 %") hold none, and then the answer is
'' for "cannot be told", never a guess. Left out on purpose: a library, and telling apart languages that differ in few
small words beyond those listed.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

LETTERS = re.compile(r"[^\W\d_]+")
READ = 4000
"""Characters looked at."""
LEAST = 2
"""Small words of a language that must be there, and more of them than of any other."""
SHARE = 0.04
"""Least share of small words among all words: an English text with two French names is English."""
FOREIGN = 0.2
"""Share of letters of another script from which on the script decides."""

SMALL_WORDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        code: frozenset(words.split())
        for code, words in {
            "en": "the of and is with was has a an to for which her his no not she he from since by who at it",
            "es": "el los las una con por que del para y años sin paciente desde hace fue es se presenta",
            "fr": "le les une des du est avec dans pour et qui depuis ans sans patiente chez au elle il",
            "pt": "o os uma com por que do da dos e anos sem não paciente há foi em para ao",
            "de": "der die das ein eine und ist mit von den seit bei nicht ohne wird zu im auf dem",
            "it": "il gli una con di che della per e anni senza paziente da è nel non sono alla",
            "nl": "de het een en van met is sinds zonder niet bij heeft op aan voor te die jaar",
            "pl": "i w z na się od jest nie do bez pacjentka pacjent oraz przez lat po roku",
            "sv": "och en ett med som har inte sedan för på är av den utan från år",
            "da": "og en et med som har ikke siden for på er af den uden fra år",
            "fi": "ja on ei se oli hän joka mutta sekä vuotias ilman kanssa",
            "tr": "ve bir ile olan için yok var daha gibi yaşında hasta",
            "ro": "și cu un de la în pe care este fără din nu ani pacientă",
            "cs": "a s v na je se od bez pacientka pacient který není let po",
            "hu": "a az és egy hogy nem van volt éves nélkül beteg",
            "vi": "và của là có không bệnh nhân với một được trong tuổi",
            "id": "dan yang dengan di dari tidak pasien ini untuk tahun sejak tanpa",
        }.items()
    }
)
"""Language (ISO 639-1) to the small words it shows itself by, case folded."""

SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("zh", re.compile(r"[\u3400-\u9fff]")),
    ("ko", re.compile(r"[\uac00-\ud7af\u1100-\u11ff]")),
    ("ru", re.compile(r"[\u0400-\u04ff]")),
    ("el", re.compile(r"[\u0370-\u03ff]")),
    ("he", re.compile(r"[\u0590-\u05ff]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
    ("hi", re.compile(r"[\u0900-\u097f]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
)
"""A script stands for its most spoken language; `ru` stands for every language in Cyrillic, and so on."""

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "en": "English", "es": "Spanish", "fr": "French", "pt": "Portuguese", "de": "German", "it": "Italian",
        "nl": "Dutch", "pl": "Polish", "sv": "Swedish", "da": "Danish or Norwegian", "fi": "Finnish", "tr": "Turkish",
        "ro": "Romanian", "cs": "Czech or Slovak", "hu": "Hungarian", "vi": "Vietnamese", "id": "Indonesian or Malay",
        "ja": "Japanese", "zh": "Chinese", "ko": "Korean", "ru": "a language in Cyrillic script", "el": "Greek",
        "he": "Hebrew", "ar": "a language in Arabic script", "hi": "a language in Devanagari script", "th": "Thai",
    }
)  # fmt: skip
"""What a reader is told."""


def language_of(text: str) -> str:
    """ISO 639-1 code of the language a text is written in, '' when it cannot be told."""
    start = text[:READ]
    words = LETTERS.findall(start.casefold())
    letters = sum(map(len, words))
    # Kana first: Japanese is written with Chinese signs too.
    for code, script in SCRIPTS:
        needed = 0.05 if code == "ja" else FOREIGN
        if len(script.findall(start)) > needed * max(letters, 1):
            return code
    counts = Counter({code: sum(word in small for word in words) for code, small in SMALL_WORDS.items()})
    (best, most), (_, second) = counts.most_common(2)
    sure = most >= max(LEAST, SHARE * len(words)) and most > second
    return best if sure else ""


def name_of(code: str) -> str:
    """The name of a language in English, its code where it has none here."""
    return NAMES.get(code, code)

"""Reads replies to questions that are not lists of diagnoses: letters of options, yes/no/maybe, numbers and dates.

The surest sign wins: JSON, then what is stated as the answer ('Answer: C', '正解はa、d', '\\boxed{B}', the last such
statement, as models correct themselves), then a reply that is or begins with letters, then the one option whose words
it repeats. Reasoning before `</think>` is ignored. What says two things at once is unreadable, and so is a reply that
only talks. Left out on purpose: whether the answer is right (`rounds.grade.choice`), and values with other units.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence

from rounds.prompts.reader import REFUSES, after_thinking
from rounds.records import LETTERS, Answer

STATED = re.compile(
    r"(?:\b(?:final|correct|best|right)?\s*(?:answers?|choices?|options?|antwort(?:en)?|r[ée]ponses?|respuestas?|"
    r"respostas?|risposta|risposte|opci[oó]n(?:es)?)\b(?:\(s\))?(?:\s+(?:is|are|would be|ist|sind|est|sont|es|son|é|è|"
    r"sono|(?:correcta|correcte|exacte|richtig|vraie)(?:s|\(s\))?)(?!\w))*|正解|正答|答え|解答|回答|答案)\s*(?:は|:|：|=|-\s|\*\*)*\s*(?P<said>\S[^\n]*)",
    re.IGNORECASE,
)
BOXED = re.compile(r"\\boxed\s*\{\s*(?:\\text\s*\{)?\s*(?P<said>[^{}\n]+)\}")
BETWEEN = r"\s*(?:[,、;/&+と]|\b(?:and|et|y|und)\b)\s*"
LEADING = re.compile(
    rf"^[\s(\[\"'*_（]*(?:options?\s+)?(?P<letters>[A-Za-z](?:{BETWEEN}[A-Za-z])*)"
    r"(?=[\s)\]）.:：,，。*_\"'ぁ-んァ-ヶ一-龯]|$)(?P<rest>.*)$",
    re.DOTALL | re.IGNORECASE,
)
SEVERAL = re.compile(r"\b(?:all|none) of the (?:above|options)\b", re.IGNORECASE)
NUMERAL = re.compile(r"^[\s(\[\"'*]*(?P<number>\d{1,2})[\s)\].:\"'*]*$")
WORDS = {
    "yes": "yes|oui|s[ií]|ja|はい|sim",
    "no": "no|non|nein|いいえ|não",
    "maybe": "maybe|peut-être|quizás|tal vez|vielleicht|talvez|uncertain|unclear|inconclusive|不明",
}
NUMBER = re.compile(
    r"(?<![\w/.,])[-−+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:[.,]\d+)?(?:\s?[eE]\s?[-+]?\d{1,3}\b)?(?![\w/]*\d)"
)
DATE = re.compile(r"(?<![\d/.-])(\d{1,2})/(\d{1,2})/(\d{4})(?![\d/])|(?<![\d/-])(\d{4})-(\d{2})-(\d{2})(?![\d-])")


def read_choices(reply: str, case_id: str, options: Sequence[str]) -> Answer:
    """The letters a reply chooses among the options; never raises.

    A number is taken as the place of an option where no option is that number itself.
    """
    text = after_thinking(reply)
    if {option.strip().casefold() for option in options} == set(WORDS):
        found = _verdict(text, options)
    else:
        found = _letters(text, options)
    refused = not found and bool(REFUSES.search(text))
    return Answer(case_id=case_id, choices=found, refused=refused, unreadable=not found and not refused)


def read_number(reply: str) -> float | None:
    """The number a reply gives as its answer, None when it gives none or several; never raises."""
    text = unicodedata.normalize("NFKC", after_thinking(reply))
    value = _json(text)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        text = value
    for part in reversed(_statements(text)):
        found = NUMBER.findall(part)
        if found:
            return _value(found[0])
    found = NUMBER.findall(text)
    distinct = {_value(number) for number in found}
    if len(distinct) == 1:
        return distinct.pop()
    after_equals = re.findall(r"[=≈≒]\s*([^=≈≒\n]+)", text)
    last = NUMBER.findall(after_equals[-1]) if after_equals else []
    return _value(last[0]) if last else None


def read_date(reply: str) -> tuple[int, int, int] | None:
    """The last date of a reply as (year, month, day), from month/day/year or ISO form; None without one."""
    found = DATE.findall(unicodedata.normalize("NFKC", after_thinking(reply)))
    if not found:
        return None
    month, day, year, iso_year, iso_month, iso_day = found[-1]
    return (int(iso_year), int(iso_month), int(iso_day)) if iso_year else (int(year), int(month), int(day))


def _letters(text: str, options: Sequence[str]) -> tuple[str, ...]:
    plain = unicodedata.normalize("NFKC", text).strip()
    value = _json(plain)
    if isinstance(value, list):
        value = ", ".join(str(item) for item in value)
    if isinstance(value, str | int) and not isinstance(value, bool):
        found = _chosen(str(value), options)
        if found:
            return found
    for part in reversed(_statements(plain)):
        found = _chosen(part, options) or _repeated(part, options)
        if found:
            return found
    return _chosen(plain, options) or _repeated(plain, options)


def _chosen(text: str, options: Sequence[str]) -> tuple[str, ...]:
    """Letters a text is or begins with; a sentence that begins with the word 'a' or 'I' chooses nothing."""
    last = LETTERS[len(options) - 1]
    whole = " ".join(text.split()).strip(" .*\"'")
    if len(whole) == 1 and "A" <= whole.upper() <= last:
        return (whole.upper(),)
    for place, option in enumerate(options):
        if whole.casefold() == option.strip(" .").casefold():
            return (LETTERS[place],)
    numeral = NUMERAL.match(whole)
    if numeral and 1 <= int(numeral["number"]) <= len(options):
        return (LETTERS[int(numeral["number"]) - 1],)
    joined = whole.upper()
    if (
        2 <= len(joined) <= len(options)
        and len(set(joined)) == len(joined)
        and joined.isalpha()
        and whole != joined.title()
    ):
        inside = tuple(sorted(joined))
        return inside if inside[-1] <= last and inside[0] >= "A" else ()
    match = LEADING.match(whole)
    if not match:
        return ()
    parts = re.split(BETWEEN, match["letters"].upper(), flags=re.IGNORECASE)
    letters = tuple(sorted({part for part in parts if part}))  # "Y" alone is an "and" in Spanish
    if not letters or letters[-1] > last:
        return ()
    rest = match["rest"]
    marked = (
        len(letters) > 1 or not rest.strip(" )].*_\"'") or re.match(r"^[*_\s]*[)\].:：,，。（(*ぁ-んァ-ヶ一-龯]", rest)
    )
    return letters if marked or _begins(rest, options[LETTERS.index(letters[0])]) else ()


def _begins(rest: str, option: str) -> bool:
    return rest.strip().casefold().startswith(option.strip(" .").casefold())


def _repeated(text: str, options: Sequence[str]) -> tuple[str, ...]:
    """The one option whose words stand in the text, when no other's do; an option inside a longer one gives way."""
    if SEVERAL.search(text):
        return ()
    said = f" {_words(text)} "
    found = []
    for place, option in enumerate(options):
        words = _words(option)
        if words and f" {words} " in said:
            found.append((words, LETTERS[place]))
    longest = [letter for words, letter in found if not any(words != other and words in other for other, _ in found)]
    return tuple(longest) if len(longest) == 1 else ()


def _words(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))


def _verdict(text: str, options: Sequence[str]) -> tuple[str, ...]:
    """Yes, no or maybe: stated as the answer, or the first word, or the only one of the three in the reply."""
    plain = unicodedata.normalize("NFKC", text).strip()
    value = _json(plain)
    places = {option.strip().casefold(): LETTERS[place] for place, option in enumerate(options)}
    parts = [value] if isinstance(value, str) else list(reversed(_statements(plain)))
    for part in (*parts, plain):
        for word, spellings in WORDS.items():
            if re.match(rf"[\s\"'*_(]*(?:{spellings})(?![\w-])", part, re.IGNORECASE):
                return (places[word],)
        letter = re.fullmatch(r"[\s(\"'*]*([A-C])[\s).\"'*]*", part)
        if letter:
            return (letter[1],)
    said = {word for word in WORDS if re.search(rf"\b{word}\b", plain, re.IGNORECASE)}
    return (places[said.pop()],) if len(said) == 1 else ()


def _statements(text: str) -> list[str]:
    """What the text states as its answer, in order."""
    found = [(match.start(), match["said"]) for pattern in (STATED, BOXED) for match in pattern.finditer(text)]
    return [said.strip(" *`$") for _, said in sorted(found)]


def _json(text: str) -> object:
    """The answer field of a JSON object, or None."""
    start, end = text.find("{"), text.rfind("}")
    try:
        value = json.loads(text[start : end + 1]) if 0 <= start < end else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    return next((item for key, item in value.items() if re.match(r"(?:final_?)?(?:answer|choice)", key, re.I)), None)


def _value(number: str) -> float:
    """A number as written: commas before three digits part thousands, another comma is the decimal one."""
    bare = number.replace("−", "-").replace(" ", "")
    if re.fullmatch(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?(?:[eE][-+]?\d+)?", bare):
        bare = bare.replace(",", "")
    return float(bare.replace(",", "."))

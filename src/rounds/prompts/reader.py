"""Reads a reply into an Answer: five diagnoses, red flags, or an abstention.

Takes numbered and bulleted lists, a JSON list, and `**Final Diagnosis:**` headings, with or without reasoning before a
`</think>`. An unreadable reply is marked so and counted as a miss, never dropped. Left out on purpose: judging whether
a diagnosis is right (`rounds.grade`).
"""

from __future__ import annotations

import json
import re

from rounds.records import Answer

MOST = 5

NUMBERED = re.compile(
    r"^[\s>]*(?:\*\*|#+\s*)?(?:[(（\[]?\d{1,2}(?:[.)、）:．\]](?!\d)|\s+[-–—]\s|\s*[.)]?\*\*)|[①-⑤])\s*(?:\*\*)?\s*(?P<text>\S.*)$"
)
BULLET = re.compile(r"^\s*[-*•·‣]\s+(?P<text>\S.*)$")
RED_FLAGS = re.compile(r"^\W*red[ -]?flags?\W*[:：]\s*(?P<text>.*)$", re.IGNORECASE)
HEADING = re.compile(r"^\W*final diagnos[ie]s\W*[:：]\W*(?P<text>.*)$", re.IGNORECASE)
ABSTAINS = re.compile(
    r"\b(?:cannot|can['’]t|can not|unable to) place this case\b|\boutside what i know\b", re.IGNORECASE
)
REFUSES = re.compile(
    r"\bi(?:['’]m| am) (?:sorry|unable)\b.*\b(?:cannot|can['’]t|help|assist)\b"
    r"|\bi (?:cannot|can['’]t|can not|won['’]t|will not) (?:help|assist|provide)\b",
    re.IGNORECASE,
)
EXPLANATION = re.compile(r"\s*(?:[:：]\s|\s[-–—]\s|\s\(|（).*$")
NONE = {"none", "no red flags", "nil", "-", "n/a"}


def read_reply(reply: str, case_id: str) -> Answer:
    """Read one reply, whatever it is: nothing is raised.

    Reasoning before `</think>` is ignored; reasoning that never ends leaves no reply.
    """
    text = reply.rsplit("</think>", 1)[-1].strip()
    if text.startswith("<think>"):
        text = ""
    flags = _red_flags(text)
    found = _json_list(text) or _listed(text) or _headed(text)
    diagnoses = _distinct(found)
    if not diagnoses and ABSTAINS.search(text):
        return Answer(case_id=case_id, red_flags=flags, abstained=True)
    if not diagnoses and REFUSES.search(text):
        return Answer(case_id=case_id, red_flags=flags, refused=True)
    return Answer(case_id=case_id, diagnoses=diagnoses, red_flags=flags, unreadable=not diagnoses)


def _listed(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if not RED_FLAGS.match(line)]
    numbered = [match["text"] for line in lines if (match := NUMBERED.match(line))]
    return numbered or [match["text"] for line in lines if (match := BULLET.match(line))]


def _headed(text: str) -> list[str]:
    for line in text.splitlines():
        match = HEADING.match(line)
        if match and match["text"].strip("* "):
            return [match["text"]]
    return []


def _json_list(text: str) -> list[str]:
    """The names of a JSON list, or of the list under a key that speaks of diagnoses."""
    for opening, closing in (("{", "}"), ("[", "]")):
        start, end = text.find(opening), text.rfind(closing)
        try:
            value = json.loads(text[start : end + 1]) if 0 <= start < end else None
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            value = next((v for k, v in value.items() if "diagnos" in k.lower() and isinstance(v, list)), None)
        if isinstance(value, list):
            names = [item.get("diagnosis", item.get("name")) if isinstance(item, dict) else item for item in value]
            return [name for name in names if isinstance(name, str)]
    return []


def _red_flags(text: str) -> tuple[str, ...]:
    for line in text.splitlines():
        match = RED_FLAGS.match(line)
        if match:
            whole = match["text"].encode("utf-8", "replace").decode()
            parts = (part.strip(" .*") for part in re.split(r"[;；]", whole))
            return tuple(part for part in parts if part and part.lower() not in NONE)
    return ()


def _distinct(found: list[str]) -> tuple[str, ...]:
    """Names without their explanations; duplicates collapse, a sixth is ignored, 'X or Y' takes two places."""
    names: list[str] = []
    for item in found:
        if ABSTAINS.search(item) or REFUSES.search(item):
            continue
        # Half of a surrogate pair, which JSON can spell and UTF-8 cannot, would not fit into a record.
        whole = item.encode("utf-8", "replace").decode()
        bare = EXPLANATION.sub("", whole.replace("**", "")).strip(" .,;*_\t")
        for name in re.split(r"\s+or\s+", bare, flags=re.IGNORECASE):
            if name and name.casefold() not in {known.casefold() for known in names}:
                names.append(name)
    return tuple(names[:MOST])

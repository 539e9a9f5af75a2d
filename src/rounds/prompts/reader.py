"""Reads a reply into an Answer: five diagnoses, red flags, or an abstention.

Takes numbered, lettered and bulleted lists with the marks of several languages, one item a line or all on one, a JSON
list, a list in brackets, and `**Final Diagnosis:**` headings, with or without reasoning before a `</think>`. An
unreadable reply is marked so and counted as a miss, never dropped. Left out on purpose: judging whether a diagnosis is
right (`rounds.grade`), and options, numbers, yes or no (`rounds.prompts.choices`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

from rounds.records import Answer

MOST = 5

NUMBERED = re.compile(
    r"^[\s>]*(?:\*\*|#+\s*)?(?:(?:diagn\w+|診断|诊断|diagnóstico)\s*#?\s*(?=\d))?"
    r"(?:[(（\[]?\d{1,2}(?:\s?[.)、）:．：º°ª\]]-?(?!\d)|\s+[-–—]\s|\s*[.)]?\*\*)|[①-⑤]|[一二三四五][、.．)）])"
    r"\s*(?:\*\*)?\s*(?P<text>\S.*)$",
    re.IGNORECASE,
)
LETTERED = re.compile(r"^[\s>]*(?:\*\*)?[(（]?(?:i{1,3}|iv|v|[a-e])[.)）]\s+(?:\*\*)?(?P<text>\S.*)$", re.IGNORECASE)
INLINE = re.compile(r"(?:(?<=\s)|^)(?:[(（]?[1-9][.)）](?=\s)|[①-⑤])\s*")
BULLET = re.compile(r"^\s*[-–—*+•·・‣●○▪►]\s+(?P<text>\S.*)$")
BRACKETED = re.compile(r"\[([^\[\]{}\"]+)\]")
RED_FLAGS = re.compile(r"^\W*(?:red[ -]?flags?|signos de alarma|危险信号)\W*[:：]\s*(?P<text>.*)$", re.IGNORECASE)
HEADING = re.compile(
    r"^\W*(?:final diagnos[ie]s|(?:most likely|probable|leading) diagnosis|diagnostic (?:final|retenu)|"
    r"diagn[oó]stico(?: final)?|(?:end)?diagnose|diagnosi(?: finale)?|最終診断|診断名|最终诊断)\W*[:：](?P<text>.*)$",
    re.IGNORECASE,
)
ABSTAINS = re.compile(
    r"\b(?:cannot|can['’]t|can not|unable to) place this case\b|\boutside what i know\b"
    r"|\bno puedo situar este caso\b|无法归类此病例",
    re.IGNORECASE,
)
REFUSES = re.compile(
    r"\bi(?:['’]m| am) (?:sorry|unable)\b.*\b(?:cannot|can['’]t|help|assist)\b"
    r"|\bi (?:cannot|can['’]t|can not|won['’]t|will not) (?:help|assist|provide)\b",
    re.IGNORECASE,
)
EXPLANATION = re.compile(r"\s*(?::\s|：|\s[-–—]\s|\s\(|（).*$")
NONE = {"none", "no red flags", "nil", "-", "n/a", "ninguno", "ninguna", "无"}


def read_reply(reply: str, case_id: str) -> Answer:
    """Read one reply, whatever it is: nothing is raised.

    Reasoning before `</think>` is ignored; reasoning that never ends leaves no reply.
    """
    text = after_thinking(reply)
    flags = _red_flags(text)
    found = _json_list(text) or _listed(text) or _bracketed(text) or _headed(text) or _inline(text)
    diagnoses = _distinct(found)
    if not diagnoses and ABSTAINS.search(text):
        return Answer(case_id=case_id, red_flags=flags, abstained=True)
    if not diagnoses and REFUSES.search(text):
        return Answer(case_id=case_id, red_flags=flags, refused=True)
    return Answer(case_id=case_id, diagnoses=diagnoses, red_flags=flags, unreadable=not diagnoses)


def after_thinking(reply: str) -> str:
    """The reply without its reasoning: what follows the last `</think>`, opened or not; '' when it never ends."""
    text = reply.rsplit("</think>", 1)[-1].strip()
    return "" if text.startswith("<think>") else text


def _listed(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if not RED_FLAGS.match(line)]
    numbered = [match["text"] for line in lines if (match := NUMBERED.match(line))]
    if len(numbered) == 1 and len(parts := INLINE.split(f"1. {numbered[0]}")) > 2:
        return [part for part in parts if part.strip()]
    if numbered:
        return numbered
    lettered = [match["text"] for line in lines if (match := LETTERED.match(line))]
    return lettered if len(lettered) > 1 else [match["text"] for line in lines if (match := BULLET.match(line))]


def _bracketed(text: str) -> list[str]:
    """Names in brackets without quotation marks, as in `DIAGNOSIS READY: [gout, flu]`; the last such list."""
    found = [inside for inside in BRACKETED.findall(text) if "," in inside and re.search(r"[^\W\d_]{3}", inside)]
    return re.split(r",\s*(?![^()]*\))", found[-1]) if found else []


def _headed(text: str) -> list[str]:
    """What a heading names, behind its colon or on the next line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip("*_# \t")]
    for line, after in zip(lines, [*lines[1:], ""], strict=False):
        match = HEADING.match(line)
        if match:
            said = match["text"].strip("*_ \t") or after.strip("*_# \t")
            return [said] if said else []
    return []


def _inline(text: str) -> list[str]:
    """Items of a list written on one line: '1. gout 2. flu 3. croup', from the first item on."""
    for line in text.splitlines():
        parts = INLINE.split(line)
        if len(parts) > 2:
            return [part for part in parts[1:] if part.strip()]
    return []


def _json_list(text: str) -> list[str]:
    """The names of a JSON list, or of the list under a key that speaks of diagnoses."""
    for signs in ("{}", "[]"):
        value = _json(text, *signs)
        if isinstance(value, dict):
            value = next((v for k, v in value.items() if "diagnos" in k.lower() and isinstance(v, list)), None)
        if isinstance(value, list):
            names = [item.get("diagnosis", item.get("name")) if isinstance(item, dict) else item for item in value]
            return [name for name in names if isinstance(name, str)]
    return []


def _json(text: str, opening: str, closing: str) -> Any:
    """The JSON value from the first opening to the last closing sign, None where there is none."""
    start, end = text.find(opening), text.rfind(closing)
    try:
        return json.loads(text[start : end + 1]) if 0 <= start < end else None
    except (ValueError, RecursionError):
        return None


def _red_flags(text: str) -> tuple[str, ...]:
    for line in text.splitlines():
        match = RED_FLAGS.match(line)
        if match:
            return _flags(re.split(r"[;；]", match["text"]))
    value = _json(text, "{", "}")
    listed = value.get("red_flags") if isinstance(value, dict) else None
    return _flags([flag for flag in listed if isinstance(flag, str)]) if isinstance(listed, list) else ()


def _flags(parts: Iterable[str]) -> tuple[str, ...]:
    bare = (part.encode("utf-8", "replace").decode().strip(" .*") for part in parts)
    return tuple(part for part in bare if part and part.lower() not in NONE)


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

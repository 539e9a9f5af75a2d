"""Marks out of the logs of other programs: lm-evaluation-harness (`--log_samples`) and Inspect (`.eval`, `.json`).

Told apart by content, never by name; neither program is needed. A log may hold several figures a case: which one counts
is the caller's choice, and where it is left open the reading stops with a sentence that lists them. Nothing is
dichotomised in silence either: a figure other than 0 and 1 needs the value from which on it counts as right. Formats:
lm_eval/result_schema.py (SampleResult) of EleutherAI/lm-evaluation-harness 0.4.13; inspect_ai/log/_log.py (EvalSample,
EvalSampleSummary) and design/large-samples.md of UKGovernmentBEIS/inspect_ai, log versions 1 and 2. Left out on
purpose: answers and prompts, which no paired test needs, and writing such logs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite, isnan
from pathlib import Path
from typing import Any, Literal

from rounds.exam import archive
from rounds.files import read_text, unreadable
from rounds.records import UserError

Kind = Literal["lines", "inspect archive", "inspect document"]

HEAD = 65_536
"""Bytes looked at to tell the kind of a file."""
LONGEST_DOCUMENT = 1 << 30
"""Bytes of an Inspect `.json` log, which has to be read as a whole."""
LONGEST_COLUMN = 200
"""Characters of a value that can be grouped by; longer texts are questions and answers, not columns."""

FIXED = frozenset(
    {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"}
    | {"doc_hash", "prompt_hash", "target_hash"}
)
"""Fields of a line of lm-evaluation-harness that are no metrics."""

LETTERS = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
"""Inspect's correct, incorrect, partial and no answer."""
WORDS = {"yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""What else Inspect's own value_to_float takes for a number."""


@dataclass(slots=True)
class Entry:
    """One mark as it stands in a file: one sample of one case."""

    case_id: str
    correct: bool | None
    """None: cannot be graded."""
    sample: int = 0
    where: str | int = 0
    """Line number, or the name of the sample where the file has no lines."""
    red_flags: bool | None = None
    groups: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which figure of a log counts, and from which value on it counts as right."""

    metric: str = ""
    """`acc`; `exact_match,strict-match` names the filter too, as lm-evaluation-harness does; for Inspect the scorer,
    and after the comma the key of a score that has several values. '' where the log holds only one."""
    right_from: float | None = None

    @property
    def name(self) -> str:
        return self.metric.partition(",")[0].strip()

    @property
    def part(self) -> str:
        return self.metric.partition(",")[2].strip()


def kind_of(path: Path) -> Kind:
    """What to read a file as, by its first bytes.

    Raises:
        UserError: unreadable; packed; not UTF-8; or a file of lm-evaluation-harness that holds no single cases.
    """
    if not path.is_file():
        return "lines"  # a pipe can be read only once; what is missing is said by who opens it
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise unreadable(path, error) from error
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "inspect archive"
    if head.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ")):
        raise UserError(f"{path}: is compressed; unpack it first.")
    if b"\0" in head or head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path}: is not UTF-8 but UTF-16 or no text at all; save the file as UTF-8.")
    if re.match(rb'(\xef\xbb\xbf)?\s*\{\s*"version"\s*:\s*\d+\s*,\s*"status"\s*:', head):
        return "inspect document"
    if re.match(rb'(\xef\xbb\xbf)?\s*\{\s*"results"\s*:\s*\{', head):
        raise UserError(
            f"{path}: holds the results of lm-evaluation-harness without single cases; "
            "run it with --log_samples and give the samples_*.jsonl."
        )
    return "lines"


def is_harness(row: Mapping[str, Any]) -> bool:
    """Whether a line is one of lm-evaluation-harness."""
    return "doc_id" in row and ("resps" in row or "filtered_resps" in row or "doc_hash" in row)


@dataclass(slots=True)
class Harness:
    """Reads the lines of one samples_*.jsonl; remembers what was chosen on the first line."""

    choice: Choice
    metric: str = ""
    filter: str | None = None
    others: set[str] = field(default_factory=set)
    """Filters that were not chosen."""

    def read(self, row: Mapping[str, Any], number: int, path: Path) -> Entry | None:
        """The entry of a line; None when another filter than the chosen one made it.

        Raises:
            UserError: no id, several metrics or filters and none chosen, a value that is neither right nor wrong.
        """
        where = f"{path}:{number}"
        filtered = row.get("filter", "none")
        if not isinstance(filtered, str):
            raise UserError(f"{where}: filter is {_short(filtered)}, not a text; write the log anew.")
        if self.choice.part and filtered != self.choice.part:
            self.others.add(filtered)
            return None
        self.metric = self.metric or self._metric(row, where)
        if self.filter is None:
            self.filter = filtered
        elif filtered != self.filter:
            raise UserError(
                f"{where}: is filtered by {filtered!r} and earlier lines by {self.filter!r}; "
                f"choose one with --metric {self.metric},{filtered}."
            )
        if self.metric not in row:
            raise UserError(f"{where}: has no metric '{self.metric}'; use one of {_list(_metrics(row))}.")
        correct = _right(row[self.metric], self.choice.right_from, self.metric, where)
        return Entry(_harness_id(row, where), correct, 0, number, None, _columns(row.get("doc")))

    @property
    def chosen(self) -> str:
        """As it can be given to `--metric`."""
        return self.metric if self.filter in (None, "none") else f"{self.metric},{self.filter}"

    def _metric(self, row: Mapping[str, Any], where: str) -> str:
        found = _metrics(row)
        if self.choice.name:
            if self.choice.name not in row or self.choice.name in FIXED:
                raise UserError(f"{where}: has no metric '{self.choice.name}'; use one of {_list(found)}.")
            return self.choice.name
        if not found:
            raise UserError(f"{where}: has no metric that is a number or true or false; choose one with --metric.")
        if len(found) > 1:
            raise UserError(f"{where}: holds several metrics ({_list(found)}); choose one with --metric {found[0]}.")
        return found[0]


def _metrics(row: Mapping[str, Any]) -> list[str]:
    """Names of the figures of a line that are single numbers; older versions do not list them."""
    named = row.get("metrics")
    names = named if isinstance(named, list) else [key for key in row if key not in FIXED]
    return [name for name in names if isinstance(name, str) and isinstance(row.get(name), bool | int | float)]


def _harness_id(row: Mapping[str, Any], where: str) -> str:
    """doc_id with the start of the document's hash: the same number of another version of a task is another case."""
    name, digest = row.get("doc_id"), row.get("doc_hash", "")
    if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
        raise UserError(f"{where}: doc_id {_short(name)} is not an id; write the log anew.")
    if not isinstance(digest, str):
        raise UserError(f"{where}: doc_hash {_short(digest)} is not a text; write the log anew.")
    return f"{name}:{digest[:16]}" if digest else str(name)


@dataclass(slots=True)
class Inspect:
    """Reads the samples of one Inspect log; remembers what was chosen on the first scored sample."""

    choice: Choice
    scorer: str = ""
    key: str = ""
    ids: set[type] = field(default_factory=set)

    def read(self, sample: object, path: Path) -> Entry:
        """The entry of one epoch of one sample; not gradable where it has no score, as after an error.

        Raises:
            UserError: not a sample, several scorers or keys and none chosen, a value that is neither right nor wrong.
        """
        if not isinstance(sample, dict):
            raise UserError(f"{path}: holds {_short(sample)} in place of a sample; write the log anew.")
        name, epoch = sample.get("id"), sample.get("epoch", 1)
        if isinstance(name, bool) or not isinstance(name, str | int) or name == "":
            raise UserError(f"{path}: sample id {_short(name)} is not an id; write the log anew.")
        where = f"{path}: sample {name}, epoch {_short(epoch)}"
        if isinstance(epoch, bool) or not isinstance(epoch, int) or not 1 <= epoch < 2**31:
            raise UserError(f"{where}: that is not an epoch, which counts from 1; write the log anew.")
        self.ids.add(type(name))
        if len(self.ids) > 1:
            raise UserError(f"{where}: the log mixes ids of text and of numbers; write every id as text.")
        value = None if sample.get("invalidation") else self._value(_scores(sample, where), where)
        if value == "P" and self.choice.right_from is None:
            correct: bool | None = False  # partly right is not right, unless a limit says so
        else:
            correct = _right(_number(value), self.choice.right_from, f"score '{self.chosen}'", where)
        name_of = f"sample {name}, epoch {epoch}"
        return Entry(str(name), correct, epoch - 1, name_of, None, _columns(sample.get("metadata")))

    @property
    def chosen(self) -> str:
        """As it can be given to `--metric`."""
        return f"{self.scorer},{self.key}" if self.key else self.scorer

    def _value(self, scores: Mapping[str, Any], where: str) -> object:
        if not scores:
            return None
        if self.choice.name:
            self.scorer = self.choice.name
            if self.scorer not in scores:
                raise UserError(f"{where}: has no score '{self.scorer}'; use one of {_list(scores)}.")
        elif len(scores) > 1 or (self.scorer and self.scorer not in scores):
            every = list(dict.fromkeys([self.scorer, *scores])) if self.scorer else list(scores)
            raise UserError(
                f"{where}: the log holds several scores ({_list(every)}); choose one with --metric {every[0]}."
            )
        self.scorer = self.scorer or next(iter(scores))
        score = scores[self.scorer]
        if not isinstance(score, dict) or "value" not in score:
            raise UserError(f"{where}: score '{self.scorer}' has no value; write the log anew.")
        value = score["value"]
        return self._within(value, where) if isinstance(value, dict) else value

    def _within(self, values: Mapping[str, Any], where: str) -> object:
        if not self.choice.part and len(values) != 1:
            example = f"{self.scorer},{next(iter(values), 'KEY')}"
            raise UserError(
                f"{where}: score '{self.scorer}' has several values ({_list(values)}); "
                f"choose one with --metric {example}."
            )
        self.key = self.choice.part or next(iter(values))
        if self.key not in values:
            raise UserError(f"{where}: score '{self.scorer}' has no value '{self.key}'; use one of {_list(values)}.")
        return values[self.key]


def inspect_samples(path: Path, kind: Kind) -> Iterator[object]:
    """The samples of an Inspect log, or what stands in their place; only what marks need is kept of each.

    Raises:
        UserError: unreadable, damaged, too large, not an Inspect log, or one without samples.
    """
    if kind == "inspect archive":
        yield from archive.samples(path)
        return
    size = path.stat().st_size
    if size > LONGEST_DOCUMENT:
        raise UserError(
            f"{path}: has {size:,} bytes, more than the {LONGEST_DOCUMENT:,} that are read as one document; "
            "turn it into an .eval log with inspect log convert."
        )
    document = archive.parse(read_text(path), str(path))
    samples = document.get("samples") if isinstance(document, dict) else None
    if not isinstance(samples, list) or not samples:
        raise UserError(f"{path}: is an Inspect log without samples; run the evaluation with samples logged.")
    yield from samples


def _scores(sample: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    # Version 1 had a single score without a name.
    scores = sample.get("scores") or ({"score": sample["score"]} if sample.get("score") else {})
    if not isinstance(scores, dict):
        raise UserError(f"{where}: scores are {_short(scores)}, not an object; write the log anew.")
    return scores


def _number(value: object) -> object:
    """A text of Inspect as the number it stands for; every other value, and an unknown text, as it is."""
    if not isinstance(value, str):
        return value
    if value in LETTERS or value.lower() in WORDS:
        return LETTERS.get(value, WORDS.get(value.lower()))
    try:
        return float(value)
    except ValueError:
        return value


def _right(value: object, right_from: float | None, what: str, where: str) -> bool | None:
    if value is None or (isinstance(value, float) and isnan(value)):
        return None
    if isinstance(value, bool):
        return value
    if not isinstance(value, int | float) or not isfinite(value):
        raise UserError(f"{where}: {what} is {_short(value)}, not a number or true or false; choose another --metric.")
    if right_from is not None:
        return value >= right_from
    if value not in (0, 1):
        raise UserError(
            f"{where}: {what} is {_short(value)}, neither 0 nor 1; say from which value on a case counts as right, "
            "as in --right-from 0.5."
        )
    return value == 1


def _columns(found: object) -> dict[str, str]:
    """What can be grouped by: short texts, numbers, true and false."""
    if not isinstance(found, dict):
        return {}
    return {
        str(name): str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in found.items()
        if isinstance(value, int | float) or (isinstance(value, str) and len(value) <= LONGEST_COLUMN)
    }


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:60]} ..."


def _list(names: object) -> str:
    every = [" ".join(str(name).split()) for name in names] if isinstance(names, list | dict) else []
    more = f" and {len(every) - 12} more" if len(every) > 12 else ""
    return ", ".join(every[:12]) + more if every else "none: there are none"

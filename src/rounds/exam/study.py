"""STUDY.toml: several models, one set of cases, the pairs to compare and the rules, all written before the answers.

Every field has its meaning below it; an unknown one is refused by name. Relative paths are looked for beside the file,
or in the directory given with --data; of a shipped study, in the current directory. Left out on purpose: keys of
endpoints, which stay in the environment (the file names the variable), and making the answers
(`rounds.exam.study_answers`).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, model_validator

from rounds.exam.agreed import Plan
from rounds.files import read_text
from rounds.records import Evidence, Record, Sampling, UserError

SHIPPED = Path(__file__).parent.parent / "studies"
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"


class CaseSet(Record):
    """[cases]: what every model is asked."""

    file: str | None = None
    """JSONL of cases, as `rounds cases` writes it."""
    format: str | None = None
    """Instead: a format of docs/cases.md, with the path of its file."""
    path: str | None = None
    columns: str | None = None
    """For format `table`: the TOML file that says what each column holds."""
    language: str | None = None
    """Only the cases of this language, such as en."""

    @model_validator(mode="after")
    def _one_source(self) -> CaseSet:
        if (self.file is None) == (self.format is None) or (self.format is None) != (self.path is None):
            raise ValueError("needs either file, or format and path")
        return self


class Recorded(Record):
    """Answers that others recorded, with their marks."""

    format: str
    """A format of the section on recorded answers of docs/cases.md."""
    path: str
    items: str | None = None
    """What was asked, in the source's own file: the key where the answers have none, and columns to report by."""
    model: str | None = None
    """The model's name in that file; the name given here when left out."""
    sample: int | None = Field(default=None, ge=0)
    """Only this run or trial of it, from 0; every one when left out, a case right when more than half are."""


class Marks(Record):
    """A file of marks, as `rounds compare` reads them."""

    path: str
    metric: str = ""
    """Which figure of another program's log counts."""
    right_from: float | None = None
    """Value from which on such a figure counts as right."""


class Model(Record):
    """[[model]]: one model, asked or already marked."""

    name: str = Field(min_length=1)
    """As it is called in pairs and in the report."""
    endpoint: str | None = None
    """Base URL of an OpenAI-compatible server, ending in /v1."""
    endpoint_env: str | None = Field(default=None, pattern=VARIABLE)
    """Environment variable with that URL; --endpoint goes before it."""
    served: str | None = None
    """The model's name at the endpoint; `name` when left out."""
    key_env: str = Field(default="OPENAI_API_KEY", pattern=VARIABLE)
    """Environment variable with the endpoint's key."""
    checkpoint: str | None = None
    """A directory, or a Hugging Face id that is already on this machine."""
    recorded: Recorded | None = None
    marks: Marks | None = None

    @property
    def asked(self) -> bool:
        """Whether it answers in this study; the others were marked elsewhere."""
        return self.recorded is None and self.marks is None

    @model_validator(mode="after")
    def _one_source(self) -> Model:
        sources = {
            "endpoint or endpoint_env": self.endpoint is not None or self.endpoint_env is not None,
            "checkpoint": self.checkpoint is not None,
            "recorded": self.recorded is not None,
            "marks": self.marks is not None,
        }
        given = [name for name, here in sources.items() if here]
        if len(given) != 1:
            raise ValueError(f"'{self.name}' needs exactly one of {', '.join(sources)}; has {len(given)} of them")
        if self.endpoint is not None:
            check_address(self.endpoint)
        return self


class Pair(Record):
    """[[pair]]: a comparison of the family."""

    before: str
    after: str


class Floors(Record):
    """[floors]: least that every model named `after` must reach; 0 asks for nothing."""

    right: float = Field(default=0.0, ge=0, le=1)
    """Lower bound of the share of cases right; for lists of five diagnoses the share of hits among five."""
    must_not_miss: float = Field(default=0.0, ge=0, le=1)
    abstention: float = Field(default=0.0, ge=0, le=1)


class Study(Record):
    """The whole file."""

    title: str = Field(min_length=1)
    margin: float = Field(gt=0, lt=1)
    """Largest loss you would accept, as a share; no default."""
    why_margin: str = Field(min_length=10)
    """The clinical reason for it."""
    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    by: tuple[str, ...] = ()
    """Columns to split by; `specialty*incidence` crosses two. Intervals only."""
    cluster: str = ""
    """Column whose cases are also counted as one cluster, such as condition."""
    only: dict[str, str] = Field(default_factory=dict)
    """Only the cases with these values, column to value."""
    all_pairs: bool = False
    """Also every pair of models, with Holm over all of them: to explore, without findings."""
    evidence: Evidence = "public"
    template: str = "differential@1"
    """Template of the prompts; `choice@1` for cases with options."""
    engine: Literal["auto", "openvino", "transformers"] = "auto"
    """Engine of every checkpoint: pairs differ only in what is compared."""
    sampling: Sampling = Sampling()
    cases: CaseSet | None = None
    """Needed as soon as one model is asked."""
    model: tuple[Model, ...] = Field(min_length=2)
    pair: tuple[Pair, ...] = Field(min_length=1)
    floors: Floors = Floors()

    @model_validator(mode="after")
    def _fits(self) -> Study:
        names = [model.name for model in self.model]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two models are called '{twice}'; give each its own name")
        seen: set[tuple[str, str]] = set()
        for pair in self.pair:
            unknown = next((name for name in (pair.before, pair.after) if name not in names), None)
            if unknown is not None:
                raise ValueError(f"a pair names '{unknown}', which is no model here; use one of {', '.join(names)}")
            if pair.before == pair.after:
                raise ValueError(f"a pair compares '{pair.before}' with itself; name two models")
            if (pair.before, pair.after) in seen:
                raise ValueError(f"the pair '{pair.before}' and '{pair.after}' stands there twice; keep one")
            seen.add((pair.before, pair.after))
        asked = next((model.name for model in self.model if model.asked), None)
        if asked is not None and self.cases is None:
            raise ValueError(f"'{asked}' is to be asked, and there is no [cases]; say what to ask")
        if self.sampling.thinking_budget is not None and any(m.endpoint or m.endpoint_env for m in self.model):
            raise ValueError("sampling.thinking_budget cannot be asked of an endpoint; leave it out")
        return self

    def plan(self) -> Plan:
        """The rules as `rounds compare --plan` takes them."""
        return Plan(
            margin=self.margin,
            why=self.why_margin,
            alpha=self.alpha,
            family=tuple((pair.before, pair.after) for pair in self.pair),
            splits=self.by,
            cluster=self.cluster,
        )


def check_address(url: str) -> None:
    """Refuse what is no address of a server, and a key or password written into it.

    Raises:
        ValueError: one clause that says what would do.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"endpoint '{url}' is not a URL; give one such as http://127.0.0.1:8000/v1")
    if parts.username or parts.password or parts.query:
        raise ValueError("an endpoint holds a name, password or query; put the key into a variable named by key_env")


def read_study(name_or_path: str) -> tuple[Study, Path, str]:
    """A shipped study by name, or any TOML file: the study, the directory its paths start from, and its text.

    Raises:
        UserError: no such study, not TOML, an unknown or impossible field (named).
    """
    path = find(name_or_path)
    text = read_text(path)
    try:
        study = Study.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: is not valid TOML ({error}); mend that line.") from error
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "study"
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}: {place}: {message}; see docs/study.md for the fields.") from error
    return study, Path() if path.parent == SHIPPED else path.parent, text


def find(name_or_path: str) -> Path:
    """The file of a study: a path, or the name of a shipped one.

    Raises:
        UserError: neither.
    """
    path = Path(name_or_path)
    named = path.suffix != ".toml" and "/" not in name_or_path
    found = SHIPPED / f"{name_or_path}.toml" if named else path
    if not found.is_file():
        shipped = ", ".join(sorted(one.stem for one in SHIPPED.glob("*.toml")))
        raise UserError(f"study '{name_or_path}' does not exist; use one of {shipped}, or a path ending in .toml.")
    return found


def addressed(study: Study, given: list[str], environment: Mapping[str, str]) -> Study:
    """The study with the address of every endpoint filled in.

    given: `NAME=URL`, or a URL alone for every model behind an endpoint; environment: variables that `endpoint_env`
    may name.

    Raises:
        UserError: an address for no such model, no URL, or a model left without an address.
    """
    behind = [model.name for model in study.model if model.endpoint is not None or model.endpoint_env is not None]
    for_all, by_name = "", {}
    for one in given:
        name, _, url = ("", "", one) if one.startswith(("http://", "https://")) else one.partition("=")
        if name and name not in behind:
            raise UserError(f"--endpoint {one}: '{name}' is no model behind an endpoint; use {_listed(behind)}.")
        if name:
            by_name[name] = url
        else:
            for_all = url
    models = []
    for model in study.model:
        if model.name in behind:
            address = by_name.get(model.name) or for_all or model.endpoint or environment.get(model.endpoint_env or "")
            if not address:
                raise UserError(
                    f"model '{model.name}' has no address; give --endpoint \"{model.name}=URL\", "
                    f"or set the variable {model.endpoint_env}."
                )
            try:
                check_address(address)
            except ValueError as error:
                raise UserError(f"model '{model.name}': {error}.") from error
            model = model.model_copy(update={"endpoint": address})
        models.append(model)
    return study.model_copy(update={"model": tuple(models)})


def _listed(names: list[str]) -> str:
    return f"one of {', '.join(names)}" if names else "none: every model here is marked already or a checkpoint"

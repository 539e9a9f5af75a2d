"""The licence chain of a run: what its models and its data were made from, and under which licences.

A licence is taken from where it is stated: a line of the run's own licences.toml, the front matter of a checkpoint's
README.md, the cases themselves; then by a well-known name, and said to be so. What nobody states is *not stated*, never
guessed. Left out on purpose: legal advice. A licence follows a model through distillation where its terms say so.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path

from pydantic import Field, ValidationError

from rounds import files, recipe
from rounds.records import Case, Record, UserError

FILE = "licences.toml"
OWN = "Apache-2.0"
NOT_STATED = "not stated"

LLAMA = (
    "Give the licence and Meta's Notice line with every copy, show 'Built with Llama', begin the name of a model made "
    "with it or trained on its outputs with 'Llama', and keep its acceptable use policy."
)
"""Section 1.b of the licences of Llama 3.1, 3.2 and 3.3, which say the same."""
LLAMA_3 = (
    "Its outputs may not be used to improve a language model that is not Llama 3 or made from it; show 'Built with "
    "Meta Llama 3', begin the name of a model made with it with 'Llama 3', give the licence and Meta's Notice line "
    "with every copy, and keep its acceptable use policy."
)
"""Section 1.b.i to v of the licence of Llama 3."""
LLAMA_2 = (
    "Its outputs may not be used to improve a language model that is not Llama 2 or made from it; give the licence and "
    "Meta's Notice line with every copy, and keep its acceptable use policy."
)
"""Section 1.b of the licence of Llama 2."""
QWEN = (
    "Show 'Built with Qwen' or 'Improved using Qwen' in the documentation of a model made with it or trained on its "
    "outputs; give the licence and its Notice line with every copy; above 100 million users a month ask for a licence."
)
"""Sections 3 to 5 of the Qwen License Agreement of 19 September 2024."""
TONGYI = (
    "Its outputs may not be used to improve a language model that is not Qwen or made from it; give the licence and "
    "its Notice line with every copy; above 100 million users a month ask for a licence."
)
"""Sections 3 to 5 of the Tongyi Qianwen License Agreement, under which the 72B model of Qwen 2 came."""
QWEN_RESEARCH = (
    "For research and evaluation only: commercial use needs a licence of its own; show 'Built with Qwen' or 'Improved "
    "using Qwen' in the documentation of a model made with it or trained on its outputs."
)
"""Sections 1, 2 and 4 of the Qwen Research License Agreement of 19 September 2024."""

META = "https://github.com/meta-llama/llama-models/blob/main/models"
R1 = "https://github.com/deepseek-ai/DeepSeek-R1#7-license"
HUB = "https://huggingface.co/Qwen"

KNOWN: tuple[tuple[str, str, str, str], ...] = (
    # name, licence, duty, address of its text
    (r"r1-distill-llama-70b", "MIT, and Llama 3.3 Community License of its base", LLAMA, f"{META}/llama3_3/LICENSE"),
    (r"r1-distill-llama-8b", "MIT, and Llama 3.1 Community License of its base", LLAMA, f"{META}/llama3_1/LICENSE"),
    (r"r1-distill-qwen", "MIT, and Apache-2.0 of its base", "", R1),
    (r"deepseek-r1", "MIT", "", R1),
    (r"llama-?3\.3", "Llama 3.3 Community License", LLAMA, f"{META}/llama3_3/LICENSE"),
    (r"llama-?3\.2", "Llama 3.2 Community License", LLAMA, f"{META}/llama3_2/LICENSE"),
    (r"llama-?3\.1", "Llama 3.1 Community License", LLAMA, f"{META}/llama3_1/LICENSE"),
    (r"llama-?3(?![.\d])", "Llama 3 Community License", LLAMA_3, "https://github.com/meta-llama/llama3/blob/main/LICENSE"),
    (r"llama-?2(?![.\d])", "Llama 2 Community License", LLAMA_2, "https://ai.meta.com/llama/license/"),
    # Also of the Coder and VL models of that size.
    (r"qwen2\.5-([a-z]+-)?3b", "Qwen Research License", QWEN_RESEARCH, f"{HUB}/Qwen2.5-3B/blob/main/LICENSE"),
    (r"qwen2\.5-([a-z]+-)?72b", "Qwen License Agreement", QWEN, f"{HUB}/Qwen2.5-72B-Instruct/blob/main/LICENSE"),
    (r"qwen2-([a-z]+-)?72b", "Tongyi Qianwen License Agreement", TONGYI, f"{HUB}/Qwen2-72B-Instruct/blob/main/LICENSE"),
    # Every other size: "All our open-source models, except for the 3B and 72B variants".
    (r"qwen2\.5-([a-z]+-)?\d", "Apache-2.0", "", "https://github.com/QwenLM/Qwen2.5#license-agreement"),
    (r"qwen3-", "Apache-2.0", "", "https://github.com/QwenLM/Qwen3#license-agreement"),
)  # fmt: skip
"""By the name of a model, the first that fits."""


FIELD = re.compile(r"^(license|license_name):[ \t]*['\"]?([^'\"\r\n]+?)['\"]?[ \t]*\r?$", re.MULTILINE)
"""A line of a model card's front matter."""


class Licence(Record):
    """What one part of the chain may be used for."""

    part: str
    """student, teacher, cases, knowledge base."""
    what: str
    """Its name or nature."""
    licence: str
    """As stated; `not stated` where nobody says."""
    stated: str
    """Where that is known from."""
    source: str = ""
    """Address of the licence or of the part."""
    duty: str = ""
    """What it asks of whoever serves the model."""


class Own(Record):
    """One table of licences.toml."""

    licence: str = Field(min_length=1)
    source: str = ""
    duty: str = ""


class Owns(Record):
    """licences.toml: what the hospital knows better."""

    student: Own | None = None
    teacher: Own | None = None
    cases: Own | None = None


def licences(run: Path, chosen: recipe.Recipe) -> tuple[Licence, ...]:
    """The chain of one run, the most upstream last.

    Raises:
        UserError: licences.toml or the cases cannot be read.
    """
    own = _own(run / FILE)
    found = [
        _model("student", chosen.student, run / "base", own.student),
        _model("teacher", chosen.teacher, None, own.teacher),
    ]
    if chosen.cases.file is None:
        found.append(Licence(part="cases", what="generated from the knowledge base", licence=OWN, stated="Rounds"))
        found.append(Licence(part="knowledge base", what="embedded in Rounds", licence=OWN, stated="Rounds"))
    elif own.cases is not None:
        found.append(Licence(part="cases", what="own file", stated=FILE, **own.cases.model_dump()))
    else:
        found += _cases(run / "cases")
    return tuple(found)


def _own(path: Path) -> Owns:
    if not path.is_file():
        return Owns()
    try:
        return Owns.model_validate(tomllib.loads(files.read_text(path)))
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise UserError(f"{path}: cannot be used ({said}); docs/passport.md shows its form.") from error


def _model(part: str, model: recipe.Model, made: Path | None, own: Own | None) -> Licence:
    """Licence of one model; made: a directory that links to the files of its checkpoint, if there is one."""
    if model.backbone is not None:
        what = f"{model.backbone.structure} from random weights, made by this run"
        return Licence(part=part, what=what, licence=OWN, stated="Rounds")
    name = str(model.checkpoint or model.name)
    what = Path(name).name if model.checkpoint is not None else f"{name} behind an endpoint"
    if own is not None:
        return Licence(part=part, what=what, stated=FILE, **own.model_dump())
    places = [made, Path(name).expanduser()] if model.checkpoint is not None else []
    stated = next((text for place in places if place is not None and (text := front_matter(place / "README.md"))), "")
    known = next((row for row in KNOWN if re.search(row[0], name.casefold())), None)
    duty, source = (known[2], known[3]) if known else ("", "")
    if stated:
        return Licence(part=part, what=what, licence=stated, stated="its README.md", source=source, duty=duty)
    if known is not None:
        return Licence(part=part, what=what, licence=known[1], stated="known by its name", source=source, duty=duty)
    return Licence(part=part, what=what, licence=NOT_STATED, stated=f"nothing; say it in {FILE}")


def front_matter(readme: Path) -> str:
    """The `license:` of a model card's front matter (https://huggingface.co/docs/hub/model-cards), '' without one."""
    if not readme.is_file():
        return ""
    head = re.match(r"---\r?\n(.*?)\r?\n---", files.read_text(readme)[:20_000], re.DOTALL)
    lines = re.findall(FIELD, head[1]) if head is not None else []
    fields: dict[str, str] = dict(lines)
    said = fields.get("license", "")
    return fields.get("license_name", said) if said == "other" else said


def _cases(directory: Path) -> list[Licence]:
    """Of a hospital's own cases: one row each licence and source, the most cases first."""
    counted: Counter[tuple[str, str]] = Counter()
    for split in ("teach", "tune", "exam"):
        for case in files.read_jsonl(directory / f"{split}.jsonl", Case):
            counted[(case.licence, case.source)] += 1
    return [
        Licence(
            part="cases",
            what=f"{count:,} cases" + (f" of {source}" if source else ""),
            licence=licence or NOT_STATED,
            stated="the cases" if licence else f"nothing; say it in {FILE}",
        )
        for (licence, source), count in counted.most_common(20)
    ]

"""What may be chosen: one TOML file, one section a step, every field with its meaning. Read this page second.

A recipe is all that distinguishes one run from another. Unknown keys are refused by name. Left out on purpose: what is
chosen later on the tune split for serving (thinking budget, router), which goes to serving.toml.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from rounds.records import Evidence, Record, UserError

SHIPPED = Path(__file__).parent / "recipes"

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


class Backbone(Record):
    """A model made from nothing: its structure and sizes."""

    structure: Literal["qwen2", "llama", "deepseek_v3"]
    width: int = Field(default=128, ge=16, le=8192)
    layers: int = Field(default=3, ge=1, le=128)
    heads: int = Field(default=4, ge=1, le=128)
    key_value_heads: int | None = Field(default=None, ge=1)
    """Heads of keys and values (qwen2, llama); None lets two query heads share one where their number is even."""
    feed_forward: int = Field(default=384, ge=16)
    experts: int = Field(default=8, ge=2)
    """Routed experts of a layer (deepseek_v3)."""
    experts_per_token: int = Field(default=2, ge=1)
    expert_width: int = Field(default=128, ge=8)
    kv_rank: int = Field(default=64, ge=8)
    """Rank of the compressed key-value latent of MLA (deepseek_v3)."""
    q_rank: int = Field(default=96, ge=8)
    context: int = Field(default=640, ge=64)
    """Longest prompt and answer together, tokens."""

    @property
    def shared_heads(self) -> int:
        """Heads of keys and values that `rounds.model.backbone.build` makes; MLA has one for each query head."""
        if self.structure == "deepseek_v3":
            return self.heads
        return self.key_value_heads or (self.heads // 2 if self.heads % 2 == 0 else self.heads)

    @model_validator(mode="after")
    def _heads_divide(self) -> Backbone:
        if self.heads % self.shared_heads:
            raise ValueError(f"heads {self.heads} is no multiple of key_value_heads {self.shared_heads}")
        return self


class Model(Record):
    """Where a model comes from: made here, a checkpoint, or an endpoint."""

    backbone: Backbone | None = None
    checkpoint: str | None = None
    """A local directory or a Hugging Face id, safetensors only."""
    endpoint: str | None = None
    """Base URL of an OpenAI-compatible server, ending in /v1."""
    name: str | None = None
    """Model name at the endpoint."""
    key_env: str = "OPENAI_API_KEY"
    """Environment variable that holds the endpoint's key."""
    chat: Literal["deepseek-r1", "chatml", "llama3"] = "deepseek-r1"
    """Built-in chat format; a checkpoint's own template is never run."""

    @model_validator(mode="after")
    def _one_source(self) -> Model:
        given = [n for n in ("backbone", "checkpoint", "endpoint") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of backbone, checkpoint, endpoint; has {', '.join(given) or 'none'}")
        if self.endpoint is not None and not self.name:
            raise ValueError("an endpoint needs the model's name")
        return self


class Cases(Record):
    """[cases]: how many vignettes, and how hard."""

    file: str | None = None
    """A JSONL of cases of your own, with splits; None writes them from the knowledge base."""
    teach: int = Field(default=12000, ge=1)
    tune_per_condition: int = Field(default=2, ge=1)
    exam_per_condition: int = Field(default=6, ge=1)
    outside: int = Field(default=60, ge=0)
    """Exam cases from conditions kept out of the knowledge base."""
    outside_share: float = Field(default=0.06, ge=0, le=0.5)
    """Share of teach cases on which the right answer is to abstain."""
    volunteer: float = Field(default=0.36, gt=0, le=1)
    """Chance that a symptom which is there reaches the page unasked; signs and tests reach it less."""
    asked: int = Field(default=2, ge=0)
    """Discriminating findings looked for, which are then stated as present or absent."""
    prior: Literal["even", "incidence"] = "even"
    conditions: int | None = Field(default=None, ge=5)
    """Use only this many conditions (a toy world for tests); None uses all."""


class Optimiser(Record):
    """How a training step walks."""

    rate: float = Field(gt=0)
    batch: int = Field(default=16, ge=1)
    epochs: float = Field(default=1.0, gt=0)
    steps: int | None = Field(default=None, ge=1)
    """Stop after so many steps; None goes by epochs."""
    warm_up: float = Field(default=0.05, ge=0, lt=1)
    threads: int = Field(default=1, ge=1)
    """Torch threads; one each for steps that run side by side."""


class Pretrain(Optimiser):
    """[pretrain]: the base student, from scratch on knowledge-base text and cases with direct answers."""

    rate: float = Field(default=4e-3, gt=0)
    vocabulary: int = Field(default=4096, ge=300)
    muon: bool = True
    """Muon for matrices (https://kellerjordan.github.io/posts/muon), AdamW for embeddings and the router."""
    no_repeat: float = Field(default=4.0, ge=0)
    """Weight of unlikelihood (arXiv 1908.04319) on naming in an answer what it already names; 0 is off."""
    strange: float = Field(default=0.0, ge=0, le=1)
    """Share of lessons between whose words some are put that mean nothing, so that a sentence frame no lesson had does
    not mislead; for models from nothing, whose vocabulary knows few words."""


class Teach(Optimiser):
    """[teach]: the teacher's arc: pretrained, taught chain of thought by the oracle, then GRPO."""

    rate: float = Field(default=3e-3, gt=0)
    pretrain_steps: int = Field(default=600, ge=0)
    bias_rate: float = Field(default=1e-3, ge=0)
    """Step of the auxiliary-loss-free balance of experts (arXiv 2412.19437, section 2.1.2)."""
    grpo_steps: int = Field(default=8, ge=0)
    muon: bool = True
    no_repeat: float = Field(default=4.0, ge=0)
    """As in [pretrain]."""
    strange: float = Field(default=0.0, ge=0, le=1)
    """As in [pretrain]."""


class Trace(Record):
    """[trace]: the teacher answers teach cases; kept when `grade` finds nothing wrong."""

    cases: int = Field(default=3000, ge=1)
    samples: int = Field(default=2, ge=1, le=64)
    temperature: float = Field(default=0.6, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=320, ge=16)
    rounds: int = Field(default=2, ge=1)
    """How often cells of specialty x incidence with too few kept traces are asked again."""


class Lora(Record):
    """Low-rank adapters (arXiv 2106.09685)."""

    rank: int = Field(default=32, ge=1)
    alpha: float = Field(default=64, gt=0)
    targets: tuple[str, ...] | Literal["all-linear", "attention"] = "all-linear"
    embeddings: bool = True
    """Train embeddings and head fully beside the adapters."""
    dora: bool = False
    """Weight-decomposed adapters (arXiv 2402.09353)."""
    rslora: bool = False
    """Rank-stabilised scaling (arXiv 2312.03732)."""
    four_bit_base: bool = False
    """QLoRA (arXiv 2305.14314); needs bitsandbytes."""


class Distil(Optimiser):
    """[distil]: the student learns the kept traces."""

    rate: float = Field(default=2e-3, gt=0)
    epochs: float = Field(default=3.0, gt=0)
    method: Literal["full", "lora"] = "full"
    lora: Lora = Lora()
    token_level: float = Field(default=0.0, ge=0, le=1)
    """Share of the loss that the teacher's distribution over the next token has, the text having the rest; needs the
    teacher's weights, one vocabulary for both and the full method."""
    no_repeat: float = Field(default=0.0, ge=0)
    """As in [pretrain], for the full method: above 0 the student learns in our own loop instead of TRL's."""
    strange: float = Field(default=0.0, ge=0, le=1)
    """As in [pretrain]."""
    muon: bool = True
    """Muon for matrices, with the full method."""
    controls: bool = True
    """Train the two answer-only controls beside it: same cases, same tokens."""
    policy: float = Field(default=0.0, ge=0, le=0.5, exclude_if=lambda share: share == 0)
    """Share of the lessons that are grounded in policy: requests of harm declined, questions about care answered. 0 is
    not written, so that runs made before this field was there keep their digests."""


class Grpo(Optimiser):
    """[grpo]: group relative policy optimisation (arXiv 2402.03300) with medical rewards."""

    rate: float = Field(default=1e-4, gt=0)
    steps: int | None = Field(default=12, ge=0)
    prompts: int = Field(default=8, ge=1)
    """Cases a step."""
    samples: int = Field(default=8, ge=2)
    """Answers a case: the group."""
    temperature: float = Field(default=1.0, gt=0, le=2)
    max_tokens: int = Field(default=320, ge=16)
    beta: float = Field(default=0.0, ge=0)
    """Weight of the KL to the starting model."""
    rank_weight: float = Field(default=1.0, ge=0)
    red_flag_weight: float = Field(default=0.2, ge=0)
    format_weight: float = Field(default=0.2, ge=0)
    steps_weight: float = Field(default=0.3, ge=0)
    length_weight: float = Field(default=0.0, ge=0)
    check_every: int = Field(default=6, ge=1)
    """Steps between looks at greedy accuracy on the tune split."""


class Quantize(Record):
    """[quantize]: 4 bits for the engine that serves."""

    target: Literal["openvino"] = "openvino"
    bits: Literal[4, 8] = 4
    """Where the ladder begins; 8 is its last rung."""
    group: int = Field(default=64, ge=-1)
    """Weights that share a scale on the first rung; -1 is a row."""
    gptq: bool = True
    """Error-compensated rounding (arXiv 2210.17323); off is plain round-to-nearest."""
    everything: bool = False
    """4 bits for embeddings and head as well; off keeps them in 8."""
    ladder: bool = True
    """Climb where the first rung is not held: finer groups, sensitive layers in 8 bits, distillation, all in 8 bits."""
    distil_steps: int = Field(default=120, ge=0, le=100_000)
    """Steps that train the 4-bit weights to be their parent, on the rung before 8 bits; 0 leaves that rung out."""
    budget: str | None = Field(default=None, pattern=r"^\d+(\.\d+)? ?([KMGT]i?B|bits)$")
    """Largest size, as "5GB" or "5.5 bits" (a weight, on average); None is no limit."""
    kv_cache: Literal["f16", "u8"] = "f16"
    """Precision of keys and values in serving; 8 bits are measured with the rest."""
    calibration: int = Field(default=128, ge=1)
    """Traces of the model's own to calibrate on, never an exam case."""


class Examine(Record):
    """[examine]: the same exam for every model."""

    template: str = "differential-brief@1"
    engine: Literal["auto", "openvino", "transformers", "remote"] = "auto"
    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=400, ge=16)
    samples: int = Field(default=1, ge=1, le=64)
    """Answers a case; more than one is averaged within its case."""
    rerun: bool = True
    """Have the last model answer tune cases twice, to show the run-to-run noise; the exam is not opened for it."""


class Shorten(Record):
    """[shorten]: the run's model taught to think less, by `rounds budget RUN --shorten`; see docs/budget.md."""

    model: str = "reasoned"
    """Stage whose checkpoint is shortened."""
    how: tuple[Literal["grpo", "traces"], ...] = ("traces", "grpo")
    """Ways to try beside each other: GRPO with a reward for short right answers, or the kept traces cut down."""
    keep: float = Field(default=0.6, gt=0, le=1)
    """Share of a trace's thinking that is aimed at when it is cut down; what the verifier needs always stays."""
    epochs: float = Field(default=1.0, gt=0)
    """Passes over the traces cut down; the rest is as in [distil]."""
    rate: float = Field(default=1e-3, gt=0)
    """Rate of learning the traces cut down."""
    steps: int = Field(default=40, ge=1)
    """Steps of GRPO; the rest is as in [grpo]."""
    length_weight: float = Field(default=1.0, gt=0)
    """Weight of the reward for short right answers in GRPO."""
    margin: float = Field(default=0.05, gt=0, lt=1)
    """Largest loss against the unshortened model that would be accepted."""


class Specialise(Optimiser):
    """[specialise]: an adapter on one specialty of a finished run, and what it costs the others."""

    rate: float = Field(default=2e-4, gt=0)
    epochs: float = Field(default=2.0, gt=0)
    model: str = "reasoned"
    """Stage whose checkpoint is specialised."""
    specialties: tuple[str, ...] = ()
    """Those to make an adapter for, a row each of the matrix; empty is every specialty of the lessons."""
    replay: float = Field(default=1.0, ge=0)
    """Lessons of the other specialties for each lesson of its own."""
    strange: float = Field(default=0.0, ge=0, le=1)
    """As in [pretrain]."""
    direct: bool = False
    """Lessons with the answer alone: for a model that does not reason."""
    lora: Lora = Lora(embeddings=False)
    exam_cases: int = Field(default=400, ge=1)
    """Exam cases of each specialty at least, drawn anew: the run's own exam stays closed."""
    file: str | None = None
    """A JSONL of exam cases of your own with their specialties; None writes them from the knowledge base."""
    margin: float = Field(default=0.05, gt=0, lt=1)
    """Largest loss on any other specialty that would be accepted."""
    separate: int = Field(default=60, ge=0)
    """Cases that adapter and merged model both answer, to compare the two ways of serving; 0 leaves it out."""
    thinned: str = ""
    """A demonstration: a specialty of which the model to start from is taught too little on purpose; '' is none."""
    thinned_share: float = Field(default=0.05, ge=0, le=1)
    """Share of that specialty's lessons that the model still gets."""


class Compare(Record):
    """[compare]: the rules of the gate, stated before the answers exist. The margin has no default."""

    margin: float = Field(gt=0, lt=1)
    why_margin: str = Field(min_length=10)
    alpha: float = Field(default=0.01, gt=0, lt=0.5)
    by: tuple[str, ...] = ("specialty", "incidence")
    evidence: Evidence = "synthetic"
    floor_top5: float = Field(default=0.0, ge=0, le=1)
    floor_must_not_miss: float = Field(default=0.0, ge=0, le=1)
    floor_abstention: float = Field(default=0.0, ge=0, le=1)


class Recipe(Record):
    """A whole chain."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    seed: int = Field(default=1, ge=0)
    student: Model
    teacher: Model
    cases: Cases = Cases()
    pretrain: Pretrain = Pretrain()
    teach: Teach = Teach()
    trace: Trace = Trace()
    distil: Distil = Distil()
    grpo: Grpo = Grpo()
    quantize: Quantize = Quantize()
    examine: Examine = Examine()
    shorten: Shorten = Shorten()
    specialise: Specialise = Specialise()
    compare: Compare

    @model_validator(mode="after")
    def _weights_at_hand(self) -> Recipe:
        if self.distil.token_level and self.teacher.endpoint is not None:
            raise ValueError("distil.token_level needs a teacher whose weights are here; an endpoint gives text alone")
        return self


def read(name_or_path: str) -> Recipe:
    """Read a shipped recipe by name, or any TOML file.

    Raises:
        UserError: no such recipe, not TOML, an unknown or impossible field (named).
    """
    path = find(name_or_path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not valid TOML ({error}); mend that line.") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path.") from error
    return parse(table, str(path))


def parse(table: dict[str, object], where: str) -> Recipe:
    """Check a recipe read from TOML; `where` names it in errors.

    Raises:
        UserError: an unknown or impossible field, with its place.
    """
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "recipe"
        message = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{where}: {place}: {message}; see docs/run.md for the fields.") from error


def find(name_or_path: str) -> Path:
    """The file of a recipe: a path, or the name of a shipped one.

    Raises:
        UserError: neither.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml" or "/" in name_or_path:
        if not path.is_file():
            raise UserError(f"recipe '{name_or_path}' does not exist; check the path or use one of {_names()}.")
        return path
    shipped = SHIPPED / f"{name_or_path}.toml"
    if not shipped.is_file():
        raise UserError(f"recipe '{name_or_path}' is not shipped; use one of {_names()}, or a path ending in .toml.")
    return shipped


def _names() -> str:
    return ", ".join(sorted(path.stem for path in SHIPPED.glob("*.toml")))


def bytes_of(text: str, option: str) -> int:
    """Bytes of a size such as 24GiB, 24 GB, 24G (decimal) or 25769803776; `option` is where it was given.

    Raises:
        UserError: it is none.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?\s*", text, re.IGNORECASE)
    unit = match[2].upper() + match[3].lower() if match else ""
    if match is None or (match[3] and not match[2]) or not float(match[1]):
        raise UserError(f"{option} '{text}' is not a size; give one such as 24GiB or 80GB.")
    return round(float(match[1]) * (BINARY[unit] if match[3] else UNITS[unit]))

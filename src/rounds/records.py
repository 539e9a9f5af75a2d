"""What flows through Rounds: one record per noun, and the Responder protocol. Read this page first.

    Case -> Prompt -> Trace -> Answer -> Grade -> Verdict -> Report
                        |-> Lesson -> Checkpoint(lineage) ----^   (examined, then served)

Everything that touches a file or a socket is a frozen `Record`: unknown fields are refused, one record is one line of
JSON. Left out on purpose: reading and writing (`rounds.files`), and anything that computes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

Split = Literal["teach", "tune", "exam"]
Level = Literal["exact", "synonym", "code", "judge", "human"]
Finding = Literal["lost", "gained", "kept", "too few cases"]
Evidence = Literal["synthetic", "public", "local-reviewed"]
Arm = Literal["accuracy", "red flags", "safety"]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Options are lettered in this order; a case has at most so many."""


class UserError(Exception):
    """One sentence for the person at the keyboard: what is wrong, the value, what would do. Exit code 2."""


class Record(BaseModel):
    """Frozen, refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Case(Record):
    """One patient on paper, with the right answer."""

    id: str = Field(min_length=1)
    vignette: str = Field(min_length=1)
    """The text shown to the model; free of the diagnosis."""
    language: str = "en"
    kind: str = "diagnosis"
    """Kind of question: chooses the template."""
    diagnosis: str
    """The right answer, in the words of its source."""
    also_called: tuple[str, ...] = ()
    icd10: str = ""
    outside: bool = False
    """True when the condition is kept out of the knowledge base: the right answer is to abstain."""
    red_flags: tuple[str, ...] = ()
    """Findings in this vignette that must be noticed, as written in the knowledge base."""
    must_not_miss: tuple[str, ...] = ()
    """Dangerous conditions that belong on the list beside the right one."""
    present: tuple[str, ...] = ()
    """Ids of findings the vignette states."""
    absent: tuple[str, ...] = ()
    """Ids of findings the vignette denies."""
    condition: str = ""
    """Id of the condition in the knowledge base, '' when unknown: cases of one condition are a cluster."""
    specialty: str = ""
    incidence: str = ""
    split: Split = "exam"
    source: str = ""
    licence: str = ""
    twin_of: str | None = None
    options: tuple[str, ...] = Field(default=(), max_length=len(LETTERS))
    """Answers to choose from, lettered A, B, C ... in this order; the question itself is in the vignette."""
    right: tuple[str, ...] = ()
    """Letters of the right options; all of them must be chosen."""
    never: tuple[str, ...] = ()
    """Letters of options that do harm when chosen."""
    limits: tuple[float, float] | None = None
    """Lowest and highest number that is right, for a question whose answer is a number."""

    @property
    def question(self) -> str:
        """The vignette with its lettered options below, one a line; the vignette alone where there are none."""
        return "\n".join([self.vignette, *(f"{LETTERS[i]}. {text}" for i, text in enumerate(self.options))])


class Message(Record):
    """One turn of a conversation."""

    role: Literal["user", "assistant", "system"]
    content: str


class Prompt(Record):
    """What a model is asked about one case."""

    case_id: str
    template: str
    """`kind@version` of the template that wrote the messages."""
    messages: tuple[Message, ...]
    adapter: str = Field(default="", exclude_if=lambda name: name == "")
    """Name of the LoRA adapter that is to answer; '' is the model itself, and is not written."""


class Sampling(Record):
    """How tokens are drawn. Temperature 0 is greedy."""

    temperature: float = Field(default=0.6, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=2048, ge=1, le=131072)
    """Thinking and reply together, in tokens."""
    thinking_budget: int | None = Field(default=None, ge=0, le=131072)
    """Tokens allowed before `</think>`; None is no limit."""
    seed: int = Field(default=0, ge=0)
    samples: int = Field(default=1, ge=1, le=256)
    """Answers a prompt; samples of one case are a cluster, never cases."""
    json_schema: str = ""
    """JSON schema that the reply must obey, enforced by the engine's grammar; '' for none."""
    logprobs: bool = False
    """Whether the log probability of each token of the reply is kept."""


class Token(Record):
    """One token of a reply."""

    text: str
    raw: tuple[int, ...]
    """Its bytes: a token may hold a part of a character."""
    logprob: float
    """Natural logarithm of its probability under the model itself: before temperature, top-p and grammar."""


class Trace(Record):
    """One answer of one model to one prompt, as generated."""

    prompt: Prompt
    model: str
    """Digest of the checkpoint, or the endpoint's model name."""
    adapter: str = Field(default="", exclude_if=lambda digest: digest == "")
    """Digest of the adapter that answered; '' for the model itself or an endpoint's, and not written then."""
    engine: str
    sampling: Sampling
    sample: int = 0
    """0 .. samples-1."""
    thinking: str
    """Text before `</think>`, without the markers."""
    reply: str
    """Text after `</think>`; the whole text when the model did not think."""
    finish: Literal["stop", "length", "error"]
    thinking_tokens: int
    reply_tokens: int
    prompt_tokens: int = 0
    """0 where an endpoint does not tell, and in traces of an older version."""
    logprobs: tuple[Token, ...] = ()
    """Tokens of the reply that were drawn, blanks around it included, where the sampling asks for them."""
    first_token_s: float | None = None
    """Seconds to the first token; None where the engine does not tell it for one request of a batch."""
    total_s: float | None = None


class Answer(Record):
    """What was read out of a reply."""

    case_id: str
    diagnoses: tuple[str, ...] = Field(default=(), max_length=5)
    """At most five, likeliest first, duplicates collapsed."""
    red_flags: tuple[str, ...] = ()
    abstained: bool = False
    """The model said that the case lies outside what it knows."""
    choices: tuple[str, ...] = ()
    """Letters chosen from the options of the case."""
    refused: bool = False
    unreadable: bool = False
    """No list could be read: counted as a miss, shown apart."""


class StepCheck(Record):
    """A model's reasoning held against the case and the knowledge base, claim by claim."""

    claims: int = 0
    stated: int = 0
    """Findings stated of the patient, the invented ones included; 0 in marks of an older version."""
    invented: tuple[str, ...] = ()
    """Findings stated that the case lacks."""
    denied: tuple[str, ...] = ()
    """Findings denied that the case states."""
    unsupported: tuple[str, ...] = ()
    """`finding -> condition` links the knowledge base does not hold."""
    unargued: tuple[str, ...] = ()
    """Diagnoses of the list the reasoning never mentions."""

    @property
    def errors(self) -> int:
        return len(self.invented) + len(self.denied) + len(self.unsupported) + len(self.unargued)


class Grade(Record):
    """One mark: an answer held against its case."""

    case_id: str
    sample: int = 0
    answer: Answer
    correct: bool | None
    """Right diagnosis among the five, or a right abstention; None when it cannot be graded."""
    rank: int | None = Field(default=None, ge=1, le=5)
    """Place of the right diagnosis, None when missed."""
    level: Level | None = None
    """How the match was made."""
    near_rank: int | None = Field(default=None, ge=1, le=5)
    """Place of the first near answer (same three-character ICD-10 category, or the right name without a word that
    tells it apart), None when none is: counted by the lenient figure alone, never correct."""
    valid_five: bool = False
    """Five distinct diagnoses, each known to the knowledge base."""
    red_flags_named: int = 0
    red_flags_total: int = 0
    must_not_miss_named: int = 0
    must_not_miss_total: int = 0
    steps: StepCheck | None = None
    error_modes: tuple[str, ...] = ()
    thinking_tokens: int = 0
    total_s: float | None = None
    groups: dict[str, str] = Field(default_factory=dict)
    """Columns to report by: specialty, incidence, condition, and a hospital's own."""


class Lesson(Record):
    """One thing to learn: a prompt and the completion that should follow it."""

    prompt: Prompt
    thinking: str
    reply: str
    teacher: str
    """Digest of the teacher's checkpoint, its endpoint's model name, or `oracle`."""


class Step(Record):
    """What made an artefact; written beside it as lineage.json."""

    verb: str
    recipe: str
    """SHA-256 of the part of the recipe this step reads."""
    inputs: dict[str, str] = Field(default_factory=dict)
    """Name to SHA-256 of each input."""
    output: str = ""
    """SHA-256 of the directory made."""
    versions: dict[str, str] = Field(default_factory=dict)
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    figures: dict[str, float | int | str | bool | None] = Field(default_factory=dict)
    """What the step measured of itself."""


class Checkpoint(Record):
    """A model on disk, and how it was made."""

    path: str
    digest: str
    bits: float
    lineage: tuple[Step, ...] = ()


class Interval(Record):
    """Ends of a confidence interval, shares."""

    low: float
    high: float


class Verdict(Record):
    """Two models on the same cases, one comparison. `difference` is after minus before."""

    before: str
    after: str
    arm: Arm = "accuracy"
    group: str = "all"
    n: int
    """Pairs both graded."""
    both: int
    only_before: int
    only_after: int
    neither: int
    unpaired_before: int = 0
    unpaired_after: int = 0
    ungradable: int = 0
    difference: float
    tango: Interval
    newcombe: Interval
    p_exact: float
    p_midp: float
    p_holm: float | None = None
    """Exact p after Holm over the family of gains; None for a cell, which shows an interval only."""
    p_noninferior: float | None = None
    cases_needed: int | None = None
    """Pairs that would decide non-inferiority at the discordance seen."""
    minimum_detectable: float | None = None
    """Smallest true loss seen with 80 % power at this n and discordance."""
    inside_margin: bool | None = None
    """For a loss: whether its interval lies inside the margin. A shown loss is never called kept."""
    finding: Finding | None = None
    """None for the cell of a subgroup."""


class Floor(Record):
    """An absolute floor: passing the pairs is not being good."""

    name: str
    model: str
    hits: int
    n: int
    rate: float
    lower: float
    """Lower end of the one-sided 97.5 % Wilson interval."""
    floor: float
    met: bool


class Share(Record):
    """Events of the chances there were. Its interval counts conditions, or cases where no condition is known."""

    name: str
    events: int
    chances: int
    clusters: int
    low: float
    """95 %, 0..1."""
    high: float
    standing: str = ""
    """What its detector is worth: the measured kappa, or `not validated`; '' where nothing had to be detected."""


class Stretch(Record):
    """Answers of one model that thought about equally long."""

    shortest: int
    """Thinking tokens."""
    longest: int
    right: Share
    seconds: float | None = None
    """Median of an answer; None where none was timed."""


class Sitting(Record):
    """How one model sat the exam: what it was asked, what became of its answers, what its reasoning is worth."""

    answers: int
    asked: dict[str, str] = Field(default_factory=dict)
    """Engine, template and sampling, as its traces tell; empty without traces."""
    outcomes: dict[str, int] = Field(default_factory=dict)
    """Answers by the level of the match or by why they are no hit; each answer counts once."""
    cut: int | None = None
    """Answers that ended at the limit of tokens; None without traces."""
    reasoning: tuple[Share, ...] = ()
    """Step errors, hallucinated findings and error modes, those that could be counted."""
    lengths: tuple[Stretch, ...] = ()
    """Shortest thoughts first; cases outside the knowledge base left out."""


class Noise(Record):
    """The same model on the same cases twice: what changes when nothing was changed."""

    model: str
    how: str
    """What differed between the two, in words."""
    cases: int
    """Answered twice and gradable both times."""
    changed: int
    """Cases whose answer was not the same."""
    only_first: int
    """Right the first time only."""
    only_second: int


class Report(Record):
    """Everything a page, a passport or a gate needs to know about one run."""

    title: str
    alpha: float
    margin: float
    why_margin: str
    evidence: Evidence
    verdicts: tuple[Verdict, ...]
    cells: tuple[Verdict, ...] = ()
    floors: tuple[Floor, ...] = ()
    models: dict[str, dict[str, float | int | str | None]] = Field(default_factory=dict)
    """Figures by model: top-1, top-5, valid five, step error rate, tokens, seconds, bytes."""
    baselines: dict[str, dict[str, float | int | str | None]] = Field(default_factory=dict)
    """Oracle, bag of words, most frequent five."""
    sittings: dict[str, Sitting] = Field(default_factory=dict)
    """By model; empty in reports of an older version and in those made from bare marks."""
    noise: Noise | None = None
    """None where no model was asked twice."""
    made: dict[str, str] = Field(default_factory=dict)
    """How the models were made, in the run's own figures."""
    ladder: tuple[dict[str, float | int | str | bool | None], ...] = ()
    """A row a rung of the ladder of bits, the smallest first: bytes, divergence, finding on tune cases."""
    notes: tuple[str, ...] = ()
    machine: dict[str, str] = Field(default_factory=dict)
    digests: dict[str, str] = Field(default_factory=dict)
    exam_opened: int = 1
    """How often the exam split was opened for this candidate."""


class Responder(Protocol):
    """Teacher, student, served model and remote endpoint are all this one thing."""

    name: str
    """Shown in traces and reports."""
    model: str
    """Digest or model name."""
    batch_invariant: bool
    """True when a request's tokens do not depend on what else is in the batch."""

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Trace]:
        """Yield `sampling.samples` traces for each prompt, in the order of the prompts."""
        ...


class Delta(Record):
    """A piece of one answer while it is being generated."""

    thinking: str = ""
    reply: str = ""
    tokens: tuple[Token, ...] = ()
    """Tokens of the reply since the piece before, where the sampling asks for log probabilities."""


class Streams(Responder, Protocol):
    """A Responder that can also show one answer as it grows."""

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[Delta | Trace]:
        """Yield pieces, then the whole Trace, once, last. Closing the iterator frees the engine's slot."""
        ...


Figures = Mapping[str, float | int | str | bool | None]

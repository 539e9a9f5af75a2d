"""The application that `doors.py` fuzzes, and what Hypothesis draws for it."""

from __future__ import annotations

import gzip
import json
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from rounds.engine.answering import begin, context_of, trace_of
from rounds.model.tokenizer import Codec
from rounds.records import Delta, Prompt, Sampling, Trace
from rounds.serve.app import Doors, create_app
from rounds.serve.audit import Audit
from rounds.serve.audit_sqlite import SQLite
from rounds.serve.jwt import read_issuers
from rounds.serve.keys import Keys, new_key, write_keys
from rounds.serve.operate import Operation
from rounds.serve.standing import find
from rounds.serve.store import Store

ISSUER = "https://ehr.example"
AUDIENCE = "http://127.0.0.1:8000"
REPLIES = (
    "1. Community-acquired pneumonia\n2. Pulmonary embolism\n3. Heart failure\n4. Pleurisy\n5. Gout\nRed flags: cough",
    "1. Gout\n2. Septic arthritis\nRed flags: none",
    "<script>alert(1)</script>\n1. <img src=x onerror=alert(1)>\n2. [a](javascript:alert(1))\nRed flags: **x** `y`",
    "I cannot answer this.",
    "",
    "1. " + "very " * 400 + "long",
    "1. \u202egout\x07\n2. \u0000\n3. \ufeff\n4. 🫀\n5. \\u0041\nRed flags: ; ; ;",
)


def drawn(strategy: st.SearchStrategy[Any], count: int) -> list[Any]:
    """So many examples of a strategy, the same each time."""
    found: list[Any] = []

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @seed(1)
    @given(strategy)
    def collect(one: Any) -> None:
        found.append(one)

    collect()
    return found


def texts() -> list[str]:
    """Words of every kind of sign."""
    return drawn(st.text(max_size=60), 800)


def values() -> list[Any]:
    """JSON of every kind."""
    words = st.text(max_size=30)
    numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    inner = st.recursive(
        st.none() | st.booleans() | numbers | words,
        lambda one: st.lists(one, max_size=4) | st.dictionaries(words, one, max_size=4),
        max_leaves=10,
    )
    return drawn(inner, 800)


def exported(directory: Path) -> dict[str, list[dict[str, Any]]]:
    """Resources of the Bundles of a directory, by their type; at most 300 of each."""
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(directory.glob("*.json*")):
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        for entry in json.loads(text).get("entry", []):
            kept = found[entry["resource"]["resourceType"]]
            if len(kept) < 300:
                kept.append(entry["resource"])
    return dict(found)


class Replies:
    """A Responder that reads a prompt as an engine does (tokens, context, schema) and answers out of a list."""

    name = "replies"
    batch_invariant = True

    def __init__(self, checkpoint: Path, model: str) -> None:
        self.model = model
        self._codec = Codec.load(checkpoint)
        self._context = context_of(checkpoint)

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Trace]:
        """One of the replies for each prompt and sample."""
        for prompt in prompts:
            for sample in range(sampling.samples):
                yield self._trace(prompt, sample, sampling)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[Delta | Trace]:
        """The same in pieces."""
        trace = self._trace(prompt, 0, sampling)
        yield Delta(thinking=trace.thinking)
        for word in trace.reply.split(" ")[:20]:
            yield Delta(reply=f"{word} ")
        yield trace

    def _trace(self, prompt: Prompt, sample: int, sampling: Sampling) -> Trace:
        answering = begin(self._codec, prompt, sample, sampling, self._context)
        number = len(answering.prompt_ids) + answering.prompt_ids[-1] + len(prompt.messages[-1].content) + sample
        ids = self._codec.encode_text("Fever fits.") + self._codec.closing()
        ids += self._codec.encode_text(REPLIES[number % len(REPLIES)])
        answering.add(ids[: answering.limit], [-0.5] * len(ids[: answering.limit]) if sampling.logprobs else ())
        answering.end("stop" if len(ids) <= answering.limit else "length")
        return trace_of(answering, self._codec, sampling, self.model, "replies")


@dataclass(slots=True)
class Application:
    """One to be tried."""

    app: Any
    model: str
    described: dict[str, Any]
    key: str = ""
    """Opens everything; '' where none is needed."""
    signer: Any = None
    """Private key of the record system."""

    def token(self, draw: random.Random, path: str) -> str:
        """A signed token for a call, mostly a good one."""
        import jwt

        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE + path,
            "iat": now,
            "exp": now + 200,
            "jti": str(draw.getrandbits(64)),
        }
        if draw.random() < 0.1:
            claims[draw.choice(list(claims))] = draw.choice(("", 0, 2**70, None, [], "x"))
        try:
            return jwt.encode(claims, self.signer, "ES384", {"kid": "ec"})
        except TypeError:  # what this library does not sign
            return "e30.e30.e30"

    async def close(self) -> None:
        """End the application as a server would."""
        asked = iter(("startup", "shutdown"))

        async def receive() -> dict[str, str]:
            return {"type": f"lifespan.{next(asked)}"}

        async def send(_: Any) -> None:
            return None

        await self.app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)


def application(run: Path, place: Path, kind: str) -> Application:
    """`rounds serve` of a run without its socket and model: `open`, `shadow` or `keys`. place: for all it writes."""
    served = find(run, unproven=True)
    doors, key, signer = Doors(), "", None
    if kind == "keys":
        key, line = new_key("nurse", ("diagnose", "audit", "admin", "records"))
        write_keys(place / "keys.jsonl", (line,))
        signer, issuers = _issuers(place)
        doors = Doors(Keys(place / "keys.jsonl"), issuers=issuers)
    store = Store(place / "store", place / "store.key", 30)
    app: Any = create_app(
        Replies(served.checkpoint, served.standing.checkpoint),
        name=served.name,
        standing=served.standing,
        template=served.examine.template,
        sampling=Sampling(max_tokens=served.examine.max_tokens, temperature=served.examine.temperature),
        audit=Audit(SQLite(place / "audit.sqlite")),
        home=served.papers,
        operation=Operation(place),
        keep=lambda judgement: store.put("feedback", judgement.model_dump_json()),
        doors=doors,
        shadow=kind == "shadow",
        at_once=4,
        most_waiting=64,
    )
    return Application(app, served.name, app._app.app.openapi(), key, signer)


def _issuers(place: Path) -> tuple[Any, Any]:
    """A record system's private key, and what the server knows of it."""
    import jwt
    from cryptography.hazmat.primitives.asymmetric import ec

    signer = ec.generate_private_key(ec.SECP384R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(signer.public_key())) | {"kid": "ec"}
    one = {"iss": ISSUER, "audience": AUDIENCE, "jwks": {"keys": [public]}}
    (place / "issuers.json").write_text(json.dumps({"issuers": [one]}), encoding="utf-8")
    return signer, read_issuers(place / "issuers.json")

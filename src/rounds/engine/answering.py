"""What the engines in this process share: one answer being generated, its seed, its budget, its pieces.

Left out on purpose: anything that touches a model.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rounds import files
from rounds.engine.schema import pattern_of
from rounds.model.adapter import Adapter
from rounds.model.tokenizer import Codec, read_object
from rounds.records import Delta, Prompt, Sampling, Token, Trace, UserError


@dataclass(slots=True)
class Answering:
    """One sample of one prompt on its way. `ids` grow; `forced` is true once the budget closed the thinking."""

    prompt: Prompt
    sample: int
    prompt_ids: list[int]
    limit: int
    """Most tokens of the answer."""
    pattern: str = ""
    """Expression that the reply obeys; '' for none."""
    ids: list[int] = field(default_factory=list)
    logprobs: list[float | None] = field(default_factory=list)
    """One an id where the sampling asks for them, None for a forced id; empty otherwise."""
    forced: bool = False
    finish: str | None = None
    started: float = field(default_factory=time.perf_counter)
    first: float | None = None
    ended: float | None = None

    def add(self, ids: Sequence[int], logprobs: Sequence[float | None] = ()) -> None:
        """Tokens the model has drawn, or that were written for it."""
        if ids and self.first is None:
            self.first = time.perf_counter()
        self.ids += ids
        self.logprobs += logprobs

    def take_back(self) -> None:
        """The last token does not count."""
        self.ids.pop()
        if self.logprobs:
            self.logprobs.pop()

    def ruled(self, codec: Codec) -> bool:
        """Whether the next token belongs to a reply under a schema. Thoughts are free."""
        return bool(self.pattern) and not self.thinks(codec)

    def thinks(self, codec: Codec) -> bool:
        """Whether `</think>` is still to come, in a vocabulary that has the markers."""
        return codec.think_id is not None and codec.end_think_id is not None and codec.thinks_on(self.ids)

    def end(self, finish: str) -> None:
        self.finish, self.ended = finish, time.perf_counter()


def begin(codec: Codec, prompt: Prompt, sample: int, sampling: Sampling, context: int) -> Answering:
    """An answer before its first token. `context` is the longest prompt and answer together, in tokens.

    Raises:
        UserError: the prompt alone fills the context, or the JSON schema cannot be enforced.
    """
    pattern = pattern_of(sampling.json_schema) if sampling.json_schema else ""
    ids = codec.encode_prompt(prompt.messages)
    room = context - len(ids)
    if room < 1:
        raise UserError(
            f"case '{prompt.case_id}': its prompt has {len(ids)} tokens and the model's context {context}; shorten it."
        )
    return Answering(prompt, sample, ids, min(sampling.max_tokens, room), pattern)


def thinking_cap(codec: Codec, sampling: Sampling) -> int | None:
    """Tokens the model may draw before `</think>` is forced; None is no limit.

    One token of the budget is the line break before the marker. A vocabulary without `<think>` has no budget.
    """
    if sampling.thinking_budget is None or codec.think_id is None:
        return None
    return max(0, sampling.thinking_budget - 1)


def forced_ids(codec: Codec, ids: Sequence[int]) -> list[int]:
    """What is written for the model when its budget is spent: a line break after words, then `</think>`."""
    return (codec.encode_text("\n") if ids else []) + codec.closing()


def seed_of(sampling: Sampling, case_id: str, sample: int) -> int:
    """A seed of its own for each answer, whatever else is asked in the same call: 32 bits of a SHA-256."""
    return int(files.digest_of([sampling.seed, case_id, sample])[:8], 16)


def context_of(directory: Path) -> int:
    """Longest prompt and answer together, from config.json; no limit when it says none."""
    return int(read_object(directory / "config.json").get("max_position_embeddings") or 1 << 30)


def need_adapters(there: Collection[str], prompts: Sequence[Prompt]) -> None:
    """Whether the adapter of each prompt is among those `there`, of which '' is the model itself.

    Raises:
        UserError: one is not.
    """
    wrong = next((prompt.adapter for prompt in prompts if prompt.adapter not in there), None)
    if wrong is not None:
        known = ", ".join(sorted(name for name in there if name))
        advice = f"use one of {known}" if known else "this model has none, leave it out"
        raise UserError(f"there is no adapter '{wrong[:100]}' here; {advice}.")


def digest_in(there: Mapping[str, Adapter], prompt: Prompt) -> str:
    """Digest of the adapter that a prompt names; '' where it names none."""
    return there[prompt.adapter].digest if prompt.adapter else ""


def trace_of(
    answering: Answering, codec: Codec, sampling: Sampling, model: str, engine: str, adapter: str = ""
) -> Trace:
    """The finished answer; `adapter` is the digest of the one that gave it."""
    parts = codec.split(answering.ids)
    first, ended = answering.first, answering.ended
    return Trace.model_validate(
        {
            "prompt": answering.prompt,
            "model": model,
            "adapter": adapter,
            "engine": engine,
            "sampling": sampling,
            "sample": answering.sample,
            "thinking": parts.thinking,
            "reply": parts.reply,
            "finish": answering.finish or "error",
            "thinking_tokens": parts.thinking_tokens,
            "reply_tokens": parts.reply_tokens,
            "prompt_tokens": len(answering.prompt_ids),
            "logprobs": tokens_of(answering, codec),
            "first_token_s": None if first is None else first - answering.started,
            "total_s": None if ended is None else ended - answering.started,
        }
    )


def tokens_of(answering: Answering, codec: Codec, start: int = 0) -> list[Token]:
    """Drawn tokens of the reply from place `start` of the answer on, its end left out; none where nobody asked."""
    if not answering.logprobs:
        return []
    spelled = codec.token_bytes()
    found: list[Token] = []
    for place in range(max(start, codec.reply_from(answering.ids)), len(answering.logprobs)):
        token, logprob = answering.ids[place], answering.logprobs[place]
        if logprob is not None and token not in codec.eos_ids:
            text = codec.decode([token])
            # A second `</think>` is spelled out in the reply, and writes no bytes of its own.
            raw = (spelled[token] if spelled else b"") or text.encode(errors="replace")
            found.append(Token(text=text, raw=tuple(raw), logprob=logprob))
    return found


class Beside:
    """Puts the tokens of a reply beside the pieces of its stream, each once."""

    def __init__(self, codec: Codec, answering: Answering) -> None:
        self._codec, self._answering = codec, answering
        self._told = 0
        """Ids whose tokens are out."""

    def put(self, deltas: list[Delta], last: bool = False) -> list[Delta]:
        """The pieces with the new tokens beside the last; held back until there is a piece of the reply, or the end."""
        answering = self._answering
        if not answering.logprobs or not (last or any(delta.reply for delta in deltas)):
            return deltas
        tokens = tuple(tokens_of(answering, self._codec, self._told))
        self._told = len(answering.ids)
        if not tokens:
            return deltas
        return [*deltas[:-1], (deltas[-1] if deltas else Delta()).model_copy(update={"tokens": tokens})]


class Pieces:
    """Turns growing ids into text pieces; bytes of an unfinished character are held back.

    Joined and stripped, the pieces are the trace's thinking and reply, save that an answer which ends without
    `</think>` was streamed as thinking and counts as reply in its trace, and that what is thought on after a budget
    closed the thought was streamed as reply and counts as thinking. Without `<think>` in the vocabulary all is
    streamed as reply.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._thinking = codec.think_id is not None
        self._ids: list[int] = []
        self._shown = 0
        """Ids of the current section whose text is out."""
        self._started = False

    def take(self, ids: Sequence[int]) -> list[Delta]:
        """Pieces that became readable with these new ids."""
        found: list[Delta] = []
        for token in ids:
            if token in self._codec.eos_ids:
                continue
            if token == self._codec.end_think_id:
                found += self._flush(last=True)
                self._thinking, self._ids, self._shown, self._started = False, [], 0, False
            else:
                self._ids.append(token)
        return found + self._flush()

    def rest(self) -> list[Delta]:
        """What was held back when the answer ended inside a character."""
        return self._flush(last=True)

    def _flush(self, last: bool = False) -> list[Delta]:
        # A short tail of shown ids gives the decoder its context; the whole text is never decoded again.
        tail = max(0, self._shown - 6)
        before = self._codec.decode(self._ids[tail : self._shown])
        text = self._codec.decode(self._ids[tail:])
        if len(self._ids) == self._shown or (text.endswith("\ufffd") and not last):
            return []
        self._shown = len(self._ids)
        piece = text[len(before) :]
        if not self._started:
            piece = piece.lstrip()
        if not piece:
            return []
        self._started = True
        return [Delta(thinking=piece) if self._thinking else Delta(reply=piece)]

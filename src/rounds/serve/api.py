# No `from __future__ import annotations` here: FastAPI reads the annotations of routes defined inside a function.
"""The OpenAI-compatible part: models and chat completions, whole or streamed, with `reasoning_content` beside content.

Follows https://platform.openai.com/docs/api-reference/chat with the field names DeepSeek and vLLM use for reasoning
(https://api-docs.deepseek.com/guides/reasoning_model). Every number is bounded, unknown fields are refused by name,
and no fault repeats what the client sent. A client can neither speak for the model nor think for it: a conversation
that ends with the assistant is refused, and reasoning beside or inside earlier answers, which clients that keep a
conversation send back, never reaches the engine.
A stop string cuts what is shown; the tokens behind it are counted, as they were generated. Left out on purpose: tools,
log probabilities of tokens that were not drawn, and a client's own chat template.
"""

import json
import re
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from rounds.prompts.template import load
from rounds.records import Delta, Message, Prompt, Record, Sampling, Token, Trace, UserError
from rounds.serve.audit import Unaudited
from rounds.serve.consult import LONGEST_CASE, prompt_for
from rounds.serve.faults import error_body, status_of
from rounds.serve.keys import need
from rounds.serve.stops import cut, until
from rounds.serve.stream import UNBUFFERED
from rounds.serve.ward import Asked, Ward, ending, traces_of, unless_gone
from rounds.serve.worker import EngineFailed

if TYPE_CHECKING:
    from fastapi import FastAPI

LONGEST_CONVERSATION = 60_000
"""Characters of all messages together."""
MOST_MESSAGES = 64
MOST_SAMPLES = 8
MOST_STOPS = 4
LONGEST_SCHEMA = 16_384
"""Characters of JSON."""
DEEPEST_SCHEMA = 32

UNAUDITED = {"audited": False}
"""Beside every piece of a stream: its result row is not yet in the log."""

THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)

Text = Annotated[str, Field(max_length=LONGEST_CONVERSATION)]


class TextPart(Record):
    """One part of a message; text is the only kind there is."""

    type: Literal["text"]
    text: Text


class ChatMessage(Record):
    """One turn as a client sends it. Fields that official clients send back as null are taken when they are null."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[tuple[TextPart, ...], Field(max_length=16)]
    name: str | None = Field(default=None, max_length=64)
    reasoning_content: Text | None = None
    """Of an earlier answer, as it was given; dropped."""
    reasoning: Text | None = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None
    audio: None = None
    annotations: None = None

    @model_validator(mode="after")
    def _no_reasoning(self) -> "ChatMessage":
        if self.role != "assistant" and (self.reasoning_content is not None or self.reasoning is not None):
            raise ValueError("reasoning is the model's own and stands beside an answer only; leave it out")
        return self

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)

    def turn(self) -> Message:
        """The turn as the engine gets it: reasoning beside or inside an earlier answer is dropped."""
        if self.role == "assistant":
            answer = THOUGHT.sub("", self.text).rsplit("</think>", 1)[-1].strip()
            return Message(role="assistant", content=answer)
        return Message(role="user" if self.role == "user" else "system", content=self.text)


class StreamOptions(Record):
    """What a stream ends with."""

    include_usage: bool = False


class JsonSchema(Record):
    """A schema that the reply must obey."""

    name: str = Field(max_length=64)
    description: str | None = Field(default=None, max_length=1024)
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(Record):
    """What the reply is to look like; an engine that enforces no schema says so."""

    type: Literal["text", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _sound(self) -> "ResponseFormat":
        if (self.type == "json_schema") != (self.json_schema is not None):
            raise ValueError("type json_schema needs the field json_schema, and no other type has it")
        if self.json_schema and _deeper(self.json_schema.schema_, DEEPEST_SCHEMA):
            raise ValueError(f"the schema is nested more than {DEEPEST_SCHEMA} levels deep; flatten it")
        if len(self.text) > LONGEST_SCHEMA:
            raise ValueError(f"the schema has more than {LONGEST_SCHEMA} characters; shorten it")
        return self

    @property
    def text(self) -> str:
        """The schema as JSON, '' for none."""
        return json.dumps(self.json_schema.schema_, allow_nan=False) if self.json_schema else ""


def _deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(levels == 0 or _deeper(one, levels - 1) for one in inner)


Stop = Annotated[str, Field(min_length=1, max_length=64)]


class ChatRequest(Record):
    """Body of POST /v1/chat/completions."""

    model: str = Field(max_length=256)
    messages: tuple[ChatMessage, ...] = Field(min_length=1, max_length=MOST_MESSAGES)
    max_tokens: int | None = Field(default=None, ge=1, le=131072)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=131072)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(default=None, gt=0, le=1, allow_inf_nan=False)
    seed: int | None = Field(default=None, ge=0, le=2**31 - 1)
    n: int | None = Field(default=None, ge=1, le=MOST_SAMPLES)
    stop: Stop | Annotated[tuple[Stop, ...], Field(max_length=MOST_STOPS)] | None = None
    response_format: ResponseFormat | None = None
    thinking_budget: int | None = Field(default=None, ge=0, le=131072)
    """Tokens allowed before `</think>`; at most the served budget, where one is served."""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: Literal[0] | None = None
    frequency_penalty: Literal[0] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    user: str | None = Field(default=None, max_length=256)
    """Taken and not kept."""
    template: str | None = Field(default=None, max_length=64, pattern=r"^[a-z0-9-]+@[0-9]+$")
    """Rounds' own: the template that turns the one message of the request, a case, into a prompt."""

    @property
    def stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else self.stop or ()

    @model_validator(mode="after")
    def _sound(self) -> "ChatRequest":
        if self.messages[-1].role != "user":
            raise ValueError("the last message must be the user's; an answer cannot be begun for the model")
        if sum(len(message.text) for message in self.messages) > LONGEST_CONVERSATION:
            raise ValueError(f"the messages have more than {LONGEST_CONVERSATION} characters; shorten them")
        if self.top_logprobs:
            raise ValueError("top_logprobs must be 0; only the drawn token's log probability is told")
        if self.logprobs and self.stops:
            raise ValueError("logprobs and stop cannot be asked for together; cut the reply yourself")
        if self.template is not None and len(self.messages) != 1:
            raise ValueError("a template takes one message, the case; send no others")
        return self


def add_api(app: "FastAPI", ward: Ward) -> None:
    """Add the /v1 routes to an application."""
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response, StreamingResponse

    shared = {"object": "model", "created": 0, "owned_by": "rounds"}
    served = {id_: {"id": id_, **shared, "rounds": ward.standing_of(own).label} for id_, own in ward.models.items()}

    @app.get("/v1/models")
    async def models(request: Request) -> JSONResponse:
        need(request, "diagnose")
        return JSONResponse({"object": "list", "data": list(served.values())})

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str, request: Request) -> JSONResponse:
        need(request, "diagnose")
        return JSONResponse(served[name]) if name in served else unknown()

    @app.post("/v1/chat/completions")
    async def chat(asked: ChatRequest, request: Request) -> Response:
        caller = need(request, "diagnose")
        if asked.model not in served:
            return unknown()
        adapter = ward.adapter_of(asked.model)
        prompt = _prompt(asked).model_copy(update={"adapter": adapter})
        begun = await ward.begin(prompt, _sampling(asked, ward.sampling_of(adapter)), caller, "chat")
        if asked.stream:
            pieces = until(begun.job.merged(), asked.stops)
            # Headers go out with the first piece: until then a fault is still an HTTP status.
            async with ward.following(begun):
                first = await unless_gone(request.receive, begun.job, anext(pieces, None))
            events = _events(ward, begun, first, pieces, asked)
            return StreamingResponse(events, media_type="text/event-stream", headers=UNBUFFERED)
        async with ward.following(begun):
            traces = await unless_gone(request.receive, begun.job, traces_of(begun.job))
            traces = [cut(trace, asked.stops) for trace in traces]
            hash_ = await ward.conclude(begun, traces)
        return JSONResponse(_completion(ward, prompt.adapter, traces, _audited(begun, hash_)))

    def unknown() -> JSONResponse:
        named = f"the model served here is '{ward.name}'." if len(served) == 1 else f"served are {', '.join(served)}."
        return JSONResponse(error_body(404, named), 404)


def _prompt(asked: ChatRequest) -> Prompt:
    if asked.template is None:
        turns = tuple(message.turn() for message in asked.messages)
        return Prompt(case_id="chat", template="", messages=turns)
    load(asked.template)  # an unknown one is a sentence, before the case is looked at
    text = asked.messages[0].text
    if len(text) > LONGEST_CASE:
        raise UserError(f"the case has {len(text)} characters; at most {LONGEST_CASE} can be read.")
    return prompt_for(text, asked.template)


def _sampling(asked: ChatRequest, own: Sampling) -> Sampling:
    tokens = asked.max_completion_tokens or asked.max_tokens or own.max_tokens
    if tokens > own.max_tokens:
        raise UserError(f"max_tokens is {tokens}; this server gives at most {own.max_tokens}.")
    budget = own.thinking_budget if asked.thinking_budget is None else asked.thinking_budget
    if own.thinking_budget is not None and budget is not None and budget > own.thinking_budget:
        raise UserError(f"thinking_budget is {budget}; this server gives at most {own.thinking_budget}.")
    return own.model_copy(
        update={
            "thinking_budget": budget,
            "json_schema": asked.response_format.text if asked.response_format else "",
            "max_tokens": tokens,
            "temperature": own.temperature if asked.temperature is None else asked.temperature,
            "top_p": own.top_p if asked.top_p is None else asked.top_p,
            "seed": own.seed if asked.seed is None else asked.seed,
            "samples": asked.n or 1,
            "logprobs": bool(asked.logprobs),
        }
    )


def _usage(traces: list[Trace]) -> dict[str, Any]:
    thinking = sum(trace.thinking_tokens for trace in traces)
    tokens = thinking + sum(trace.reply_tokens for trace in traces)
    prompt = traces[0].prompt_tokens if traces else 0  # one prompt, however many answers
    return {
        "prompt_tokens": prompt,
        "completion_tokens": tokens,
        "total_tokens": prompt + tokens,
        "completion_tokens_details": {"reasoning_tokens": thinking},
    }


def _completion(ward: Ward, adapter: str, traces: list[Trace], audited: dict[str, Any]) -> dict[str, Any]:
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": trace.reply, "reasoning_content": trace.thinking or None},
            "finish_reason": trace.finish,
            "logprobs": _logprobs(trace.logprobs) if trace.sampling.logprobs else None,
        }
        for index, trace in enumerate(traces)
    ]
    head = _head(ward.model_id(adapter), "chat.completion")
    label = ward.standing_of(adapter).label
    return {**head, "choices": choices, "usage": _usage(traces), "rounds": {**label, **audited}}


def _logprobs(tokens: Sequence[Token]) -> dict[str, Any]:
    """Drawn tokens of the reply in OpenAI's shape."""
    content = [
        {"token": token.text, "logprob": token.logprob, "bytes": list(token.raw), "top_logprobs": []}
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _audited(asked: Asked, row_hash: str) -> dict[str, Any]:
    """Of a finished answer: its row is committed, and this is its hash."""
    return {"request": asked.request_id, "audited": True, "audit": row_hash}


def _head(model: str, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


async def _events(
    ward: Ward, asked: Asked, first: Delta | Trace | None, rest: AsyncIterator[Delta | Trace], request: ChatRequest
) -> AsyncIterator[str]:
    """Server-sent events of one request. Its text is marked unaudited; finish reasons come after the result row."""
    adapter = asked.job.prompt.adapter
    head = _head(ward.model_id(adapter), "chat.completion.chunk")
    traces: list[Trace] = []
    shown = False
    label: dict[str, Any] = {**ward.standing_of(adapter).label, "request": asked.request_id, "audited": False}

    def chunk(
        index: int, delta: dict[str, Any], finish: str | None, rounds: dict[str, Any], tokens: Sequence[Token] = ()
    ) -> str:
        choice: dict[str, Any] = {"index": index, "delta": delta, "finish_reason": finish}
        if tokens:
            choice["logprobs"] = _logprobs(tokens)
        return _event({**head, "choices": [choice], "rounds": rounds})

    try:
        for index in range(request.n or 1):
            yield chunk(index, {"role": "assistant", "content": ""}, None, label)
        piece = first
        while piece is not None:
            if isinstance(piece, Delta):
                shown = True
                yield chunk(0, _delta(piece.thinking, piece.reply), None, UNAUDITED, piece.tokens)
            elif piece.finish == "error":
                raise EngineFailed("the engine gave no whole answer; try again.")
            else:
                if not shown:  # the engine does not stream: the whole answer is one piece
                    yield chunk(len(traces), _delta(piece.thinking, piece.reply), None, UNAUDITED, piece.logprobs)
                traces.append(piece)
            piece = await anext(rest, None)
        if not traces:
            raise EngineFailed("the engine gave no whole answer; try again.")
        audited = _audited(asked, await ward.conclude(asked, traces))
        for index, trace in enumerate(traces):
            yield chunk(index, {}, trace.finish, audited)
        if request.stream_options and request.stream_options.include_usage:
            yield _event({**head, "choices": [], "usage": _usage(traces), "rounds": audited})
        yield "data: [DONE]\n\n"
    except (UserError, EngineFailed, Unaudited) as error:
        ward.leave(asked, ending(error))
        yield _event(error_body(status_of(error), str(error)))


def _delta(thinking: str, reply: str) -> dict[str, str]:
    parts = {"reasoning_content": thinking, "content": reply}
    return {name: text for name, text in parts.items() if text}


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"

# No `from __future__ import annotations` here: FastAPI reads the annotations of routes defined inside a function.
"""The OpenAI-compatible part: models and chat completions, whole or streamed, with `reasoning_content` beside content.

Follows https://platform.openai.com/docs/api-reference/chat with the field names DeepSeek and vLLM use for reasoning
(https://api-docs.deepseek.com/guides/reasoning_model). Every number is bounded, unknown fields are refused by name,
and no fault repeats what the client sent. A client can neither speak for the model nor think for it: reasoning in a
message, and a conversation that ends with the assistant, are refused; reasoning inside earlier answers is dropped.
Left out on purpose: tools, stop strings, log probabilities, and a client's own chat template.
"""

import json
import re
import time
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from rounds.prompts.template import load
from rounds.records import Delta, Message, Prompt, Record, Sampling, Trace, UserError
from rounds.serve.consult import LONGEST_CASE, prompt_for
from rounds.serve.ward import ClientGone, Ward, traces_of, unless_gone
from rounds.serve.worker import Busy, EngineFailed, Job

if TYPE_CHECKING:
    from fastapi import FastAPI

LONGEST_CONVERSATION = 60_000
"""Characters of all messages together."""
MOST_MESSAGES = 64
MOST_SAMPLES = 8

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
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None
    audio: None = None
    annotations: None = None

    @field_validator("reasoning_content", "reasoning")
    @classmethod
    def _no_reasoning(cls, value: str | None) -> None:
        if value is not None:
            raise ValueError("reasoning is the model's own and cannot be sent; leave it out")

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "\n".join(part.text for part in self.content)

    def turn(self) -> Message:
        """The turn as the engine gets it: reasoning inside an earlier answer is dropped."""
        if self.role == "assistant":
            answer = THOUGHT.sub("", self.text).rsplit("</think>", 1)[-1].strip()
            return Message(role="assistant", content=answer)
        return Message(role="user" if self.role == "user" else "system", content=self.text)


class StreamOptions(Record):
    """What a stream ends with."""

    include_usage: bool = False


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
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    presence_penalty: Literal[0] | None = None
    frequency_penalty: Literal[0] | None = None
    logprobs: Literal[False] | None = None
    user: str | None = Field(default=None, max_length=256)
    """Taken and not kept."""
    template: str | None = Field(default=None, max_length=64, pattern=r"^[a-z0-9-]+@[0-9]+$")
    """Rounds' own: the template that turns the one message of the request, a case, into a prompt."""

    @model_validator(mode="after")
    def _sound(self) -> "ChatRequest":
        if self.messages[-1].role != "user":
            raise ValueError("the last message must be the user's; an answer cannot be begun for the model")
        if sum(len(message.text) for message in self.messages) > LONGEST_CONVERSATION:
            raise ValueError(f"the messages have more than {LONGEST_CONVERSATION} characters; shorten them")
        if self.template is not None and len(self.messages) != 1:
            raise ValueError("a template takes one message, the case; send no others")
        return self


def add_api(app: "FastAPI", ward: Ward) -> None:
    """Add the /v1 routes and /health to an application."""
    from fastapi import Request
    from fastapi.responses import JSONResponse, Response, StreamingResponse

    model = {"id": ward.name, "object": "model", "created": 0, "owned_by": "rounds", "rounds": ward.label}

    @app.get("/health")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok", "waiting": ward.worker.waiting, "rounds": ward.label})

    @app.get("/v1/models")
    async def models() -> JSONResponse:
        return JSONResponse({"object": "list", "data": [model]})

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> JSONResponse:
        return JSONResponse(model) if name == ward.name else failed(404, f"the model served here is '{ward.name}'.")

    @app.post("/v1/chat/completions")
    async def chat(asked: ChatRequest, request: Request) -> Response:
        if asked.model != ward.name:
            return failed(404, f"the model served here is '{ward.name}'.")
        try:
            job = ward.worker.submit(_prompt(asked), _sampling(asked, ward))
            if asked.stream:
                pieces = aiter(job)
                # Headers go out with the first piece: until then a fault is still an HTTP status.
                first = await unless_gone(request.receive, job, anext(pieces, None))
                events = _events(ward, job, first, pieces, asked)
                return StreamingResponse(events, media_type="text/event-stream")
            traces = await unless_gone(request.receive, job, traces_of(job))
        except UserError as error:
            return failed(400, str(error))
        except Busy as busy:
            return failed(429, str(busy), {"retry-after": str(busy.retry_after)})
        except EngineFailed as error:
            return failed(500, str(error))
        except ClientGone:
            return Response(status_code=499)
        return JSONResponse(_completion(ward, traces))

    def failed(status: int, sentence: str, headers: dict[str, str] | None = None) -> JSONResponse:
        return JSONResponse(error_body(status, sentence), status, headers=headers)


def error_body(status: int, sentence: str) -> dict[str, Any]:
    """A fault in OpenAI's shape."""
    kind = "server_error" if status >= 500 else "rate_limit_error" if status == 429 else "invalid_request_error"
    return {"error": {"message": sentence, "type": kind, "param": None, "code": status}}


def _prompt(asked: ChatRequest) -> Prompt:
    if asked.template is None:
        turns = tuple(message.turn() for message in asked.messages)
        return Prompt(case_id="chat", template="", messages=turns)
    load(asked.template)  # an unknown one is a sentence, before the case is looked at
    text = asked.messages[0].text
    if len(text) > LONGEST_CASE:
        raise UserError(f"the case has {len(text)} characters; at most {LONGEST_CASE} can be read.")
    return prompt_for(text, asked.template)


def _sampling(asked: ChatRequest, ward: Ward) -> Sampling:
    own = ward.sampling
    tokens = asked.max_completion_tokens or asked.max_tokens or own.max_tokens
    if tokens > own.max_tokens:
        raise UserError(f"max_tokens is {tokens}; this server gives at most {own.max_tokens}.")
    return own.model_copy(
        update={
            "max_tokens": tokens,
            "temperature": own.temperature if asked.temperature is None else asked.temperature,
            "top_p": own.top_p if asked.top_p is None else asked.top_p,
            "seed": own.seed if asked.seed is None else asked.seed,
            "samples": asked.n or 1,
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


def _completion(ward: Ward, traces: list[Trace]) -> dict[str, Any]:
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": trace.reply, "reasoning_content": trace.thinking or None},
            "finish_reason": trace.finish,
            "logprobs": None,
        }
        for index, trace in enumerate(traces)
    ]
    return {**_head(ward, "chat.completion"), "choices": choices, "usage": _usage(traces), "rounds": ward.label}


def _head(ward: Ward, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": ward.name}


async def _events(
    ward: Ward, job: Job, first: Delta | Trace | None, rest: AsyncIterator[Delta | Trace], asked: ChatRequest
) -> AsyncIterator[str]:
    """Server-sent events of one job. Closed early (the client has left), it gives the job up."""
    head = _head(ward, "chat.completion.chunk")
    traces: list[Trace] = []
    shown = False

    def chunk(index: int, delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
        choice = {"index": index, "delta": delta, "finish_reason": finish}
        return _event({**head, "choices": [choice], **more})

    try:
        for index in range(asked.n or 1):
            yield chunk(index, {"role": "assistant", "content": ""}, rounds=ward.label)
        piece = first
        while piece is not None:
            if isinstance(piece, Delta):
                shown = True
                yield chunk(0, _delta(piece.thinking, piece.reply))
            elif piece.finish == "error":
                raise EngineFailed("the engine gave no whole answer; try again.")
            else:
                index = len(traces)
                if not shown:  # the engine does not stream: the whole answer is one piece
                    yield chunk(index, _delta(piece.thinking, piece.reply))
                yield chunk(index, {}, piece.finish)
                traces.append(piece)
            piece = await anext(rest, None)
        if asked.stream_options and asked.stream_options.include_usage:
            yield _event({**head, "choices": [], "usage": _usage(traces)})
        yield "data: [DONE]\n\n"
    except (UserError, EngineFailed) as error:
        yield _event(error_body(500 if isinstance(error, EngineFailed) else 400, str(error)))
    finally:
        job.give_up()


def _delta(thinking: str, reply: str) -> dict[str, str]:
    parts = {"reasoning_content": thinking, "content": reply}
    return {name: text for name, text in parts.items() if text}


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"

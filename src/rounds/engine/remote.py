"""Any OpenAI-compatible server as a Responder: vLLM, llama-server, a hospital's gateway.

Speaks `POST {endpoint}/chat/completions` over httpx (https://platform.openai.com/docs/api-reference/chat); needs no
torch. Messages go as they are: a template puts all instructions in the user turn. Left out on purpose: tools, images,
thinking budgets (the interface has none that servers share), and starting a server.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from rounds import files, progress
from rounds.records import Delta, Prompt, Sampling, Trace, UserError

THINK, END_THINK = "<think>", "</think>"
AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)
"""Status codes worth asking again."""


@dataclass(slots=True)
class _Heard:
    """What came back for one request."""

    reasoning: str = ""
    content: str = ""
    finish: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    first_s: float | None = None
    total_s: float | None = None


class Remote:
    """A Responder and Streams over an endpoint."""

    batch_invariant = False  # the server batches with whatever else it is asked

    def __init__(
        self,
        endpoint: str,
        name: str,
        *,
        key: str = "",
        concurrency: int = 8,
        timeout_s: float = 600.0,
        retries: int = 5,
        opened: bool = False,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        """`endpoint` ends in /v1. `opened`: the server's template opens `<think>`, so that answers lack the tag.
        `extra`: fields of a request beyond the standard that this server knows.

        Raises:
            UserError: the endpoint is no http(s) URL.
        """
        if not endpoint.startswith(("http://", "https://")):
            raise UserError(f"endpoint '{endpoint}' is not a URL; give one such as http://127.0.0.1:8000/v1.")
        self.endpoint = endpoint.rstrip("/")
        self.name = f"{name} at {self.endpoint}"
        self.model = name
        self._key = key
        self._concurrency = concurrency
        self._timeout = timeout_s
        self._retries = retries
        self._opened = opened
        self._extra = dict(extra or {})

    def respond(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Trace]:
        """Yield `sampling.samples` traces for each prompt, in the order of the prompts.

        Token counts are the server's; without a count of reasoning tokens, thinking and reply share the total by
        their lengths; without any count both are 0.

        Raises:
            UserError: the server cannot be reached, refuses, keeps failing, or answers nonsense; a budget is asked,
                or log probabilities are.
        """
        _refuse(sampling)
        asked = [(prompt, sample) for prompt in prompts for sample in range(sampling.samples)]
        asked.reverse()
        line: list[Future[Trace]] = []
        pool = ThreadPoolExecutor(self._concurrency)
        try:
            with self._client() as client, progress.bar(f"answering ({self.name})", len(asked)) as advance:
                while asked or line:
                    while asked and len(line) < 4 * self._concurrency:
                        prompt, sample = asked.pop()
                        line.append(pool.submit(self._ask, client, prompt, sample, sampling))
                    yield line.pop(0).result()
                    advance(1)
        finally:
            for future in line:
                future.cancel()
            pool.shutdown(wait=True, cancel_futures=True)

    def stream(self, prompt: Prompt, sampling: Sampling) -> Iterator[Delta | Trace]:
        """Yield pieces as the server sends them, then the Trace of the first sample.

        Raises:
            UserError: as `respond`.
        """
        _refuse(sampling)
        body = {**self._body(prompt, 0, sampling), "stream": True, "stream_options": {"include_usage": True}}
        heard, cutter, started = _Heard(), _Cutter(self._opened), time.perf_counter()
        with self._client() as client:
            response = self._send(client, body, stream=True)
            try:
                for event in _events(response, self.endpoint):
                    thought, said = _hear(event, heard)
                    if (thought or said) and heard.first_s is None:
                        heard.first_s = time.perf_counter() - started
                    if thought:
                        yield Delta(thinking=thought)
                    yield from cutter.take(said)
                yield from cutter.rest()
            except httpx.HTTPError as error:
                raise self._unreachable(error) from error
            finally:
                response.close()
        heard.total_s = time.perf_counter() - started
        yield self._trace(heard, prompt, 0, sampling)

    def _client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        timeout = httpx.Timeout(self._timeout, connect=min(10.0, self._timeout))
        limits = httpx.Limits(max_connections=self._concurrency)
        return httpx.Client(headers=headers, timeout=timeout, limits=limits)

    def _body(self, prompt: Prompt, sample: int, sampling: Sampling) -> dict[str, Any]:
        seed = int(files.digest_of([sampling.seed, prompt.case_id, sample])[:8], 16) >> 1  # 31 bits: all servers agree
        body: dict[str, Any] = {
            "model": prompt.adapter or self.model,  # servers offer an adapter as a model of its own name
            "messages": [message.model_dump() for message in prompt.messages],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_tokens,
            "seed": seed,
        }
        if sampling.json_schema:
            schema = {"name": "answer", "strict": True, "schema": json.loads(sampling.json_schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body | self._extra

    def _ask(self, client: httpx.Client, prompt: Prompt, sample: int, sampling: Sampling) -> Trace:
        started = time.perf_counter()
        response = self._send(client, self._body(prompt, sample, sampling), stream=False)
        heard = _Heard(total_s=time.perf_counter() - started)
        try:
            _hear(response.json(), heard)
        except ValueError as error:
            raise UserError(f"{self.endpoint}: answered no JSON ({response.text[:80]!r}); check the URL.") from error
        if heard.finish is None:
            raise UserError(f"{self.endpoint}: answered without choices ({response.text[:80]!r}); check the URL.")
        return self._trace(heard, prompt, sample, sampling)

    def _send(self, client: httpx.Client, body: dict[str, Any], stream: bool) -> httpx.Response:
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                request = client.build_request("POST", f"{self.endpoint}/chat/completions", json=body)
                response = client.send(request, stream=stream)
            except httpx.TransportError as error:
                if last:
                    raise self._unreachable(error) from error
                time.sleep(_pause(attempt))
                continue
            if response.status_code == 200:
                return response
            text = response.read().decode(errors="replace")
            response.close()
            if response.status_code not in AGAIN or last:
                raise self._refused(response.status_code, text, str(body["model"]))
            time.sleep(_pause(attempt, response.headers.get("Retry-After")))
        raise AssertionError("the last attempt returns or raises")

    def _unreachable(self, error: Exception) -> UserError:
        reason = str(error) or type(error).__name__
        return UserError(f"{self.endpoint}: cannot be reached ({reason}); start the server or check the URL.")

    def _refused(self, status: int, text: str, model: str) -> UserError:
        advice = {
            401: "set the key in the environment variable the recipe names",
            403: "set the key in the environment variable the recipe names",
            404: f"check the URL and that it serves a model named '{model}'",
            429: "ask less at once, or later",
        }.get(status, "see the server's log")
        return UserError(f"{self.endpoint}: refused with status {status} ({_message(text)}); {advice}.")

    def _trace(self, heard: _Heard, prompt: Prompt, sample: int, sampling: Sampling) -> Trace:
        cut = heard.finish == "length"
        thinking, reply = parse_thinking(heard.content, opened=self._opened and cut and not heard.reasoning)
        thinking = heard.reasoning + thinking
        first, second = _counts(heard.usage, len(thinking), len(reply))
        return Trace(
            prompt=prompt,
            model=prompt.adapter or self.model,
            engine="remote",
            sampling=sampling,
            sample=sample,
            thinking=thinking.strip(),
            reply=reply.strip(),
            finish="length" if cut else "stop" if heard.finish == "stop" else "error",
            thinking_tokens=first,
            reply_tokens=second,
            prompt_tokens=int(heard.usage.get("prompt_tokens") or 0),
            first_token_s=heard.first_s,
            total_s=heard.total_s,
        )


def parse_thinking(text: str, opened: bool = False) -> tuple[str, str]:
    """Thinking and reply of a text with inline markers, cut at the last `</think>`; the opening one may be missing.

    The last, as `Codec.split` and the reader of replies cut: a model may think on behind its first marker, and thoughts
    must not be taken for an answer. The parsers of vLLM and SGLang cut at the first, as they stream; what they leave in
    the content is cut again here. Without `</think>` all is reply, unless `<think>` came first or `opened` says that it
    was in the prompt.
    """
    before, marker, after = text.rpartition(END_THINK)
    if marker:
        return before.lstrip().removeprefix(THINK).replace(END_THINK, ""), after
    body = text.lstrip()
    if opened or body.startswith(THINK):
        return body.removeprefix(THINK), ""
    return "", text


class _Cutter:
    """Cuts streamed text at the first `</think>` and drops later ones; what may be the beginning of one is held back.

    A stream cannot know the last marker: what is thought on behind the first was streamed as reply and counts as
    thinking in the trace, as with the engines of this machine (`rounds.engine.answering.Pieces`).
    """

    def __init__(self, opened: bool) -> None:
        self._thinking = opened
        self._held = ""
        self._begun = False
        """A reply has begun: a later `<think>` is a word."""

    def take(self, text: str) -> list[Delta]:
        self._held += text
        found: list[Delta] = []
        if not self._begun and not self._thinking:
            start = self._held.lstrip()
            if start.startswith(THINK):
                self._thinking, self._held = True, start.removeprefix(THINK)
            elif THINK.startswith(start):
                return found
        self._begun = True
        marker = END_THINK
        while marker:
            before, marker, after = self._held.partition(END_THINK)
            keep = 0 if marker else _tail(before)
            found += self._piece(before[: len(before) - keep])
            self._held = after if marker else before[len(before) - keep :]
            self._thinking = self._thinking and not marker
        return found

    def rest(self) -> list[Delta]:
        """What was held back when the stream ended."""
        return self._piece(self._held)

    def _piece(self, text: str) -> list[Delta]:
        return [Delta(thinking=text) if self._thinking else Delta(reply=text)] if text else []


def _tail(text: str) -> int:
    """Length of the longest end of `text` that begins `</think>`."""
    return next((n for n in range(len(END_THINK) - 1, 0, -1) if text.endswith(END_THINK[:n])), 0)


def _hear(event: Any, heard: _Heard) -> tuple[str, str]:
    """Add one response, or one event of a stream, to what was heard; returns its reasoning and content.

    Raises:
        ValueError: it is no chat completion.
    """
    if not isinstance(event, dict) or not isinstance(event.get("choices"), list):
        raise ValueError("no choices")
    heard.usage = event.get("usage") or heard.usage
    if not event["choices"]:
        return "", ""
    choice = event["choices"][0]
    message = choice.get("message") or choice.get("delta") or {}
    # vLLM and DeepSeek name it reasoning_content, newer vLLM and OpenRouter reasoning.
    reasoning = message.get("reasoning_content") or message.get("reasoning") or ""
    content = message.get("content") or ""
    heard.reasoning += reasoning
    heard.content += content
    heard.finish = choice.get("finish_reason") or heard.finish
    return reasoning, content


def _events(response: httpx.Response, endpoint: str) -> Iterator[Any]:
    # Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html
    for line in response.iter_lines():
        if not line.startswith("data:"):
            continue
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        try:
            event = json.loads(data)
        except json.JSONDecodeError as error:
            raise UserError(f"{endpoint}: streamed no JSON ({data[:80]!r}); check the URL.") from error
        if not isinstance(event, dict) or "choices" not in event:
            raise UserError(f"{endpoint}: broke off the stream ({_message(data)}); see the server's log.")
        yield event


def _counts(usage: dict[str, Any], thinking: int, reply: int) -> tuple[int, int]:
    total = int(usage.get("completion_tokens") or 0)
    details = usage.get("completion_tokens_details") or {}
    reasoning = details.get("reasoning_tokens")
    if not reasoning:
        reasoning = round(total * thinking / max(1, thinking + reply))
    reasoning = min(int(reasoning), total)
    return reasoning, total - reasoning


def _message(text: str) -> str:
    try:
        error = json.loads(text)["error"]
        words = str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        words = text
    return " ".join(words.split())[:160] or "no reason given"


def _pause(attempt: int, asked: str | None = None) -> float:
    """Seconds before the next attempt: what the server asks for, else doubling from half a second with jitter."""
    if asked is not None and asked.strip().isdigit():
        return min(60.0, float(asked))
    return min(30.0, 0.5 * 2.0**attempt) * random.uniform(0.5, 1.0)


def _refuse(sampling: Sampling) -> None:
    if sampling.logprobs:
        raise UserError("log probabilities cannot be asked of an endpoint; leave them out, or run the checkpoint here.")
    if sampling.thinking_budget is not None:
        raise UserError(
            f"a thinking budget of {sampling.thinking_budget} tokens cannot be asked of an endpoint; "
            "leave it out, or run the checkpoint here."
        )

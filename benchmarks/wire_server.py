"""A server on loopback that answers as llama-server and others do that ``[servers]`` knows, and fails on demand.

It keeps count of what arrives: when, and how many requests it works on at once. Answers come from a function, so
that a caller knows what is right. Real HTTP over real sockets, by hand, since no library's server drops, stalls and
cuts off as it is told.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from math import log
from types import TracebackType
from typing import Any, Self

_LOOK_S = 0.005  # how often it is seen whether a client has left

P = Callable[[str, str], float]
"""(adapter or model, prompt or state with question) -> p(yes), in (0, 1)."""


class Fault(StrEnum):
    """What may become of a request instead of its answer."""

    NONE = "none"
    DROP = "drop"
    STALL = "stall"
    ERROR = "500"
    BUSY = "429"
    TRUNCATED = "truncated JSON"
    CUT = "cut off"
    WRONG = "wrong JSON"
    NO_JSON = "no JSON"
    DEEP = "nested too deep"
    SLOW = "slow bytes"
    REFUSE = "400"


PASSING = tuple(fault for fault in Fault if fault not in {Fault.NONE, Fault.REFUSE})
"""Those after which it is worth asking again."""


@dataclass(slots=True, kw_only=True)
class Script:
    """What a server answers.

    Attributes:
        p: p(yes) of a query.
        adapters: Names of its adapters; a llama-server's files are called so, with .gguf.
        model: Name of its base model.
        owner: What it says that it is, in its list of models.
        labels: Token ids of yes and no.
        tokens: Token ids of other words that a server may be asked for.
        texts: Likeliest tokens of a completion whose labels are not asked for by their ids.
        fault: What becomes of the request of that number, from 0.
        stall_s: How long a stalled request is left without an answer, and a slow one takes.
        retry_after: Header of a busy answer, made when it is sent; None for none.
        pause_s: How long a request is worked on.
        seen: Every body, with its path and headers.
        tweak: Changes an answer before it is sent.
        meta: What a llama-server says of its model's shape.
        echo: Name of a header whose value errors repeat; empty for none.
        invocation: Tokens that switch a llama-server's adapters on; empty for plain ones.
    """

    p: P = lambda _adapter, _prompt: 0.5
    adapters: tuple[str, ...] = ()
    model: str = "base-model"
    owner: str = "llamacpp"
    labels: tuple[int, int] = (455, 417)
    tokens: Mapping[str, int] = field(default_factory=dict)
    texts: tuple[str, ...] = ("yes", "no")
    fault: Callable[[int], Fault] = lambda _number: Fault.NONE
    stall_s: float = 30.0
    retry_after: Callable[[], str | None] = lambda: None
    pause_s: float = 0.0
    seen: list[tuple[str, Mapping[str, str], Any]] = field(default_factory=list)
    tweak: Callable[[Any], Any] = lambda answer: answer
    meta: Mapping[str, int] = field(default_factory=dict)
    echo: str = ""
    invocation: tuple[int, ...] = ()

    def answer(self, path: str, body: Any) -> Any:
        """The JSON of an answer; None where nothing is at that path."""
        if path == "/v1/models":
            return {"object": "list", "data": self._cards()}
        if path == "/props":
            return {"model_path": f"/models/{self.model}.gguf", "default_generation_settings": {"n_ctx": 4096}}
        if path == "/lora-adapters":
            more = {"alora_invocation_tokens": list(self.invocation)} if self.invocation else {}
            return [{"id": at, "path": f"/adapters/{name}.gguf", **more} for at, name in enumerate(self.adapters)]
        if path == "/tokenize":
            tokens = dict(zip(("yes", "no"), self.labels, strict=True)) | dict(self.tokens)
            return {"tokens": [tokens.get(body.get("content") or body.get("prompt"), 0)]}
        if path == "/completion":
            return self._completion(body)
        if path == "/v1/completions":
            return self._openai(body)
        if path == "/v1/decisions":
            return self._decisions(body)
        return self._system_one(body) if path == "/v1/systemone" else None

    def _cards(self) -> list[dict[str, Any]]:
        base = {"id": self.model, "object": "model", "owned_by": self.owner, "parent": None, "max_model_len": 4096}
        own = {"object": "model", "owned_by": self.owner, "parent": self.model}
        if self.owner == "llamacpp":
            return [base | {"meta": dict(self.meta)}]
        return [base, *({"id": name, **own} for name in self.adapters)]

    def _completion(self, body: Any) -> Any:
        on = [entry["id"] for entry in body["lora"] if entry["scale"]]
        name = self.adapters[on[0]] if on else "base"
        p = self.p(name, str(body["prompt"]))
        labels = [token for token, _ in body["logit_bias"]]
        top = [{"id": token, "prob": q} for token, q in zip(labels, _spread(p, len(labels)), strict=True)]
        return {"completion_probabilities": [{"top_probs": top}], "timings": {"prompt_n": 10, "cache_n": 90}}

    def _openai(self, body: Any) -> Any:
        name = str(body["model"]).rpartition(":")[2]
        p = self.p("base" if name == self.model else name, str(body["prompt"]))
        sought = body.get("logprob_token_ids")
        texts = [f"token_id:{token}" for token in sought] if sought else list(self.texts)
        top = {text: log(q) - 1 for text, q in zip(texts, _spread(p, len(texts)), strict=True)} | {"other": -9.0}
        logprobs = {"tokens": ["yes"], "token_logprobs": [top[texts[0]]], "top_logprobs": [top], "text_offset": [0]}
        choice = {"index": 0, "text": "yes", "logprobs": logprobs, "finish_reason": "length"}
        usage = {"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 90}}
        return {"object": "text_completion", "model": body["model"], "choices": [choice], "usage": usage}

    def _system_one(self, body: Any) -> Any:
        state = json.dumps(body["state"], sort_keys=True)
        answers: dict[str, Any] = {}
        for name, question in body["questions"].items():
            p = self.p(str(body.get("model", "")), f"{state} {question['instructions']}")
            options = question.get("criteria")
            keys = list(map(str, range(len(options)))) if isinstance(options, list) else list(options or ())
            answers[name] = (
                {"type": question["type"], "probabilities": dict(zip(keys, _spread(p, len(keys)), strict=True))}
                if keys
                else {"type": "noul", "noul": p}
            )
        return {"model": f"{body.get('model')}-1.0", "answers": answers, "usage": {"input_tokens": 100}}

    def _decisions(self, body: Any) -> Any:
        answers = []
        for question in body["questions"]:
            p = self.p(str(body["model"]), f"{body['input']} {question['instructions']}")
            answers.append({"type": question["type"], "name": question.get("name"), **_decided(question, p)})
        details = {"cached_tokens": 90, "cache_write_tokens": 10}
        usage = {"input_tokens": 100, "input_tokens_details": details, "output_tokens": 0, "total_tokens": 100}
        return {"model": f"{body['model']}-1.0", "answers": answers, "usage": usage}


def _decided(question: Any, p: float) -> dict[str, Any]:
    """The answer to a question of ``/v1/decisions``; its own choice and confidence are of no use to anybody."""
    if question["type"] == "predicate":
        return {"probability": p}
    options = question.get("choices") or question["levels"]
    shares = zip(options, _spread(p, len(options)), strict=True)
    if question["type"] == "choice":
        found = [{"value": option["value"], "probability": share} for option, share in shares]
        return {"choice": options[-1]["value"], "confidence": 0.5, "probabilities": found}
    found = [{"value": at, "label": level["label"], "probability": q} for at, (level, q) in enumerate(shares)]
    return {"score": 0.0, "confidence": 0.5, "probabilities": found}


def _spread(p: float, n: int) -> list[float]:
    """P for the first of n labels, and what is left for the others alike."""
    return [p, *[(1 - p) / (n - 1)] * (n - 1)]


class ScriptedServer:
    """A running server; use it as a context manager.

    Args:
        script: What it answers; may be changed while it runs.

    Attributes:
        url: Its address.
        arrivals: When each POST that asks something came in whole, in seconds.
        most_in_flight: Most of those that it worked on at once.
        faults: How often each fault was injected.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.arrivals: list[float] = []
        self.most_in_flight = 0
        self.faults: Counter[Fault] = Counter()
        self._in_flight = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="wire-server", daemon=True)
        self._ready = threading.Event()
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stop.wait()
        server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """The requests of one connection, until one of them ends it."""
        self._writers.add(writer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while (request := await _read(reader)) is not None:
                    if not await self._handle(*request, reader, writer):
                        break
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _handle(
        self,
        path: str,
        headers: Mapping[str, str],
        body: Any,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Answer one request; whether the connection goes on."""
        if body is None or path == "/tokenize":
            return await _send(writer, 200 if self.script.answer(path, body) else 404, self.script.answer(path, body))
        number = len(self.arrivals)
        self.arrivals.append(self._loop.time())
        self.script.seen.append((path, headers, body))
        self._in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self._in_flight)
        try:
            said = headers.get(self.script.echo, "")
            answering = asyncio.ensure_future(self._answer(number, path, body, said, writer))
            leaving = asyncio.ensure_future(_gone(reader))
            await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
            is_answered = answering.done()
            for task in (answering, leaving):
                task.cancel()
            found = await asyncio.gather(answering, leaving, return_exceptions=True)
            return is_answered and found[0] is True
        finally:
            self._in_flight -= 1

    async def _answer(self, number: int, path: str, body: Any, said: str, writer: asyncio.StreamWriter) -> bool:
        fault = self.script.fault(number)
        self.faults[fault] += 1
        if self.script.pause_s:
            await asyncio.sleep(self.script.pause_s)
        answer = self.script.tweak(self.script.answer(path, body))
        match fault:
            case Fault.NONE:
                return await _send(writer, 200, answer)
            case Fault.DROP:
                return False
            case Fault.STALL:
                await asyncio.sleep(self.script.stall_s)
                return False
            case Fault.ERROR:
                return await _send(writer, 500, {"error": {"message": f"internal error {said}"}})
            case Fault.BUSY:
                after = self.script.retry_after()
                headers = {"Retry-After": after} if after else {}
                return await _send(writer, 429, {"error": {"message": "too many requests"}}, headers)
            case Fault.REFUSE:
                return await _send(writer, 400, {"error": {"message": f"the prompt is too long {said}"}})
            case Fault.WRONG:
                return await _send(writer, 200, {"answer": f"42 {said}", "completion_probabilities": []})
            case _:
                return await self._spoil(fault, json.dumps(answer).encode(), said, writer)

    async def _spoil(self, fault: Fault, content: bytes, said: str, writer: asyncio.StreamWriter) -> bool:
        whole = {Fault.NO_JSON: f"<html>{said}</html>".encode(), Fault.DEEP: b"[" * 100_000}
        whole[Fault.TRUNCATED] = content[: len(content) // 2]
        if fault in whole:
            return await _send_bytes(writer, 200, whole[fault])
        writer.write(_head(200, len(content)))
        if fault is Fault.CUT:
            writer.write(content[: len(content) // 2])
            await writer.drain()
            return False
        for at in range(len(content)):
            writer.write(content[at : at + 1])
            await writer.drain()
            await asyncio.sleep(self.script.stall_s / len(content))
        return True


async def _read(reader: asyncio.StreamReader) -> tuple[str, Mapping[str, str], Any] | None:
    """Path, headers and JSON of a request; None at the end of the connection."""
    line = (await reader.readline()).split()
    if not line:
        return None
    headers = {}
    while (entry := (await reader.readline()).strip()) != b"":
        name, _, value = entry.decode().partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return line[1].decode(), headers, json.loads(body) if body else None


async def _gone(reader: asyncio.StreamReader) -> None:
    """Until the client has closed its end; nothing is read, for it may be the next request."""
    while not reader.at_eof() and reader.exception() is None:  # noqa: ASYNC110 - nothing tells of an end unread
        await asyncio.sleep(_LOOK_S)


def _head(status: int, length: int, headers: Mapping[str, str] | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} -", "Content-Type: application/json", f"Content-Length: {length}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode()


async def _send(writer: asyncio.StreamWriter, status: int, body: Any, headers: Mapping[str, str] | None = None) -> bool:
    return await _send_bytes(writer, status, json.dumps(body).encode(), headers)


async def _send_bytes(
    writer: asyncio.StreamWriter, status: int, content: bytes, headers: Mapping[str, str] | None = None
) -> bool:
    writer.write(_head(status, len(content), headers) + content)
    await writer.drain()
    return True

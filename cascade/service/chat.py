"""``/v1/chat/completions``: whether a cascade keeps a text, said as a chat model says it, by one token with logprobs.

For programs that take a cheap model's answer, and how sure it is, from a chat model: DocETL's ``cascade:``, LOTUS's
helper model. What the text is judged by stands in the cascade; what else the messages ask for is not read.
"""

from __future__ import annotations

import math
import re
import time
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from cascade.engine.engine import Engine
from cascade.errors import InputError, unknown_cascade
from cascade.integrations.passages import Judged, Passage, Rules, items_of, judged_of
from cascade.report import Report
from cascade.service.http_errors import UNFIT, RefusedError
from cascade.service.json_body import JsonRoute
from cascade.service.middleware import while_present
from cascade.service.schemas import check_long_text
from cascade.service.settings import ServiceSettings
from cascade.wire.chat import PATH, ChatAnswer, ChatCall

_LEAST_P = 1e-9  # a token's probability as its logarithm
_OPTION = re.compile(r"^\s*(\d)\s*=\s*(True|False)\s*$", re.MULTILINE)
_WORDS: Mapping[str, bool] = {"True": True, "False": False}


def make_router(engine: Engine, settings: ServiceSettings) -> APIRouter:
    """The endpoint.

    Args:
        engine: What answers.
        settings: How long texts may be.
    """
    router = APIRouter(route_class=JsonRoute, tags=["chat"])

    @router.post(PATH, response_model=ChatAnswer)
    async def complete(call: ChatCall, request: Request) -> Response:
        """Say whether a cascade keeps the user's first message: True or False, or the digit of a menu of the two."""
        name = _cascade_of(call, engine, settings)
        _check(call, settings)
        cascade = engine.cascades[name]
        items = items_of([Passage(text=_judged_text(call))], cascade, "document")
        try:
            asked = engine.aclassify(cascade.instructions, items, name)
            report = await while_present(request, asked)
        except InputError as error:
            raise RefusedError(UNFIT, f"messages: {error}", "messages") from error
        (judged,) = judged_of(report, cascade, Rules())
        return JSONResponse(_answer(call, judged, report))

    return router


def _cascade_of(call: ChatCall, engine: Engine, settings: ServiceSettings) -> str:
    """The cascade that a model's name means, itself or as an alias."""
    name = call.model if call.model in engine.cascades else settings.aliases.get(call.model, call.model)
    if name not in engine.cascades:
        detail = f"model: {unknown_cascade(name, engine.cascades)}"
        raise RefusedError(HTTPStatus.NOT_FOUND, detail, "model", kind="model_not_found")
    return name


def _check(call: ChatCall, settings: ServiceSettings) -> None:
    if call.stream:
        raise RefusedError(UNFIT, "stream: is not offered, since the answer is one token. Leave it out.", "stream")
    text = _judged_text(call)
    if not text.strip():
        detail = "messages: the user says nothing. Give a message of the role user with the text that is judged."
        raise RefusedError(UNFIT, detail, "messages")
    check_long_text(text, "messages", settings)


def _judged_text(call: ChatCall) -> str:
    """The first message of the user; what follows it is a menu, or what has been answered."""
    return next((message.text for message in call.messages if message.role == "user"), "")


def _tokens(call: ChatCall) -> Mapping[str, bool]:
    """Token -> what it says: the digits of a menu such as ``1 = True``, if the last message has one, or words."""
    menu = {digit: _WORDS[word] for digit, word in _OPTION.findall(call.messages[-1].text)}
    return menu if sorted(menu.values()) == [False, True] else _WORDS


def _answer(call: ChatCall, judged: Judged, report: Report) -> dict[str, Any]:
    p = {token: judged.p if is_yes else 1 - judged.p for token, is_yes in _tokens(call).items()}
    told = [_logprob(token, p[token]) for token in sorted(p, key=lambda token: -p[token])]
    n = report.stats.tokens_decoded + report.stats.tokens_reused
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": call.model,
        "choices": [
            {
                "index": 0,
                "finish_reason": "stop",
                "message": {"role": "assistant", "content": told[0]["token"]},
                "logprobs": {"content": [{**told[0], "top_logprobs": told}]} if call.logprobs else None,
            }
        ],
        "usage": {"prompt_tokens": n, "completion_tokens": 1, "total_tokens": n + 1},
        "x_cascade": {"label": judged.decision.label, "p": judged.p, "status": str(judged.decision.status)},
    }


def _logprob(token: str, p: float) -> dict[str, Any]:
    return {"token": token, "logprob": math.log(max(p, _LEAST_P)), "bytes": list(token.encode())}

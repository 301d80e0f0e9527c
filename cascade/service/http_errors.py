"""What a caller is told when a request cannot be answered: a status, a sentence, and the field at fault.

Source: RFC 9457, ``application/problem+json``; ``field`` is ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from cascade.errors import BackendError, ClosedError, InputError, OverloadError, ServerError
from cascade.machine import get_logger
from cascade.service.settings import ServiceSettings

log = get_logger("cascade.service")

UNFIT = HTTPStatus.UNPROCESSABLE_ENTITY
"""The status of a body that is JSON and cannot be used."""

_MAX_DETAIL = 1_000  # characters
_LEFT = 499  # nobody hears it; it is counted

PROBLEM = "application/problem+json"
"""Media type of every answer that tells of a problem."""


class Problem(BaseModel):
    """Why a request was not answered."""

    type: str = Field("about:blank", description="The kind of problem: what `status` means.")
    title: str = Field(description="What `status` means, in words.")
    status: int
    detail: str = Field(description="What was given, what is allowed, and what to do.")
    field: str | None = Field(None, description="The field at fault, as a dotted path; null where it is none.")


class RefusedError(Exception):
    """A request is refused.

    Args:
        status: The HTTP status.
        detail: Why.
        field: The field at fault; None where it is none.
    """

    def __init__(self, status: HTTPStatus, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.field = field


def problem(
    status: HTTPStatus, detail: str, field: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The answer that tells of a problem."""
    at_fault = None if field is None else _encodable(field)
    body = Problem(title=status.phrase, status=status, detail=_short(_encodable(detail)), field=at_fault)
    return JSONResponse(body.model_dump(), status, dict(headers or {}), PROBLEM)


def responses(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """The entries of an OpenAPI document for these problems."""
    content = {PROBLEM: {"schema": Problem.model_json_schema()}}
    return {int(status): {"content": content, "description": status.phrase} for status in statuses}


def add_problems(app: FastAPI, settings: ServiceSettings) -> None:
    """Let every error that an endpoint may raise become an answer."""
    later = {"Retry-After": str(settings.retry_after_s)}

    def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError)  # noqa: S101 - starlette's handlers take any exception
        return problem(error.status, error.detail, error.field)

    def bad_input(_: Request, error: Exception) -> Response:
        return problem(UNFIT, str(error))

    def busy(_: Request, error: Exception) -> Response:
        return problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers=later)

    def failed(_: Request, error: Exception) -> Response:
        log.error("scoring failed", error=str(error))
        is_behind = isinstance(error, ServerError)
        return problem(HTTPStatus.BAD_GATEWAY if is_behind else HTTPStatus.INTERNAL_SERVER_ERROR, str(error))

    def left(_: Request, __: Exception) -> Response:
        return Response(status_code=_LEFT)

    def unforeseen(_: Request, error: Exception) -> Response:
        log.error("a request failed", exc_info=error)
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The service failed at this request; its log says why.")

    for kind, handler in (
        (RefusedError, refused),
        (HTTPStatus.NOT_FOUND, _no_path),
        (HTTPStatus.METHOD_NOT_ALLOWED, _no_method),
        (HTTPException, _http),
        (InputError, bad_input),
        (OverloadError, busy),
        (ClosedError, busy),
        (BackendError, failed),
        (ClientDisconnect, left),
        (Exception, unforeseen),
    ):
        app.add_exception_handler(kind, handler)


def _no_path(request: Request, _: Exception) -> Response:
    path: str = request.scope["path"]
    bare = path.rstrip("/")
    routes = request.app.routes if bare != path else ()
    is_near = any(route.matches({**request.scope, "path": bare})[0] is not Match.NONE for route in routes)
    advice = f"Leave the slash at the end away: {bare}" if is_near else "See /openapi.json for those that there are."
    return problem(HTTPStatus.NOT_FOUND, f"There is no path {path!r}. {advice}")


def _no_method(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    known = set((error.headers or {}).get("Allow", "").split(", "))
    allowed = ", ".join(sorted(known | {"HEAD"} if "GET" in known else known))
    detail = f"{request.method} is not answered at {request.scope['path']!r}; allowed are {allowed}."
    return problem(HTTPStatus.METHOD_NOT_ALLOWED, detail, headers={"Allow": allowed})


def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    return problem(HTTPStatus(error.status_code), error.detail, headers=error.headers)


def _short(text: str) -> str:
    """A sentence without the middle of the long text that it may quote."""
    half = _MAX_DETAIL // 2
    return text if len(text) <= _MAX_DETAIL else f"{text[:half]} ... {text[-half:]}"


def _encodable(text: str) -> str:
    """A text without lone surrogates, which no UTF-8 has."""
    return text.encode("utf-8", "replace").decode()

"""What a caller is told when a request cannot be answered: a status, a sentence, and the field at fault.

Source: RFC 9457, ``application/problem+json``; ``field`` is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPMethod, HTTPStatus
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
from cascade.wire import chat, decisions, systemone

log = get_logger("cascade.service")

UNFIT = HTTPStatus.UNPROCESSABLE_ENTITY
"""The status of a body that is JSON and cannot be used."""

_MAX_DETAIL = 1_000  # characters
_LEFT = 499  # nobody hears it; it is counted

JSON = "application/json"

PROBLEM = "application/problem+json"
"""Media type of every answer that tells of a problem, but of those of the wire formats of others."""


Place = tuple[int | str, ...]
"""Keys and numbers that lead to a value within a body."""


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
        field: The field at fault, as a dotted path; None where it is none, or where ``place`` says it.
        place: Keys and numbers that lead to it.
        kind: What is wrong, as one word.
        headers: What the answer has besides.
        others: What is wrong beside it.
    """

    def __init__(  # noqa: PLR0913 - what an answer tells
        self,
        status: HTTPStatus,
        detail: str,
        field: str | None = None,
        *,
        place: Place | None = None,
        kind: str = "value_error",
        headers: Mapping[str, str] | None = None,
        others: Sequence[RefusedError] = (),
    ) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
        self.place: Place = place if place is not None else tuple(field.split(".")) if field else ()
        self.field = field if field is not None else dotted(self.place)
        self.kind = kind
        self.headers = headers or {}
        self.others = tuple(others)


def answer_of(path: str, error: RefusedError) -> JSONResponse:
    """The answer that tells of a refusal, in the form of what is at a path."""
    return _FORMS.get(path, _problem)(error)


def problem(
    status: HTTPStatus, detail: str, field: str | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """The answer that tells of a problem, in this service's own form."""
    return _problem(RefusedError(status, detail, field, headers=headers))


def _problem(error: RefusedError) -> JSONResponse:
    at_fault = None if error.field is None else _encodable(error.field)
    body = Problem(title=error.status.phrase, status=error.status, detail=_told(error), field=at_fault)
    return JSONResponse(body.model_dump(), error.status, dict(error.headers), PROBLEM)


def _system_one(error: RefusedError) -> JSONResponse:
    """As System One has it: what is wrong with a body is a list, and anything else a sentence."""
    if error.status not in {UNFIT, HTTPStatus.BAD_REQUEST}:
        failing = systemone.Failing(error_type=_error_type(error), message=_told(error))
        failure = systemone.Failure(detail=failing)
        return JSONResponse(failure.model_dump(), error.status, dict(error.headers))
    faults = [
        systemone.Fault(loc=["body", *map(_part, each.place)], msg=_told(each), type=each.kind)
        for each in (error, *error.others)
    ]
    return JSONResponse(systemone.ValidationFailure(detail=faults).model_dump(), UNFIT, dict(error.headers))


def _open_ai(error: RefusedError) -> JSONResponse:
    """As OpenAI has it."""
    status = HTTPStatus.BAD_REQUEST if error.status is UNFIT else error.status
    param = None if error.field is None else _encodable(error.field)
    failing = decisions.Failing(message=_told(error), type=_error_type(error), param=param, code=error.kind)
    return JSONResponse(decisions.Failure(error=failing).model_dump(), status, dict(error.headers))


_FORMS: Mapping[str, Callable[[RefusedError], JSONResponse]] = {
    systemone.PATH: _system_one,
    decisions.PATH: _open_ai,
    chat.PATH: _open_ai,
}
"""Path -> how errors are told there, where it is a wire format of others."""

_ERROR_TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.NOT_FOUND: "not_found_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
    HTTPStatus.SERVICE_UNAVAILABLE: "overloaded_error",
}


def _error_type(error: RefusedError) -> str:
    is_ours = error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    return _ERROR_TYPES.get(error.status, "api_error" if is_ours else "invalid_request_error")


def too_many(path: str, detail: str, retry_after_s: int) -> RefusedError:
    """What a caller is told who shall come back: 503, and 429 where a wire format of others says so."""
    status = HTTPStatus.TOO_MANY_REQUESTS if path in _FORMS else HTTPStatus.SERVICE_UNAVAILABLE
    return RefusedError(status, detail, kind="rate_limit_exceeded", headers={"Retry-After": str(retry_after_s)})


def dotted(place: Place) -> str | None:
    """A place as a dotted path; None for the whole body."""
    return ".".join(map(str, place)) or None


def responses(*statuses: HTTPStatus, path: str = "") -> dict[int | str, dict[str, Any]]:
    """The entries of an OpenAPI document for these problems, as they are told at a path."""
    kind = JSON if path in _FORMS else PROBLEM
    return {
        int(status): {"content": {kind: {"schema": _schema(path, status)}}, "description": status.phrase}
        for status in statuses
    }


def _schema(path: str, status: HTTPStatus) -> dict[str, Any]:
    body: type[BaseModel] = Problem
    if path == systemone.PATH:
        body = systemone.ValidationFailure if status is UNFIT else systemone.Failure
    elif path in {decisions.PATH, chat.PATH}:
        body = decisions.Failure
    return _inlined(body.model_json_schema())


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema without references, which would lead nowhere from within a document."""
    parts = schema.pop("$defs", {})

    def within(value: Any) -> Any:
        if isinstance(value, dict):
            name = str(value.get("$ref", "")).removeprefix("#/$defs/")
            return within(parts[name]) if name else {key: within(own) for key, own in value.items()}
        return [within(own) for own in value] if isinstance(value, list) else value

    found: dict[str, Any] = within(schema)
    return found


def add_problems(app: FastAPI, settings: ServiceSettings) -> None:
    """Let every error that an endpoint may raise become an answer."""
    later_s = settings.retry_after_s

    def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError)  # noqa: S101 - starlette's handlers take any exception
        return answer_of(request.scope["path"], error)

    def bad_input(request: Request, error: Exception) -> Response:
        return answer_of(request.scope["path"], RefusedError(UNFIT, str(error)))

    def busy(request: Request, error: Exception) -> Response:
        path = request.scope["path"]
        return answer_of(path, too_many(path, str(error), later_s))

    def closed(request: Request, error: Exception) -> Response:
        later = {"Retry-After": str(later_s)}
        return answer_of(request.scope["path"], RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, str(error), headers=later))

    def failed(request: Request, error: Exception) -> Response:
        log.error("scoring failed", error=str(error))
        is_behind = isinstance(error, ServerError)
        status = HTTPStatus.BAD_GATEWAY if is_behind else HTTPStatus.INTERNAL_SERVER_ERROR
        return answer_of(request.scope["path"], RefusedError(status, str(error), kind="server_error"))

    def left(_: Request, __: Exception) -> Response:
        return Response(status_code=_LEFT)

    def unforeseen(request: Request, error: Exception) -> Response:
        log.error("a request failed", exc_info=error)
        detail = "The service failed at this request; its log says why."
        refusal = RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, detail, kind="server_error")
        return answer_of(request.scope["path"], refusal)

    for kind, handler in (
        (RefusedError, refused),
        (HTTPStatus.NOT_FOUND, _no_path),
        (HTTPStatus.METHOD_NOT_ALLOWED, _no_method),
        (HTTPException, _http),
        (InputError, bad_input),
        (OverloadError, busy),
        (ClosedError, closed),
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
    told = set((error.headers or {}).get("Allow", "").split(", "))  # of one route, where a path may have several
    known = told | {method for method in HTTPMethod if _is_answered(request, method)}
    allowed = ", ".join(sorted(known | {"HEAD"} if "GET" in known else known))
    detail = f"{request.method} is not answered at {request.scope['path']!r}; allowed are {allowed}."
    refusal = RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, detail, headers={"Allow": allowed})
    return answer_of(request.scope["path"], refusal)


def _is_answered(request: Request, method: str) -> bool:
    scope = {**request.scope, "method": method}
    return any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - as above
    return answer_of(
        request.scope["path"], RefusedError(HTTPStatus(error.status_code), error.detail, headers=error.headers)
    )


def _told(error: RefusedError) -> str:
    return _short(_encodable(error.detail))


def _part(part: int | str) -> int | str:
    return _encodable(part) if isinstance(part, str) else part


def _short(text: str) -> str:
    """A sentence without the middle of the long text that it may quote."""
    half = _MAX_DETAIL // 2
    return text if len(text) <= _MAX_DETAIL else f"{text[:half]} ... {text[-half:]}"


def _encodable(text: str) -> str:
    """A text without lone surrogates, which no UTF-8 has."""
    return text.encode("utf-8", "replace").decode()

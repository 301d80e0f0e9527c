"""What a caller is told when a request cannot be answered: a status, a sentence, and the field at fault."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from cascade.errors import BackendError, ClosedError, InputError, OverloadError, ServerError
from cascade.logs import get_logger
from cascade.service.settings import ServiceSettings

log = get_logger("cascade.service")

UNFIT = HTTPStatus.UNPROCESSABLE_ENTITY
"""The status of a body that is JSON and cannot be used."""

_LEFT = 499  # nobody hears it; it is counted

Place = Sequence[int | str]


class Problem(BaseModel):
    """Why a request was not answered."""

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
    body = Problem(detail=_encodable(detail), field=_encodable(field) if field is not None else None)
    return JSONResponse(body.model_dump(), status, dict(headers or {}))


def responses(*statuses: HTTPStatus) -> dict[int | str, dict[str, Any]]:
    """The entries of an OpenAPI document for these problems."""
    return {int(status): {"model": Problem, "description": status.phrase} for status in statuses}


def refusal(error: ValidationError | RequestValidationError, above: Place = ()) -> RefusedError:
    """The first thing that is wrong with what was given, in words.

    Args:
        error: What pydantic found.
        above: Where in the body the value stands.
    """
    first = error.errors()[0]
    place = [*above, *(part for part in first["loc"] if part != "body")]
    field = ".".join(map(str, place)) or None
    match first["type"]:
        case "json_invalid":
            return RefusedError(HTTPStatus.BAD_REQUEST, "The body is not JSON.")
        case "missing" if field is None:
            return RefusedError(UNFIT, "The body is missing; a JSON object is needed.")
        case "missing":
            detail = "is missing."
        case "extra_forbidden":
            detail = "is unknown. Remove it, or see /openapi.json for what is allowed."
        case _ if field is None:
            detail = "The body must be a JSON object, sent as application/json."
            return RefusedError(UNFIT, detail)
        case _:
            detail = f"{first['msg'].removeprefix('Value error, ')} (given {reprlib.repr(first['input'])})."
    return RefusedError(UNFIT, f"{field}: {detail}", field)


def add_problems(app: FastAPI, settings: ServiceSettings) -> None:
    """Let every error that an endpoint may raise become an answer."""
    later = {"Retry-After": str(settings.retry_after_s)}

    def refused(_: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError)  # noqa: S101 - starlette's handlers take any exception
        return problem(error.status, error.detail, error.field)

    def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - as above
        return refused(request, refusal(error))

    def http(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - as above
        status = HTTPStatus(error.status_code)
        detail = "There is no such path; see /openapi.json." if status is HTTPStatus.NOT_FOUND else error.detail
        return problem(status, detail, headers=error.headers)

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
        (RequestValidationError, invalid),
        (HTTPException, http),
        (InputError, bad_input),
        (OverloadError, busy),
        (ClosedError, busy),
        (BackendError, failed),
        (ClientDisconnect, left),
        (Exception, unforeseen),
    ):
        app.add_exception_handler(kind, handler)


def _encodable(text: str) -> str:
    """A text without lone surrogates, which no UTF-8 has."""
    return text.encode("utf-8", "replace").decode()

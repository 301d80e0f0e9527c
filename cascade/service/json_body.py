"""A request's body as JSON: its value, or what is wrong with the bytes and where."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.datastructures import Headers

from cascade.config.toml import json_shown, json_wanted, known_keys, meant
from cascade.service.http_errors import UNFIT, Place, RefusedError, dotted


def refusal(error: ValidationError | RequestValidationError, body: Any, model: Any, above: Place = ()) -> RefusedError:
    """The first thing that is wrong with what was given, in words.

    Args:
        error: What pydantic found.
        body: What was given.
        model: The type that it should have.
        above: Where in the request's body it stands.
    """
    found = [(_place(body, error, entry), entry) for entry in error.errors()[:_FAULTS]]
    place, first = _meant(found)
    match first["type"]:
        case "missing":
            fault = "is missing. Add it; /openapi.json says what it is."
            unknown = [other for other, entry in found if entry["type"] == "extra_forbidden"]
            strays = [str(dotted((*above, *other))) for other in unknown if other[:-1] == place[:-1]]
            if strays:
                fault += f" Unknown beside it: {', '.join(strays)}."
        case "union_tag_not_found":
            place = (*place, first["ctx"]["discriminator"].strip("'"))
            fault = "is missing. Add it; /openapi.json says what it is."
        case "union_tag_invalid":
            place = (*place, first["ctx"]["discriminator"].strip("'"))
            fault = f"must be one of {first['ctx']['expected_tags']} (given {json_shown(first['ctx']['tag'])})."
        case "extra_forbidden":
            allowed = known_keys(model, place[:-1])
            fault = f"is unknown. {meant(str(place[-1]), allowed)}Remove it; allowed are {', '.join(allowed)}."
        case _:
            # Of a union each member wants something else.
            same = [entry for other, entry in found if other == place]
            wanted = dict.fromkeys(map(json_wanted, same if first["type"].endswith("_type") else [first]))
            fault = f"{', or '.join(wanted)} (given {json_shown(first['input'])})."
    field = dotted((*above, *place))
    return RefusedError(UNFIT, f"{field or 'The body'}: {fault}", place=(*above, *place), kind=str(first["type"]))


_FAULTS = 1_000  # that are looked at; a body of nothing but unknown keys has more
_Fault = tuple[Place, Mapping[str, Any]]


def _meant(found: Sequence[_Fault]) -> _Fault:
    """The first fault; of a union that of the member whose type was given, and not that others want another type."""
    place, first = found[0]
    for other, entry in found[1:]:
        is_within = other[: len(place)] == place and (len(other) > len(place) or not entry["type"].endswith("_type"))
        if first["type"].endswith("_type") and is_within:
            place, first = other, entry
    return place, first


def _place(body: Any, error: ValidationError | RequestValidationError, entry: Mapping[str, Any]) -> Place:
    """Where a fault is, without the names of a union's members that pydantic puts between."""
    found: list[int | str] = []
    here, parts = body, entry["loc"][isinstance(error, RequestValidationError) :]  # FastAPI's begin with "body"
    for part in parts:
        # A name of a member is no number; `in range` would compare it with every number there is.
        is_entry = isinstance(here, list) and isinstance(part, int) and 0 <= part < len(here)
        if is_entry or (isinstance(here, dict) and part in here):
            here = here[part]
            found.append(part)
    return (*found, parts[-1]) if entry["type"] == "missing" and parts else tuple(found)


MAX_DEPTH = 64
"""Most arrays and objects within each other."""

MAX_DIGITS = 309
"""Most digits of an integer; no double has more."""

_JSON = "Send one JSON object in UTF-8 with the header `Content-Type: application/json`."
_SEEN = 20  # characters shown of what is no JSON
_UNKNOWN_KIND = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
_TOO_DEEP = f"is nested too deep; allowed are {MAX_DEPTH} arrays and objects within each other. Send plainer JSON."
_HALF = "half of a surrogate pair, which is no character. Send whole characters."


class JsonRoute(APIRoute):
    """A route with a body: reads it by ``read_json``, and takes nothing from the query."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request."""
        answer = super().get_route_handler()
        if self.body_field is None:
            return answer
        model = self.body_field.field_info.annotation

        async def handle(request: Request) -> Response:
            for name in request.query_params:
                detail = f"The query has {name!r}; nothing is read from the query. Put it into the body."
                raise RefusedError(UNFIT, detail)
            given = _JsonRequest(request.scope, request.receive)
            value = await given.json()
            try:
                return await answer(given)
            except RequestValidationError as error:
                raise refusal(error, value, model) from error

        return handle


class _JsonRequest(Request):
    """A request whose body is read strictly."""

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = read_json(self.headers, await self.body())
        return self._json


def read_json(headers: Headers, body: bytes) -> Any:
    """The value of a body.

    Args:
        headers: Of the request; they say what the body is.
        body: All of it.

    Returns:
        A value without NaN and infinities, lone surrogates and keys given twice, nested at most ``MAX_DEPTH`` deep.

    Raises:
        RefusedError: 415 if the headers announce something else, 400 if the bytes are no JSON, 422 if the value
            cannot be used; says where.
    """
    if not body:
        raise RefusedError(UNFIT, f"The body is empty. {_JSON}")
    _check_headers(headers)
    try:
        text = body.decode("utf-8-sig")
        value = json.loads(text, parse_int=_integer, object_pairs_hook=_object)
    except UnicodeDecodeError as error:
        detail = f"The body is not UTF-8: byte {body[error.start]:#04x} at offset {error.start}. {_JSON}"
        raise RefusedError(HTTPStatus.BAD_REQUEST, detail, kind="json_invalid") from error
    except json.JSONDecodeError as error:
        found = json.dumps(error.doc[error.pos : error.pos + _SEEN]) if error.pos < len(error.doc) else "its end"
        detail = f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}, before {found}."
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"{detail} {_JSON}", kind="json_invalid") from error
    except RecursionError as error:
        raise RefusedError(UNFIT, f"The body: {_TOO_DEEP}") from error
    for place, fault in _faults(value, ()):
        raise RefusedError(UNFIT, f"{dotted(place) or 'The body'}: {fault}", place=place)
    return value


def _check_headers(headers: Headers) -> None:
    given = Message()
    given["content-type"] = headers.get("content-type", "")
    kind, charset = given.get_content_type(), given.get_param("charset", "utf-8")
    if "content-type" not in headers:
        raise RefusedError(_UNKNOWN_KIND, f"The header Content-Type is missing. {_JSON}")
    if not (kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))):
        raise RefusedError(_UNKNOWN_KIND, f"The body is sent as {headers['content-type']!r}. {_JSON}")
    if not (isinstance(charset, str) and charset.lower() in {"utf-8", "utf8", "us-ascii"}):
        raise RefusedError(_UNKNOWN_KIND, f"The body is sent in the charset {charset!r}. {_JSON}")


@dataclass(frozen=True, slots=True)
class _Long:
    """Stands for an integer that is too long."""

    n_digits: int


@dataclass(frozen=True, slots=True)
class _Twice:
    """Stands for an object with a key that is given twice."""

    key: str


def _integer(text: str) -> int | _Long:
    return int(text) if len(text) <= MAX_DIGITS else _Long(len(text.lstrip("-")))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Twice:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    return _Twice(Counter(key for key, _ in pairs).most_common(1)[0][0])


def _faults(value: Any, place: Place) -> Iterator[tuple[Place, str]]:
    """Where a value is nothing that can be used, and why."""
    if isinstance(value, dict | list) and len(place) >= MAX_DEPTH:
        yield place[:1], _TOO_DEEP
    elif isinstance(value, dict):
        for key, entry in value.items():
            if not _is_text(key):
                yield place, f"has a key with {_HALF}"
            yield from _faults(entry, (*place, key))
    elif isinstance(value, list):
        for at, entry in enumerate(value):
            yield from _faults(entry, (*place, at))
    elif isinstance(value, _Twice):
        yield (*place, value.key), "is given twice. Give it once."
    elif fault := _fault(value):
        yield place, fault


def _fault(value: Any) -> str | None:
    """Why a value without parts cannot be used."""
    if isinstance(value, str) and not _is_text(value):
        return f"has {_HALF}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"is {json.dumps(value)}; a finite number is needed."
    if isinstance(value, _Long):
        return f"is a number of {value.n_digits} digits; allowed are {MAX_DIGITS}."
    return None


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True

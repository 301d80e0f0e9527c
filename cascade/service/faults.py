"""What pydantic says of a body, in JSON's words: the field, what was given, what is allowed. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import TypeAdapter, ValidationError

from cascade.complaints import json_shown, json_wanted
from cascade.service.problems import UNFIT, RefusedError

Place = tuple[int | str, ...]
"""Keys and numbers that lead to a value within a body."""


def dotted(place: Place) -> str | None:
    """A place as a dotted path; None for the whole body."""
    return ".".join(map(str, place)) or None


def refusal(error: ValidationError | RequestValidationError, body: Any, model: Any, above: Place = ()) -> RefusedError:
    """The first thing that is wrong with what was given, in words.

    Args:
        error: What pydantic found.
        body: What was given.
        model: The type that it should have.
        above: Where in the request's body it stands.
    """
    found = [(_place(body, error, entry), entry) for entry in error.errors()]
    place, first = found[0]
    match first["type"]:
        case "missing":
            fault = "is missing. Add it; /openapi.json says what it is."
        case "union_tag_not_found":
            place = (*place, first["ctx"]["discriminator"].strip("'"))
            fault = "is missing. Add it; /openapi.json says what it is."
        case "union_tag_invalid":
            place = (*place, first["ctx"]["discriminator"].strip("'"))
            fault = f"must be one of {first['ctx']['expected_tags']} (given {json_shown(first['ctx']['tag'])})."
        case "extra_forbidden":
            schema = TypeAdapter(model).json_schema()
            allowed = ", ".join(dict.fromkeys(_keys(schema, schema, place[:-1])))
            fault = f"is unknown. Remove it; allowed are {allowed}."
        case _:
            # Of a union each member wants something else.
            wanted = dict.fromkeys(json_wanted(entry) for other, entry in found if other == place)
            fault = f"{', or '.join(wanted)} (given {json_shown(first['input'])})."
    field = dotted((*above, *place))
    return RefusedError(UNFIT, f"{field or 'The body'}: {fault}", field)


def _place(body: Any, error: ValidationError | RequestValidationError, entry: Mapping[str, Any]) -> Place:
    """Where a fault is, without the names of a union's members that pydantic puts between."""
    found: list[int | str] = []
    here, parts = body, entry["loc"][isinstance(error, RequestValidationError) :]  # FastAPI's begin with "body"
    for part in parts:
        if (isinstance(here, dict) and part in here) or (isinstance(here, list) and part in range(len(here))):
            here = here[part]
            found.append(part)
    return (*found, parts[-1]) if entry["type"] == "missing" and parts else tuple(found)


def _keys(schema: Mapping[str, Any], node: Mapping[str, Any], place: Place) -> Iterator[str]:
    """The keys that a part of a JSON schema allows at a place."""
    if "$ref" in node:
        yield from _keys(schema, schema["$defs"][node["$ref"].rpartition("/")[2]], place)
    for other in (*node.get("anyOf", ()), *node.get("oneOf", ())):
        yield from _keys(schema, other, place)
    known = node.get("properties", {})
    if not place:
        yield from known
        return
    inner = node.get("items") if isinstance(place[0], int) else known.get(place[0], node.get("additionalProperties"))
    if isinstance(inner, Mapping):
        yield from _keys(schema, inner, place[1:])

"""What pydantic says of a body, in JSON's words: the field, what was given, what is allowed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from cascade.complaints import json_shown, json_wanted, known_keys, meant
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

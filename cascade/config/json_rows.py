"""Objects of JSON lines into pydantic models, with complaints that name file, line and field."""

from __future__ import annotations

from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cascade.config.toml import json_shown, json_wanted, known_keys, meant
from cascade.errors import InputError

_Model = TypeVar("_Model", bound=BaseModel)


def parse_row(model: type[_Model], value: dict[str, Any], where: str) -> _Model:
    """An object of a JSON line as a model.

    Args:
        model: What it is to be.
        value: The object.
        where: File and line, in words.

    Raises:
        InputError: It is none; names file, line and field.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first, *others = error.errors()
        field = _dotted(_place(value, first["loc"]))
        match first["type"]:
            case "missing":
                strays = [other["loc"] for other in others if other["type"] == "extra_forbidden"]
                strays = [place for place in strays if place[:-1] == first["loc"][:-1]]
                problem = "it is missing. Add it"
                if strays:
                    problem += f"; unknown beside it: {', '.join(map(_dotted, strays))}"
            case "union_tag_not_found":
                field = f"{field}.{_key(first)}"
                problem = "it is missing. Add it"
            case "union_tag_invalid":
                field = f"{field}.{_key(first)}"
                problem = f"one of {first['ctx']['expected_tags']} is needed (given {json_shown(first['ctx']['tag'])})"
            case "extra_forbidden":
                *place, last = first["loc"]
                near = meant(str(last), known_keys(model, tuple(place)))
                problem = f"there is no such field. {near}Remove it, or write it as the others are"
            case _:
                problem = f"{json_wanted(first)} (given {json_shown(first['input'])})"
        refuse_field(where, field, problem, error)


def _place(value: Any, place: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Where something stands, without pydantic's names of the members of unions."""
    found: list[int | str] = []
    for at, part in enumerate(place):
        is_there = part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int)
        if is_there:
            value = value[part]
        if is_there or at == len(place) - 1:
            found.append(part)
    return tuple(found)


def _key(error: ErrorDetails) -> str:
    """The key that says which member of a union an object is."""
    return str(error["ctx"]["discriminator"]).strip("'")


def _dotted(place: tuple[int | str, ...]) -> str:
    return ".".join(map(str, place))


def refuse_field(where: str, field: str, problem: str, cause: Exception | None = None) -> NoReturn:
    """Refuse a field of a line.

    Raises:
        InputError: Always.
    """
    msg = f"{where}: field {field!r}: {problem}."
    raise InputError(msg) from cause

"""TOML files: text from outside into checked tables, and tables into text."""

from __future__ import annotations

import difflib
import json
import re
import reprlib
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

import tomlkit
from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from cascade.arguments import NAME_NEEDED, is_name
from cascade.errors import ConfigError, InputError
from cascade.files import name_of, read_text, unwritable, write_whole

TABLE, ONE = "<table>", "<one>"
"""Tags of the two forms that a value may have; never part of a key."""

SERVED = "<served>"
"""Tag of an adapter's third form: a server has it; likewise."""

QUESTION, PRIOR, CHOICE, SCORE = "<question>", "<prior>", "<choice>", "<score>"
"""Tags of the kinds of stage; likewise."""

TAGS = frozenset({TABLE, ONE, SERVED, QUESTION, PRIOR, CHOICE, SCORE})
"""All of them."""

_OF_KEY = "[key]"
"""What pydantic appends where the key itself is wrong."""

Loc = tuple[int | str, ...]
"""A key as pydantic names it, tags included."""

_MAX_COMPLAINTS = 3
_LONGEST = 40  # characters shown of a text that was given
_JSON_KINDS = {
    **dict.fromkeys(("tuple_type", "list_type"), "an array"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "an object"),
    "string_type": "a string",
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "an integer"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    "finite_number": "a finite number",
}
_ENTRIES = {"item": "entry", "items": "entries"}
_LENGTH = re.compile(r"(at (?:least|most) \d+) (items?)")
_PASSWORD = re.compile(r"//[^/@]*@")


def complaints(
    kind: type[BaseModel], table: dict[str, Any], error: ValidationError, where: Callable[[Loc], str] = lambda _: ""
) -> str:
    """Up to three of the errors, and how many more there are.

    Args:
        kind: What was to be read.
        table: What was read.
        error: What pydantic says of it.
        where: What to add for the place of a key.
    """
    found = [_complaint(kind, table, entry) + where(entry["loc"]) for entry in error.errors()]
    more = f"; and {len(found) - _MAX_COMPLAINTS} more" if len(found) > _MAX_COMPLAINTS else ""
    return "; ".join(found[:_MAX_COMPLAINTS]) + more


def shown(value: object) -> str:
    """A value that was given, cut to a length at which it can stand in a line; a password in an address is hidden."""
    if isinstance(value, bool):
        return str(value).lower()  # as TOML writes it
    if isinstance(value, str):
        value = _PASSWORD.sub("//***@", value)
    try:
        return _PASSWORD.sub("//***@", reprlib.repr(value))
    except ValueError:  # Python does not write integers of more than 4,300 digits
        return "a number of very many digits"


def json_wanted(entry: Mapping[str, Any]) -> str:
    """What a value of JSON must be, in JSON's words.

    Args:
        entry: What pydantic says of it.
    """
    kind = _JSON_KINDS.get(entry["type"])
    if kind is not None:
        return f"must be {kind}"
    said = re.sub(r"^\w+ should ", "must ", entry["msg"].removeprefix("Value error, "))
    return _LENGTH.sub(lambda found: f"{found[1]} {_ENTRIES[found[2]]}", said.replace(" after validation", ""))


def json_shown(value: object) -> str:
    """A value of JSON that was given, in short; one that JSON has no form for, such as a date, as Python writes it."""
    match value:
        case dict():
            return "an object"
        case list() | tuple():
            return "an array"
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):  # ValueError: a whole number of very many digits
        text = shown(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def known_keys(kind: Any, place: Loc) -> list[str]:
    """The keys that a type allows at a place, each once.

    Args:
        kind: A model, or any other type that pydantic knows.
        place: Keys and numbers that lead to a table or an object within it.
    """
    schema = TypeAdapter(kind).json_schema()
    return list(dict.fromkeys(_keys(schema, schema, place)))


def _keys(schema: Mapping[str, Any], node: Mapping[str, Any], place: Loc) -> Iterator[str]:
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


def meant(word: str, known: Iterable[str]) -> str:
    """A question for the known word that is most like one that is unknown; empty where none is like it."""
    near = difflib.get_close_matches(word, list(known), 1)
    return f"Did you mean {near[0]!r}? " if near else ""


def _complaint(kind: type[BaseModel], table: dict[str, Any], entry: ErrorDetails) -> str:
    key = _key(table, entry["loc"])
    match entry["type"]:
        case "extra_forbidden":
            *place, last = (part for part in entry["loc"] if part not in TAGS)
            near = meant(str(last), known_keys(kind, tuple(place)))
            return f"{key}: unknown key. {near}Remove it, or see `cascade config schema` for what is allowed"
        case "missing":
            return f"{key}: is missing. Add it, as `cascade config schema` describes it"
        case "model_type":
            problem = "a table is needed"
        case "path_type":
            problem = "the path of a file is needed, in quotes"
        case "tuple_type" | "list_type":
            problem = "an array is needed"
        case "dict_type":
            problem = "a table is needed"
        case "too_long" | "too_short":
            limits = entry["ctx"]
            most = limits.get("max_length")
            allowed = f"at most {most}" if most is not None else f"at least {limits['min_length']}"
            return f"{key}: {allowed} are allowed (given {limits['actual_length']})"
        case _:
            problem = entry["msg"].removeprefix("Value error, ")
    return f"{key}: {problem} (given {shown(entry['input'])})"


def _key(table: dict[str, Any], loc: Loc) -> str:
    """Where an error is, as a dotted key; a stage goes by its name where it has one."""
    parts, here = [], cast("object", table)
    for part in loc:
        if part in TAGS or part == _OF_KEY:
            continue
        if isinstance(here, dict):
            here = here.get(part)
        elif isinstance(here, list) and isinstance(part, int):
            here = here[part]
        name = here.get("name") if isinstance(part, int) and isinstance(here, dict) else None
        word = name if isinstance(name, str) and is_name(name) else str(part)
        parts.append(word if is_name(word) else repr(word))
    return ".".join(parts)


def form(value: object) -> str:
    """Which of the two forms of ``ByTier`` a value has."""
    return TABLE if isinstance(value, dict | BaseModel) else ONE


def _checked_name(value: str) -> str:
    if not is_name(value):
        raise ValueError(NAME_NEEDED)
    return value


Name = Annotated[str, AfterValidator(_checked_name)]
"""A name in a config file; see ``is_name``."""


@contextmanager
def at_key(key: str) -> Iterator[None]:
    """What is wrong within stands at a key of a config file.

    Raises:
        ConfigError: In place of any other InputError, whose message knows no key.
    """
    try:
        yield
    except ConfigError:
        raise
    except InputError as error:
        msg = f"{key}: {error}"
        raise ConfigError(msg) from error


class Frozen(BaseModel):
    """A table of a config file; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


_Table = TypeVar("_Table", bound=Frozen)


def read_table(path: Path, remedy: str, mend: str = "Mend it there.") -> dict[str, Any]:
    """The table of a TOML file.

    Args:
        path: The file; ``-`` for stdin.
        remedy: What to do where it cannot be read, as a sentence.
        mend: The same where it is not TOML.

    Raises:
        ConfigError: It cannot be read, or is not TOML; names file and remedy.
    """
    try:
        return tomllib.loads(read_text(path, remedy))
    except InputError as error:
        raise ConfigError(*error.args) from error
    except (ValueError, RecursionError) as error:  # a number of more digits than Python reads is no TOMLDecodeError
        msg = f"{name_of(path)}: is not TOML ({error}). {mend}"
        raise ConfigError(msg) from error


def read_model(kind: type[_Table], path: Path, remedy: str) -> _Table:
    """A TOML file as a checked table.

    Args:
        kind: What it must hold.
        path: The file.
        remedy: What to do where it cannot be read, as a sentence.

    Raises:
        ConfigError: It cannot be read, is not TOML, or does not fit; names file, key and remedy.
    """
    table = read_table(path, remedy)
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        msg = f"{name_of(path)}: {complaints(kind, table, error)}"
        raise ConfigError(msg) from error


def write_toml(tables: Mapping[str, Any], path: Path, source: str) -> None:
    """Write tables as a TOML file, whole or not at all; what is None is left out.

    Args:
        tables: Key -> value or table, in the order in which they are written.
        path: Where.
        source: What they come from, in one line; a comment at the top.

    Raises:
        MachineError: The file cannot be written.
    """
    document = tomlkit.document()
    document.add(tomlkit.comment(source))
    document.add(tomlkit.nl())
    document.update(_without_none(tables))
    try:
        text = tomlkit.dumps(document).encode()
    except UnicodeEncodeError as error:  # a lone surrogate, which JSON can hold and UTF-8 cannot
        raise unwritable(path, error, "Name questions, tiers and adapters in UTF-8.") from error
    write_whole(path, text)


def _without_none(tables: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in tables.items()
        if value is not None
    }

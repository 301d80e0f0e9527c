"""JSON lines from outside: one object a line, read strictly, each with the file and the line that it stands on."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from cascade.errors import InputError
from cascade.files import name_of, read_lines

REMEDY = "Give JSON lines, one object each, plain or gzipped."
"""What to do where a file holds nothing that can be used."""

_KINDS = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "a boolean",
    type(None): "null",
}


def read_objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(file and line in words, object) of every line that is not blank.

    An object has no NaN, no lone surrogate and no key twice, and is not nested deeper than 200.

    Args:
        path: The file; ``-`` for stdin.

    Raises:
        InputError: The file cannot be read, or a line is no such object; names file and line.
    """
    for number, line in read_lines(path, REMEDY):
        if line.strip():
            where = f"{name_of(path)}, line {number}"
            yield where, _object(line.strip(), where)


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        from_json(line, allow_inf_nan=False)  # it alone refuses lone surrogates
        value = json.loads(line, object_pairs_hook=_each_key_once)
    except ValueError as error:
        msg = f"{where}: is not JSON ({_problem(str(error))}). Each line is one object."
        raise InputError(msg) from error
    if not isinstance(value, dict):
        msg = f"{where}: is {_KINDS[type(value)]}. Each line is one object."
        raise InputError(msg)
    return value


def _problem(said: str) -> str:
    """What a parser says of a line, without the line's number among those of the parser."""
    said = re.sub(r".*hex escape", "half of a surrogate pair, which is no character,", said)
    return re.sub(r" at line 1 (column \d+)$", r" at \1", said)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        msg = f"an object has the key {twice!r} twice"
        raise ValueError(msg)
    return found

"""TOML files: text from outside into checked tables, and tables into text."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from cascade.complaints import complaints
from cascade.errors import ConfigError, InputError
from cascade.files import name_of, read_text
from cascade.output_file import unwritable, write_whole


class Frozen(BaseModel):
    """A table of a config file; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


_Table = TypeVar("_Table", bound=Frozen)


def read_table(path: Path, remedy: str) -> dict[str, Any]:
    """The table of a TOML file.

    Args:
        path: The file; ``-`` for stdin.
        remedy: What to do where it cannot be read, as a sentence.

    Raises:
        ConfigError: It cannot be read, or is not TOML; names file and remedy.
    """
    try:
        return tomllib.loads(read_text(path, remedy))
    except InputError as error:
        raise ConfigError(*error.args) from error
    except (ValueError, RecursionError) as error:  # a number of more digits than Python reads is no TOMLDecodeError
        msg = f"{name_of(path)}: is not TOML ({error}). Mend it there."
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


def write_lines(lines: Iterable[str], path: Path) -> None:
    """Write the lines of a file, whole or not at all.

    Raises:
        MachineError: It cannot be written.
    """
    try:
        text = ("\n".join(lines) + "\n").encode()
    except UnicodeEncodeError as error:  # a lone surrogate, which JSON can hold and UTF-8 cannot
        raise unwritable(path, error, "Name questions, tiers and adapters in UTF-8.") from error
    write_whole(path, text)


def toml_key(name: str) -> str:
    """A TOML key: as it is, or quoted as TOML's basic strings are."""
    is_bare = name and all(char.isascii() and (char.isalnum() or char in "_-") for char in name)
    return name if is_bare else toml_text(name)


def toml_text(text: str) -> str:
    """A TOML string, which holds any text but lone surrogates; those stay, for a file to be refused with them."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    return char if char.isprintable() or "\ud800" <= char <= "\udfff" else f"\\U{ord(char):08x}"

"""Config files that extend others: tables are laid over those of the base, paths are relative to their own file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade.config.registry import LIVE, read_live, registry_folder
from cascade.config.toml import TAGS, Loc, read_table, shown
from cascade.errors import ConfigError
from cascade.files import STDIN, is_file, name_of, reason

SHIPPED = "shipped"
"""What ``extends`` says for the config of the shipped adapter set."""

EXTENDS = f'Another config file, or "{SHIPPED}" for the shipped one; what this file says wins over what that one does.'
"""What the key is, for the schema."""

_NO_FILE = Path("<config>")
"""What messages call tables that no file holds."""

_Place = tuple[str, ...]
_REMEDY = "Give the path of a TOML file."
_NAMED = ("adapters", "cascade", "models", "servers", "shadow")
"""Tables whose keys are names."""

_DEPTH = 2
"""Names of a key below which no table is merged with another; one more for the tables of a named model."""

_MODELS = {("model",), ("models", "*")}

_FILES = {("adapters", "*"), ("shadow", "*"), ("cascade", "*", "profile"), ("cascade", "*", "thresholds")}
"""What names a file or is a table in its place: it is replaced as a whole."""

_PATHS = {
    *((*model, "path") for model in _MODELS),
    *((name, "*", "path") for name in ("adapters", "shadow")),
    *((name, "path") for name in ("log", "registry")),
}
"""What names a file within a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """A config file with those that it extends, under what its registry says is live.

    Attributes:
        table: Their tables as one; paths are absolute.
        file: The file that was asked for.
        files: What is live, if there is such a file; then the file itself, its base, and so on.
        tables: What each of them says, in the same order.
        registry: The folder of its registry, which need not be there.
    """

    table: dict[str, Any]
    file: Path
    files: tuple[Path, ...]
    tables: tuple[dict[str, Any], ...]
    registry: Path

    def __str__(self) -> str:
        told = ", which extends ".join(name_of(file) for file in self.files if file != self.registry / LIVE)
        return f"{told}, under {name_of(self.files[0])}" if self.files[0] != self.file else told

    def sources(self, cascade: str) -> dict[Path, list[str]]:
        """File -> what it decides, of one cascade and of all else: whole tables, or keys of those that several make."""
        found: dict[Path, list[str]] = {}
        for name, table in self.table.items():
            key = (name, cascade) if name == "cascade" else (name,)
            entries = [*table[cascade], *self._left_away(cascade)] if name == "cascade" else table
            inner = {(*key, entry): self.file_of((*key, entry)) for entry in entries}
            whole = {key: next(iter(inner.values()), self.file)}
            if not entries:
                continue  # an empty table decides nothing
            for place, file in (inner if len(set(inner.values())) > 1 else whole).items():
                found.setdefault(file, []).append(".".join(place))
        return {file: found[file] for file in self.files if file in found}

    def _left_away(self, cascade: str) -> list[str]:
        """Keys of a cascade that a file leaves away by an empty name, and no file over it gives again."""
        given = self.table["cascade"][cascade]
        tables = [table.get("cascade", {}).get(cascade, {}) for table in self.tables]
        named = dict.fromkeys(key for table in tables for key, value in table.items() if value == "")
        return [key for key in named if key not in given and ("cascade", "*", key) in _FILES]

    def file_of(self, key: Loc) -> Path:
        """The file that decides a key; the one that was asked for where none has it."""
        depths = [_depth(table, key) for table in self.tables]
        return self.files[depths.index(max(depths))] if any(depths) else self.file


def shipped_config() -> Path:
    """The path of the config that comes with the package: the shipped model, its adapters and two cascades."""
    package = Path(__file__).parent.parent
    installed = package / "shipped" / "map.toml"
    return installed if is_file(installed) else package.parent / "adapters" / "map.toml"


def read_layers(path: Path) -> Layers:
    """A config file, its tables laid over those of the files that it extends, and what is live over all of them.

    Args:
        path: The file; ``-`` for stdin, whose paths are relative to the working directory.

    Raises:
        ConfigError: A file cannot be read or is not TOML, or files extend each other in a circle.
    """
    return _layers(path, read_table(path, _REMEDY))


def layers_of(tables: Mapping[str, Any]) -> Layers:
    """Tables that no file holds, laid over those of the files that they extend.

    Args:
        tables: What a config file would say; relative paths are relative to the working directory.

    Raises:
        ConfigError: As ``read_layers``.
    """
    return _layers(_NO_FILE, deepcopy(dict(tables)))


def _layers(path: Path, table: dict[str, Any]) -> Layers:
    try:
        files, tables = _read(path, table)
    except RuntimeError as error:  # "~name" of nobody
        msg = f"{name_of(path)}: {error} Write the folder in full."
        raise ConfigError(msg) from error
    except OSError as error:  # the working directory was deleted
        msg = f"{name_of(path)}: its folder cannot be told ({reason(error)}). Call from a folder that is there."
        raise ConfigError(msg) from error
    registry = registry_folder(path, _laid(tables))
    is_named = path != _NO_FILE or "registry" in _laid(tables)
    live = read_live(registry, () if path in (STDIN, _NO_FILE) else files) if is_named else None
    if live is not None:
        files.insert(0, registry / LIVE)
        tables.insert(0, _anchored(live, registry.resolve(), is_last=False))
    return Layers(table=_laid(tables), file=path, files=tuple(files), tables=tuple(tables), registry=registry)


def _laid(tables: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Each table over the one behind it."""
    merged = tables[-1]
    for table in reversed(tables[:-1]):
        merged = _merged(merged, table)
    return merged


def _read(path: Path, table: dict[str, Any]) -> tuple[list[Path], list[dict[str, Any]]]:
    """The files and what each of them says, from the one that was asked for down."""
    files, tables = [path], [table]
    while True:
        file, table = files[-1], tables[-1]
        base, folder = table.pop("extends", None), file.resolve().parent
        tables[-1] = _anchored(table, folder, is_last=base is None)
        if base is None:
            return files, tables
        files.append(_base(base, file, folder))
        tables.append(_read_base(files))
        _check_circle(files)


def _read_base(files: list[Path]) -> dict[str, Any]:
    try:
        return read_table(files[-1], f'Let extends name a config file, or "{SHIPPED}".')
    except ConfigError as error:
        msg = f"{name_of(files[-2])}: extends: {error}"
        raise ConfigError(msg) from error


def _base(value: object, file: Path, folder: Path) -> Path:
    if not isinstance(value, str) or not value:
        msg = (
            f'{name_of(file)}: extends: the path of a config file, or "{SHIPPED}", is needed (given {shown(value)}). '
            "Give one of them."
        )
        raise ConfigError(msg)
    return shipped_config() if value == SHIPPED else folder / Path(value).expanduser()


def _check_circle(files: list[Path]) -> None:
    places = [file.resolve() for file in files]
    if places[-1] in places[:-1]:
        circle = " -> ".join(name_of(file) for file in files[places.index(places[-1]) :])
        msg = f"{name_of(files[0])}: extends: the files extend each other in a circle ({circle}). Break it."
        raise ConfigError(msg)


def _merged(base: dict[str, Any], over: dict[str, Any], place: _Place = ()) -> dict[str, Any]:
    """A table over another; tables in both are merged, all else is replaced, and an empty file name leaves it away."""
    found = _without_other_source(base, over) if place in _MODELS else dict(base)
    for key, value in over.items():
        here, before = _place(place, key), found.get(key)
        if here in _FILES and value == "":
            found.pop(key, None)
        elif here not in _FILES and _is_merged(here) and isinstance(value, dict) and isinstance(before, dict):
            found[key] = _merged(before, value, here)
        else:
            found[key] = value
    return found


def _is_merged(place: _Place) -> bool:
    return len(place) <= _DEPTH + (place[0] == "models")


def _place(place: _Place, key: str) -> _Place:
    return (*place, "*" if len(place) == 1 and place[0] in _NAMED else key)


def _without_other_source(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """The base's model without its source where the table over it has another kind of one."""
    replaced = ("repo_id", "filename", "revision") if "path" in over else ("path",) if "repo_id" in over else ()
    return {key: value for key, value in base.items() if key not in replaced}


def _anchored(table: dict[str, Any], folder: Path, place: _Place = (), *, is_last: bool) -> dict[str, Any]:
    """The table with the files that it names as absolute paths; an empty name stays where it takes a base's away."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        here = _place(place, key)
        if is_last and value == "" and here in _FILES and here[0] == "cascade":
            continue  # there is no base whose file could be left away
        names_file = here in _FILES or here in _PATHS
        if names_file and isinstance(value, str) and (value or is_last):
            found[key] = str(folder / Path(value).expanduser())
        else:
            goes_on = isinstance(value, dict) and len(here) <= _DEPTH
            found[key] = _anchored(value, folder, here, is_last=is_last) if goes_on else value
    return found


def _depth(table: Any, key: Loc) -> int:
    """How many parts of a key a table has; pydantic's tags are no part of it."""
    depth = 0
    for part in key:
        if part not in TAGS:
            try:
                table = table[part]
            except (KeyError, IndexError, TypeError):
                break
            depth += 1
    return depth

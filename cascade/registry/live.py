"""What of a registry is live: one file, replaced whole by one rename, which is laid over the config.

Each time that it is written, a copy stays in ``states``. Only the rename of ``live.toml`` decides: whoever is killed
before it leaves the former state, and after it the new one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cascade.config.registry import ADOPTED, LIVE, REMEDY
from cascade.config.toml import read_table, write_toml
from cascade.errors import ConfigError, InputError
from cascade.files import is_file, name_of, unwritable
from cascade.registry.lock import UNWRITABLE, locked

_STATES = "states"
_SOURCE = (
    "Written by cascade adopt; laid over its config. `cascade adopt --rollback` goes back by one promotion, and "
    "`cascade adopt --stop` ends a shadow."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A version in its place.

    Attributes:
        version: Its name, such as ``relevant/0002``.
        path: Its file, relative to the registry.
        scale: Factor on its alpha / rank.
        model: Name of its base model, where the map names one.
    """

    version: str
    path: str
    scale: float = 1.0
    model: str | None = None

    def table(self) -> dict[str, Any]:
        """As the adapter map has it."""
        return {"path": self.path, "scale": self.scale, "model": self.model}


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """What is live.

    Attributes:
        number: Of this state; 0 where nothing was ever adopted.
        before: The state to which a rollback leads.
        adapters: Adapter -> the version that is live.
        thresholds: Cascade -> file of its thresholds, relative to the registry.
        shadow: Adapter -> the version that answers beside it.
        config: The config that it is of, as ``owner_of`` names it; empty where nobody has said.
        what: How it came about, in a few words.
        made: When, as ISO 8601.
    """

    number: int = 0
    before: int = 0
    adapters: Mapping[str, Entry] = field(default_factory=dict)
    thresholds: Mapping[str, str] = field(default_factory=dict)
    shadow: Mapping[str, Entry] = field(default_factory=dict)
    config: str = ""
    what: str = ""
    made: str = ""

    def tables(self) -> dict[str, Any]:
        """As the file has it."""
        names = {
            "versions": {name: each.version for name, each in self.adapters.items()},
            "shadow": {name: each.version for name, each in self.shadow.items()},
        }
        about = {"number": self.number, "before": self.before, "what": self.what, "made": self.made}
        return {
            ADOPTED: {**about, "config": self.config or None, **names},
            "adapters": {name: each.table() for name, each in self.adapters.items()},
            "cascade": {name: {"thresholds": file} for name, file in self.thresholds.items()},
            "shadow": {name: each.table() for name, each in self.shadow.items()},
        }


def read_state(folder: Path) -> Live:
    """What is live in a registry.

    Raises:
        ConfigError: The file is damaged.
    """
    return _read(folder / LIVE) if is_file(folder / LIVE) else Live()


@contextmanager
def changing(folder: Path) -> Iterator[Live]:
    """What is live, for one process at a time to change.

    Raises:
        MachineError: The registry cannot be written.
    """
    with locked(folder):
        yield read_state(folder)


def put_live(folder: Path, live: Live, what: str) -> Live:
    """Make a state live, under the next number; to be called within ``changing``.

    Raises:
        MachineError: It cannot be written; what was live stays so.
    """
    states = folder / _STATES
    try:
        states.mkdir(exist_ok=True)
        last = max((int(each.stem) for each in states.glob("*.toml") if each.stem.isdecimal()), default=0)
    except OSError as error:
        raise unwritable(states, error, UNWRITABLE) from error
    now = replace(live, number=last + 1, what=what, made=datetime.now(UTC).isoformat(timespec="seconds"))
    write_toml(now.tables(), states / f"{now.number:04}.toml", _SOURCE)
    write_toml(now.tables(), folder / LIVE, _SOURCE)  # one rename, by which the state is live
    return now


def state_before(folder: Path, live: Live) -> Live:
    """What was live before the last step, without its shadow.

    Raises:
        InputError: Nothing was.
    """
    if not live.number or (not live.adapters and not live.thresholds):
        names = ", ".join(each.version for each in live.shadow.values())
        told = f" {names} answers in the shadow, which `cascade adopt --stop` ends." if names else ""
        msg = f"{folder}: nothing was promoted, so there is nothing to go back to.{told}"
        raise InputError(msg)
    found = _read(folder / _STATES / f"{live.before:04}.toml") if live.before else Live()
    return replace(found, shadow={}, config=live.config)


def _read(file: Path) -> Live:
    table = read_table(file, REMEDY, REMEDY)
    try:
        about = table[ADOPTED]
        return Live(
            number=int(about["number"]),
            before=int(about["before"]),
            adapters=_entries(table.get("adapters", {}), about["versions"]),
            thresholds={name: str(each["thresholds"]) for name, each in table.get("cascade", {}).items()},
            shadow=_entries(table.get("shadow", {}), about["shadow"]),
            config=str(about.get("config", "")),
            what=str(about["what"]),
            made=str(about["made"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        msg = f"{name_of(file)}: is not as `cascade adopt` writes it ({error!r}). {REMEDY}"
        raise ConfigError(msg) from error


def _entries(tables: Mapping[str, Any], versions: Mapping[str, str]) -> dict[str, Entry]:
    return {
        name: Entry(
            version=versions[name], path=each["path"], scale=float(each.get("scale", 1.0)), model=each.get("model")
        )
        for name, each in tables.items()
    }

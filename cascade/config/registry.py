"""``[registry]``: where versions of adapters are kept, and the file there that says which of them are live."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from cascade.config.toml import Frozen, read_table
from cascade.errors import ConfigError
from cascade.files import is_file, name_of

FOLDER = "registry"
"""The registry's folder beside a config that names none."""

LIVE = "live.toml"
"""The file of a registry that says what is adopted. It is laid over the config; ``cascade adopt`` writes it whole."""

ADOPTED = "adopted"
"""The table of that file that is about the file itself."""

REMEDY = "Copy the latest file of the folder states beside it over it, or remove it to go by the config alone."
"""What to do where that file cannot be used."""


class RegistryConfig(Frozen):
    """Where versions of adapters are kept."""

    path: Path = Field(description="The registry's folder; relative to the config file.")


def registry_folder(file: Path, table: dict[str, Any]) -> Path:
    """The folder of a config's registry, there or not.

    Args:
        file: The config file.
        table: What it says, with absolute paths.
    """
    given = table.get("registry")
    path = given.get("path") if isinstance(given, dict) else None
    return Path(path) if isinstance(path, str) else file.resolve().parent / FOLDER


def owner_of(folder: Path, config: Path) -> str:
    """How the live file of a registry names the config that it is of: by its path from there, so that both can move."""
    return os.path.relpath(config.resolve(), folder.resolve())


def check_owner(folder: Path, owner: object, configs: Sequence[Path]) -> None:
    """Refuse what was adopted for another config: it may name adapters and cascades that this one has not.

    Args:
        folder: The registry's folder.
        owner: What its live file says of its config; of an older release it says nothing.
        configs: The config with those that it extends.

    Raises:
        ConfigError: It is of a config that is there, and that is none of these.
    """
    if not isinstance(owner, str) or not owner:
        return
    file = (folder.resolve() / owner).resolve()
    if is_file(file) and file not in [config.resolve() for config in configs]:
        msg = (
            f"{name_of(configs[0])}: {folder / LIVE} belongs to {file}. Each config needs a registry of its own: put "
            "this one into another folder, or name another one in it by [registry] with a path."
        )
        raise ConfigError(msg)


def read_live(folder: Path, configs: Sequence[Path] = ()) -> dict[str, Any] | None:
    """What a registry says is live, as a config file says it; None where nothing was adopted.

    Args:
        folder: The registry's folder.
        configs: The config that it is laid over, with those that it extends; empty where no file holds it.

    Raises:
        ConfigError: The file cannot be read, says something else, or belongs to another config.
    """
    file = folder / LIVE
    if not is_file(file):
        return None
    table = read_table(file, REMEDY, REMEDY)
    adopted = table.pop(ADOPTED, None)
    odd = sorted(table.keys() - {"adapters", "cascade", "shadow"})
    if odd:
        msg = f"{name_of(file)}: {odd[0]}: no such key may stand here. {REMEDY}"
        raise ConfigError(msg)
    if not isinstance(adopted, dict):
        msg = f"{name_of(file)}: has no table [{ADOPTED}], so that `cascade adopt` did not write it. {REMEDY}"
        raise ConfigError(msg)
    if configs:
        check_owner(folder, adopted.get("config"), configs)
    return table

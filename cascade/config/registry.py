"""``[registry]``: where versions of adapters are kept, and the file there that says which of them are live."""

from __future__ import annotations

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


def read_live(folder: Path) -> dict[str, Any] | None:
    """What a registry says is live, as a config file says it; None where nothing was adopted.

    Raises:
        ConfigError: The file cannot be read, or says something else.
    """
    file = folder / LIVE
    if not is_file(file):
        return None
    table = read_table(file, REMEDY)
    adopted = table.pop(ADOPTED, None)
    odd = sorted(table.keys() - {"adapters", "cascade", "shadow"})
    if odd:
        msg = f"{name_of(file)}: {odd[0]}: no such key may stand here. {REMEDY}"
        raise ConfigError(msg)
    if not isinstance(adopted, dict):
        msg = f"{name_of(file)}: has no table [{ADOPTED}], so that `cascade adopt` did not write it. {REMEDY}"
        raise ConfigError(msg)
    return table

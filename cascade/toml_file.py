"""TOML files from outside."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from cascade.errors import ConfigError


def read_table(path: Path, remedy: str) -> dict[str, Any]:
    """The table of a TOML file.

    Args:
        path: The file.
        remedy: What to do where it cannot be read, as a sentence.

    Raises:
        ConfigError: It cannot be read, or is not TOML; names file and remedy.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}). {remedy}"
        raise ConfigError(msg) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        msg = f"{path}: is not TOML ({error}). Mend it there."
        raise ConfigError(msg) from error

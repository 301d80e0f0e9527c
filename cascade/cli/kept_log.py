"""The log that a command's decisions are kept in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cascade.config.log import LogConfig
from cascade.config.schema import Config

KeptLogOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Keep decisions in this log, in place of the config's.")
]


def with_log(config: Config, file: Path | None) -> Config:
    """A config whose log is another file, set as its own is."""
    if file is None:
        return config
    named = LogConfig(path=file) if config.log is None else config.log.model_copy(update={"path": file})
    return config.model_copy(update={"log": named})

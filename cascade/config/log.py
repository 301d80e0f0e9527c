"""``[log]``: where decisions are kept, and what of them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from cascade.config.toml import Frozen


class LogConfig(Frozen):
    """A log of every request, decision and call."""

    path: Path = Field(description="The SQLite file; relative to the config file; made if it is not there.")
    texts: Literal["hash", "full"] = Field(
        "hash", description="Whether tasks and items are kept as hashes, with the items' ids, or in full."
    )
    redact: bool = Field(True, description="Whether secrets are taken out of texts before they are written.")
    reuse: bool = Field(
        False,
        description="Whether questions are answered from the log where it has the answer of the same model and adapter "
        "to the same tokens.",
    )
    max_waiting: int = Field(1_000, ge=1, description="Requests that may wait to be written; more are lost.")

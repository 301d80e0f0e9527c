"""Tunings kept in the user's cache folder: one JSON file for each model on each machine."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cascade.costs import Costs
from cascade.logs import get_logger
from cascade.output_file import unwritable, whole_file
from cascade.tuned import Tuning, TuningKey

log = get_logger("cascade.tuning")

_FOLDER = "tunings"
_REMEDY = "Let XDG_CACHE_HOME name a folder that can."

_Ms = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]  # beyond, sums would overflow
_Factor = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
_Batch = Annotated[int, Field(ge=32, le=65_536)]  # the bounds of ModelConfig


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _Key(_Model):
    model_sha256: str
    llama_cpp: str
    processor: str
    n_cores: int
    n_gpu_layers: int


class _Costs(_Model):
    """Of this machine; what servers cost is no part of it."""

    per_token_ms: _Ms
    per_output_ms: _Ms
    per_call_ms: _Ms
    per_swap_ms: _Ms
    per_cell_ms: _Ms


class _Tuning(_Model):
    flash_attention: bool | None
    n_batch: _Batch | None
    n_threads: Annotated[int, Field(ge=1, le=1024)] | None
    gain: _Factor
    full_pool: _Factor
    costs: _Costs

    @classmethod
    def of(cls, tuning: Tuning) -> _Tuning:
        """The file's form."""
        costs = asdict(tuning.costs)
        return cls.model_validate(asdict(tuning) | {"costs": {name: costs[name] for name in _Costs.model_fields}})

    def tuning(self) -> Tuning:
        """The pure form."""
        return Tuning(
            flash_attention=self.flash_attention,
            n_batch=self.n_batch,
            n_threads=self.n_threads,
            gain=self.gain,
            full_pool=self.full_pool,
            costs=Costs(**self.costs.model_dump()),
        )


class _File(_Model):
    version: Literal[1] = 1
    key: _Key
    tuning: _Tuning


def tuning_path(key: TuningKey, folder: Path) -> Path:
    """Where the tuning of a model on a machine is kept, below a cache folder."""
    name = hashlib.blake2b(_key(key).model_dump_json().encode(), digest_size=12).hexdigest()
    return folder / _FOLDER / f"{name}.json"


def load_tuning(key: TuningKey, folder: Path | None) -> Tuning | None:
    """The tuning of a model on a machine.

    Args:
        key: Which model and which machine.
        folder: The cache folder; None keeps nothing.

    Returns:
        None if there is none, or none that can be used, which is logged: the defaults are good without.
    """
    if folder is None:
        return None
    path = tuning_path(key, folder)
    try:
        found = _File.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):  # the latter where a user's home is /dev/null
        return None
    except (OSError, ValidationError) as error:
        reason = str(error).partition("\n")[0]
        log.warning("tuning passed over; measure it again with `cascade doctor --tune`", file=str(path), reason=reason)
        return None
    if found.key != _key(key):
        log.warning("tuning passed over, it is of another model or machine", file=str(path))
        return None
    return found.tuning.tuning()


def save_tuning(key: TuningKey, tuning: Tuning, folder: Path) -> Path:
    """Keep a tuning in place of an earlier one; a reader finds the whole old file or the whole new one.

    Returns:
        The file.

    Raises:
        MachineError: The folder cannot be written.
    """
    path = tuning_path(key, folder)
    text = _File(key=_key(key), tuning=_Tuning.of(tuning)).model_dump_json(indent=2)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error, _REMEDY) from error
    with whole_file(path, _REMEDY) as part:
        part.write_text(text + "\n", encoding="utf-8")
    return path


def check_can_save(folder: Path) -> None:
    """Refuse a cache folder in which no tuning can be kept, before work that takes long.

    Raises:
        MachineError: The folder cannot be written.
    """
    place = folder / _FOLDER
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        raise unwritable(place, error, _REMEDY) from error


def _key(key: TuningKey) -> _Key:
    return _Key(**asdict(key))

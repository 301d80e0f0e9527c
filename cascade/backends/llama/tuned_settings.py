"""What tuning finds: how llama.cpp runs one model fastest on one machine, and what its parts cost there. Pure."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cascade.backends.costs import Costs
from cascade.files import unwritable, whole_file
from cascade.machine import get_logger

_T = TypeVar("_T")

LEAST_GAIN = 0.03
"""Share of the time that a setting must save before it replaces the default."""

LEAST_ROUNDS = 3
"""Rounds below which nothing replaces a default."""

_LEAST_MS = 1e-4  # a cost of nothing would let a planner do without end what it believes to be free


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningKey:
    """What a tuning holds for: any other model or machine needs its own.

    Attributes:
        model_sha256: SHA-256 of the model's file, in hex.
        llama_cpp: Version of llama-cpp-python.
        processor: The processor's name.
        n_cores: Cores that the process may use.
        n_gpu_layers: Layers on a GPU.
    """

    model_sha256: str
    llama_cpp: str
    processor: str
    n_cores: int
    n_gpu_layers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How llama.cpp runs one model fastest on one machine; None where the default is as good.

    Attributes:
        flash_attention: See ``ModelConfig``.
        n_batch: See ``ModelConfig``.
        n_threads: See ``ModelConfig``.
        gain: How many times as fast all of these together are as the defaults.
        full_pool: How many times as long a decode takes when other prompts fill the rest of the cache.
        costs: What the parts of a model call cost with these settings.
    """

    flash_attention: bool | None = None
    n_batch: int | None = None
    n_threads: int | None = None
    gain: float = 1.0
    full_pool: float = 1.0
    costs: Costs = field(default_factory=Costs)

    def settings(self) -> dict[str, Any]:
        """The settings that replace a default, by name."""
        found = {
            "flash_attention": self.flash_attention,
            "n_batch": self.n_batch,
            "n_threads": self.n_threads,
        }
        return {name: value for name, value in found.items() if value is not None}


def clearly_best(seconds: Mapping[_T, Sequence[float]]) -> _T:
    """The choice that is clearly faster than the first one, or else the first one.

    Choices are compared within a round, because background load affects all choices of that round equally. To win,
    a choice must save ``LEAST_GAIN`` in nine rounds of ten, which noise alone hardly does.

    Args:
        seconds: Choice -> its time in each round, the default first; all of one length.
    """
    default, *others = seconds
    base = np.asarray(seconds[default])
    if len(base) < LEAST_ROUNDS:
        return default
    ratios = {other: np.asarray(seconds[other]) / base for other in others}
    better = [other for other, ratio in ratios.items() if np.quantile(ratio, 0.9) < 1 - LEAST_GAIN]
    return min(better, key=lambda other: float(np.median(ratios[other])), default=default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shapes:
    """Median milliseconds of decodes that differ in one part each.

    Attributes:
        n_items: Items of the first two.
        n_tokens: Tokens of an item.
        n_questions: Questions of the others, each a few tokens, all in one call.
        whole_ms: All items in one call.
        split_ms: A call for each item.
        silent_ms: The questions, no logits read.
        asked_ms: The same, with the logits of one row of each.
        kept_ms: The same, under an adapter.
        swapped_ms: The same, with the adapter attached anew.
    """

    n_items: int
    n_tokens: int
    n_questions: int
    whole_ms: float
    split_ms: float
    silent_ms: float
    asked_ms: float
    kept_ms: float = 0.0
    swapped_ms: float = 0.0

    def costs(self) -> Costs:
        """The time as a sum of its parts, none below a tenth of a microsecond."""
        per_call = max((self.split_ms - self.whole_ms) / (self.n_items - 1), _LEAST_MS)
        return Costs(
            per_token_ms=max((self.whole_ms - per_call) / (self.n_items * self.n_tokens), _LEAST_MS),
            per_output_ms=max((self.asked_ms - self.silent_ms) / self.n_questions, _LEAST_MS),
            per_call_ms=per_call,
            per_swap_ms=max(self.swapped_ms - self.kept_ms, 0.0),
        )


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
        log.warning(
            "tuning passed over; measure it again with `cascade doctor --autotune`", file=str(path), reason=reason
        )
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

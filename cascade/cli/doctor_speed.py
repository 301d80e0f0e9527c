"""What ``cascade doctor`` says of speed: the tuning that is kept, and which weight format is fastest here."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from statistics import median

from cascade.backends.llama.open import CacheFolder, context_size, find_tuning
from cascade.backends.llama.timing import time_formats
from cascade.backends.llama.tuned_settings import Tuning, clearly_best
from cascade.cli.doctor import Finding
from cascade.config.schema import ModelConfig
from cascade.errors import CascadeError
from cascade.machine import memory_bytes
from cascade.models.base_model import ModelFormat, find_formats
from cascade.models.model_set import ModelSet

_FORMATS_S = 10.0


def speed(model: ModelConfig, models: ModelSet, tunings: CacheFolder = "user") -> Iterator[Finding]:
    """Findings on what makes a model fast or slow on this machine; none of them is a problem.

    Args:
        model: The config's model.
        models: Its files.
        tunings: Where tunings are kept.
    """
    tuning = find_tuning(model, models.model_sha256, tunings)
    yield _tuning(model, tuning)
    formats = find_formats(models.model_path, models.model)
    if len(formats) == 1:
        (only,) = formats
        hint = f"`{_quantize(only)}` makes another one, to be compared here"
        yield Finding(name="format", value=f"{only.type}, the only one in its folder; {hint}")
        return
    try:
        seconds = time_formats(formats, context_size(model, tuning), _FORMATS_S, memory_bytes())
    except CascadeError as error:
        yield Finding(name="format", value=f"{len(formats)} formats cannot be compared: {error}")
        return
    yield from compared(seconds)


def _quantize(own: ModelFormat) -> str:
    """The command that writes another format beside a model; which, is its caller's choice."""
    return shlex.join(["cascade", "quantize", str(own.path), str(own.path.with_name("OUT.gguf")), "--type", "T"])


def described(tuning: Tuning) -> str:
    """A tuning in one line."""
    settings = ", ".join(f"{name} = {str(value).lower()}" for name, value in tuning.settings().items())
    faster = f"{settings}: {tuning.gain:.2f} times as fast as the defaults" if settings else "the defaults are best"
    costs = tuning.costs
    return (
        f"{faster}; {costs.per_token_ms:.3g} ms a token, {costs.per_output_ms:.3g} an output, "
        f"{costs.per_call_ms:.3g} a call, {costs.per_swap_ms:.3g} an adapter swap; "
        f"a full cache makes decodes {tuning.full_pool:.2f} times as long"
    )


def _tuning(model: ModelConfig, tuning: Tuning | None) -> Finding:
    if tuning is None:
        return Finding(name="tuning", value="none; `cascade doctor --autotune` measures one in about a minute")
    overruled = [name for name in tuning.settings() if name in model.model_fields_set]
    note = f" (the config itself sets {', '.join(overruled)}, which wins)" if overruled else ""
    return Finding(name="tuning", value=described(tuning) + note)


def compared(seconds: dict[ModelFormat, tuple[float, ...]]) -> Iterator[Finding]:
    """Findings on formats whose times are known: each against the first, the config's, and which to name.

    Args:
        seconds: Format -> its time in each round; all of one length.
    """
    own = next(iter(seconds))
    for entry, times in seconds.items():
        ratio = median(base / time for base, time in zip(seconds[own], times, strict=True))
        place = "the config's" if entry is own else f"{ratio:.2f} times as fast as the config's"
        value = f"{entry.path.name}: {place}, {1_000 * median(times):.0f} ms for a test batch"
        yield Finding(name=f"format {entry.type}", value=value)
    best = clearly_best(seconds)
    if best is own:
        value = f"none is clearly faster than the config's {own.type}"
    else:
        value = f'{best.type}; name it in the config: path = "{best.path.name}" under [model], if it is the same model'
    hint = f"`{_quantize(own)}` makes more to compare"
    yield Finding(name="fastest format", value=f"{value}; {hint}")

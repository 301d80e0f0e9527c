"""What this machine has for running cascades, and what to do about what it lacks."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cascade.candidates.languages import grammar_faults
from cascade.config import Config, config_of, shipped_config
from cascade.errors import CascadeError
from cascade.extras import install_package, rebuild_llama_cpp
from cascade.items import Group, Item, Task
from cascade.layers import read_layers
from cascade.machine import n_cores, user_cache
from cascade.metrics import counted
from cascade.tree import Cascade

if TYPE_CHECKING:
    from cascade.adapters import ModelSet
    from cascade.backends.extra_buffers import Verdict

_PACKAGES = ("binary-cascade", "llama-cpp-python", "numpy", "pydantic", "structlog", "gguf")
_FEATURES = (
    "AVX",
    "AVX2",
    "AVX512",
    "AVX512_BF16",
    "AVX512_VNNI",
    "FMA",
    "F16C",
    "AMX_INT8",
    "NEON",
    "OPENMP",
    "REPACK",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What.
        value: What was found.
        ok: Whether it is as it should be.
        remedy: What to do when it is not; empty otherwise.
    """

    name: str
    value: str
    ok: bool = True
    remedy: str = ""


def examine(config: Path | None = None) -> Iterator[Finding]:
    """Look at versions, processor, files, and score a few items; yields as it goes."""
    path = config or shipped_config()
    yield Finding(name="python", value=platform.python_version())
    for package in _PACKAGES:
        yield _package(package)
    yield _grammars()
    loads = yield from _processor()
    try:
        layers = read_layers(path)
        yield Finding(name="config", value=str(layers))
        loaded = config_of(layers)
    except CascadeError as error:
        yield Finding(name="config", value=f"{path} cannot be used", ok=False, remedy=str(error))
        return
    if not loaded.model.has_source:
        yield Finding(name="model", value="none here: servers answer everything")
        yield from _self_test(loaded)
        return
    models = yield from _files(loaded)
    if not loads or models is None:
        return
    yield from _self_test(loaded)
    from cascade.doctor_speed import speed  # noqa: PLC0415 - llama_cpp may be missing, which is a finding above

    yield from speed(loaded.model, models)


def _package(name: str) -> Finding:
    try:
        return Finding(name=name, value=version(name))
    except PackageNotFoundError:
        return Finding(name=name, value="not installed", ok=False, remedy=f"Run `{install_package(name)}`.")


def _grammars() -> Finding:
    """Grammars are optional: without one, files of its language have no symbols."""
    faults = grammar_faults()
    if not faults:
        return Finding(name="grammars", value="all")
    without = ", ".join(f"{name} ({fault.detail})" if fault.detail else name for name, fault in faults.items())
    remedies = " and ".join(f"`{remedy}`" for remedy in dict.fromkeys(fault.remedy for fault in faults.values()))
    return Finding(name="grammars", value=f"without {without}; {remedies} installs them")


def _processor() -> Generator[Finding, None, bool]:
    """Returns whether llama.cpp can be loaded."""
    yield Finding(name="processor", value=f"{platform.machine()}, {counted(n_cores(), 'core')}, {sys.platform}")
    try:
        import llama_cpp  # noqa: PLC0415 - a broken build must be a finding, not a crash at import
    except Exception as error:  # noqa: BLE001 - a shared library can fail to load in any way
        remedy = f"Build it again: `{rebuild_llama_cpp()}`"
        yield Finding(name="llama.cpp", value=f"cannot be loaded ({error})", ok=False, remedy=remedy)
        return False
    info = llama_cpp.llama_print_system_info().decode()
    features = [name for name in _FEATURES if f"{name} = 1" in info]
    native = not {"AVX2", "AVX512", "NEON"}.isdisjoint(features)
    remedy = f"Build it on this machine, whose vector instructions are not used: `{rebuild_llama_cpp()}`"
    yield Finding(name="llama.cpp", value=" ".join(features), ok=native, remedy="" if native else remedy)
    return (yield from _extra_buffers())


def _extra_buffers() -> Generator[Finding, None, bool]:
    """Tries anew, whatever is kept; returns whether llama.cpp can compute at all."""
    from cascade.backends import extra_buffers  # noqa: PLC0415 - llama_cpp may be missing, which is a finding above

    verdict = extra_buffers.keep_verdict(extra_buffers.this_pair(), extra_buffers.probe(), user_cache())
    yield extra_buffers_finding(verdict)
    return verdict is not extra_buffers.Verdict.BROKEN


def extra_buffers_finding(verdict: Verdict) -> Finding:
    """What a verdict on llama.cpp's extra buffer types means for whoever runs models here."""
    from cascade.backends.extra_buffers import REBUILD, Verdict  # noqa: PLC0415 - as above

    remedy = f"Build it again on this machine: {REBUILD}"
    if verdict not in {Verdict.SOUND, Verdict.UNKNOWN, Verdict.BROKEN}:
        remedy += " Until then quantised models are loaded without them on CPUs with AMX, which is right and slower; "
        remedy += "elsewhere set use_extra_bufts = false under [model]."
    is_ok = verdict in {Verdict.SOUND, Verdict.UNKNOWN}
    return Finding(name="extra buffers", value=verdict.words, ok=is_ok, remedy="" if is_ok else remedy)


def _files(config: Config) -> Generator[Finding, None, ModelSet | None]:
    """Returns what was found; None if it cannot be used."""
    from cascade.adapters import load_model_set  # noqa: PLC0415 - only once the config is known to be good

    try:
        models = load_model_set(config)
    except CascadeError as error:
        yield Finding(name="model", value="cannot be used", ok=False, remedy=str(error))
        return None
    facts = models.model
    yield Finding(
        name="model",
        value=f"{models.model_path.name}: {facts.architecture}, {counted(facts.n_layers, 'layer')} of {facts.n_embd}, "
        f"{facts.n_vocab} tokens, sha256 {models.model_sha256[:12]}",
    )
    for adapter in models.adapters.values():
        kind = "activated" if adapter.facts.invocation_tokens else "plain"
        yield Finding(
            name=f"adapter {adapter.name}",
            value=f"{adapter.path.name}: {kind} LoRA, sha256 {adapter.sha256[:12]}",
        )
    return models


def _self_test(config: Config, clock: Callable[[], float] = time.perf_counter) -> Iterator[Finding]:
    """Score a few items for about a second."""
    from cascade.engine import Engine  # noqa: PLC0415 - llama_cpp may be missing, which is a finding above

    try:
        with Engine.open(config) as engine:
            name, cascade = next(iter(engine.cascades.items()))
            started, n_calls, n_tokens = clock(), 0, 0
            while clock() - started < 1:
                report = engine.classify(Task(text="find the function that reads the config"), _items(cascade), name)
                n_calls += report.stats.calls
                n_tokens += report.stats.tokens_decoded
            seconds = clock() - started
    except CascadeError as error:
        yield Finding(name="self-test", value="failed", ok=False, remedy=str(error))
        return
    rates = f"{n_calls / seconds:.0f} calls/s, {n_tokens / seconds:.0f} tokens/s"
    yield Finding(name="self-test", value=f"cascade {name}: {rates}")


def _items(cascade: Cascade, n: int = 32) -> list[Item]:
    tiers: dict[str, Any] = {stage.name: tuple(stage.questions) for stage in cascade.stages if stage.is_tiered}
    asked = next(iter(tiers.values()), ())
    groups = [Group(name=f"package/module_{number}.py") for number in range(4)]
    return [
        Item(id=str(at), kind="function", name=f"read_{at}", signature="(p: Path)", group=groups[at % 4], tiers=asked)
        for at in range(n)
    ]

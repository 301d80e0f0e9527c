"""``cascade doctor``: what is here, what to do about what is not, and how to be fastest."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from cascade.cli.output import ConfigOption, ExitCode, JsonOption, note, plain, print_json, progress, results
from cascade.cli.tables import Sheet
from cascade.config.extends import read_layers
from cascade.config.schema import Config, ModelConfig, config_of, read_config, shipped_config
from cascade.errors import CascadeError, ConfigError, InputError, MachineError, counted
from cascade.items import Group, Item, Task
from cascade.machine import install_package, n_cores, rebuild_llama_cpp, user_cache
from cascade.repository.grammars import grammar_faults
from cascade.tree import Cascade

if TYPE_CHECKING:
    from cascade.backends.llama.extra_buffers import Verdict
    from cascade.backends.llama.tuned_settings import Tuning
    from cascade.models.model_set import ModelSet

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
    if not any(model.has_source for model in loaded.base_models.values()):
        yield Finding(name="model", value="none here: servers answer everything")
        yield from _self_test(loaded)
        return
    sets = yield from _files(loaded)
    if not loads or sets is None:
        return
    yield from _self_test(loaded)
    from cascade.cli.doctor_speed import speed  # noqa: PLC0415 - llama_cpp may be missing, which is a finding above

    for name, models in sets.items():
        of = f" of {name}" if len(loaded.base_models) > 1 else ""
        if models.model.is_encoder:
            yield Finding(name=f"speed{of}", value="an encoder runs with the config's settings; it has no tuning")
            continue
        for finding in speed(loaded.base_models[name], models):
            yield replace(finding, name=finding.name + of)


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
    from cascade.backends.llama import extra_buffers  # noqa: PLC0415 - llama_cpp may be missing, which is a finding above

    verdict = extra_buffers.keep_verdict(extra_buffers.this_pair(), extra_buffers.probe(), user_cache())
    yield extra_buffers_finding(verdict)
    return verdict is not extra_buffers.Verdict.BROKEN


def extra_buffers_finding(verdict: Verdict) -> Finding:
    """What a verdict on llama.cpp's extra buffer types means for whoever runs models here."""
    from cascade.backends.llama.extra_buffers import REBUILD, Verdict  # noqa: PLC0415 - as above

    remedy = f"Build it again on this machine: {REBUILD}"
    if verdict not in {Verdict.SOUND, Verdict.UNKNOWN, Verdict.BROKEN}:
        remedy += " Until then quantised models are loaded without them on CPUs with AMX, which is right and slower; "
        remedy += "elsewhere set use_extra_bufts = false under [model]."
    is_ok = verdict in {Verdict.SOUND, Verdict.UNKNOWN}
    return Finding(name="extra buffers", value=verdict.words, ok=is_ok, remedy="" if is_ok else remedy)


_KIND = {False: "", True: "an encoder that reads pairs, "}


def _files(config: Config) -> Generator[Finding, None, dict[str, ModelSet] | None]:
    """Returns what was found; None if it cannot be used."""
    from cascade.models.model_set import load_model_sets  # noqa: PLC0415 - only once the config is known to be good

    try:
        sets = load_model_sets(config)
    except CascadeError as error:
        yield Finding(name="model", value="cannot be used", ok=False, remedy=str(error))
        return None
    for name, models in sets.items():
        yield from _model(models, f" {name}" if len(config.base_models) > 1 else "")
    for name in config.base_models.keys() - sets.keys():
        yield Finding(name=f"model {name}", value="not here: servers answer for it")
    return sets


def _model(models: ModelSet, name: str) -> Iterator[Finding]:
    """Findings on a model and its adapters; ``name`` is that of the model, where there are several."""
    info = models.model
    yield Finding(
        name=f"model{name}",
        value=f"{models.model_path.name}: {info.architecture}, {_KIND[info.is_encoder]}"
        f"{counted(info.n_layers, 'layer')} of {info.n_embd}, "
        f"{info.n_vocab} tokens, sha256 {models.model_sha256[:12]}",
    )
    for adapter in models.adapters.values():
        kind = "activated" if adapter.info.invocation_tokens else "plain"
        yield Finding(
            name=f"adapter {adapter.name}",
            value=f"{adapter.path.name}: {kind} LoRA{' of' + name if name else ''}, sha256 {adapter.sha256[:12]}",
        )


def _self_test(config: Config, clock: Callable[[], float] = time.perf_counter) -> Iterator[Finding]:
    """Score a few items for about a second."""
    from cascade.engine.engine import Engine  # noqa: PLC0415 - llama_cpp may be missing, which is a finding above

    try:
        with Engine.open(config, log=None) as engine:
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


_SECONDS = 60


def doctor(
    *,
    tune: Annotated[
        bool, typer.Option("--autotune", help="Measure the settings that are fastest here, and keep them.")
    ] = (False),
    seconds: Annotated[
        float | None, typer.Option(min=1, max=3600, help=f"How long --autotune measures; {_SECONDS} if absent.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show versions, processor, model, adapters and formats, and run a one-second self-test."""
    if tune:
        _tune(config or shipped_config(), seconds or _SECONDS, json=json)
        return
    if seconds is not None:
        msg = "--seconds says how long --autotune measures. Give --autotune with it, or leave it out."
        raise InputError(msg)
    findings = list(examine(config))
    if json:
        print_json({"ok": all(finding.ok for finding in findings), "findings": [asdict(entry) for entry in findings]})
    else:
        sheet = Sheet(("", ""), sentences=("",), has_heads=False)
        for finding in findings:
            mark = Text("ok", "green") if finding.ok else Text("problem", "bold red")
            sheet.add(mark, finding.name, finding.value)
            if finding.remedy:
                sheet.add("", "", Text(plain(finding.remedy), "yellow"))
        sheet.show(results())
    if not all(finding.ok for finding in findings):
        raise typer.Exit(ExitCode.FAILURE)


def _tune(config: Path, seconds: float, *, json: bool) -> None:
    """Measure each base model, and keep what was found where the engine looks for it."""
    from cascade.cli.doctor_speed import described  # noqa: PLC0415 - loads llama_cpp
    from cascade.models.model_set import load_model_sets  # noqa: PLC0415 - hashes files, which help does not need

    folder = user_cache()
    if folder is None:
        msg = "There is no home folder to keep a tuning in. Let XDG_CACHE_HOME name a folder."
        raise MachineError(msg)
    settings = read_config(config)
    found = load_model_sets(settings)
    sets = {name: models for name, models in found.items() if not models.model.is_encoder}
    if not sets:
        msg = (
            "model.path: no decoder is given here, and neither servers nor encoders have settings to measure. Give one."
        )
        raise ConfigError(msg)
    for name in settings.base_models.keys() - sets.keys():
        kind = "an encoder" if name in found else "a model on a server"
        note(f"{name} is left out: {kind} has no settings to measure")
    has_several = len(settings.base_models) > 1
    tables = []
    for name, models in sets.items():
        tuning, file = _measured(settings.base_models[name], models, seconds / len(sets), folder)
        own = {"name": name} if has_several else {}
        tables.append({**own, "file": str(file), "model": str(models.model_path), "tuning": asdict(tuning)})
        if not json:
            results().print(plain(f"{name if has_several else models.model_path.name}: {described(tuning)}"))
            results().print(plain(f"kept in {file}"))
    if json:
        print_json({"tunings": tables} if has_several else tables[0])


def _measured(model: ModelConfig, models: ModelSet, seconds: float, folder: Path) -> tuple[Tuning, Path]:
    """Measure a model and keep its tuning; returns it with its file."""
    from cascade.backends.llama.autotune import tune, tuning_key  # noqa: PLC0415 - loads llama_cpp
    from cascade.backends.llama.tuned_settings import check_can_save, save_tuning  # noqa: PLC0415 - only needed here

    check_can_save(folder)
    with progress() as bar:
        line = bar.add_task("tune", total=seconds)
        tuning = tune(
            models,
            model,
            seconds,
            lambda what, share: bar.update(line, description=what, completed=round(share * seconds)),
        )
    return tuning, save_tuning(tuning_key(model, models.model_sha256), tuning, folder)

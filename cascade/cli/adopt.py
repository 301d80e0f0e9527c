"""``cascade adopt``: a version of an adapter into the shadow, live, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from cascade.cli.adapters import found_version, registry_of
from cascade.cli.output import ConfigOption, JsonOption, note, plain, print_json, results
from cascade.cli.promotion import Trial, asking, datasets_of, try_version
from cascade.cli.shadow_test import ShadowTest, test_shadow
from cascade.cli.tables import Sheet
from cascade.cli.tune import read_target
from cascade.config.extends import SHIPPED, shipped_config
from cascade.config.schema import AdapterConfig, Config, read_config
from cascade.config.thresholds import write_thresholds
from cascade.errors import InputError, counted
from cascade.evaluation.paired import FEWEST, Paired
from cascade.files import is_file, unwritable
from cascade.registry.live import Entry, Live, changing, put_live, state_before
from cascade.registry.versions import Registry, Version

_THRESHOLDS = "thresholds"
_RELOAD = "A running `cascade serve` takes it over at SIGHUP, or POST /v1/admin/adapters; an engine by `adopt`."


def adopt(  # noqa: PLR0913 - the command line's options
    version: Annotated[
        str | None,
        typer.Argument(
            metavar="NEW",
            help="A version, such as relevant/0002; the folder of `cascade train`; or a GGUF file, with --adapter.",
        ),
    ] = None,
    *,
    adapter: Annotated[str | None, typer.Option(metavar="NAME", help="The adapter that a file is for.")] = None,
    shadow: Annotated[bool, typer.Option("--shadow", help="Let it answer beside the live one in spare time.")] = False,
    promote: Annotated[bool, typer.Option("--promote", help="Test it, tune thresholds, and make it live.")] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Make live again what was before the last step.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End what answers in the shadow.")] = False,
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="A dataset of a cascade that asks it, for --promote; may be repeated."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(metavar="NAME=X", help="What new thresholds guarantee; if absent, what those in use do."),
    ] = None,
    at_least: Annotated[
        float,
        typer.Option(metavar="GAIN", help="The gain in mean AUC per task that must be exceeded; may be negative."),
    ] = 0.0,
    scale: Annotated[float, typer.Option(help="Factor on the adapter's own alpha / rank.")] = 1.0,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Bring a new version of an adapter in: first beside the live one, then in its place, and back if need be.

    Without an option it is only added to the registry. What is live is decided by one file of the registry, live.toml,
    which is laid over the config.
    """
    if shadow + promote + rollback + stop > 1:
        msg = "Give one of --shadow, --promote, --rollback and --stop."
        raise InputError(msg)
    path = config or shipped_config()
    registry = registry_of(config)
    if rollback or stop:
        if version is not None:
            msg = f"{version!r} is given, and {'--rollback' if rollback else '--stop'} takes no version."
            raise InputError(msg)
        _back(registry, json=json) if rollback else _stop(registry, json=json)
        return
    if version is None:
        msg = "No version is given. Name one of `cascade adapters list`, or a GGUF file with --adapter."
        raise InputError(msg)
    _check_own(config)
    settings = read_config(path)
    found = found_version(registry, version, adapter)
    name = found.facts.adapter
    entry = _entry(settings, registry, found, scale)
    if promote:
        candidate = _Candidate(path=path, config=settings, registry=registry, version=found, entry=entry)
        _promote(candidate, data or [], target, at_least, json=json)
    elif shadow:
        _shadow(settings, registry, name, found, entry, json=json)
    elif json:
        print_json({"version": found.name, "path": str(found.path)})
    else:
        results().print(plain(f"{found.name} is {found.path}; try it with --shadow, or --promote it"))


def _check_own(config: Path | None) -> None:
    if config is None or config.resolve() == shipped_config().resolve():
        msg = (
            "The shipped config cannot be changed. Write one of your own that extends it, "
            f'`extends = "{SHIPPED}"`, and give it with --config.'
        )
        raise InputError(msg)
    if not is_file(config):
        msg = f"{config}: what is adopted is kept beside the config, so it must be a file."
        raise InputError(msg)


def _entry(config: Config, registry: Registry, version: Version, scale: float) -> Entry:
    """The version in the place of its adapter in the map."""
    name = version.facts.adapter
    if name not in config.files:
        where = "is on a server, which loads adapters itself" if name in config.served else "is not in the map"
        msg = f"Adapter {name!r} {where}; in this process are {', '.join(config.files) or 'none'}. Choose one of these."
        raise InputError(msg)
    model = config.adapter(name).model
    path = str(version.path.relative_to(registry.folder))
    _check_scale(scale, version)
    return Entry(version=version.name, path=path, scale=scale, model=model)


def _check_scale(scale: float, version: Version) -> None:
    try:
        AdapterConfig(path=version.path, scale=scale)
    except ValueError as error:
        msg = f"--scale {scale:g} was given; a number above 0, up to 16, is needed."
        raise InputError(msg) from error


def _file(entry: Entry, registry: Registry) -> AdapterConfig:
    return AdapterConfig(path=registry.folder.absolute() / entry.path, scale=entry.scale, model=entry.model)


def _shadow(config: Config, registry: Registry, name: str, version: Version, entry: Entry, *, json: bool) -> None:
    if config.log is None:
        msg = "A shadow's answers go into the log, and the config has none. Give it a [log] with a path."
        raise InputError(msg)
    if not asking(config, name):
        msg = f"No cascade asks adapter {name!r}, so that it would answer nothing."
        raise InputError(msg)
    _check_fits(config, name, _file(entry, registry))
    with changing(registry.folder) as live:
        now = put_live(registry.folder, replace(live, shadow={name: entry}), f"{version.name} into the shadow")
    _say(now, f"{version.name} answers beside the live one from now on. {_RELOAD}", json=json)


def _check_fits(config: Config, name: str, file: AdapterConfig) -> None:
    """Refuse a file that the engine would refuse.

    Raises:
        ModelFileError: Says what is wrong with it.
    """
    from cascade.models.model_set import load_model_sets  # noqa: PLC0415 - gguf loads only where it is used

    load_model_sets(config.model_copy(update={"adapters": {**config.adapters, name: file}}))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    """A version that is to go live.

    Attributes:
        path: The config's file.
        config: What it says now.
        registry: Where the version is.
        version: The version.
        entry: Its place in the adapter map.
    """

    path: Path
    config: Config
    registry: Registry
    version: Version
    entry: Entry


def _promote(candidate: _Candidate, data: Sequence[Path], target: str | None, at_least: float, *, json: bool) -> None:
    path, config, registry = candidate.path, candidate.config, candidate.registry
    version, entry = candidate.version, candidate.entry
    name, file = version.facts.adapter, _file(entry, registry)
    _check_fits(config, name, file)
    asked = asking(config, name)
    datasets = datasets_of(list(data), asked, name)
    wanted = read_target(target, None, 0.05, None) if target is not None else None
    trials = [try_version(path, cascade, name, file, datasets[cascade], wanted) for cascade in asked]
    seen = test_shadow(config, name, version.facts.sha256)
    why = _refusal(trials, seen, at_least)
    report = {
        "version": version.name,
        "tests": [trial.as_dict() for trial in trials],
        "shadow": seen.as_dict() if seen is not None else None,
    }
    if not json:
        _show(trials, seen)
    if why:
        if json:
            print_json({**report, "promoted": False, "why": why})
        msg = f"{version.name} is not promoted: {why}"
        raise InputError(msg)
    with changing(registry.folder) as live:
        thresholds = dict(live.thresholds)
        for trial in trials:
            if trial.thresholds is not None:
                thresholds[trial.cascade] = _keep_thresholds(registry, trial)
        now = put_live(
            registry.folder,
            replace(
                live,
                before=live.number,
                adapters={**live.adapters, name: entry},
                thresholds=thresholds,
                shadow={other: each for other, each in live.shadow.items() if other != name},
            ),
            f"{version.name} promoted",
        )
    if json:
        print_json({**report, "promoted": True, "state": now.number})
    else:
        results().print(plain(f"{version.name} is live. {_RELOAD}"))


def _keep_thresholds(registry: Registry, trial: Trial) -> str:
    """The thresholds in the registry, under a name of their own; relative to it."""
    assert trial.thresholds is not None  # noqa: S101 - the caller looked
    digest = hashlib.sha256(trial.thresholds.model_dump_json().encode()).hexdigest()[:12]
    file = f"{_THRESHOLDS}/{trial.cascade}-{digest}.toml"
    try:
        (registry.folder / _THRESHOLDS).mkdir(exist_ok=True)
    except OSError as error:
        raise unwritable(registry.folder / _THRESHOLDS, error) from error
    write_thresholds(trial.thresholds, registry.folder / file, trial.guarantee)
    return file


def _refusal(trials: Sequence[Trial], seen: ShadowTest | None, at_least: float) -> str:
    """Why a version may not go live; empty if it may."""
    for trial in trials:
        for (stage, tier), found in trial.pairs.items():
            where = _where(trial.cascade, stage, tier)
            if not found.is_enough():
                return (
                    f"the test part has {counted(found.n_tasks, 'task')} with both answers at {where}, and at least "
                    f"{FEWEST} are needed. Build a larger dataset."
                )
            if not found.is_better(at_least):
                return (
                    f"its AUC per task at {where} is {found.gain:+.4f} ({found.low:+.4f} to {found.high:+.4f}) that of "
                    f"the live one, which is not surely more than {at_least:+g}. Train it on more, or allow less with "
                    "--at-least."
                )
    if seen is not None:
        for (cascade, stage, tier), found in seen.pairs.items():
            if found.is_worse():
                where = f"stage {f'{stage}.{tier}' if tier else stage} of cascade {cascade}"
                return (
                    f"in the shadow it was worse at {where}: AUC per task {found.gain:+.4f}, at most {found.high:+.4f}."
                )
    return ""


def _where(cascade: str, stage: str, tier: str) -> str:
    return f"stage {f'{stage}.{tier}' if tier else stage} of cascade {cascade}"


def _show(trials: Sequence[Trial], seen: ShadowTest | None) -> None:
    console = results()
    sheet = Sheet(
        ["cascade", "question", "on"],
        ["tasks", "rows", "AUC live", "AUC new", "gain", "95 % of it", "right: live alone", "new alone"],
    )
    for trial in trials:
        for (stage, tier), found in trial.pairs.items():
            sheet.add(trial.cascade, f"{stage}.{tier}" if tier else stage, "test part", *_cells(found))
    for (cascade, stage, tier), found in seen.pairs.items() if seen is not None else ():
        sheet.add(cascade, f"{stage}.{tier}" if tier else stage, "shadow", *_cells(found))
    sheet.show(console)
    if seen is None:
        note("it was never in the shadow; the test part alone decides")
    else:
        console.print(plain(seen.text()))
    for trial in trials:
        if trial.guarantee:
            console.print(plain(f"{trial.cascade}: {trial.guarantee}"))


def _cells(found: Paired) -> list[str]:
    if not found.n_tasks:
        return ["0", f"{found.n_rows:,}", "", "", "", "", str(found.only_before), str(found.only_after)]
    return [
        f"{found.n_tasks:,}", f"{found.n_rows:,}", f"{found.before:.4f}", f"{found.after:.4f}", f"{found.gain:+.4f}",
        f"{found.low:+.4f} to {found.high:+.4f}", f"{found.only_before:,}", f"{found.only_after:,}",
    ]  # fmt: skip


def _back(registry: Registry, *, json: bool) -> None:
    with changing(registry.folder) as live:
        now = put_live(registry.folder, state_before(registry.folder, live), f"back to before {live.what}")
    names = [each.version for each in now.adapters.values()]
    told = ", ".join(names) + (" is" if len(names) == 1 else " are") if names else "The config's own files are"
    _say(now, f"{told} live again. {_RELOAD}", json=json)


def _stop(registry: Registry, *, json: bool) -> None:
    with changing(registry.folder) as live:
        if not live.shadow:
            msg = f"{registry.folder}: nothing answers in the shadow."
            raise InputError(msg)
        now = put_live(registry.folder, replace(live, shadow={}), "shadow ended")
    _say(now, f"Nothing answers in the shadow any more. {_RELOAD}", json=json)


def _say(live: Live, text: str, *, json: bool) -> None:
    if json:
        told: dict[str, Any] = {"state": live.number, "what": live.what}
        print_json({**told, "live": {name: each.version for name, each in live.adapters.items()}})
    else:
        results().print(plain(text))

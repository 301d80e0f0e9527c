"""A version of an adapter that is to answer beside the live one or in its place: tested first, then made so."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer

from cascade.cli.promotion import Trial, asking, compare, datasets_of
from cascade.cli.shadow_test import ShadowTest, test_shadow
from cascade.cli.tune import read_target
from cascade.config.extends import SHIPPED, shipped_config
from cascade.config.registry import check_owner, owner_of
from cascade.config.schema import AdapterConfig, Config, read_config
from cascade.config.thresholds import write_thresholds
from cascade.errors import InputError, counted
from cascade.evaluation.paired import FEWEST
from cascade.files import is_file, unwritable
from cascade.registry.live import Entry, Live, changing, put_live, read_state
from cascade.registry.versions import FILE, Registry, Version

TargetOption = Annotated[
    str | None,
    typer.Option(metavar="NAME=X", help="What new thresholds guarantee; if absent, what those in use do."),
]
GainOption = Annotated[
    float,
    typer.Option(metavar="GAIN", help="The gain in mean AUC per task that must be exceeded; may be negative."),
]
DELTA = 0.05
"""The chance that new thresholds miss what ``--target`` asks for, as in ``cascade tune``."""

_THRESHOLDS = "thresholds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A version that is to go live.

    Attributes:
        path: The config's file.
        config: What it says now.
        registry: Where the version is.
        version: The version.
        entry: Its place in the adapter map.
        live: What was live when the config was read.
    """

    path: Path
    config: Config
    registry: Registry
    version: Version
    entry: Entry
    live: Live = field(default_factory=Live)

    @property
    def adapter(self) -> str:
        """What cascades call the adapter."""
        return self.version.facts.adapter

    @property
    def file(self) -> AdapterConfig:
        """Its file, as the map of a config that it is live in has it."""
        path = self.registry.folder.absolute() / self.entry.path
        return AdapterConfig(path=path, scale=self.entry.scale, model=self.entry.model)

    def owner(self, live: Live) -> str:
        """What the live file says of the config, once it is clear that it is not of another.

        Raises:
            ConfigError: Another config has adopted something meanwhile.
        """
        folder = self.registry.folder
        check_owner(folder, live.config, [self.path])
        return owner_of(folder, self.path)

    def check_fits(self) -> None:
        """Refuse a file that the engine would refuse; see ``check_file``."""
        check_file(self.config, self.adapter, self.file)

    def check_is_new(self) -> None:
        """Refuse what is live already.

        Raises:
            InputError: The live file is the same, with the same scale.
        """
        from cascade.models.model_set import file_hash  # noqa: PLC0415 - gguf loads only where it is used

        live = self.config.adapter(self.adapter)
        if file_hash(live.path) == self.version.facts.sha256 and live.scale == self.entry.scale:
            msg = f"{self.version.name} is live already, so there is nothing to test or promote. Give another version."
            raise InputError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the tests say of a version.

    Attributes:
        candidate: The version.
        trials: What came of it in each cascade that asks it.
        seen: What was seen of it in the shadow; None if it never was there.
        why: Why it may not go live; empty if it may.
    """

    candidate: Candidate
    trials: Sequence[Trial]
    seen: ShadowTest | None
    why: str

    def as_dict(self) -> dict[str, Any]:
        """JSON form of the tests."""
        return {
            "version": self.candidate.version.name,
            "tests": [trial.as_dict() for trial in self.trials],
            "shadow": self.seen.as_dict() if self.seen is not None else None,
        }


def check_own(config: Path | None) -> Path:
    """The config, once it is a file of the user's own: what is adopted is kept beside it.

    Raises:
        InputError: It is the shipped one, or no file.
    """
    if config is None or config.resolve() == shipped_config().resolve():
        msg = (
            "The shipped config cannot be changed. Write one of your own that extends it, "
            f'`extends = "{SHIPPED}"`, and give it with --config.'
        )
        raise InputError(msg)
    if not is_file(config):
        msg = f"{config}: what is adopted is kept beside the config, so it must be a file."
        raise InputError(msg)
    return config


def check_here(config: Config, name: str) -> None:
    """Refuse an adapter that this process does not load.

    Raises:
        InputError: It is on a server, or not in the config's map.
    """
    if name not in config.files:
        where = "is on a server, which loads adapters itself" if name in config.served else "is not in the map"
        msg = f"Adapter {name!r} {where}; in this process are {', '.join(config.files) or 'none'}. Choose one of these."
        raise InputError(msg)


def check_file(config: Config, name: str, file: AdapterConfig) -> list[str]:
    """Refuse a file that the engine would refuse in the place of an adapter.

    Args:
        config: The config.
        name: What cascades call the adapter.
        file: The file, as the map would have it.

    Returns:
        What it was not trained to be asked, as sentences without their end.

    Raises:
        ModelFileError: Says what is wrong with it.
    """
    from cascade.models.model_set import (  # noqa: PLC0415 - gguf loads only where it is used
        load_model_sets,
        odd_markers,
    )

    changed = config.model_copy(update={"adapters": {**config.adapters, name: file}})
    (adapters,) = (each.adapters for each in load_model_sets(changed).values() if name in each.adapters)
    found = [odd for cascade in config.cascades().values() for odd in odd_markers(cascade, adapters)]
    return [str(odd) for odd in found if odd.adapter == name]


def check_can_follow(config: Config, name: str) -> None:
    """Refuse an adapter that would answer nothing in the shadow, or whose answers would be kept nowhere.

    Raises:
        InputError: There is no log, or no cascade asks it.
    """
    if config.log is None:
        msg = "A shadow's answers go into the log, and the config has none. Give it a [log] with a path."
        raise InputError(msg)
    if not asking(config, name):
        msg = f"No cascade asks adapter {name!r}, so that it would answer nothing."
        raise InputError(msg)


def check_gain(at_least: float) -> None:
    """Refuse a gain that is no number.

    Raises:
        InputError: It is infinite or NaN.
    """
    if not isfinite(at_least):
        msg = f"--at-least {at_least:g} was given; a finite number is needed, such as 0.01."
        raise InputError(msg)


def check_scale(scale: float) -> None:
    """Refuse a scale that no adapter may have.

    Raises:
        InputError: It is one.
    """
    try:
        AdapterConfig(path=Path(FILE), scale=scale)
    except ValueError as error:
        msg = f"--scale {scale:g} was given; a number above 0, up to 16, is needed."
        raise InputError(msg) from error


def candidate_of(path: Path, registry: Registry, version: Version, scale: float = 1.0) -> Candidate:
    """A version in the place of its adapter in the map of a config.

    Raises:
        InputError: The map has no such adapter in this process.
    """
    live = read_state(registry.folder)
    config, name = read_config(path), version.facts.adapter
    check_here(config, name)
    file = str(version.path.relative_to(registry.folder))
    entry = Entry(version=version.name, path=file, scale=scale, model=config.adapter(name).model)
    return Candidate(path=path, config=config, registry=registry, version=version, entry=entry, live=live)


def put_in_shadow(candidate: Candidate) -> Live:
    """Let a version answer beside the live one.

    Raises:
        CascadeError: There is no log for its answers, no cascade asks it, or its file does not fit.
    """
    name, folder = candidate.adapter, candidate.registry.folder
    check_can_follow(candidate.config, name)
    candidate.check_fits()
    with changing(folder) as live:
        what = f"{candidate.version.name} into the shadow"
        return put_live(folder, replace(live, shadow={name: candidate.entry}, config=candidate.owner(live)), what)


def tested(candidate: Candidate, data: Sequence[Path], target: str | None, at_least: float) -> Verdict:
    """Test a version on the frozen parts of datasets, and on what was seen of it in the shadow; nothing changes.

    Thresholds are tuned for it only once it has passed.

    Args:
        candidate: The version.
        data: A dataset's folder for each cascade that asks it.
        target: What new thresholds guarantee; None for what those in use do.
        at_least: The gain in mean AUC per task that must be exceeded.

    Raises:
        CascadeError: It is live already, its file does not fit, a dataset is missing, or no thresholds can guarantee
            that.
    """
    candidate.check_is_new()
    candidate.check_fits()
    config, name = candidate.config, candidate.adapter
    asked = asking(config, name)
    datasets = datasets_of(list(data), asked, name)
    wanted = read_target(target, None, DELTA, None) if target is not None else None
    compared = [compare(candidate.path, cascade, name, candidate.file, datasets[cascade]) for cascade in asked]
    seen = test_shadow(config, name, candidate.version.facts.sha256)
    trials = [each.trial() for each in compared]
    why = _refusal(trials, seen, at_least)
    if not why:
        trials = [each.tuned(wanted) for each in compared]
    return Verdict(candidate=candidate, trials=trials, seen=seen, why=why)


def promote(verdict: Verdict) -> Live:
    """Make a version live that passed its tests, with the thresholds that were tuned for it, all at once.

    Raises:
        InputError: It did not pass, or what is live is no longer what it was tested against.
        MachineError: The registry cannot be written; what was live stays so.
    """
    candidate = verdict.candidate
    name, registry, version = candidate.adapter, candidate.registry, candidate.version
    if verdict.why:
        msg = f"{version.name} is not promoted: {verdict.why}"
        raise InputError(msg)
    with changing(registry.folder) as live:
        if (live.adapters, live.thresholds) != (candidate.live.adapters, candidate.live.thresholds):
            msg = f"{version.name} is not promoted: what is live has changed since it was tested. Run it again."
            raise InputError(msg)
        thresholds = dict(live.thresholds)
        for trial in verdict.trials:
            if trial.thresholds is not None:
                thresholds[trial.cascade] = _keep_thresholds(registry, trial)
        now = replace(
            live,
            before=live.number,
            adapters={**live.adapters, name: candidate.entry},
            thresholds=thresholds,
            shadow={other: each for other, each in live.shadow.items() if other != name},
            config=candidate.owner(live),
        )
        return put_live(registry.folder, now, f"{version.name} promoted")


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

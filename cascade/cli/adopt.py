"""``cascade adopt``: a version of an adapter into the shadow, live, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from cascade.cli.adapters import found_version, registry_of
from cascade.cli.candidate import (
    Candidate,
    GainOption,
    TargetOption,
    Verdict,
    candidate_of,
    check_can_follow,
    check_file,
    check_gain,
    check_here,
    check_own,
    check_scale,
    promote,
    put_in_shadow,
    tested,
)
from cascade.cli.output import ConfigOption, JsonOption, note, plain, print_json, results
from cascade.cli.tables import Sheet
from cascade.config.extends import shipped_config
from cascade.config.registry import check_owner
from cascade.config.schema import AdapterConfig, Config, read_config
from cascade.errors import InputError
from cascade.evaluation.paired import Paired
from cascade.registry.live import Live, changing, put_live, read_state, state_before
from cascade.registry.versions import Registry

_UNTUNED = (
    "no thresholds are tuned, since none in use have a guarantee to keep; those of the config stay. --target, such as "
    "--target recall=0.9, tunes some that guarantee it."
)
RELOAD = "A running `cascade serve` takes it over at SIGHUP, or POST /v1/admin/adapters; an engine by `adopt`."
FOLLOWS = (
    "It follows requests of a process that stays open, such as `cascade serve` or an engine of your own; `cascade "
    "classify` ends before it has spare time."
)


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
    promotes: Annotated[bool, typer.Option("--promote", help="Test it, tune thresholds, and make it live.")] = False,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Make live again what was before the last step.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End what answers in the shadow.")] = False,
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="FOLDER", help="A dataset of a cascade that asks it, for --promote; may be repeated."),
    ] = None,
    target: TargetOption = None,
    at_least: GainOption = 0.0,
    scale: Annotated[float, typer.Option(help="Factor on the adapter's own alpha / rank.")] = 1.0,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Bring a new version of an adapter in: first beside the live one, then in its place, and back if need be.

    Without an option it is only added to the registry. What is live is decided by one file of the registry, live.toml,
    which is laid over the config.
    """
    if shadow + promotes + rollback + stop > 1:
        msg = "Give one of --shadow, --promote, --rollback and --stop."
        raise InputError(msg)
    check_scale(scale)
    check_gain(at_least)
    check_own(config)
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
    if shadow or promotes:
        check_owner(registry.folder, read_state(registry.folder).config, [path])
    settings = read_config(path)  # neither one that cannot be read nor one without a place for it adds a version
    check = partial(_check_new, settings, scale=scale, is_shadow=shadow)
    found = found_version(registry, version, adapter, check)
    candidate = candidate_of(path, registry, found, scale)
    if promotes:
        _promote(candidate, data or [], target, at_least, json=json)
    elif shadow:
        text = f"{candidate.version.name} answers beside the live one from now on. {FOLLOWS} {RELOAD}"
        _say(put_in_shadow(candidate), text, json=json)
    else:
        _add(candidate, json=json)


def _check_new(config: Config, name: str, file: Path, *, scale: float, is_shadow: bool) -> None:
    """Refuse what could not be used once it is in the registry; a note says what it was not trained for."""
    check_here(config, name)
    if is_shadow:
        check_can_follow(config, name)
    for odd in check_file(config, name, AdapterConfig(path=file, scale=scale, model=config.adapter(name).model)):
        note(odd)


def _add(candidate: Candidate, *, json: bool) -> None:
    version = candidate.version
    if json:
        print_json({"version": version.name, "path": str(version.path)})
    else:
        results().print(plain(f"{version.name} is {version.path}; try it with --shadow, or --promote it"))


def _promote(candidate: Candidate, data: Sequence[Path], target: str | None, at_least: float, *, json: bool) -> None:
    verdict = tested(candidate, data, target, at_least)
    if not json:
        show_tests(verdict)
    elif verdict.why:
        print_json({**verdict.as_dict(), "promoted": False, "why": verdict.why})
    now = promote(verdict)
    if json:
        print_json({**verdict.as_dict(), "promoted": True, "state": now.number})
    else:
        results().print(plain(f"{candidate.version.name} is live. {RELOAD}"))


def show_tests(verdict: Verdict) -> None:
    """The tests of a version as a table, and what its thresholds guarantee."""
    trials, seen = verdict.trials, verdict.seen
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
        note("the log has no answer of it from the shadow; the test part alone decides")
    else:
        console.print(plain(seen.text()))
    for trial in trials:
        if trial.guarantee:
            console.print(plain(f"{trial.cascade}: {trial.guarantee}"))
        elif not verdict.why:
            console.print(plain(f"{trial.cascade}: {_UNTUNED}"))


def _cells(found: Paired) -> list[str]:
    if not found.n_tasks:
        return ["0", f"{found.n_rows:,}", "", "", "", "", str(found.only_before), str(found.only_after)]
    return [
        f"{found.n_tasks:,}", f"{found.n_rows:,}", f"{found.before:.4f}", f"{found.after:.4f}", f"{found.gain:+.4f}",
        f"{found.low:+.4f} to {found.high:+.4f}", f"{found.only_before:,}", f"{found.only_after:,}",
    ]  # fmt: skip


def _back(registry: Registry, *, json: bool) -> None:
    state_before(registry.folder, read_state(registry.folder))  # a refusal makes no folder
    with changing(registry.folder) as live:
        now = put_live(registry.folder, state_before(registry.folder, live), f"back to before {live.what}")
    names = [each.version for each in now.adapters.values()]
    told = ", ".join(names) + (" is" if len(names) == 1 else " are") if names else "The config's own files are"
    _say(now, f"{told} live again. {RELOAD}", json=json)


def _stop(registry: Registry, *, json: bool) -> None:
    if not read_state(registry.folder).shadow:
        msg = f"{registry.folder}: nothing answers in the shadow, so there is nothing to stop."
        raise InputError(msg)
    with changing(registry.folder) as live:
        now = put_live(registry.folder, replace(live, shadow={}), "shadow ended")
    _say(now, f"Nothing answers in the shadow any more. {RELOAD}", json=json)


def _say(live: Live, text: str, *, json: bool) -> None:
    if json:
        told: dict[str, Any] = {"state": live.number, "what": live.what}
        print_json({**told, "live": {name: each.version for name, each in live.adapters.items()}})
    else:
        results().print(plain(text))

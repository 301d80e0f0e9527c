"""``cascade adapters``: the versions of adapters that a registry keeps, and which of them are live."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from cascade.cli.output import ConfigOption, JsonOption, need_command, plain, print_json, results
from cascade.cli.tables import Sheet
from cascade.config.extends import Layers, read_layers, shipped_config
from cascade.errors import InputError, counted
from cascade.files import is_file, is_folder
from cascade.registry.live import Live, read_state
from cascade.registry.versions import FACTS, SHA256, Registry, Version, read_version, trained_file

app = typer.Typer(
    help="List, show and compare the versions of adapters that a registry keeps.",
    invoke_without_command=True,
    callback=need_command,
)

_SHORT = 12

VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="Such as relevant/0002; relevant: the latest.")]


def registry_of(config: Path | None) -> Registry:
    """The registry of a config, there or not."""
    return Registry(read_layers(config or shipped_config()).registry)


@app.command(name="list")
def list_(
    adapter: Annotated[str | None, typer.Argument(metavar="ADAPTER", help="This one alone.")] = None,
    *,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List the versions of all adapters, or of one."""
    layers = read_layers(config or shipped_config())
    registry = Registry(layers.registry)
    versions, live = registry.versions(adapter), read_state(registry.folder)
    if adapter is not None and not versions:
        _check_known(adapter, layers, registry)
    if json:
        print_json({"registry": str(registry.folder), "versions": [_dict(each, live) for each in versions]})
        return
    console = results()
    if not versions:
        console.print(plain(f"{registry.folder}: no versions; `cascade adopt FILE --adapter NAME` adds one"))
        return
    sheet = Sheet(["version", "state", "made", "sha256", "parents"], [], ["figures"])
    for each in versions:
        facts = each.facts
        state = _state(each, live)
        parents = ", ".join(one[:_SHORT] if SHA256.fullmatch(one) else one for one in facts.parents)
        figures = _brief(facts.figures)
        sheet.add(each.name, state, facts.made[:16], facts.sha256[:_SHORT], parents, figures)
    sheet.show(console)
    console.print(plain(f"\n{registry.folder}: {counted(len(versions), 'version')}; {_told(live)}"))


@app.command()
def show(version: VersionArgument, *, config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show a version: its hashes, what it was trained from, and what was measured of it."""
    registry = registry_of(config)
    found, live = registry.version(version), read_state(registry.folder)
    found.check()
    if json:
        print_json(_dict(found, live))
        return
    console = results()
    for name, value in _dict(found, live).items():
        if name == "figures":
            for figure, each in _flat(found.facts.figures, "figures.").items():
                console.print(plain(f"{figure}: {_figure(each)}"))
        elif value:
            console.print(plain(f"{name}: {', '.join(value) if isinstance(value, list) else value}"))


@app.command()
def diff(
    before: VersionArgument,
    after: VersionArgument,
    *,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Say what differs between two versions."""
    registry = registry_of(config)
    one, other = (registry.version(name) for name in (before, after))
    live = read_state(registry.folder)
    left, right = _flat(_dict(one, live)), _flat(_dict(other, live))
    names = [name for name in dict.fromkeys((*left, *right)) if left.get(name) != right.get(name)]
    if json:
        print_json({"differs": {name: [left.get(name), right.get(name)] for name in names}})
        return
    sheet = Sheet(["", one.name, other.name], ["change"])
    for name in names:
        then, now = left.get(name), right.get(name)
        sheet.add(name, _figure(then), _figure(now), _change(then, now))
    if names:
        sheet.show(results())
    else:
        results().print("nothing differs")


def found_version(registry: Registry, given: str, adapter: str | None, check: Callable[[str, Path], object]) -> Version:
    """A version by its name; or one that is made of a GGUF file, or of the folder that ``cascade train`` wrote.

    Args:
        registry: Where versions are kept.
        given: The name, the file or the folder.
        adapter: The adapter that it has to be a version of; None where the name or the folder says so.
        check: Called with the adapter's name and the file, before anything is added.

    Raises:
        InputError: It is none of these, it is of another adapter, or of a file nobody knows whose version it is.
    """
    path = Path(given)
    if is_file(path / FACTS):
        name = read_version(path).facts.adapter
        _check_of(name, given, adapter)
        check(name, trained_file(path, name))
        return registry.add_trained(path)
    if is_folder(path) and (path.is_absolute() or not is_folder(registry.folder / path)):
        msg = f"{given}: is a folder without a {FACTS}. Give the folder that `cascade train` wrote, or a GGUF file."
        raise InputError(msg)
    if not is_file(path):
        found = registry.version(given)
        _check_of(found.facts.adapter, given, adapter)
        found.check()
        check(found.facts.adapter, found.path)
        return found
    if adapter is None:
        msg = f"{given}: is a file; say which adapter it is a version of, with --adapter NAME."
        raise InputError(msg)
    check(adapter, path)
    live = read_state(registry.folder).adapters.get(adapter)
    return registry.add(adapter, path, parents=[live.version] if live is not None else [])


def _check_known(adapter: str, layers: Layers, registry: Registry) -> None:
    """Refuse a name that neither the config's map nor the registry has.

    Raises:
        InputError: Names those that there are.
    """
    given = layers.table.get("adapters", {})
    known = dict.fromkeys(
        (*(given if isinstance(given, dict) else ()), *(each.facts.adapter for each in registry.versions()))
    )
    if adapter not in known:
        msg = (
            f"Unknown adapter {adapter!r}; there are {', '.join(known) or 'none'}. Give one of these, or none for all."
        )
        raise InputError(msg)


def _check_of(name: str, given: str, adapter: str | None) -> None:
    if adapter not in {None, name}:
        msg = f"--adapter {adapter!r}: {given} is a version of {name!r}. Leave --adapter out, or give a GGUF file."
        raise InputError(msg)


def _dict(version: Version, live: Live) -> dict[str, Any]:
    facts = version.facts.model_dump(mode="json")
    names = {key: facts.pop(key) for key in ("adapter", "version")}
    return {"name": version.name, **names, "state": _state(version, live), "path": str(version.path), **facts}


def _state(version: Version, live: Live) -> str:
    adapter = version.facts.adapter
    for state, entries in (("live", live.adapters), ("shadow", live.shadow)):
        if adapter in entries and entries[adapter].version == version.name:
            return state
    return ""


def _told(live: Live) -> str:
    parts = [f"{each.version} is live" for each in live.adapters.values()]
    parts += [f"{each.version} answers in the shadow" for each in live.shadow.values()]
    return "; ".join(parts) or "the config's own files are live"


def _flat(value: Mapping[str, Any], head: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, each in value.items():
        if isinstance(each, dict):
            found |= _flat(each, f"{head}{key}.")
        elif key not in {"name", "version", "path"}:
            found[f"{head}{key}"] = tuple(each) if isinstance(each, list) else each
    return found


def _change(then: object, now: object) -> str:
    if isinstance(then, int | float) and isinstance(now, int | float):
        return f"{now - then:+.4g}"
    return ""


def _brief(figures: Mapping[str, Any]) -> str:
    """The figures that fit into a line: single ones, and those that a training has on its validation part."""
    valid = figures.get("valid")
    own = {**figures, **valid} if isinstance(valid, dict) else figures
    return ", ".join(f"{name} {_figure(each)}" for name, each in own.items() if isinstance(each, int | float | str))


def _figure(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, tuple | list) and any(isinstance(each, dict | list) for each in value):
        return f"{len(value):,} entries, which --json shows"
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)

"""How ``cascade dataset`` shows datasets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from cascade.cli.output import plain
from cascade.cli.tables import Sheet
from cascade.errors import counted


def show_dataset(console: Console, folder: Path, manifest: Mapping[str, Any]) -> None:
    """Print what a dataset has."""
    of = f"cascade {manifest['cascade']}"
    of = f"adapter {manifest['adapter']} of {of}" if manifest.get("adapter") else of
    console.print(plain(f"{folder}: labelled tasks for {of}, made {manifest['made']}"))
    console.print()
    _show_parts(console, manifest)
    _show_answers(console, manifest)
    left = manifest.get("left_out", {})
    lines = [f"{counted(n, 'item')} left out: {why}" for why, n in left.items()]
    for label, n in manifest.get("strange_labels", {}).items():
        lines.append(f"{counted(n, 'outcome')} left out: the label {label!r} is none of the cascade")
    if manifest.get("conflicts"):
        n = counted(manifest["conflicts"], "conflict")
        lines.append(f"{n} between sources or equal items, listed in conflicts.jsonl")
    if lines:
        console.print()
        for line in lines:
            console.print(plain(line))


def _show_parts(console: Console, manifest: Mapping[str, Any]) -> None:
    sheet = Sheet(["part"], ["tasks", "items", *manifest["labels"]], ["tasks from"])
    for name, part in manifest["parts"].items():
        counts = [f"{part.get('labels', {}).get(label, 0):,}" for label in manifest["labels"]]
        times = f"{part['first'][:10]} to {part['last'][:10]}" if part.get("first") else ""
        sheet.add(name, f"{part['tasks']:,}", f"{part['items']:,}", *counts, times)
    sheet.show(console)


def _show_answers(console: Console, manifest: Mapping[str, Any]) -> None:
    sheet = Sheet(["adapter"], list(manifest["parts"]), [])
    adapters = dict.fromkeys(name for part in manifest["parts"].values() for name in part.get("answers", {}))
    for adapter in adapters:
        sheet.add(adapter, *(_told(part.get("answers", {}).get(adapter, {})) for part in manifest["parts"].values()))
    if sheet.n_rows:
        console.print()
        sheet.show(console)


def _told(answers: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {answer}" for answer, n in answers.items()) or "none"

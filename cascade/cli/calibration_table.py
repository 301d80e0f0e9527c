"""How honest each question's p(yes) is, as JSON and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from cascade.cli.output import plain
from cascade.tuning.calibration import Calibrated
from cascade.tuning.honesty import Honesty, Slice
from cascade.tuning.scored import Key

_MOST_SLICES = 12


def calibration_rows(curves: Mapping[Key, Calibrated]) -> list[dict[str, Any]]:
    """Every question with its slices, for JSON."""
    return [
        {
            "stage": stage,
            "tier": tier,
            "kind": found.curve.kind,
            "n": found.n,
            "before": asdict(found.before),
            "after": asdict(found.after),
            "unseen": asdict(found.unseen) if found.unseen is not None else None,
            "slices": [asdict(part) for part in found.slices],
        }
        for (stage, tier), found in curves.items()
    ]


def show_calibration(console: Console, curves: Mapping[Key, Calibrated]) -> None:
    """Every question, and the slices whose error stands out most; how many are left out is said below."""
    console.print("How honest p(yes) is: on tasks left out, and on repositories left out (unseen)")
    table = Table(box=None, pad_edge=False, header_style="bold")
    heads = ("question", "slice", "rows", "ECE raw", "calibrated", "unseen", "if honest", "Brier", "log loss")
    for head in heads:
        table.add_column(head, justify="left" if head in {"question", "slice"} else "right")
    parts = [(key, part) for key, found in curves.items() for part in found.slices]
    parts.sort(key=lambda entry: _excess(entry[1]), reverse=True)
    shown = {(key, part.name, part.value) for key, part in parts[:_MOST_SLICES]}
    for key, found in curves.items():
        name = " ".join(key).strip()
        table.add_row(name, "all", str(found.n), *_cells(found.before, found.after, found.unseen))
        for part in found.slices:
            if (key, part.name, part.value) in shown:
                cells = _cells(part.before, part.after, part.unseen)
                table.add_row("", plain(f"{part.name} {part.value or 'unnamed'}"), str(part.n), *cells)
    console.print(table)
    if len(parts) > len(shown):
        console.print(f"{len(parts) - len(shown)} slices with less error beyond chance are left out; --json has them.")


def _excess(part: Slice) -> float:
    return part.after.ece - part.after.noise


def _cells(before: Honesty, after: Honesty, unseen: Honesty | None) -> tuple[str, ...]:
    other = f"{unseen.ece:.3f}" if unseen is not None else "-"
    figures = (after.noise, after.brier, after.log_loss)
    return (f"{before.ece:.3f}", f"{after.ece:.3f}", other, *(f"{figure:.3f}" for figure in figures))

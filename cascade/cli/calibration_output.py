"""How well p(yes) is calibrated, as JSON and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console

from cascade.cli.tables import Sheet
from cascade.errors import counted
from cascade.evaluation.calibration import Calibrated
from cascade.evaluation.metrics import CalibrationMetrics
from cascade.evaluation.scored import Key

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
    console.print("How well p(yes) is calibrated: on tasks left out, and on repositories left out (unseen)")
    ece = ("ECE raw", "calibrated", "beyond chance", "unseen", "beyond chance")
    sheet = Sheet(("question", "slice"), ("rows", *ece, "Brier", "log loss"))
    parts = [(key, part) for key, found in curves.items() for part in found.slices]
    parts.sort(key=lambda entry: entry[1].after.ece_beyond_chance, reverse=True)
    shown = {(key, part.name, part.value) for key, part in parts[:_MOST_SLICES]}
    for key, found in curves.items():
        sheet.add(" ".join(key), "all", str(found.n), *_cells(found.before, found.after, found.unseen))
        for part in found.slices:
            if (key, part.name, part.value) in shown:
                cells = _cells(part.before, part.after, part.unseen)
                sheet.add("", f"{part.name} {part.value or 'unnamed'}", str(part.n), *cells)
    sheet.show(console)
    if len(parts) > len(shown):
        left = counted(len(parts) - len(shown), "slice")
        console.print(f"Left out: {left} with less error beyond chance; --json has all.")


def _cells(before: CalibrationMetrics, after: CalibrationMetrics, unseen: CalibrationMetrics | None) -> tuple[str, ...]:
    figures: list[float | None] = [before.ece, after.ece, after.ece_beyond_chance]
    figures += [unseen.ece, unseen.ece_beyond_chance] if unseen is not None else [None, None]
    return tuple("-" if figure is None else f"{figure:.3f}" for figure in [*figures, after.brier, after.log_loss])

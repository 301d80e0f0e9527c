"""The map from (base model, stage) to adapter, as ``cascade config show`` prints it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from cascade.cli.output import note, results
from cascade.cli.tables import Sheet
from cascade.config.base_models import base_adapter, model_of
from cascade.config.schema import Config
from cascade.errors import CascadeError
from cascade.tree import Cascade


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One question of a cascade, and what answers it.

    Attributes:
        model: Name of the base model; None where only files tell it, and they cannot be read.
        stage: The stage that asks.
        tier: The tier under which it asks; empty for a stage without tiers.
        adapter: The adapter that answers.
    """

    model: str | None
    stage: str
    tier: str
    adapter: str


def map_rows(config: Config, cascade: Cascade) -> list[Row]:
    """A row for each question of a cascade, in order."""
    models = _models_asked(config, cascade)
    return [
        Row(model=models[question.adapter], stage=stage.name, tier=tier, adapter=question.adapter)
        for stage in cascade.stages
        for tier, question in stage.questions.items()
    ]


def show_map(rows: Sequence[Row]) -> None:
    """Print the map as a table."""
    has_tiers = any(row.tier for row in rows)
    sheet = Sheet(("base model", "stage", *(("tier",) if has_tiers else ()), "adapter"))
    for row in rows:
        cells = {**asdict(row), "model": row.model or "not known"}
        sheet.add(*(cell for key, cell in cells.items() if has_tiers or key != "tier"))
    sheet.show(results())


def _models_asked(config: Config, cascade: Cascade) -> dict[str, str | None]:
    """Adapter that a cascade asks -> its base model."""
    named = config.base_models
    found: dict[str, str | None] = {base_adapter(name, named): name for name in named}
    for adapter in cascade.adapters():
        if adapter not in found:
            found[adapter] = model_of(config.adapters[adapter]) or (next(iter(named)) if len(named) == 1 else None)
    unknown = [adapter for adapter, model in found.items() if model is None]
    if unknown:
        from cascade.models.model_set import Hub, load_bases  # noqa: PLC0415 - reads whole models, which few maps need
        from cascade.models.owners import find_owner  # noqa: PLC0415 - as above

        try:
            bases = load_bases(config, Hub(is_offline=True))
            found |= {adapter: find_owner(config, adapter, bases) for adapter in unknown}
        except CascadeError as error:
            note(f"the base model of {', '.join(unknown)} is not known: {error}")
    return found

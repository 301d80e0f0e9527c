"""The map from (base model, stage) to adapter, as ``cascade config show`` prints it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cascade.cli.output import note, results
from cascade.cli.tables import Sheet
from cascade.config.base_models import base_adapter, model_of
from cascade.config.schema import Config, ModelConfig
from cascade.errors import CascadeError
from cascade.stages import is_base
from cascade.tree import Cascade


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One question of a cascade, and what answers it.

    Attributes:
        model: Name of the base model; None where only files tell it, and they cannot be read.
        stage: The stage that asks.
        tier: The tier under which it asks; empty for a stage without tiers.
        adapter: The adapter that answers.
        is_encoder: Whether the base model is an encoder, which reads pairs; None where the file cannot be read.
    """

    model: str | None
    stage: str
    tier: str
    adapter: str
    is_encoder: bool | None

    @property
    def answers(self) -> str:
        """What answers, in words; without the base model's name where that is not known."""
        kind = "encoder" if self.is_encoder else ""
        if is_base(self.adapter):
            return " ".join(filter(None, (kind or "base model", self.model)))
        of = " ".join(filter(None, (kind, self.model)))
        return f"adapter {self.adapter}" + (f" of {of}" if of else "")


def map_rows(config: Config, cascade: Cascade) -> list[Row]:
    """A row for each question of a cascade, in order."""
    models = _models_asked(config, cascade)
    kinds = {name: _is_encoder(model) for name, model in config.base_models.items()}
    return [
        Row(
            model=(model := models[question.adapter]),
            stage=stage.name,
            tier=tier,
            adapter=question.adapter,
            is_encoder=kinds[model] if model is not None else None,
        )
        for stage in cascade.stages
        for tier, question in stage.questions.items()
    ]


def show_map(rows: Sequence[Row]) -> None:
    """Print the map as a table."""
    has_tiers = any(row.tier for row in rows)
    sheet = Sheet(("base model", "stage", *(("tier",) if has_tiers else ()), "adapter"))
    for row in rows:
        model = (row.model or "not known") + (" (encoder)" if row.is_encoder else "")
        sheet.add(model, row.stage, *((row.tier,) if has_tiers else ()), row.adapter)
    sheet.show(results())


def _is_encoder(model: ModelConfig) -> bool | None:
    """Whether a model is an encoder, by its file's header; None where that cannot be read."""
    if not model.has_source:  # servers have decoders
        return False
    from cascade.models.encoder import is_encoder  # noqa: PLC0415 - reads GGUF, which other commands on configs do not
    from cascade.models.gguf import read_gguf  # noqa: PLC0415 - as above
    from cascade.models.model_set import Hub  # noqa: PLC0415 - as above

    try:
        path = model.path or Hub(is_offline=True).download(model)
        return is_encoder(read_gguf(path))
    except CascadeError:
        return None


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

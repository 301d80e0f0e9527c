"""What a cascade goes by before it is tuned anew, so that what is said to be kept is kept."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from cascade.cli.output import note
from cascade.config import Untuned
from cascade.tree import Cascade
from cascade.tuning.scored import Origin


def in_use(untuned: Untuned, name: str, origin: Origin) -> Cascade:
    """A cascade with the thresholds, curves and prior that an engine would take, or else with the config's own.

    Args:
        untuned: The config, and the thresholds that it names.
        name: Name of the cascade.
        origin: What the cascade was just scored with.
    """
    entry, file, problem = untuned.config.cascade[name], untuned.thresholds, untuned.problem
    if file is not None and untuned.config.engine.mismatch == "refuse":
        differs = replace(file.made_for.origin(), data=origin.data).differences(origin)
        if differs:
            file, problem = None, f"they were made for something else ({', '.join(differs)})"
    if problem:
        note(f"the thresholds that cascade {name!r} names are not in use: {problem}; what is kept is the config's own")
    return entry.model_copy(update={"thresholds": file}).cascade(name)


def with_stages(cascade: Cascade, other: Cascade, names: Collection[str]) -> Cascade:
    """A cascade with some of the stages of another one that asks the same."""
    stages = tuple(other.stage(stage.name) if stage.name in names else stage for stage in cascade.stages)
    return replace(cascade, stages=stages)

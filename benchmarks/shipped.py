"""The shipped cascades with their questions alone: nothing settles items before, and thresholds are the map's own."""

from __future__ import annotations

from cascade.config import Config, read_config, shipped_config

SHIPPED = read_config(shipped_config())


def questions_alone(config: Config = SHIPPED) -> Config:
    """A config without prior stages, and so without thresholds that were tuned with them."""
    cascades = {}
    for name, entry in config.cascade.items():
        stages = tuple(stage for stage in entry.stages if stage.kind != "prior")
        cascades[name] = entry.model_copy(update={"thresholds": None, "stages": stages})
    return config.model_copy(update={"cascade": cascades})


CASCADES = questions_alone().cascades()

"""The shipped cascades with their questions alone: nothing settles items before, and thresholds are the map's own."""

from __future__ import annotations

import re

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


def questions_alone_text(*, outlook: bool) -> str:
    """The shipped config's text without prior stages and the files of thresholds; its paths are as they were.

    Args:
        outlook: Whether the outlooks stay.
    """
    text = shipped_config().read_text(encoding="utf-8")
    text = re.sub(r'^\[\[cascade\.\w+\.stages\]\]\nkind = "prior"\n(?:.+\n)+\n', "", text, flags=re.MULTILINE)
    keys = "thresholds" if outlook else "thresholds|outlook"
    return re.sub(rf'^(?:{keys}) = ".*\n', "", text, flags=re.MULTILINE)

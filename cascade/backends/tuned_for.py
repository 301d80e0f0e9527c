"""Whether tuned thresholds were tuned with what answers now."""

from __future__ import annotations

from collections.abc import Mapping

from cascade.config import Config
from cascade.thresholds_file import ThresholdsFile
from cascade.tree import Cascade


def check_thresholds(config: Config, cascades: Mapping[str, Cascade], model: str, adapters: Mapping[str, str]) -> None:
    """Refuse tuned thresholds of other files: what they promise is true of theirs alone.

    Args:
        config: Says where thresholds come from.
        cascades: Those that are opened.
        model: What the reports' provenance calls the model.
        adapters: The same for each adapter.

    Raises:
        ConfigError: Names what differs.
    """
    for name, cascade in cascades.items():
        entry = config.cascade.get(name)
        if entry and isinstance(entry.thresholds, ThresholdsFile):
            entry.thresholds.check(name, cascade.stages, model, adapters)

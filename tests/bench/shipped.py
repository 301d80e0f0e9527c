"""The shipped config, which the harness is tested with."""

from __future__ import annotations

from cascade.config import read_config, shipped_config

CONFIG = read_config(shipped_config())
CASCADES = CONFIG.cascades()

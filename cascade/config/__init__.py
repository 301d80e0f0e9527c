"""TOML in and out: configs, thresholds, profiles."""

from cascade.config.schema import Config, read_config, shipped_config

__all__ = ["Config", "read_config", "shipped_config"]

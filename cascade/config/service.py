"""The table ``[service]`` of a config file."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import Field

from cascade.config.toml import Frozen, Name
from cascade.errors import ConfigError


class ServiceConfig(Frozen):
    """What ``cascade serve`` offers."""

    aliases: dict[Name, str] = Field(
        default_factory=dict,
        description="Name that callers of typed questions may give as their model -> the model, adapter, cascade or "
        '"CASCADE/STAGE" that it means. "jev-latest" means the base model unless it stands here.',
    )

    def check(self, known: Collection[str]) -> None:
        """Refuse aliases that mean nothing, or stand for a name that is there.

        Args:
            known: What there is.

        Raises:
            ConfigError: Names the alias.
        """
        for name, target in self.aliases.items():
            key = f"service.aliases.{name}"
            if name in known:
                msg = f"{key}: there is something of that name, which callers would no longer reach. Choose another."
                raise ConfigError(msg)
            if target not in known:
                msg = f"{key}: there is no {target!r}. Choose one of {', '.join(known)}."
                raise ConfigError(msg)

"""What an engine knows of its base models: which adapters each has, and what all of them are together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from cascade.backends.base import BackendInfo
from cascade.errors import ConfigError
from cascade.prompt import Limits
from cascade.report import Provenance
from cascade.stages import is_base
from cascade.tree import Cascade


@dataclass(frozen=True, kw_only=True)
class EngineInfo:
    """Base models with their adapters.

    Attributes:
        backends: Name -> what the backend of a model says; one model alone has an empty name.
        limits: Name -> how long texts from outside may be in its prompts.

    Raises:
        ConfigError: There is no model, or an adapter belongs to two.
    """

    backends: Mapping[str, BackendInfo]
    limits: Mapping[str, Limits]

    def __post_init__(self) -> None:
        if not self.backends:
            msg = "An engine needs a backend, and none is given. Give one, or one for each base model."
            raise ConfigError(msg)
        seen: dict[str, str] = {}
        for name, info in self.backends.items():
            twice = sorted(info.prefix_adapters.keys() & seen.keys())
            if twice:
                other = seen[twice[0]]
                msg = f"Adapter {twice[0]!r} belongs to the models {other!r} and {name!r}. Give it another name in one."
                raise ConfigError(msg)
            seen |= dict.fromkeys(info.prefix_adapters, name)

    @property
    def main(self) -> BackendInfo:
        """What the backend of the first model says, which is the only one of most engines."""
        return next(iter(self.backends.values()))

    @cached_property
    def models(self) -> Mapping[str, str]:
        """Adapter -> name of its model; empty where there is one alone."""
        if len(self.backends) == 1:
            return {}
        return {adapter: name for name, info in self.backends.items() for adapter in info.prefix_adapters}

    def model_of(self, adapter: str) -> str:
        """Name of the model that an adapter belongs to."""
        return self.models[adapter] if self.models else next(iter(self.backends))

    def of(self, adapter: str) -> BackendInfo:
        """What the backend of an adapter says."""
        return self.backends[self.model_of(adapter)]

    @cached_property
    def prefix_adapters(self) -> Mapping[str, str]:
        """Adapter -> the adapter whose weights fill its prefix KV; see ``BackendInfo``."""
        return {adapter: of for info in self.backends.values() for adapter, of in info.prefix_adapters.items()}

    @property
    def adapters(self) -> frozenset[str]:
        """Names that a question may ask for, base models aside."""
        return frozenset(adapter for adapter in self.prefix_adapters if not is_base(adapter))

    @property
    def encoders(self) -> frozenset[str]:
        """Encoders and their adapters, which answer what they were trained for and read no question."""
        return frozenset(
            adapter for info in self.backends.values() if info.is_encoder for adapter in info.prefix_adapters
        )

    @cached_property
    def provenance(self) -> Provenance:
        """What all models and adapters are."""
        several = len(self.backends) > 1
        return Provenance.joined(
            {
                name: replace(info.provenance, name=name) if several else info.provenance
                for name, info in self.backends.items()
            }
        )

    def provenance_of(self, cascade: Cascade) -> Provenance:
        """What the models and adapters are that a cascade asks."""
        return self.provenance.of(cascade.adapters(), self.asked(cascade))

    def asked(self, cascade: Cascade) -> set[str]:
        """Names of the models that a cascade asks."""
        return {self.model_of(question.adapter) for question in cascade.questions()}

    def check(self, cascade: Cascade) -> None:
        """Refuse a cascade that the backends cannot answer.

        Raises:
            ConfigError: See ``BackendInfo.check``.
        """
        for question in cascade.questions() if self.models else ():
            if question.adapter not in self.models:
                known = ", ".join(sorted(self.models))
                msg = (
                    f"cascade.{cascade.name} asks adapter {question.adapter!r}, which no backend has; there are "
                    f"{known}. Add it to [adapters], or ask one of these."
                )
                raise ConfigError(msg)
        for info in self.backends.values():
            info.check(cascade, others=self.models.keys() - info.prefix_adapters.keys())

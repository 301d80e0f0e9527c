"""Config files: TOML into pydantic models, frozen, unknown keys refused, then into the pure core."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from cascade.arguments import one_of
from cascade.config.base_models import base_adapter, check_entry, named_models, own_name
from cascade.config.cascades import CascadeConfig
from cascade.config.engine import EngineConfig
from cascade.config.extends import EXTENDS, Layers, layers_of, read_layers, shipped_config
from cascade.config.log import LogConfig
from cascade.config.model import AdapterConfig, AdapterEntry, FileEntry, LimitsConfig, ModelConfig
from cascade.config.profile import ProfileConfig, read_profile
from cascade.config.registry import RegistryConfig
from cascade.config.servers import ServedConfig, ServerConfig
from cascade.config.service import ServiceConfig
from cascade.config.thresholds import ThresholdsFile, read_thresholds
from cascade.config.toml import Frozen, Loc, Name, complaints
from cascade.errors import ConfigError, unknown_cascade
from cascade.files import is_file, name_of
from cascade.tree import Cascade

__all__ = [
    "AdapterConfig", "CascadeConfig", "Config", "EngineConfig", "LimitsConfig", "ModelConfig", "Untuned", "config_from",
    "config_of", "read_config", "read_untuned", "shipped_config",
]  # fmt: skip


def _as_files_are(schema: dict[str, Any]) -> None:
    """A file may extend another, whose tables it then need not have."""
    extends = {"type": "string", "minLength": 1, "description": EXTENDS}
    schema["properties"] = {"extends": extends, **schema["properties"]}
    required = schema.pop("required")
    schema["anyOf"] = [{"required": ["extends"]}, *({"required": [key, *required]} for key in ("model", "models"))]


class Config(Frozen):
    """A config file, merged with the files that it extends: model, adapters, servers, engine and cascades."""

    model_config = ConfigDict(json_schema_extra=_as_files_are)

    servers: dict[Name, ServerConfig] = Field(default_factory=dict, description="Server name -> how it is asked.")
    model: ModelConfig = Field(default_factory=ModelConfig, description="The base model, or the main one of several.")
    models: dict[Name, ModelConfig] = Field(default_factory=dict, description="Name -> base model, for several.")
    adapters: dict[Name, AdapterEntry] = Field(
        default_factory=dict, description="Adapter name -> file, or the server that has it."
    )
    engine: EngineConfig = EngineConfig()
    service: ServiceConfig = ServiceConfig()
    log: LogConfig | None = Field(None, description="Where decisions are kept; nowhere if absent.")
    registry: RegistryConfig | None = Field(
        None, description='Where versions of adapters are kept; if absent, the folder "registry" beside this file.'
    )
    shadow: dict[Name, FileEntry] = Field(
        default_factory=dict,
        description="Adapter name -> file that answers beside that of the map in spare time; its answers are logged.",
    )
    cascade: dict[Name, CascadeConfig] = Field(description="Cascade name -> its stages.")

    def cascades(self) -> dict[str, Cascade]:
        """All cascades by name, checked against the adapter map.

        Raises:
            ConfigError: Names the key that does not fit.
        """
        named = self.base_models
        for name, entry in self.adapters.items():
            check_entry(name, entry, named)
        return {name: self._mapped(config.cascade(name)) for name, config in self.cascade.items()}

    def models_served(self, cascades: Mapping[str, Cascade]) -> list[str]:
        """What typed questions may be put to: cascades, adapters, base models, and each question of a cascade."""
        questions = [f"{name}/{stage.name}" for name, cascade in cascades.items() for stage in cascade.stages]
        bases = [base_adapter(name, self.base_models) for name in self.base_models]
        return list(dict.fromkeys((*cascades, *self.adapters, *bases, *questions)))

    def _mapped(self, cascade: Cascade) -> Cascade:
        """The cascade with each adapter under the one name that it has."""
        stages = []
        for stage in cascade.stages:
            key = f"cascade.{cascade.name}.stages.{stage.name}.adapter"
            questions = {
                tier: replace(question, adapter=self._own_name(f"{key}.{tier}" if tier else key, question.adapter))
                for tier, question in stage.questions.items()
            }
            stages.append(replace(stage, questions=questions))
        return replace(cascade, stages=tuple(stages))

    @property
    def base_models(self) -> dict[str, ModelConfig]:
        """Name -> base model: that of ``[model]``, which is called "model", and those of ``[models]``.

        Raises:
            ConfigError: There is none, or a name is not allowed.
        """
        return named_models(self.model if "model" in self.model_fields_set else None, self.models)

    def of_model(self, name: str, adapters: Collection[str]) -> Config:
        """The config of one of its base models alone.

        Args:
            name: The model.
            adapters: Names of those in the map that belong to it.
        """
        entries = {adapter: entry for adapter, entry in self.adapters.items() if adapter in adapters}
        return self.model_copy(update={"model": self.base_models[name], "models": {}, "adapters": entries})

    @property
    def files(self) -> dict[str, AdapterConfig]:
        """The adapters that this process loads, in full form."""
        return {name: self.adapter(name) for name in self.adapters if name not in self.served}

    @property
    def served(self) -> dict[str, ServedConfig]:
        """The adapters that servers have."""
        return {name: entry for name, entry in self.adapters.items() if isinstance(entry, ServedConfig)}

    def adapter(self, name: str) -> AdapterConfig:
        """An entry of the adapter map that is a file, in full form."""
        entry = self.adapters[name]
        if isinstance(entry, ServedConfig):
            msg = f"adapters.{name}: the server {entry.server!r} has it; no file is known."
            raise ConfigError(msg)
        return entry if isinstance(entry, AdapterConfig) else AdapterConfig(path=entry)

    def shadows(self) -> dict[str, AdapterConfig]:
        """The adapters that answer beside those of the map, in full form.

        Raises:
            ConfigError: The map has no file under that name.
        """
        for name in self.shadow:
            if name not in self.files:
                known = ", ".join(self.files) or "none"
                msg = f"shadow.{name}: there is no adapter with a file that it could stand beside; there are {known}."
                raise ConfigError(msg)
        found = {}
        for name, entry in self.shadow.items():
            each = entry if isinstance(entry, AdapterConfig) else AdapterConfig(path=entry)
            found[name] = each.model_copy(update={"model": each.model or self.adapter(name).model})
        return found

    def scale(self, name: str) -> float:
        """The factor on an adapter's own alpha / rank, wherever it is."""
        entry = self.adapters[name]
        return entry.scale if isinstance(entry, ServedConfig) else self.adapter(name).scale

    @field_validator("model")
    @classmethod
    def _somebody_answers(cls, model: ModelConfig, info: ValidationInfo) -> ModelConfig:
        if not model.has_source and not info.data.get("servers"):
            msg = "give exactly one of path and repo_id, or [servers] that answer everything"
            raise ValueError(msg)
        return model

    @field_validator("models")
    @classmethod
    def _somebody_answers_each(cls, models: dict[str, ModelConfig], info: ValidationInfo) -> dict[str, ModelConfig]:
        for model in models.values():
            cls._somebody_answers(model, info)
        return models

    @field_validator("adapters")
    @classmethod
    def _known_servers(cls, adapters: dict[str, AdapterEntry], info: ValidationInfo) -> dict[str, AdapterEntry]:
        known = info.data.get("servers", {})
        for name, entry in adapters.items():
            if isinstance(entry, ServedConfig) and entry.server not in known:
                msg = f"{name} is on the unknown server {entry.server!r}; [servers] has {', '.join(known) or 'none'}"
                raise ValueError(msg)
        return adapters

    def _own_name(self, key: str, adapter: str) -> str:
        named = self.base_models
        found = own_name(key, adapter, named)
        if found not in {*self.adapters, *(base_adapter(name, named) for name in named)}:
            known = ", ".join(self.adapters) or "none"
            msg = f"{key}: unknown adapter {adapter!r}. The map [adapters] has {known}; add it there."
            raise ConfigError(msg)
        return found


def read_config(path: Path, thresholds: Mapping[str, Path | None] | None = None) -> Config:
    """Read and check a config file, with the files that it extends.

    Args:
        path: A TOML file. Relative paths in it are made absolute.
        thresholds: Cascade -> file of thresholds to use in place of those that the config names; None for none.

    Raises:
        ConfigError: A file cannot be read, is not TOML, or does not fit; the message names file, key and remedy.

    Examples:
        >>> from cascade import read_config, shipped_config
        >>> sorted(read_config(shipped_config()).cascades())
        ['edge', 'module', 'precision', 'refilter', 'routing', 'scope']
    """
    one_of("The path of a config", path, (str, PathLike), "the path of a TOML file is needed")
    return config_of(read_layers(Path(path)), thresholds)


def config_from(tables: Mapping[str, Any]) -> Config:
    """Check a config that is given as tables, such as one that came from another machine.

    Args:
        tables: What a config file would say. Relative paths are relative to the working directory; ``extends`` names
            a file here, or "shipped". What a registry says is live counts only where ``registry`` names it.

    Raises:
        ConfigError: It does not fit; the message names key and remedy.

    Examples:
        >>> from cascade.config.schema import config_from
        >>> config_from({"extends": "shipped", "model": {"n_threads": 2}}).model.n_threads
        2
    """
    return config_of(layers_of(tables))


def config_of(layers: Layers, thresholds: Mapping[str, Path | None] | None = None) -> Config:
    """A config file that was read, with the files that it names; see ``read_config``."""
    config = _validated(layers)
    for name, file in (thresholds or {}).items():
        config = _with_thresholds(config, name, file) if file is not None else config
    return _checked(config, layers)


def _with_thresholds(config: Config, name: str, file: Path) -> Config:
    if name not in config.cascade:
        msg = f"{name_of(file)}: {unknown_cascade(name, config.cascade)}"
        raise ConfigError(msg)
    found = read_thresholds(file)
    entry = config.cascade[name].model_copy(update={"thresholds": found})
    try:
        entry.cascade(name)
    except ConfigError as error:
        fits = [repr(other) for other in config.cascade if other != name and _fits(config.cascade[other], other, found)]
        msg = f"{name_of(file)}: {error}"
        if fits:
            msg = (
                f"{name_of(file)}: these thresholds are for the cascade {' or '.join(fits)}, not for {name!r}. "
                f"Name that cascade, or give thresholds that were tuned for {name!r}."
            )
        raise ConfigError(msg) from error
    return config.model_copy(update={"cascade": {**config.cascade, name: entry}})


def _fits(entry: CascadeConfig, name: str, thresholds: ThresholdsFile) -> bool:
    try:
        entry.model_copy(update={"thresholds": thresholds}).cascade(name)
    except ConfigError:
        return False
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Untuned:
    """A config with a cascade whose thresholds are to be made.

    Attributes:
        config: The config without those that the cascade names, which need not be there.
        thresholds: Those that it names; None if it names none, or none that can be used.
        problem: Why they cannot be used; empty where they can, are not there, or none are named.
    """

    config: Config
    thresholds: ThresholdsFile | None = None
    problem: str = ""


def read_untuned(path: Path, name: str) -> Untuned:
    """A config file and apart from it the thresholds that one of its cascades names.

    Raises:
        ConfigError: As ``read_config`` says, but for those thresholds.
    """
    layers = read_layers(path)
    whole = _validated(layers)
    entry = whole.cascade.get(name)
    if entry is None or entry.thresholds is None:
        return Untuned(config=_checked(whole, layers))
    plain = {**whole.cascade, name: entry.model_copy(update={"thresholds": None})}
    config = _checked(whole.model_copy(update={"cascade": plain}), layers)
    if isinstance(entry.thresholds, Path) and not is_file(entry.thresholds):
        return Untuned(config=config)
    try:
        found = _checked(whole, layers).cascade[name].thresholds
    except ConfigError as error:
        return Untuned(config=config, problem=str(error))
    return Untuned(config=config, thresholds=found if isinstance(found, ThresholdsFile) else None)


def _validated(layers: Layers) -> Config:
    """The config before the files that it names are read."""

    def where(key: Loc) -> str:
        file = layers.file_of(key)
        return "" if file == layers.file else f" in {name_of(file)}"

    try:
        return Config.model_validate(layers.table)
    except ValidationError as error:
        msg = f"{name_of(layers.file)}: {complaints(Config, layers.table, error, where)}"
        raise ConfigError(msg) from error


def _checked(config: Config, layers: Layers) -> Config:
    """The config with the files that it names read, and every cascade checked."""
    try:
        cascades = {name: _with_files(entry) for name, entry in config.cascade.items()}
        config = config.model_copy(update={"adapters": config.adapters | config.files, "cascade": cascades})
        config.service.check(config.models_served(config.cascades()))
        config.shadows()
    except ConfigError as error:
        msg = f"{name_of(layers.file)}: {error}"
        raise ConfigError(msg) from error
    return config


def _with_files(cascade: CascadeConfig) -> CascadeConfig:
    """The cascade with the files that it names read."""
    read: dict[str, ProfileConfig | ThresholdsFile] = {}
    if isinstance(cascade.profile, Path):
        read["profile"] = read_profile(cascade.profile)
    if isinstance(cascade.thresholds, Path):
        read["thresholds"] = read_thresholds(cascade.thresholds)
    return cascade.model_copy(update=read)

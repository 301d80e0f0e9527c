"""The base models of a config by name, and what stages call each of them alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from cascade.config.model import AdapterConfig, AdapterEntry, ModelConfig
from cascade.config.servers import ServedConfig
from cascade.errors import ConfigError
from cascade.stages import BASE, base_of, is_base

ONLY = "model"
"""What the model under ``[model]`` is called beside those of ``[models]``."""


def key_of(name: str, models: Mapping[str, ModelConfig]) -> str:
    """The key of a model in a config file.

    Args:
        name: Its name.
        models: Those under ``[models]``.
    """
    return f"models.{name}" if name in models else ONLY


def named_models(model: ModelConfig | None, models: Mapping[str, ModelConfig]) -> dict[str, ModelConfig]:
    """Name -> model, that of ``[model]`` first.

    Raises:
        ConfigError: There is none, or a name is not allowed.
    """
    if model is None and not models:
        msg = "model: is missing. Add [model], or a table [models.NAME] for each of several."
        raise ConfigError(msg)
    for name in models:
        if not name or "/" in name or name == BASE:
            msg = f'models.{name}: a name must not be empty or "{BASE}", and must have no "/" in it. Choose another.'
            raise ConfigError(msg)
    if model is not None and ONLY in models:
        msg = f"models.{ONLY}: this is the name of the model under [model]. Choose another, or leave [model] out."
        raise ConfigError(msg)
    return ({ONLY: model} if model is not None else {}) | dict(models)


def main_model(named: Mapping[str, ModelConfig]) -> str | None:
    """The model that "base" means: that of ``[model]``, or else the only one; None where nothing says which."""
    return ONLY if ONLY in named else next(iter(named)) if len(named) == 1 else None


def base_adapter(name: str, named: Mapping[str, ModelConfig]) -> str:
    """The one name under which a model is asked alone: "base" for the main one, "NAME/base" for the others."""
    return BASE if name == main_model(named) else base_of(name)


def own_name(key: str, adapter: str, named: Mapping[str, ModelConfig]) -> str:
    """An adapter as a stage names it -> the one name that it has.

    Args:
        key: Where it is named.
        adapter: What stands there.
        named: The base models.

    Raises:
        ConfigError: It is "base", and nothing says of which model.
    """
    if adapter == BASE and main_model(named) is None:
        names = " or ".join(f'"{base_of(name)}"' for name in named)
        msg = f'{key}: "{BASE}" is the model alone, and there are several under [models]. Say which: {names}.'
        raise ConfigError(msg)
    bases = {base_of(name): base_adapter(name, named) for name in named}
    return bases.get(adapter, adapter)


def check_entry(name: str, entry: AdapterEntry, named: Mapping[str, ModelConfig]) -> None:
    """Refuse an entry of the adapter map whose name or base model is not allowed.

    Raises:
        ConfigError: Names the key.
    """
    if name != BASE and is_base(name):
        msg = f'adapters.{name}: names that end in "/{BASE}" mean a base model without an adapter. Choose another name.'
        raise ConfigError(msg)
    model = model_of(entry)
    if model is not None and model not in named:
        msg = f"adapters.{name}.model: there is no base model {model!r}. Name one of {', '.join(named)}."
        raise ConfigError(msg)
    if isinstance(entry, ServedConfig) and model is None and main_model(named) is None:
        msg = (
            f"adapters.{name}.model: is missing. Say which of {', '.join(named)} the server {entry.server!r} has: its "
            "prompt format and limits are used."
        )
        raise ConfigError(msg)


def model_of(entry: AdapterEntry) -> str | None:
    """The base model that an entry of the adapter map names; None if it names none."""
    return entry.model if isinstance(entry, AdapterConfig | ServedConfig) else None

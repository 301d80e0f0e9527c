"""From a config to backends that are ready, whatever answers: files, servers, or some of each."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from cascade.backends.base import Backend
from cascade.backends.beside import ALONE, Beside, EmbeddedBackend
from cascade.backends.need import by_need
from cascade.config.base_models import base_adapter, key_of, main_model, model_of
from cascade.config.schema import Config
from cascade.errors import CascadeError, ConfigError
from cascade.machine import install_extra
from cascade.tree import Cascade

if TYPE_CHECKING:
    from cascade.models.model_set import ModelSet


def open_any(
    config: Config, cascades: Mapping[str, Cascade], labels: tuple[str, str] | None = None
) -> dict[str, Backend]:
    """Open what a config names: files, servers, or some of each. ``Engine.open`` is its one caller.

    Args:
        config: Its paths are absolute, as ``read_config`` leaves them.
        cascades: Whose questions will be asked.
        labels: Texts of the tokens that mean yes and no; None for those of the config's prompt formats.

    Returns:
        Base model -> what answers for it.

    Raises:
        ConfigError: The config does not hold together, or a package is missing.
        ModelFileError: A file is missing, damaged or does not fit.
        ServerError: A server cannot be reached, serves another base model, or lacks an adapter.
    """
    named = config.base_models
    if len(named) == 1:
        name = next(iter(named))
        return {name: _open_one(config.of_model(name, config.adapters), cascades, labels)[0]}
    from cascade.models.model_set import load_model_sets  # noqa: PLC0415 - gguf loads only where it is used

    sets = load_model_sets(config)
    owners = {adapter: name for name, models in sets.items() for adapter in models.adapters}
    owners |= {name: model_of(entry) or main_model(named) or "" for name, entry in config.served.items()}
    owners |= {base_adapter(name, named): name for name in sets}
    for name in named.keys() - sets.keys():
        _check_is_served(name, config, cascades, owners)
    found: dict[str, Backend] = {}
    with ExitStack() as stack:
        for name, model in by_need(named, cascades, owners).items():
            own = {adapter for adapter, owner in owners.items() if owner == name}
            alone = config.of_model(name, own).model_copy(update={"model": model})
            try:
                backend, here = _open_one(alone, cascades, labels, sets.get(name), Beside(adapters=owners.keys() - own))
            except CascadeError as error:
                msg = f"The base model {name!r} cannot be opened. {error}"
                raise type(error)(msg) from error
            found[name] = backend
            if here is not None:
                stack.callback(here.abandon)
        stack.pop_all()
    return found


def _check_is_served(name: str, config: Config, cascades: Mapping[str, Cascade], owners: Mapping[str, str]) -> None:
    """Refuse a model without a file that is asked alone, or that no server answers for."""
    key, base = f"{key_of(name, config.models)}.path", base_adapter(name, config.base_models)
    remedy = f'Give it, or an adapter on a server, as in NAME = {{ server = "...", model = "{name}" }}'
    asking = [cascade for cascade in cascades.values() if base in {asked.adapter for asked in cascade.questions()}]
    if asking:
        msg = f"{key}: is missing. cascade.{asking[0].name} asks {base!r}, which needs the model's file. {remedy}."
        raise ConfigError(msg)
    if name not in owners.values():
        msg = f"{key}: is missing, and no server answers for the model {name!r}. {remedy}, or leave the model out."
        raise ConfigError(msg)


def _open_one(
    config: Config,
    cascades: Mapping[str, Cascade],
    labels: tuple[str, str] | None,
    models: ModelSet | None = None,
    beside: Beside = ALONE,
) -> tuple[Backend, EmbeddedBackend | None]:
    """What answers for one base model, and what of that runs in this process."""
    if not config.served:
        from cascade.backends.llama.open import open_backend  # noqa: PLC0415 - llama_cpp loads only where it is used

        backend = open_backend(config, cascades, models=models, labels=labels, beside=beside)
        return backend, backend
    try:
        from cascade.backends.servers.open import open_servers  # noqa: PLC0415 - the extra `servers` may be absent
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        msg = (
            f"servers: asking {', '.join(config.servers)} needs the package {package}. "
            f"Run `{install_extra('servers')}`, or let this process answer: give every entry of [adapters] a file."
        )
        raise ConfigError(msg) from error
    router = open_servers(config, cascades, labels, models, beside)
    return router, router.embedded

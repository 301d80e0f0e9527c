"""From a config to a backend that is ready, whatever answers: files, servers, or some of each."""

from __future__ import annotations

from collections.abc import Mapping

from cascade.backends.base import Backend
from cascade.config.schema import Config
from cascade.errors import ConfigError
from cascade.machine import install_extra
from cascade.tree import Cascade


def open_any(config: Config, cascades: Mapping[str, Cascade], labels: tuple[str, str] | None = None) -> Backend:
    """Open what a config names: files, servers, or some of each. ``Engine.open`` is its one caller.

    Args:
        config: Its paths are absolute, as ``read_config`` leaves them.
        cascades: Whose questions will be asked.
        labels: Texts of the tokens that mean yes and no; None for those of the config's prompt format.

    Raises:
        ConfigError: The config does not hold together, or a package is missing.
        ModelFileError: A file is missing, damaged or does not fit.
        ServerError: A server cannot be reached, serves another base model, or lacks an adapter.
    """
    if not config.served:
        from cascade.backends.llama.open import open_backend  # noqa: PLC0415 - llama_cpp loads only where it is used

        return open_backend(config, cascades, labels=labels)
    try:
        from cascade.backends.servers.open import open_servers  # noqa: PLC0415 - the extra `servers` may be absent
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        msg = (
            f"servers: asking {', '.join(config.servers)} needs the package {package}. "
            f"Run `{install_extra('servers')}`, or let this process answer: give every entry of [adapters] a file."
        )
        raise ConfigError(msg) from error
    return open_servers(config, cascades, labels)

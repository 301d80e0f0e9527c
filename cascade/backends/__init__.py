"""From a config to a backend that is ready, whatever answers: files, servers, or some of each."""

from __future__ import annotations

from collections.abc import Mapping

from cascade.backends.base import Backend
from cascade.config.schema import Config
from cascade.tree import Cascade


def open_any(config: Config, cascades: Mapping[str, Cascade]) -> Backend:
    """Open what a config names: files, servers, or some of each.

    Args:
        config: Its paths are absolute, as ``read_config`` leaves them.
        cascades: Whose questions will be asked.

    Raises:
        ConfigError: The config does not hold together, or a package is missing.
        ModelFileError: A file is missing, damaged or does not fit.
        ServerError: A server cannot be reached, serves another base model, or lacks an adapter.
    """
    if not config.served:
        from cascade.backends.llama.open import open_backend  # noqa: PLC0415 - llama_cpp loads only where it is used

        return open_backend(config, cascades)
    from cascade.backends.servers.open import open_servers  # noqa: PLC0415 - httpx loads only where it is used

    return open_servers(config, cascades)

"""Keys of servers, from the environment or the keyring; they are shown to nobody."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass

from cascade.errors import ConfigError, MachineError
from cascade.extras import install_extra
from cascade.servers_config import ServerConfig


@dataclass(frozen=True, slots=True, repr=False)
class Key:
    """A server's key.

    Attributes:
        value: The key; empty for none.
    """

    value: str = ""

    def __repr__(self) -> str:
        return "Key(***)" if self.value else "Key()"

    @property
    def headers(self) -> dict[str, str]:
        """What a request carries."""
        return {"Authorization": f"Bearer {self.value}"} if self.value else {}

    def hidden(self, text: str) -> str:
        """A text without the key, should a server have sent it back."""
        return text.replace(self.value, "***") if self.value else text


def read_key(name: str, config: ServerConfig) -> Key:
    """The key of a server.

    Args:
        name: What the config calls the server.
        config: Says where its key is.

    Raises:
        ConfigError: It is not there, no header can carry it, or the package keyring is missing.
        MachineError: The keyring cannot be opened.
    """
    if config.key_env is not None:
        value = os.environ.get(config.key_env, "")
        where = f"servers.{name}.key_env: the environment variable {config.key_env}"
    elif config.keyring is not None:
        value = _from_keyring(name, config.keyring)
        where = f"servers.{name}.keyring: the user {name!r} of the service {config.keyring!r}"
    else:
        return Key()
    if not value.strip():
        msg = f"{where} is not set. Put the key there."
        raise ConfigError(msg)
    key = value.strip()
    if not (key.isascii() and key.isprintable()):  # httpx would show it when it refuses to send it
        msg = f"{where} holds signs that no header carries. Put there the key alone, in one line of plain ASCII."
        raise ConfigError(msg)
    return Key(key)


def _from_keyring(name: str, service: str) -> str:
    try:
        keyring = importlib.import_module("keyring")
    except ImportError as error:
        msg = f"servers.{name}.keyring: needs the package keyring. Run `{install_extra('keyring')}`."
        raise ConfigError(msg) from error
    try:
        return str(keyring.get_password(service, name) or "")
    except Exception as error:
        msg = f"servers.{name}.keyring: the keyring cannot be opened ({error}). Unlock it, or use key_env."
        raise MachineError(msg) from error

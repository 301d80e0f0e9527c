"""HTTP to one server: bytes and JSON, and what failed in words. No key leaves it but in a header."""

from __future__ import annotations

import gzip
import importlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from ipaddress import ip_address
from math import isnan
from time import monotonic, time
from typing import Any
from urllib.parse import urlsplit

import httpx

from cascade.backends.servers.api import NoPageError
from cascade.backends.servers.retries import UNREACHABLE, TransientError
from cascade.config.servers import ServerConfig
from cascade.errors import ConfigError, MachineError, ServerError
from cascade.machine import install_extra


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


_MOST_BYTES = 8_000_000  # of an answer
_TOO_LARGE = f"an answer of more than {_MOST_BYTES} bytes"
_NO_JSON = (ValueError, RecursionError)  # the latter of what is nested too deep
_LOOK_S = 30.0  # most seconds for a look at what a server has, should its time-out be longer
LONGEST_QUIET_S = 600.0
"""Longest that a server is left alone because it asks for it."""

_LEAST_PACKED = 1_024  # bytes of a body; shorter ones gain nothing. typesafe-sdk 0.7.5 begins there as well
_GZIP_LEVEL = 6
_SHOWN = 300  # characters of what a server says in an error
_OVERLOADED = 529  # what some System One services answer under load
_MAY_PASS = {
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
    _OVERLOADED,
}
_NO_PAGE = {
    HTTPStatus.BAD_REQUEST,  # LiteLLM's for a key that it does not know
    HTTPStatus.UNAUTHORIZED,  # 401 and 403: a key may be good for questions alone
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.METHOD_NOT_ALLOWED,
    HTTPStatus.NOT_IMPLEMENTED,
}
_IS_BUSY = {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE, _OVERLOADED}


class ServerClient:
    """Talks to one server.

    Args:
        name: What the config calls it.
        config: Where it is.
        key: Its key.

    Raises:
        ConfigError: Its address names no host, or a package is missing that compresses bodies.
        ServerError: What the environment says of proxies or certificates cannot be used.
    """

    def __init__(self, name: str, config: ServerConfig, key: Key) -> None:
        self._name, self._config, self._key = name, config, key
        with suppress(ImportError):  # otherwise loaded at the first request, for 50 ms of somebody's budget
            importlib.import_module("anyio._backends._asyncio")
        self._pack = _packing(name, config.compress)
        self._is_near = _is_near(config.url)
        try:
            url = httpx.URL(config.url)
        except httpx.InvalidURL as error:
            msg = f"servers.{name}.url: {error} (given {config.url!r}). Give an address such as http://127.0.0.1:8080."
            raise ConfigError(msg) from error
        try:
            self._client = httpx.AsyncClient(
                base_url=url,
                headers=key.headers,
                timeout=None,  # noqa: S113 - every request has a time-out of its own, over all of its parts
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=config.in_flight),
                trust_env=not self._is_near,
            )
        except (ImportError, ValueError, OSError, httpx.InvalidURL) as error:
            msg = (
                f"Server {name!r} at {config.url} cannot be asked: {error}. Correct what the environment names as "
                "proxy (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) or certificates (SSL_CERT_FILE); NO_PROXY takes hosts that "
                "need no proxy."
            )
            raise ServerError(msg) from error

    def call(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON of a GET, or of a POST if there is a body; waits, for use before there is an event loop.

        Raises:
            NoPageError: The server is up and has nothing there, or nothing for this client.
            ServerError: It cannot be reached, fails, answers no JSON, or too much or not within its ``timeout_s``.
        """
        longest_s = min(_LOOK_S, self._config.timeout_s)
        try:
            with httpx.Client(
                base_url=self._config.url,
                headers=self._key.headers,
                timeout=longest_s,
                trust_env=not self._is_near,
            ) as client:
                return json.loads(_looked_at(client, path, body, longest_s))
        except (httpx.HTTPError, httpx.InvalidURL, *_NO_JSON) as error:
            is_up = isinstance(error, httpx.HTTPStatusError) and error.response.status_code in _NO_PAGE
            is_json = not isinstance(error, json.JSONDecodeError)
            problem = self._key.hidden(str(error).partition("\n")[0] or type(error).__name__) if is_json else "no JSON"
            where = f"Server {self._name!r} at {self._config.url}"
            msg = f"{where} does not answer {path} ({problem}). Is it up, and of this kind?"
            raise (NoPageError if is_up else ServerError)(
                msg
            ) from None  # what httpx raises holds the request, and that the key

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON that the server answers.

        Raises:
            TransientError: It failed in a way that may pass.
            ServerError: The server refuses such requests.
        """
        try:
            async with self._client.stream("POST", path, **self._sent(body)) as response:
                content = bytearray()
                async for chunk in response.aiter_bytes():
                    content += chunk
                    if len(content) > _MOST_BYTES:
                        raise TransientError(_TOO_LARGE)
        except httpx.HTTPError as error:
            is_far = isinstance(error, httpx.ConnectError)
            cause = f"{'cannot be reached' if is_far else 'the connection failed'} ({type(error).__name__}: {error})"
            raise TransientError(self._key.hidden(cause), weight=UNREACHABLE if is_far else 1.0) from None
        if response.status_code != HTTPStatus.OK:
            raise self._refusal(path, response, bytes(content))
        try:
            return json.loads(bytes(content))
        except _NO_JSON:
            msg = f"no JSON: {self._shown(bytes(content))}"
            raise TransientError(msg) from None

    def _sent(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """A body as it is sent: compressed where that is asked for and pays."""
        content = json.dumps(body).encode() if self._pack is not None else b""
        if self._pack is None or len(content) < _LEAST_PACKED:
            return {"json": body}
        headers = {"Content-Type": "application/json", "Content-Encoding": str(self._config.compress)}
        return {"content": self._pack(content), "headers": headers}

    def hidden(self, text: str) -> str:
        """A text without the server's key."""
        return self._key.hidden(text)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    def _refusal(self, path: str, response: httpx.Response, content: bytes) -> TransientError | ServerError:
        status, said = response.status_code, self._shown(content)
        if status in _MAY_PASS:
            wait_s = retry_after(response.headers.get("Retry-After"), time())
            is_busy = status == HTTPStatus.TOO_MANY_REQUESTS or (status in _IS_BUSY and wait_s is not None)
            return TransientError(f"status {status}: {said}", wait_s=wait_s, weight=0.0 if is_busy else 1.0)
        return ServerError(f"Server {self._name!r} at {self._config.url} refuses {path} with status {status}: {said}")

    def _shown(self, content: bytes) -> str:
        text = " ".join(content[: 4 * _SHOWN].decode("utf-8", "replace").split())
        return self._key.hidden(text)[:_SHOWN] or "nothing"


def _packing(name: str, how: str | None) -> Callable[[bytes], bytes] | None:
    """What compresses bodies; None for nothing.

    Raises:
        ConfigError: A package is missing.
    """
    if how is None:
        return None
    if how == "gzip":
        return partial(gzip.compress, compresslevel=_GZIP_LEVEL)
    try:
        zstandard = importlib.import_module("zstandard")
    except ImportError as error:
        msg = f"servers.{name}.compress: needs the package zstandard. Run `{install_extra('servers')}`, or use gzip."
        raise ConfigError(msg) from error
    return zstandard.ZstdCompressor().compress  # type: ignore[no-any-return]


def _is_near(url: str) -> bool:
    """Whether a URL is one of this machine without TLS, which no proxy can reach and no certificate concerns."""
    parts = urlsplit(url)
    try:
        is_here = parts.hostname == "localhost" or ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False
    return is_here and parts.scheme == "http"


def _looked_at(client: httpx.Client, path: str, body: Mapping[str, Any] | None, longest_s: float) -> bytes:
    """The bytes of an answer, of bounded size and in bounded time."""
    ends, content = monotonic() + longest_s, bytearray()
    with client.stream("GET" if body is None else "POST", path, json=body) as response:
        response.raise_for_status()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > _MOST_BYTES:
                raise ValueError(_TOO_LARGE)
            if monotonic() > ends:
                msg = f"no whole answer within {longest_s:g} s"
                raise ValueError(msg)
    return bytes(content)


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds that a Retry-After header asks for.

    Args:
        value: A number of seconds, or a date.
        now: Seconds since the epoch.

    Returns:
        At most ``LONGEST_QUIET_S``, so that no header ends all use of a server; None where it cannot be read.
    """
    if value is None:
        return None
    try:
        asked_s = float(value)
    except ValueError:
        try:
            asked_s = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return None if isnan(asked_s) else min(max(0.0, asked_s), LONGEST_QUIET_S)

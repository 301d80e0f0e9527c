"""What stands before every endpoint: the token, the number of calls at once, and the size of bodies.

Each is a bare ASGI middleware, so that an endpoint still hears when its caller leaves.
"""

from __future__ import annotations

import asyncio
import hmac
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cascade.service.problems import problem
from cascade.service.settings import ServiceSettings

OPEN_PATHS = frozenset({"/health"})
"""Paths that need no token."""

QUICK_PATHS = frozenset({"/health", "/metrics"})
"""Paths that are answered however many calls are open."""


_CLOSE = {"Connection": "close"}  # the rest of the body would pass for another request


class TokenGuard:
    """Lets in who shows the bearer token.

    Args:
        app: What stands behind it.
        token: The token.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or hands on."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or self._knows(scope):
            await self._app(scope, receive, send)
            return
        answer = problem(
            HTTPStatus.UNAUTHORIZED,
            "A bearer token is needed: Authorization: Bearer <token>.",
            headers={"WWW-Authenticate": "Bearer"},
        )
        await answer(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        scheme, _, shown = Headers(scope=scope).get("authorization", "").partition(" ")
        return hmac.compare_digest(shown.strip().encode(), self._token) and scheme.lower() == "bearer"


class Gate:
    """Turns calls away that are too many, and bodies that are too large or too slow.

    Args:
        app: What stands behind it.
        settings: How many, how large, how slow.
    """

    def __init__(self, app: ASGIApp, settings: ServiceSettings) -> None:
        self._app = app
        self._settings = settings
        self._n_open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or hands on with the whole body read."""
        if scope["type"] != "http" or scope["path"] in QUICK_PATHS:
            await self._app(scope, receive, send)
            return
        most = self._settings.max_calls
        if self._n_open >= most:
            detail = f"{most} calls are open, the most that this service takes. Try again later."
            later = {"Retry-After": str(self._settings.retry_after_s)}
            await problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers=later)(scope, receive, send)
            return
        self._n_open += 1
        try:
            await self._hand_on(scope, receive, send)
        finally:
            self._n_open -= 1

    async def _hand_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        settings = self._settings
        most = settings.max_body
        try:
            async with asyncio.timeout(settings.body_s):
                body = await _body(receive, Headers(scope=scope).get("content-length", ""), most)
        except TimeoutError:
            detail = f"The body did not arrive within {settings.body_s:g} s."
            await problem(HTTPStatus.REQUEST_TIMEOUT, detail, headers=_CLOSE)(scope, receive, send)
            return
        except _TooLargeError:
            detail = f"The body is larger than {most} bytes, the most that this service takes. Send fewer items."
            await problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers=_CLOSE)(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, _Replay(body, receive), send)


class _TooLargeError(Exception):
    """A body is too large."""


class _Replay:
    """Gives a body that was read once more, then what comes after it."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}


async def _body(receive: Receive, length: str, most: int) -> bytes | None:
    """A whole body; None if its sender has left.

    Raises:
        _TooLargeError: It is larger than ``most`` bytes, or says so.
    """
    if length.isdecimal() and int(length[:20]) > most:
        raise _TooLargeError
    found = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        found += message.get("body", b"")
        if len(found) > most:
            raise _TooLargeError
        if not message.get("more_body", False):
            return bytes(found)

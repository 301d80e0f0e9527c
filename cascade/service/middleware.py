"""What stands before every endpoint: whole URLs, HEAD, the token, the number of calls at once, and the size of bodies.

Each is a bare ASGI middleware, so that an endpoint still hears when its caller leaves.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Coroutine
from contextlib import suppress
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import Request
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cascade.errors import counted
from cascade.service.encodings import unpacked
from cascade.service.http_errors import RefusedError, answer_of, too_many
from cascade.service.settings import ServiceSettings

OPEN_PATHS = frozenset({"/health"})
"""Paths that need no token."""

ADMIN_PATH = "/v1/admin"
"""What stands under it has a token of its own."""

QUICK_PATHS = frozenset({"/health", "/metrics"})
"""Paths that are answered however many calls are open."""


_AUTHORITY = re.compile(r"https?://[^/?]*", re.IGNORECASE)
_CLOSE = {"Connection": "close"}  # nobody waits for the rest of the body
_DRAIN_S = 10.0


class Targets:
    """Takes the path of requests whose target is a whole URL, as clients send it that know of a proxy.

    Source: RFC 9112, section 3.2.2: a server accepts this form in every request.

    Args:
        app: What stands behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands on."""
        if scope["type"] == "http" and (authority := _AUTHORITY.match(scope["path"])):
            scope["path"] = scope["path"][authority.end() :] or "/"
            scope["raw_path"] = _AUTHORITY.sub("", scope["raw_path"].decode("ascii"), count=1).encode("ascii") or b"/"
        await self._app(scope, receive, send)


class Heads:
    """Answers HEAD as GET, without the body.

    Args:
        app: What stands behind it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands on."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_no_body(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        asked = {**scope, "method": "GET"}
        await self._app(asked, receive, send_no_body)
        scope["route"] = asked.get("route")  # is counted


class TokenGuard:
    """Lets in who shows the bearer token: that of the service, or under ``ADMIN_PATH`` that of its administration.

    Args:
        app: What stands behind it.
        token: The service's; None lets everybody in.
        admin_token: The other; None where nothing is there.
    """

    def __init__(self, app: ASGIApp, token: str | None, admin_token: str | None = None) -> None:
        self._app = app
        self._token, self._admin_token = token, admin_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or hands on."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS or self._knows(scope):
            await self._app(scope, receive, send)
            return
        detail = "A bearer token is needed: Authorization: Bearer <token>."
        headers = {"WWW-Authenticate": "Bearer"}
        refusal = RefusedError(HTTPStatus.UNAUTHORIZED, detail, kind="invalid_api_key", headers=headers)
        await _refuse(answer_of(scope["path"], refusal), scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        is_admin = self._admin_token is not None and f"{scope['path']}/".startswith(f"{ADMIN_PATH}/")
        token = self._admin_token if is_admin else self._token
        if token is None:
            return True
        scheme, _, shown = Headers(scope=scope).get("authorization", "").partition(" ")
        return hmac.compare_digest(shown.strip().encode(), token.encode()) and scheme.lower() == "bearer"


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
            detail = f"{counted(most, 'call is', 'calls are')} open, the most that this service takes. Try again later."
            refusal = too_many(scope["path"], detail, self._settings.retry_after_s)
            await _refuse(answer_of(scope["path"], refusal), scope, receive, send)
            return
        self._n_open += 1
        try:
            await self._hand_on(scope, receive, send)
        finally:
            self._n_open -= 1

    async def _hand_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self._read(Headers(scope=scope), receive)
        except RefusedError as refusal:
            await answer_of(scope["path"], refusal)(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, _Replay(body, receive), send)

    async def _read(self, headers: Headers, receive: Receive) -> bytes | None:
        """The whole body, unpacked; None if its sender has left.

        Raises:
            RefusedError: It is too large, packed or unpacked, too slow, or cannot be unpacked.
        """
        settings, body = self._settings, _Body(headers, self._settings.max_body)
        is_late = False
        try:
            async with asyncio.timeout(settings.body_s):
                await body.read(receive)
        except TimeoutError:
            is_late = True
        if body.is_large:
            detail = f"The body is larger than {settings.max_body} bytes, the most that is taken. Send fewer items."
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail, headers=_CLOSE)
        if is_late:
            came = counted(body.n_read, "byte")
            detail = f"The body did not arrive within {settings.body_s:g} s; {came} did. Send it faster."
            raise RefusedError(HTTPStatus.REQUEST_TIMEOUT, detail, headers=_CLOSE)
        if body.is_left:
            return None
        return unpacked(bytes(body.found), headers.get("content-encoding", ""), settings.max_body)


class _Body:
    """A body as it arrives.

    One that is too large is read to its end and dropped: its sender may read nothing before all is sent, and a close
    with bytes unread would take the answer along.

    Args:
        headers: Of its request.
        most: Most bytes that are kept.

    Attributes:
        found: What has arrived; empty if it is too large.
        n_read: How many bytes have arrived.
        is_large: Whether it has more than ``most`` bytes, or says so.
        is_left: Whether its sender has left.
    """

    def __init__(self, headers: Headers, most: int) -> None:
        length = headers.get("content-length", "")
        self.found = bytearray()
        self.n_read = 0
        self.is_large = length.isdecimal() and int(length[:20]) > most
        self.is_left = False
        self._most = most
        self._is_held = "expect" in headers  # until its sender is told to go on

    async def read(self, receive: Receive) -> None:
        """Read it to its end."""
        more = not (self.is_large and self._is_held)
        while more:
            message = await receive()
            part = message.get("body", b"")
            self.n_read += len(part)
            self.is_large = self.is_large or self.n_read > self._most
            self.found += part
            if self.is_large:
                self.found.clear()
            self.is_left = message["type"] == "http.disconnect"
            more = message.get("more_body", False)


async def _refuse(answer: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a caller whose body is not wanted, once all of it is here or ten seconds have passed."""
    with suppress(TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            await _Body(Headers(scope=scope), 0).read(receive)
    await answer(scope, receive, send)


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


_Found = TypeVar("_Found")


async def while_present(request: Request, work: Coroutine[Any, Any, _Found]) -> _Found:
    """What a coroutine returns; it is cancelled when the request's caller leaves.

    Raises:
        ClientDisconnect: The caller has left.
    """
    doing = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ClientDisconnect
        return doing.result()
    finally:
        doing.cancel()
        leaving.cancel()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass

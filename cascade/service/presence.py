"""Work for a caller lasts no longer than the caller: who leaves cancels it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

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

"""``/v1/admin/adapters``: what answers now, and taking over what the config and its registry say by now."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from cascade.config.schema import Config
from cascade.engine.adoption import Adoption
from cascade.engine.engine import Engine
from cascade.errors import CascadeError, InputError
from cascade.machine import get_logger
from cascade.service.http_errors import RefusedError, responses
from cascade.service.middleware import ADMIN_PATH

log = get_logger("cascade.service")


class Reload:
    """Lets an engine take over what its config says by now.

    Args:
        engine: The engine.
        read: Reads the config.
    """

    def __init__(self, engine: Engine, read: Callable[[], Config]) -> None:
        self._engine, self._read = engine, read

    def __call__(self) -> Adoption:
        """Take it over, and wait until it is live.

        Raises:
            InputError: See ``Engine.adopt``; everything stays as it was.
            MachineError: See there.
        """
        adopted = self._engine.adopt(self._read())
        log.info("the config was read again", adapters=dict(adopted.adapters), cascades=list(adopted.cascades))
        return adopted

    def in_background(self) -> None:
        """The same in a thread of its own; what goes wrong is logged."""
        threading.Thread(target=self._try, name="cascade-reload", daemon=True).start()

    def _try(self) -> None:
        try:
            self()
        except CascadeError as error:
            log.error("the config was not taken over; all stays as it was", reason=str(error))  # noqa: TRY400


class LiveBody(BaseModel):
    """What answers."""

    adapters: dict[str, str] = Field(description="Adapter -> SHA-256 of its file.")
    shadow: dict[str, Any] = Field(description="What answers beside them, and how much it has answered.")


class AdoptedBody(LiveBody):
    """What has changed, and what answers now."""

    changed: dict[str, str] = Field(description="Adapter that is other than before -> SHA-256 of its file.")
    cascades: list[str] = Field(description="Cascades that are other than before, thresholds included.")


def make_router(engine: Engine, reload: Reload) -> APIRouter:
    """The endpoints.

    Args:
        engine: The engine.
        reload: Lets it take over what its config says.
    """
    router = APIRouter(prefix=f"{ADMIN_PATH}/adapters", tags=["admin"])

    @router.get("", response_model=LiveBody)
    async def live() -> Response:
        """What answers now."""
        return JSONResponse(_live(engine))

    @router.post("", response_model=AdoptedBody, responses=responses(HTTPStatus.CONFLICT))
    async def adopt() -> Response:
        """Read the config and its registry again, and take over what they say; requests that run are not disturbed."""
        try:
            adopted = await asyncio.to_thread(reload)
        except InputError as error:
            raise RefusedError(HTTPStatus.CONFLICT, f"Nothing was changed. {error}") from error
        return JSONResponse({"changed": dict(adopted.adapters), "cascades": list(adopted.cascades), **_live(engine)})

    return router


def _live(engine: Engine) -> dict[str, Any]:
    return {"adapters": engine.info.provenance.adapters, "shadow": asdict(engine.shadow)}

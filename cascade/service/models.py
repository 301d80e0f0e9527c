"""``/v1/models``: what may be named as a model, in the shape of either wire format."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from cascade.service.answering import Menus
from cascade.wire.systemone import ModelCard


class ModelBody(BaseModel):
    """A name that may be given as `model`, in OpenAI's form."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(description="Since when it is served, in seconds since 1970.")
    owned_by: str = "binary-cascade"


class ModelsBody(BaseModel):
    """All names that may be given as `model`, in OpenAI's form and in System One's."""

    object: Literal["list"] = "list"
    data: Sequence[ModelBody]
    models: Sequence[ModelCard]


def make_router(menus: Menus) -> APIRouter:
    """The endpoint.

    Args:
        menus: What may be asked.
    """
    router = APIRouter(tags=["models"])
    since = time.time()
    day = time.strftime("%Y-%m-%d", time.gmtime(since))

    @router.get("/v1/models", response_model=ModelsBody)
    async def models() -> Response:
        """What may be given as `model`: cascades, adapters, base models, single questions, and aliases of these."""
        menu = menus.now
        told = {name: served.description for name, served in menu.served.items()}
        told |= {name: f"The same as {target}." for name, target in menu.aliases.items()}
        body = ModelsBody(
            data=[ModelBody(id=name, created=int(since)) for name in told],
            models=[ModelCard(name=name, description=words, release_date=day) for name, words in told.items()],
        )
        return JSONResponse(body.model_dump())

    return router

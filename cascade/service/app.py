"""The service as an ASGI app: its endpoints, and what stands before them."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from fastapi.security import HTTPBearer
from fastapi.telemetry import TelemetryConfig
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from cascade.engine.engine import Engine
from cascade.service import admin, cascades, chat, decisions, models, outcomes, systemone
from cascade.service.admin import Reload
from cascade.service.answering import Answering, Menus
from cascade.service.http_errors import add_problems, responses
from cascade.service.metrics import Meter, Metrics
from cascade.service.middleware import Gate, Heads, Targets, TokenGuard
from cascade.service.schemas import HealthBody
from cascade.service.settings import ServiceSettings
from cascade.wire.chat import PATH as CHAT
from cascade.wire.decisions import PATH as DECISIONS
from cascade.wire.systemone import PATH as SYSTEM_ONE

_BODIES = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_OWN = (*_BODIES, HTTPStatus.BAD_REQUEST, HTTPStatus.UNPROCESSABLE_ENTITY)
_FORMATS = (*_BODIES, HTTPStatus.NOT_FOUND, HTTPStatus.TOO_MANY_REQUESTS)
_SYSTEM_ONE = (*_FORMATS, HTTPStatus.UNPROCESSABLE_ENTITY)
_OPEN_AI = (*_FORMATS, HTTPStatus.BAD_REQUEST)


_SILENT: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "auto_configure": False}


def make_app(
    engine: Engine,
    metrics: Metrics,
    settings: ServiceSettings,
    telemetry: TelemetryConfig | None = None,
    reload: Reload | None = None,
) -> FastAPI:
    """The app.

    Args:
        engine: What answers; closing it is the caller's.
        metrics: What the engine tells of itself; it is exposed.
        settings: Limits, and the token.
        telemetry: Which spans of calls FastAPI makes; None for none.
        reload: Lets the engine take over what its config says, for ``/v1/admin``; None for no such endpoints.
    """
    app = FastAPI(
        title="binary-cascade",
        version=version("binary-cascade"),
        description="Cascades of yes/no questions on small language models.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=telemetry or _SILENT,
    )
    guards: Sequence[Any] = [Depends(HTTPBearer(auto_error=False))] if settings.token else []
    shut = (HTTPStatus.UNAUTHORIZED,) if settings.token else ()
    denied = responses(*shut)
    menus = Menus(engine, settings)
    answering = Answering(engine, menus)
    for router, path, statuses in (
        (cascades.make_router(engine, settings), "", _OWN),
        (systemone.make_router(answering), SYSTEM_ONE, _SYSTEM_ONE),
        (decisions.make_router(answering), DECISIONS, _OPEN_AI),
        (models.make_router(menus), "", (HTTPStatus.SERVICE_UNAVAILABLE,)),
        (chat.make_router(engine, settings), CHAT, _OPEN_AI),
        (outcomes.make_router(engine, settings), "", _OWN),
    ):
        app.include_router(router, responses=responses(*statuses, *shut, path=path), dependencies=guards)

    if reload is not None and settings.admin_token is not None:
        shown = [Depends(HTTPBearer(auto_error=False))]
        app.include_router(
            admin.make_router(engine, reload), responses=responses(HTTPStatus.UNAUTHORIZED), dependencies=shown
        )

    @app.get(
        "/health",
        response_model=HealthBody,
        responses={503: {"model": HealthBody, "description": "The engine takes no more requests."}},
    )
    async def health() -> Response:
        """Whether the service answers, and with what."""
        made_by = engine.info.provenance
        body = HealthBody(
            status="ok" if engine.is_open else "failed",
            version=app.version,
            model=made_by.model,
            adapters=made_by.adapters,
            prompt_format=made_by.prompt_format,
            cascades=list(engine.cascades),
        )
        return JSONResponse(body.model_dump(), 200 if engine.is_open else HTTPStatus.SERVICE_UNAVAILABLE)

    @app.get("/metrics", response_class=PlainTextResponse, responses=denied, dependencies=guards)
    async def exposed() -> Response:
        """What Prometheus is told."""
        return Response(metrics.exposition(), media_type=CONTENT_TYPE_LATEST)

    add_problems(app, settings)
    app.add_middleware(Gate, settings=settings)
    if settings.token or settings.admin_token:
        app.add_middleware(TokenGuard, token=settings.token, admin_token=settings.admin_token)
    app.add_middleware(Heads)
    app.add_middleware(Meter, metrics=metrics)
    app.add_middleware(Targets)
    return app

"""``/v1/systemone`` and ``/v1/models``: typed questions about a state, answered with probabilities."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from cascade.engine import Engine
from cascade.report import Report
from cascade.service.json_body import JsonRoute
from cascade.service.presence import while_present
from cascade.service.settings import ServiceSettings
from cascade.service.systemone_bodies import ModelBody, ModelsBody, SystemOneAnswer, SystemOneCall
from cascade.service.systemone_plan import Ask, Menu


def make_router(engine: Engine, settings: ServiceSettings) -> APIRouter:
    """The endpoints.

    Args:
        engine: What answers.
        settings: How long texts may be.
    """
    router = APIRouter(prefix="/v1", route_class=JsonRoute, tags=["systemone"])
    menu = Menu(engine.cascades, engine.facts.lineages, settings)

    @router.get("/models", response_model=ModelsBody)
    async def models() -> Response:
        """What may be given as `model`: cascades, adapters, and `base` where a model is in this process."""
        body = ModelsBody(data=[ModelBody(id=name) for name in menu.models])
        return JSONResponse(body.model_dump())

    @router.post("/systemone", response_model=SystemOneAnswer)
    async def systemone(call: SystemOneCall, request: Request) -> Response:
        """Answer questions about a state."""
        started = time.perf_counter()
        asks = menu.plan(call)
        reports = await while_present(request, _answered(engine, asks))
        found = {
            name: answer.read(report.decisions[0].steps)
            for ask, report in zip(asks, reports, strict=True)
            for name, answer in ask.answers.items()
        }
        tokens = sum(report.stats.tokens_decoded + report.stats.tokens_reused for report in reports)
        return JSONResponse(
            {
                "model": menu.default if call.model is None else call.model,
                "answers": {name: found[name] for name in call.questions},
                "usage": {"input_tokens": tokens, "output_tokens": 0},
                "latency_ms": round(1_000 * (time.perf_counter() - started), 3),
            }
        )

    return router


async def _answered(engine: Engine, asks: Sequence[Ask]) -> list[Report]:
    """All of them at once; if one fails, so do the others."""
    work = [asyncio.ensure_future(engine.aprobe(ask.task, [ask.item], ask.cascade, *ask.stages)) for ask in asks]
    try:
        return await asyncio.gather(*work)
    finally:
        for each in work:
            each.cancel()

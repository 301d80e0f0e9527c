"""``/v1/cascades``: which there are, and items in, decisions out, at once or as they settle."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from cascade.budget import Budget, BudgetLike
from cascade.engine.engine import Engine
from cascade.errors import CascadeError, InputError, unknown_cascade
from cascade.items import Item, Task
from cascade.report import Decision, Report
from cascade.service.http_errors import UNFIT, RefusedError, responses
from cascade.service.json_body import JsonRoute
from cascade.service.middleware import while_present
from cascade.service.schemas import CascadeCall, CascadesBody, ReportBody
from cascade.service.settings import ServiceSettings

NDJSON = "application/x-ndjson"

_LINES = (
    "Each line is a JSON object as `DecisionBody`; the last has `task_id`, `stats` as `StatsBody` and `provenance` as "
    "`ProvenanceBody`, or `error`, a sentence."
)


class Decisions:
    """A request's decisions as they settle, then its report.

    Args:
        engine: What answers.
        task: The task.
        items: The candidates.
        cascade: Name of the cascade.
        budget: What it may spend.
    """

    def __init__(self, engine: Engine, task: Task, items: list[Item], cascade: str, budget: BudgetLike) -> None:
        loop = asyncio.get_running_loop()
        self._settled: asyncio.Queue[Decision | None] = asyncio.Queue()

        def post(decision: Decision) -> None:
            with suppress(RuntimeError):  # the service's loop was closed over it
                loop.call_soon_threadsafe(self._settled.put_nowait, decision)

        self._work = asyncio.ensure_future(engine.aclassify(task, items, cascade, budget=budget, on_decision=post))
        self._work.add_done_callback(self._end)

    async def next(self) -> Decision | None:
        """The next decision; None once all have settled.

        Raises:
            CascadeError: The request failed.
        """
        decision = await self._settled.get()
        if decision is None:
            self._work.result()
        return decision

    def report(self) -> Report:
        """The report, once all have settled."""
        return self._work.result()

    def drop(self) -> None:
        """Give the request up, unless it is done."""
        self._work.cancel()

    def _end(self, work: asyncio.Future[Report]) -> None:
        if not work.cancelled():
            work.exception()  # or asyncio would complain of one that nobody waited for
        self._settled.put_nowait(None)


def make_router(engine: Engine, settings: ServiceSettings) -> APIRouter:
    """The endpoints.

    Args:
        engine: What answers.
        settings: How much a request may hold.
    """
    router = APIRouter(prefix="/v1/cascades", route_class=JsonRoute, tags=["cascades"])
    which = Path(description="Name of the cascade.", json_schema_extra={"enum": list(engine.cascades)})

    @router.get("", response_model=CascadesBody)
    async def cascades() -> Response:
        """Which cascades there are, with their questions."""
        return JSONResponse({"cascades": [cascade.as_dict() for cascade in engine.cascades.values()]})

    @router.post(
        "/{name}",
        response_model=ReportBody,
        responses={
            200: {
                "description": f"The report; with `Accept: {NDJSON}` a decision a line as it settles, and a last line "
                "with `task_id`, `stats` and `provenance`, or with `error`.",
                "content": {NDJSON: {"schema": {"type": "string", "description": _LINES}}},
            },
            **responses(HTTPStatus.NOT_FOUND),
        },
    )
    async def classify(call: CascadeCall, request: Request, name: str = which) -> Response:
        """Label items by a cascade."""
        if name not in engine.cascades:
            raise RefusedError(HTTPStatus.NOT_FOUND, unknown_cascade(name, engine.cascades), "name")
        task, items = call.read(settings), call.read_items(engine.cascades[name], settings)
        is_limited = call.budget_ms is not None or call.depth is not None
        budget: BudgetLike = Budget(ms=call.budget_ms, depth=call.depth) if is_limited else "config"
        try:
            if NDJSON in request.headers.get("accept", ""):
                return await _streamed(Decisions(engine, task, items, name, budget), request)
            report = await while_present(request, engine.aclassify(task, items, name, budget=budget))
        except InputError as error:
            raise RefusedError(UNFIT, f"items: {error}", "items") from error
        return JSONResponse(report.as_dict())

    return router


async def _streamed(decisions: Decisions, request: Request) -> Response:
    """An answer that begins once something has settled, so that what is refused still gets its status."""
    try:
        first = await while_present(request, decisions.next())
    except BaseException:
        decisions.drop()
        raise
    return StreamingResponse(_lines(decisions, first), media_type=NDJSON)


async def _lines(decisions: Decisions, first: Decision | None) -> AsyncIterator[str]:
    decision = first
    try:
        while decision is not None:
            yield _line(decision.as_dict())
            decision = await decisions.next()
        whole = decisions.report().as_dict()
        yield _line({key: value for key, value in whole.items() if key != "decisions"})
    except CascadeError as error:  # the status has gone out; this line says that what follows is missing
        yield _line({"error": str(error)})
    finally:
        decisions.drop()


def _line(value: dict[str, Any]) -> str:
    return json.dumps(value, allow_nan=False) + "\n"

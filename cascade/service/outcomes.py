"""``/v1/outcomes``: what became of items, for the log."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response
from pydantic import BeforeValidator, Field

from cascade.engine.engine import Engine
from cascade.errors import InputError, MachineError, counted
from cascade.log.outcomes import LABEL, Outcome
from cascade.service.http_errors import UNFIT, RefusedError, responses
from cascade.service.json_body import JsonRoute
from cascade.service.schemas import Given, check_text, number
from cascade.service.settings import ServiceSettings

_NO_LOG = "This service keeps no log, so outcomes have no place. Give its config a [log] with a path."


class OutcomeBody(Given):
    """What became of one item."""

    task: str = Field(
        min_length=1,
        description="Id of the task: `task_id` of its report. Whether the log has decisions of it is not looked at.",
    )
    item: str = Field(min_length=1, description="Id of the item.")
    what: str = Field(LABEL, min_length=1, description="`label`, or a word such as `used`, `changed` or `wrong`.")
    label: str = Field("", description="The true label; of the kind `label`, and of no other.")
    value: Annotated[float, BeforeValidator(number)] = Field(
        1.0, ge=0, le=1, allow_inf_nan=False, description="How true it is: 1 for yes, 0 for no, or a weight between."
    )
    source: str = Field("", description="Who says so.")


class OutcomesCall(Given):
    """What became of items."""

    outcomes: tuple[OutcomeBody, ...] = Field(
        min_length=1, fail_fast=True, description="A later one of the same task, item and kind corrects an earlier one."
    )


class RecordedBody(Given):
    """What was taken in."""

    recorded: int = Field(description="How many outcomes go into the log.")


def make_router(engine: Engine, settings: ServiceSettings) -> APIRouter:
    """The endpoint.

    Args:
        engine: Whose log it is.
        settings: How much a request may hold.
    """
    router = APIRouter(prefix="/v1/outcomes", route_class=JsonRoute, tags=["outcomes"])

    @router.post("", response_model=RecordedBody, responses=responses(HTTPStatus.CONFLICT))
    async def record(call: OutcomesCall) -> Response:
        """Tell the log what became of items; all of them are taken in, or none."""
        if not engine.has_log:
            raise RefusedError(HTTPStatus.CONFLICT, _NO_LOG)
        n = len(call.outcomes)
        if n > settings.max_items:
            detail = f"outcomes: {counted(n, 'outcome is', 'outcomes are')} given; allowed are {settings.max_items:,}."
            raise RefusedError(UNFIT, f"{detail} Send them in several requests.", "outcomes")
        found = [_read(row, f"outcomes.{place}", settings) for place, row in enumerate(call.outcomes)]
        try:
            engine.record_outcome(found)
        except MachineError as error:
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error
        return JSONResponse({"recorded": n})

    return router


def _read(row: OutcomeBody, field: str, settings: ServiceSettings) -> Outcome:
    """An outcome in pure form.

    Raises:
        RefusedError: It does not hold together; names the field.
    """
    for name in ("task", "item", "what", "label", "source"):
        check_text(getattr(row, name), f"{field}.{name}", settings)
    try:
        return Outcome(**row.model_dump())
    except InputError as error:
        raise RefusedError(UNFIT, f"{field}: {error}", field) from error

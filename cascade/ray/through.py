"""Answers of a replica: those of the HTTP service of the model that was asked."""

from __future__ import annotations

import weakref
from contextlib import ExitStack
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from cascade.ray.resident import Resident
from cascade.service.http_errors import problem


class Through(Response):
    """What the service of a model answers, as it sends it. The model stays until then.

    Args:
        model: The model.
    """

    def __init__(self, model: Resident) -> None:
        super().__init__()
        asked = ExitStack()
        asked.enter_context(model)
        self._app, self._done = model.app, asked.close
        weakref.finalize(self, asked.close).atexit = False  # where nobody is left to hear the answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hands on."""
        try:
            await self._app(scope, receive, send)
        finally:
            self._done()


def unknown_model(detail: str) -> Response:
    """The answer that tells that there is no such model."""
    return problem(HTTPStatus.NOT_FOUND, detail, "serve_multiplexed_model_id")

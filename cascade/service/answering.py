"""From the questions of a request to their answers, whatever the wire format."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from cascade.engine.engine import Engine
from cascade.errors import ConfigError
from cascade.report import Report
from cascade.service.http_errors import UNFIT, RefusedError
from cascade.service.menu import Menu, Plan
from cascade.service.middleware import while_present
from cascade.service.settings import ServiceSettings
from cascade.service.typed import Answered, Asked
from cascade.service.work import Work
from cascade.tree import Cascade

_MANY, _LONG = 8, 8_192  # questions and options, and characters, that take longer to measure than others should wait


class Menus:
    """The menu of what an engine asks now; it is written again where the engine has taken over other cascades.

    Args:
        engine: What answers.
        settings: See ``Menu``.
    """

    def __init__(self, engine: Engine, settings: ServiceSettings) -> None:
        self._engine, self._settings = engine, settings
        self._of: Mapping[str, Cascade] = {}
        self._menu: Menu | None = None

    @property
    def now(self) -> Menu:
        """The menu."""
        cascades = self._engine.cascades
        if self._menu is None or self._of is not cascades:
            self._of, self._menu = cascades, Menu(self._engine, self._settings)
        return self._menu


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The answers to a request, and what they cost.

    Attributes:
        model: Who answered.
        found: Place of a question -> its answer.
        refused: Place of a question that was not answered -> why.
        n_tokens: Tokens of the prompts, each once for every question that reads it.
        n_cached: Of those the ones that were not computed for that question.
        n_calls: Questions that models were asked.
        elapsed_ms: How long it took.
    """

    model: str
    found: Mapping[int, Answered]
    refused: Mapping[int, RefusedError]
    n_tokens: int
    n_cached: int
    n_calls: int
    elapsed_ms: float

    @property
    def more(self) -> dict[str, Any]:
        """What this service says beside the formats."""
        return {
            "x_calls": self.n_calls,
            "x_cached_tokens": self.n_cached,
            "x_latency_ms": round(self.elapsed_ms, 3),
        }


@dataclass(frozen=True, slots=True)
class Answering:
    """Answers requests.

    Attributes:
        engine: What is asked.
        menus: What may be asked.
    """

    engine: Engine
    menus: Menus

    async def answers(self, request: Request, model: str | None, state: Any, questions: Sequence[Asked]) -> Answers:
        """The answers, while the caller is there.

        Raises:
            RefusedError: The model is not there, or the state cannot be used.
            InputError: A prompt does not fit, or the like.
            BackendError: Scoring failed.
        """
        started = time.perf_counter()
        plan = await self._plan(model, state, questions)
        reports = await while_present(request, self._reports(plan.works))
        return Answers(
            model=plan.model,
            found=dict(pair for work, report in zip(plan.works, reports, strict=True) for pair in work.read(report)),
            refused=plan.refused,
            n_tokens=sum(report.stats.tokens_decoded + report.stats.tokens_reused for report in reports),
            n_cached=sum(report.stats.tokens_reused for report in reports),
            n_calls=sum(report.stats.calls for report in reports),
            elapsed_ms=1_000 * (time.perf_counter() - started),
        )

    async def _plan(self, model: str | None, state: Any, questions: Sequence[Asked]) -> Plan:
        """The plan; that of many questions is made in another thread, for it takes longer than loops wait."""
        menu, n_parts = self.menus.now, sum(1 + len(asked.options) for asked in questions)
        if n_parts > _MANY or not isinstance(state, str) or len(state) > _LONG:
            return await asyncio.to_thread(menu.plan, model, state, questions)
        return menu.plan(model, state, questions)

    async def _reports(self, works: Sequence[Work]) -> list[Report]:
        """All of them at once; if one fails, so do the others."""
        running = [asyncio.ensure_future(work.run(self.engine)) for work in works]
        try:
            return await asyncio.gather(*running)
        except ConfigError as error:
            raise RefusedError(UNFIT, str(error)) from error
        finally:
            for each in running:
                each.cancel()

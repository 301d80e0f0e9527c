"""Callers of an engine: each makes a request in its own way, and holds what comes of it against what must."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from cascade import Budget, Cascade, Decision, Engine, Report
from cascade.engine.admission import Rules
from cascade.errors import BackendError, ClosedError, OverloadError
from tests.fuzz.request_checks import Checker, Excuses, WrongError, check_error
from tests.fuzz.request_worlds import Asked, Kind

MOST_FAILURES = 3
"""Failures of an engine that are told."""

_RAISES = 0.02  # share of callers whose own function raises


@dataclass(slots=True)
class Tally:
    """What came of requests.

    Attributes:
        ends: How requests ended -> how many.
        items: Decisions that were checked.
        steps: Scores that were checked.
        failures: What was wrong.
    """

    ends: Counter[str] = field(default_factory=Counter)
    items: int = 0
    steps: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Count another tally in."""
        self.ends += other.ends
        self.items += other.items
        self.steps += other.steps
        self.failures += other.failures

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return {"ends": dict(self.ends), "items": self.items, "steps": self.steps, "failures": self.failures}

    def fail(self, problem: str) -> None:
        """Enter what was wrong."""
        self.ends["wrong"] += 1
        if len(self.failures) < MOST_FAILURES:
            self.failures.append(problem)


class Faulty(Protocol):
    """A backend that fails on purpose.

    Attributes:
        n_faults: Faults so far for which a request may fail.
        n_unable: Questions so far that a server could not answer.
    """

    n_faults: int
    n_unable: int


class CallersError(Exception):
    """What a caller's own function raises."""


@dataclass(slots=True)
class Callers:
    """Makes requests of one engine.

    Attributes:
        engine: The engine.
        checker: Knows the truth.
        faulty: Its backend.
        rules: How it treats many callers.
        rng: Where chance comes from.
        broken: Adapters that answer no numbers.
        tally: What came of it.
    """

    engine: Engine
    checker: Checker
    faulty: Faulty
    rules: Rules
    rng: random.Random
    broken: frozenset[str] = frozenset()
    tally: Tally = field(default_factory=Tally)
    _open: set[Asked] = field(default_factory=set)
    _settled: set[Asked] = field(default_factory=set)

    def settle(self) -> None:
        """Settle all that is open."""
        self._settled |= self._open
        self.engine.settle()

    async def one(self, asked: Asked) -> None:
        """Make a request, check its answer, and enter how it ended."""
        n_faults, n_unable = self.faulty.n_faults, self.faulty.n_unable
        self._open.add(asked)
        try:
            async with asyncio.timeout(asked.leaves_after):
                found = await self._make(asked)
            is_cut = asked.budget.ms is not None or asked in self._settled
            self._check(asked, found, Excuses(time=is_cut, server=self.faulty.n_unable > n_unable))
            self.tally.ends["answered"] += 1
        except TimeoutError:
            self.tally.ends["left"] += 1
        except CallersError:
            self.tally.ends["failed by its caller"] += 1
        except WrongError as error:
            self.tally.fail(f"{asked.kind} of {asked.cascade}: {error}")
        except Exception as error:  # noqa: BLE001 - whatever a caller gets is what is tested
            n_failed = self.faulty.n_faults - n_faults
            n_failed += self.faulty.n_unable - n_unable if asked.kind is Kind.SCORE else 0
            self._take(error, asked, is_faulty=n_failed > 0 or self._asks_broken(asked))
        finally:
            self._open.discard(asked)

    async def _make(self, asked: Asked) -> Report | list[Decision]:
        """What a request is answered; of a stream whose caller leaves it what came before."""
        if asked.kind is Kind.SCORE:
            return await self.engine.ascore(asked.task, asked.items, asked.cascade, *asked.stages)
        if asked.kind is Kind.STREAM:
            return await self._stream(asked)
        if asked.kind is Kind.THREAD:
            return await asyncio.to_thread(self._classify, asked, asked.budget)
        told: list[Decision] = []
        raises = self.rng.random() < _RAISES

        def hear(decision: Decision) -> None:
            told.append(decision)
            if raises:
                raise CallersError

        report = await self.engine.aclassify(
            asked.task, asked.items, asked.cascade, budget=asked.budget, on_decision=hear
        )
        _require_all(told, asked)
        return report

    async def _stream(self, asked: Asked) -> list[Decision]:
        told: list[Decision] = []
        async with aclosing(
            self.engine.stream(asked.task, asked.items, asked.cascade, budget=asked.budget)
        ) as decisions:
            async for decision in decisions:
                told.append(decision)
                if len(told) == asked.takes:
                    break
        _require_all(told, asked)
        return told

    def _classify(self, asked: Asked, budget: Budget) -> Report:
        return self.engine.classify(asked.task, asked.items, asked.cascade, budget=budget)

    def _check(self, asked: Asked, found: Report | list[Decision], excuses: Excuses) -> None:
        if isinstance(found, Report):
            self.checker.check_report(asked, found, excuses)
            return
        items = {item.id: item for item in asked.items}
        for decision in found:
            self.checker.check(asked, items[decision.id], decision, excuses)

    def _take(self, error: Exception, asked: Asked, *, is_faulty: bool) -> None:
        """Enter an error that a caller may get, and fail for any other."""
        try:
            check_error(error)
        except WrongError as wrong:
            self.tally.fail(str(wrong))
            return
        if isinstance(error, OverloadError):
            is_due, how = self.rules.refuses or self.rules.max_requests < 1_024, "refused"
        elif isinstance(error, ClosedError):
            is_due, how = asked in self._settled and asked.kind is Kind.SCORE, "settled"
        else:
            is_due, how = is_faulty and isinstance(error, BackendError), "failed"
        if is_due:
            self.tally.ends[how] += 1
        else:
            self.tally.fail(f"{asked.kind} of {asked.cascade}: {type(error).__name__}: {error}")

    def _asks_broken(self, asked: Asked) -> bool:
        cascade: Cascade = self.engine.cascades[asked.cascade]
        return not self.broken.isdisjoint(cascade.adapters())


def _require_all(told: list[Decision], asked: Asked) -> None:
    """Every item's decision must come once, unless the caller left."""
    ids = [decision.id for decision in told]
    due = [item.id for item in asked.items]
    if len(set(ids)) != len(ids) or (sorted(ids) != sorted(due) and len(ids) != asked.takes):
        msg = f"decisions of {ids} came, where {due} are due"
        raise WrongError(msg)

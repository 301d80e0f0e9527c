"""Adapters that answer beside the live ones: what a live request was asked is put to them, once nobody waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cascade.engine.generation import Generation
from cascade.engine.item_state import ItemState
from cascade.engine.loop import Loop
from cascade.engine.request import Request
from cascade.engine.turns import last_moment
from cascade.machine import get_logger

log = get_logger("cascade.engine")

_MOST_WAITING = 16
"""Requests that may wait for spare time; more are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowTally:
    """What adapters in the shadow have done.

    Attributes:
        adapters: Names of those that answer beside the live ones now.
        requests: Live requests that were followed.
        answers: Questions that were answered.
        left_out: Live requests that were not followed: their time was up, or too many waited.
        cut_short: Followed requests that came to some answers only, because their time was up.
    """

    adapters: tuple[str, ...] = ()
    requests: int = 0
    answers: int = 0
    left_out: int = 0
    cut_short: int = 0


@dataclass(slots=True)
class Shadow:
    """Follows live requests.

    Attributes:
        loop: Has spare time.
        told: Is told of a live request and of the one beside it, once that is answered.
        generation: What answers; None where nothing does.
        names: The adapters whose questions are put to it.
    """

    loop: Loop
    told: Callable[[Request, Request], None] | None
    generation: Generation | None = None
    names: frozenset[str] = frozenset()
    _requests: int = 0
    _answers: int = 0
    _left_out: int = 0
    _cut_short: int = 0
    _waiting: set[Request] = field(default_factory=set)

    @property
    def tally(self) -> ShadowTally:
        """What was done so far."""
        return ShadowTally(
            adapters=tuple(sorted(self.names)),
            requests=self._requests,
            answers=self._answers,
            left_out=self._left_out,
            cut_short=self._cut_short,
        )

    def change(self, generation: Generation | None, names: frozenset[str]) -> None:
        """Let others answer, or nobody; what waits is given up. In the loop's own thread, between two batches."""
        self.generation, self.names = generation, names
        for request in tuple(self._waiting):
            self.loop.drop_idle(request)

    def follow(self, live: Request) -> None:
        """Ask beside a live request that has ended, if it was answered; returns at once. From any thread."""
        if self.generation is not None and not live.done.cancelled() and live.done.exception() is None:
            self.loop.later(self._follow, live)  # whoever waits for the answer has it first

    def _follow(self, live: Request) -> None:
        generation = self.generation
        if generation is None:
            return
        states = list(self._states(live, generation))
        if not states:
            return
        if self.loop.now() >= last_moment(live) or len(self._waiting) >= _MOST_WAITING:
            self._left_out += 1
            return
        beside = Request(
            task=live.task,
            items=states,
            expected=states[0].expected,
            provenance=generation.info.provenance,
            called=self.loop.now(),
            ends=live.ends,
        )
        self._waiting.add(beside)
        beside.done.add_done_callback(lambda _: self._answered(live, beside))
        self.loop.submit_idle(beside)

    def _states(self, live: Request, generation: Generation) -> list[ItemState]:
        expected = generation.profile(live.cascade)
        asked = {
            stage.name
            for stage in live.cascade.stages
            if any(each.adapter in self.names for each in stage.questions.values())
        }
        found = []
        for state in live.items if asked else ():
            stages = tuple(stage for stage, _ in state.passed if stage.name in asked)
            if stages:
                found.append(ItemState(state.item, expected, stages[0], fixed=stages))
        return found

    def _answered(self, live: Request, beside: Request) -> None:
        self._waiting.discard(beside)
        if beside.done.cancelled() or beside.done.exception() is not None:
            return
        self._requests += 1
        self._answers += sum(step.adapter in self.names for state in beside.items for step in state.steps)
        self._cut_short += any(state.depth < len(state.fixed or ()) for state in beside.items)
        if self.told is not None:
            try:
                self.told(live, beside)
            except BaseException:
                log.exception("what a shadow answered could not be told")

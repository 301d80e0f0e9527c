"""The loop: takes open requests, lets the planner choose a wave, scores it, walks the items on.

It runs in one thread of its own with one event loop; nothing else touches a request in between.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from cascade.backends.base import Backend, Probe, Wave
from cascade.errors import BackendError, ClosedError
from cascade.logs import get_logger
from cascade.planner import Job, Kept, Plan, Planner, Room
from cascade.prompt import PromptBuilder
from cascade.request import Request
from cascade.scoring import p_yes

log = get_logger("cascade.engine")


class Loop:
    """Works on requests until it is stopped or its backend breaks."""

    def __init__(self, backend: Backend, builder: PromptBuilder) -> None:
        self._backend = backend
        self._builder = builder
        facts = backend.facts
        self._planner = Planner(
            Room(nodes=facts.max_nodes, tokens=facts.max_tokens),
            facts.lineages,
            facts.costs,
            lambda question: len(builder.marker_tokens(question.marker)),
        )
        self._requests: list[Request] = []  # that which has waited longest for a wave first
        self._failure: BaseException | None = None
        self._wake = asyncio.Event()
        self._gate = threading.Lock()  # nothing may be handed over between the last look and the end
        self._ended = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, name="cascade-engine", daemon=True)
        self._thread.start()

    @property
    def n_kept(self) -> int:
        """Prompt nodes that are kept for open requests."""
        return len(self._planner.kept)

    def submit(self, request: Request) -> None:
        """Hand over a request, from any thread.

        Raises:
            ClosedError: The loop has stopped.
        """
        self._call(self._admit, request)

    def cancel(self, request: Request) -> None:
        """Give a request up, from any thread; nothing happens if it is done."""
        request.done.cancel()

    def stop(self) -> None:
        """Stop after the wave at hand; calls that wait get a ClosedError. Waits for the end."""
        if not self._ended:
            with suppress(ClosedError):  # it ended by itself just now
                self._call(self._fail, ClosedError("The engine was closed while this call was waiting."))
        self._thread.join()

    def _call(self, function: Callable[..., None], argument: Any) -> None:
        with self._gate:
            if self._ended:
                msg = "The engine is closed; open a new one."
                raise ClosedError(msg) from self._failure
            self._loop.call_soon_threadsafe(function, argument)

    # Everything below runs in the loop's own thread.

    def _main(self) -> None:
        try:
            self._loop.run_until_complete(self._work())
        finally:
            with self._gate:
                self._ended = True
            self._loop.run_until_complete(asyncio.sleep(0))  # requests handed over meanwhile hear the failure
            self._loop.close()

    async def _work(self) -> None:
        try:
            while self._failure is None:
                self._drop_cancelled()
                plan = self._planner.next_wave([request.open_walks for request in self._requests])
                if plan.jobs:
                    await self._score(plan)
                else:
                    self._wake.clear()
                    await self._wake.wait()
        except Exception as error:
            log.exception("the engine failed")
            failure = BackendError(f"The engine failed: {error!r}. Open a new one.")
            failure.__cause__ = error
            self._fail(failure)
        finally:
            await self._backend.close()

    def _fail(self, failure: BaseException) -> None:
        """Stop working; every waiting call gets the failure."""
        self._failure = self._failure or failure
        for request in self._requests:
            request.complete(self._failure)
        self._requests.clear()
        self._wake.set()

    def _admit(self, request: Request) -> None:
        if self._failure is not None:
            request.complete(self._failure)
            return
        try:
            request.grow(self._builder, self._backend.facts.max_prompt)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a request is its caller's to hear
            request.complete(error)
            return
        if not request.walks:
            request.complete()
            return
        self._planner.admit(request.walks)
        self._requests.append(request)
        self._wake.set()

    async def _score(self, plan: Plan) -> None:
        wave = plan.jobs
        owners = self._owners(wave)
        self._requests.sort(key=lambda request: request in owners)  # who was served goes behind who was not
        self._release(plan.evicted)
        probes = [
            Probe(self._builder.question(job.walk.node, job.question.marker), job.question.adapter) for job in wave
        ]
        try:
            scores = await self._backend.score(Wave(tuple(probes)))
        except BackendError as error:
            self._planner.lose()
            for request in owners:
                self._finish(request, error)
            return
        for job, p in zip(wave, p_yes(scores.logits).tolist(), strict=True):
            job.walk.take(job.tier, p)
        for request, own in owners.items():
            request.charge(scores.cost, len(own), len(wave))
            moved = list(dict.fromkeys(job.walk for job in own))
            self._release(self._planner.advance(moved))
            fault = request.tell([walk for walk in moved if walk.is_done])
            if fault is not None or not request.open_walks:
                self._finish(request, fault)

    def _release(self, gone: Sequence[Kept]) -> None:
        """Let the backend forget nodes, each in its own lineage."""
        for lineage in dict.fromkeys(lineage for _, lineage in gone):
            self._backend.release([node for node, of in gone if of == lineage], lineage)

    def _owners(self, wave: Sequence[Job]) -> dict[Request, list[Job]]:
        """The requests that take part in a wave, each with its own jobs."""
        owner = {walk: request for request in self._requests for walk in request.walks}
        found: dict[Request, list[Job]] = {}
        for job in wave:
            found.setdefault(owner[job.walk], []).append(job)
        return found

    def _finish(self, request: Request, error: BaseException | None = None) -> None:
        """Let a request go, with all that the backend keeps for it."""
        request.complete(error)
        if request in self._requests:
            self._requests.remove(request)
        self._planner.drop(request.walks)
        if request.root is not None:
            self._backend.release([request.root])

    def _drop_cancelled(self) -> None:
        for request in [request for request in self._requests if request.done.cancelled()]:
            self._finish(request)

"""The loop: takes open requests, lets the planner choose a batch, scores it, walks the items on.

It runs in one thread of its own with one event loop; nothing else touches a request in between. That
thread also answers requests whose time is up, while a batch may still be running in another.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from math import inf

from cascade.backends.base import Backend, Batch, Scores, Stop
from cascade.engine.admission import Admission, Rules
from cascade.engine.batch import Plan, faults_of, spoilt_places, walk_on
from cascade.engine.cost_model import CostModel
from cascade.engine.planner import BackendLimits, Capacity, Planner
from cascade.engine.prefix_index import CachedNode
from cascade.engine.request import Request, Running, owners
from cascade.engine.scheduler import Schedule, last_moment
from cascade.engine.thread import EngineThread
from cascade.errors import BackendError, ClosedError
from cascade.machine import get_logger
from cascade.prompt import PromptBuilder
from cascade.stages import SERVED

log = get_logger("cascade.engine")

_NOVICE = 20  # decodes until which predictions are not believed when they say that nothing can be done
_TRY_EVERY = 8
_PATIENCE, _PATIENCE_S = 2.0, 0.1
"""While others wait, a batch may run so many times its prediction, and seconds, past its predicted end."""

_CLOSED = "The engine was closed while this call was waiting. Open a new one."
_ENDING = "Python ended while this call was waiting. Wait for calls, and close engines, before the main thread ends."


class Loop:
    """Works on requests until it is stopped or its backend breaks."""

    def __init__(
        self,
        backend: Backend,
        builder: PromptBuilder,
        rules: Rules,
        new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    ) -> None:
        self._backend = backend
        self._builder = builder
        self._rules = rules
        info = backend.info
        self.model = CostModel(info.costs, info.slowdown)
        self._planner = Planner(
            BackendLimits(
                capacity=Capacity(nodes=info.max_nodes, tokens=info.max_tokens),
                prefix_adapters=info.prefix_adapters,
                costs=info.costs,
                sizes=info.sizes,
            ),
            lambda question: len(builder.marker_tokens(question.marker)),
            model=self.model,
            asks_ahead=rules.asks_ahead,
        )
        self._schedule = Schedule(self._planner)
        self._requests: list[Request] = []
        self._timers: dict[Request, asyncio.TimerHandle] = {}
        self._running: Running | None = None
        self._n_hopeless = 0  # turns for which no batch would be in time
        self._failure: BaseException | None = None
        self._wake = asyncio.Event()
        self._handed: dict[Request, None] = {}  # requests that are not done, wherever they are
        self._thread = EngineThread(
            self._work, fault=self._break, ended=self._fail_all, end=self._end, new_event_loop=new_event_loop
        )
        self._admission = Admission(self._thread.loop, builder, info.max_prompt, self._open)
        self._thread.start()

    @property
    def n_cached(self) -> int:
        """Prompt nodes that are kept for open requests."""
        return len(self._planner.prefix_index) if self._thread.is_open else 0

    def now(self) -> float:
        """The engine's clock, in seconds; from any thread."""
        return self._thread.loop.time()

    def submit(self, request: Request) -> None:
        """Hand over a request, from any thread.

        Raises:
            ClosedError: The loop has stopped.
        """
        self._handed[request] = None
        request.done.add_done_callback(lambda _: self._forget(request))
        try:
            self._thread.call(self._admit, request)
        except ClosedError as error:
            raise error from self._failure

    def cancel(self, request: Request) -> None:
        """Give a request up, from any thread; nothing happens if it is done."""
        request.done.cancel()

    @property
    def is_open(self) -> bool:
        """Whether it takes requests; False once it was stopped or has failed."""
        return self._thread.is_open and self._failure is None

    def settle(self) -> None:
        """Answer every open request with what it has so far, from any thread; nothing happens once it has stopped."""
        self._thread.post(self._settle)

    def check_may_wait(self) -> None:
        """Refuse to wait in the loop's own thread; see ``EngineThread.check_may_wait``."""
        self._thread.check_may_wait()

    def stop(self) -> None:
        """Stop at once; calls that wait get a ClosedError. Waits for the end.

        Raises:
            InputError: This is the loop's own thread.
        """
        self._thread.check_may_wait()
        self._thread.post(self._fail, ClosedError(_CLOSED))
        self._thread.join()

    async def astop(self) -> None:
        """``stop`` for async callers."""
        self._thread.check_may_wait()
        self._thread.post(self._fail, ClosedError(_CLOSED))
        await self._thread.joined()

    def _end(self) -> None:
        """Stop because Python ends; does not wait."""
        self._thread.post(self._fail, ClosedError(_ENDING))

    def _forget(self, request: Request) -> None:
        """Let go of a request that is done, in any thread."""
        self._handed.pop(request, None)
        if request.done.cancelled():
            self._thread.post(self._drop, request)

    # Everything below runs in the loop's own thread.

    async def _work(self) -> None:
        try:
            while self._failure is None:
                if self._requests:
                    await self._serve()
                    await asyncio.sleep(0)  # deadlines and callers are heard even where a backend never waits
                else:
                    self._wake.clear()
                    await self._wake.wait()
        except BaseException as error:  # noqa: BLE001 - see above
            self._break(error)
        finally:
            await self._backend.close()

    def _break(self, error: BaseException) -> None:
        """Stop working because of a fault."""
        is_ending = isinstance(error, RuntimeError) and not threading.main_thread().is_alive()
        if is_ending:  # Python lets no event loop use its executor any more
            failure: BackendError = ClosedError(_ENDING)
        else:
            failure = BackendError(f"The engine failed: {error!r}. Open a new one.")
        failure.__cause__ = error
        self._fail(failure)
        if not is_ending:
            log.error("the engine failed", exc_info=error)

    def _fail(self, failure: BaseException) -> None:
        """Stop working; every waiting call gets the failure, and nothing is kept any more."""
        self._failure = self._failure or failure
        self._wake.set()
        self._fail_all()
        self._admission.stop()
        for request in tuple(self._requests):
            self._let_go(request)

    def _fail_all(self) -> None:
        for request in tuple(self._handed):
            request.complete(self.now(), self._failure)

    def _admit(self, request: Request) -> None:
        if self._failure is not None:
            request.complete(self.now(), self._failure)
        else:
            self._admission.admit(request, len(self._requests), self._rules.max_requests)

    def _open(self, request: Request) -> None:
        """Take up a request whose prompts are built, as far as a prior stage has not settled its items.

        Raises:
            OverloadError: It would be late, and the engine is set to refuse it then.
        """
        if request.done.done():
            return
        fault = request.tell([state for state in request.items if state.is_done])
        if fault is not None or not request.open_items:
            self._finish(request, fault)
        elif self.now() >= last_moment(request):
            self._give_up(request)
        else:
            self._take_up(request)

    def _take_up(self, request: Request) -> None:
        if self._rules.refuses:
            self._schedule.check(self._requests, request, self.now())
        self._planner.prefix_index.admit(request.items)
        self._requests.append(request)
        self._wake.set()
        if request.ends < inf:
            self._timers[request] = self._thread.call_at(last_moment(request), self._give_up, request)
        running = self._running
        if running is not None and request.ends < running.ends:
            running.stop.ask()  # it cannot wait for the end of this batch
        elif running is not None:
            self._thread.call_at(running.overdue, running.stop.ask)  # nor for one that hangs

    async def _serve(self) -> None:
        """Score the next batch; a request that no batch would fit into gets what it has."""
        turn = self._schedule.turn(self._requests, self.now())
        plan = self._planner.next_batch(turn.offers, turn.left_ms)
        self._release(plan.evicted)
        if not plan.jobs and self._tries():
            plan = self._planner.next_batch([turn.offers[0][:1]])
            self._release(plan.evicted)
        request = turn.requests[0]
        if plan.jobs:
            await self._score(plan)
        elif request.ends < inf:
            self._give_up(request)
        else:
            capacity = self._planner.limits.capacity
            msg = (
                f"There is no room for a prompt where {capacity.nodes} sequences and {capacity.tokens} cells are all. "
                "Raise model.n_seq_max or model.n_ctx in the config."
            )
            self._finish(request, BackendError(msg))

    def _tries(self) -> bool:
        """Whether to run a batch that is predicted to be late: always while the cost model is new, then every 8th time.

        The cost model learns from these batches and corrects predictions that have become wrong.
        """
        self._n_hopeless += 1
        return self.model.n_seen < _NOVICE or self._n_hopeless % _TRY_EVERY == 0

    async def _score(self, plan: Plan) -> None:
        batch = plan.jobs
        ends = self.now() + plan.predicted_ms / 1_000
        overdue = ends + _PATIENCE * plan.predicted_ms / 1_000 + _PATIENCE_S
        self._running = running = Running(plan, owners(self._requests, batch), ends, overdue, Stop())
        for request, own in running.owners.items():
            request.served = self.now()
            request.stats.calls_ahead += sum(job.is_ahead for job in own)
        left_ms = 1_000 * max(last_moment(request) - self.now() for request in running.owners)
        queries = tuple(job.query(self._builder) for job in batch)
        try:
            scores = await self._backend.score(Batch(queries, plan.predicted_ms, left_ms), running.stop)
            spoilt = spoilt_places(batch, scores, is_stopped=running.stop.is_asked, is_limited=left_ms < inf)
        except BackendError as error:
            self._release(self._planner.prefix_index.lose())
            for request in running.owners:
                self._finish(request, error)
            return
        finally:
            self._running = None
        for work, ms in scores.cost.decodes:
            self.model.learn(work, ms)
        self._take(running, scores, spoilt)

    def _take(self, running: Running, scores: Scores, spoilt: Mapping[int, str]) -> None:
        """Walk the items on by what was answered; a request that was answered with no number fails."""
        plan = running.plan
        for key in scores.lost:
            self._planner.prefix_index.forget(key)
        faults = faults_of(plan.jobs, spoilt, is_served=self._backend.info.prefix_adapters[plan.adapter] == SERVED)
        walk_on(plan.jobs, scores)
        owed = {id(plan.jobs[place]) for place in scores.under_way}
        for request, own in running.owners.items():
            if request not in self._requests:
                continue
            n_owed = sum(id(job) in owed for job in own)
            request.charge(scores.cost, plan.predicted_ms, n_own=len(own), n_all=len(plan.jobs), n_owed=n_owed)
            moved = list(dict.fromkeys(job.state for job in own))
            self._release(self._planner.prefix_index.advance(moved))
            fault = request.tell([state for state in moved if state.is_done])
            fault = next((faults[state] for state in moved if state in faults), fault)
            if fault is not None or not request.open_items:
                self._finish(request, fault)

    def _give_up(self, request: Request) -> None:
        """Answer a request with the likeliest labels of the items that are still on their way."""
        if request.done.done():
            return
        fault = request.tell(request.cut())
        self._finish(request, fault)

    def _settle(self) -> None:
        for request in (*self._admission.growing, *self._requests):
            if request.is_scoring:  # half of its steps would pass for all
                self._finish(request, ClosedError("The engine was settled before all stages were asked. Ask again."))
            else:
                self._give_up(request)

    def _drop(self, request: Request) -> None:
        """Let a request go whose caller has left."""
        if request in self._requests:
            self._finish(request)

    def _finish(self, request: Request, error: BaseException | None = None) -> None:
        """Complete a request and let it go."""
        request.complete(self.now(), error)
        self._let_go(request)

    def _let_go(self, request: Request) -> None:
        """Free all that is kept for a request; a batch that nobody waits for any more is stopped."""
        if request in self._requests:
            self._requests.remove(request)
        if request in self._timers:
            self._timers.pop(request).cancel()  # or it would hold the request until its deadline
        self._planner.prefix_index.drop(request.items)
        running = self._running
        if running is not None and request in running.owners:
            still = any(owner in self._requests for owner in running.owners)
            running.stop.ask() if still else running.stop.abort()
        if request.root is not None and self._failure is None:  # a backend that is about to be closed frees all
            self._backend.release([request.root])

    def _release(self, gone: Sequence[CachedNode]) -> None:
        """Let the backend forget nodes, each in its own prefix adapter."""
        for prefix_adapter in dict.fromkeys(prefix_adapter for _, prefix_adapter in gone):
            self._backend.release([node for node, of in gone if of == prefix_adapter], prefix_adapter)

"""The loop in the engine's thread: schedule a batch, score it, walk its items on.

It runs in one thread of its own with one event loop; nothing else touches a request in between. That
thread also answers requests whose time is up, while a batch may still be running in another.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from math import inf
from typing import Any, TypeVar

from cascade.backends.base import Backend, BackendInfo, Scores
from cascade.engine.admission import Admission, Rules
from cascade.engine.at_once import AtOnce, Running
from cascade.engine.batch import Batch, spoilt_places
from cascade.engine.cost_model import CostModel
from cascade.engine.lanes import Lane, Lanes
from cascade.engine.observer import Observers
from cascade.engine.planner import BackendLimits, Capacity, Planner
from cascade.engine.prefix_index import CachedNode
from cascade.engine.request import Request
from cascade.engine.scheduler import Scheduler
from cascade.engine.thread import EngineThread
from cascade.engine.turns import last_moment
from cascade.errors import BackendError, ClosedError
from cascade.machine import get_logger, n_cores
from cascade.prompt import PromptBuilder

log = get_logger("cascade.engine")

_T = TypeVar("_T")

_SPARE_S = 0.002  # between two looks whether somebody waits
_CLOSED = "The engine was closed while this call was waiting. Open a new one."
_ENDING = "Python ended while this call was waiting. Wait for calls, and close engines, before the main thread ends."


class Loop:
    """Works on requests until it is stopped or its backend breaks.

    Args:
        backends: Model -> what scores its batches; the loop closes them.
        prompts: Model -> builds its prompts.
        rules: Limits for concurrent requests.
        new_event_loop: Makes the event loop whose clock is the engine's.
        observers: Told of requests and batches.
    """

    def __init__(
        self,
        backends: Mapping[str, Backend],
        prompts: Mapping[str, PromptBuilder],
        rules: Rules,
        new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
        observers: Observers | None = None,
    ) -> None:
        self._backends = backends
        self._rules = rules
        self._observers = observers or Observers()
        lanes = [self._lane(name, backend.info, prompts[name]) for name, backend in backends.items()]
        self._lanes = Lanes(lanes, weighs=rules.weighs_models)
        self._scheduler = Scheduler(self._lanes)
        self._timers: dict[Request, asyncio.TimerHandle] = {}
        self._at_once = AtOnce(n_cores())
        self._most_at_once = len(lanes) if rules.at_once and n_cores() > 1 else 1
        self._slowest = max(1.0, sum(lane.n_threads for lane in lanes) / n_cores()) if self._most_at_once > 1 else 1.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        self._wake = asyncio.Event()
        self._handed: dict[Request, None] = {}  # requests that are not done, wherever they are
        self._idle: deque[Request] = deque()  # requests that nobody waits for, to be asked in spare time
        self._at_hand: Request | None = None  # the one of these that is open now
        self._changes: deque[tuple[Callable[[], Awaitable[Any]], Future[Any]]] = deque()  # to be made between batches
        self._thread = EngineThread(
            self._work, fault=self._break, ended=self._fail_all, end=self._end, new_event_loop=new_event_loop
        )
        self._admission = Admission(self._thread.loop, self._lanes, self._open)
        self._thread.start()

    def _lane(self, name: str, info: BackendInfo, prompts: PromptBuilder) -> Lane:
        planner = Planner(
            BackendLimits(
                capacity=Capacity(nodes=info.max_nodes, tokens=info.max_tokens),
                prefix_adapters=info.prefix_adapters,
                costs=info.costs,
                sizes=info.sizes,
                keeps=not info.is_encoder,
            ),
            prompts.question_tokens,
            model=CostModel(info.costs, info.slowdown),
            asks_ahead=self._rules.asks_ahead,
            release=lambda gone: self._release(name, gone),
            name=name,
        )
        return Lane(planner=planner, prompts=prompts, max_prompt=info.max_prompt, n_threads=info.n_threads)

    @property
    def n_cached(self) -> int:
        """Prompt nodes that are kept for open requests."""
        return self._scheduler.n_cached if self._thread.is_open else 0

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

    def change(self, work: Callable[[], Awaitable[_T]]) -> Future[_T]:
        """Let the loop do something to its backends between two batches, in the order of the calls; from any thread.

        Args:
            work: Is awaited in the loop's own thread; what it raises is the future's.

        Raises:
            ClosedError: The loop has stopped.
        """
        done: Future[_T] = Future()
        self._thread.call(self._take_change, work, done)
        return done

    def later(self, function: Callable[..., object], *arguments: Any) -> None:
        """Let the loop's thread call a function soon, if the loop has not stopped; from any thread."""
        self._thread.post(function, *arguments)

    def submit_idle(self, request: Request) -> None:
        """Hand over a request that nobody waits for: it is asked while no other is open. In the loop's own thread."""
        self._idle.append(request)
        self._wake.set()

    def drop_idle(self, request: Request) -> None:
        """Give such a request up; in the loop's own thread, between two batches."""
        request.done.cancel()
        if request is self._at_hand:
            self._set_aside()
        if request in self._idle:
            self._idle.remove(request)

    def refit(self, model: str) -> None:
        """Go by the adapters that the backend of a model has now; in the loop's own thread, between two batches."""
        self._lanes.refit(model, self._backends[model].info.prefix_adapters)

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
                if self._changes and not self._tasks:
                    await self._make_change(*self._changes.popleft())
                elif self._is_busy or self._tasks:
                    await self._step()
                    await asyncio.sleep(0)  # deadlines and callers are heard even where a backend never waits
                elif self._idle or self._at_hand is not None:
                    await self._idle_step()
                    await asyncio.sleep(0)
                else:
                    self._wake.clear()
                    await self._wake.wait()
        except BaseException as error:  # noqa: BLE001 - whatever it is, every caller must hear
            self._break(error)
        finally:
            await self._end_batches()
            for backend in self._backends.values():
                await backend.close()

    async def _end_batches(self) -> None:
        """Stop the batches that still run, and wait for their end."""
        for running in self._at_once:
            running.stop.abort()
        if self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

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
        for request in tuple(self._scheduler.requests):
            self._let_go(request)

    def _fail_all(self) -> None:
        for request in tuple(self._handed):
            request.complete(self.now(), self._failure)

        for request in (*self._idle, *([self._at_hand] if self._at_hand is not None else [])):
            request.done.cancel()
        while self._changes:
            _, done = self._changes.popleft()
            done.set_exception(self._failure or ClosedError(_CLOSED))

    def _take_change(self, work: Callable[[], Awaitable[Any]], done: Future[Any]) -> None:
        self._changes.append((work, done))
        self._wake.set()
        if self._failure is not None:
            self._fail_all()

    async def _make_change(self, work: Callable[[], Awaitable[Any]], done: Future[Any]) -> None:
        for request in [each for each in self._scheduler.requests if each.done.done()]:
            self._drop(request)  # its caller has left, and its adapters may go now
        try:
            done.set_result(await work())
        except BaseException as error:  # noqa: BLE001 - who asked for the change hears it, and work goes on as before
            done.set_exception(error)

    @property
    def _is_busy(self) -> bool:
        """Whether a request is open that somebody waits for."""
        return self._n_open > 0

    @property
    def _n_open(self) -> int:
        return sum(request is not self._at_hand for request in self._scheduler.requests)

    async def _idle_step(self) -> None:
        """Go on with a request that nobody waits for; whoever comes meanwhile ends the batch at once."""
        if self._admission.growing:
            await asyncio.sleep(_SPARE_S)  # somebody is about to wait
            return
        request = self._at_hand
        if request is None:
            request = self._idle.popleft()
            await self._admission.build(request)
            self._at_hand = request
            self._scheduler.add(request)
        if request.done.done() or not request.open_items or self.now() >= last_moment(request):
            request.complete(self.now())
            self._set_aside()
        elif not self._is_busy and not self._admission.growing:
            await self._step()
            if request not in self._scheduler.requests:
                self._at_hand = None

    def _set_aside(self) -> None:
        """Take the request that nobody waits for out of the way; what it was answered so far stays with it."""
        request, self._at_hand = self._at_hand, None
        if request is not None:
            self._let_go(request)
            if not request.done.done():
                self._idle.appendleft(request)

    def _hurry(self) -> None:
        """End a batch that nobody waits for: somebody does now."""
        for running in self._at_once if self._at_hand is not None else ():
            if self._at_hand in running.batch.by_request:
                running.stop.abort()

    def _admit(self, request: Request) -> None:
        if self._failure is not None:
            request.complete(self.now(), self._failure)
        else:
            self._hurry()
            self._admission.admit(request, self._n_open, self._rules.max_requests)

    def _open(self, request: Request) -> None:
        """Queue a request whose prompts are built; one whose items the prior stage has all decided is answered at once.

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
            self._scheduler.check(request, self.now())
        self._scheduler.add(request)
        self._wake.set()
        if request.ends < inf:
            self._timers[request] = self._thread.call_at(last_moment(request), self._give_up, request)
        for running in self._at_once:
            if request.ends < self._at_once.ends(running, self.now()):
                running.stop.ask()  # it cannot wait for the end of this batch
            else:
                self._thread.call_at(running.overdue, running.stop.ask)  # nor for one that hangs

    async def _step(self) -> None:
        """Score the next batch and walk its items on; where none fits, answer the most urgent request as it is.

        Where several models may work at once, a batch of another one begins beside those at hand, if there is one.
        """
        await self._build_further()
        batch = self._next_batch()
        if batch is not None and self._most_at_once == 1:
            await self._run(self._begin(batch))
        elif batch is not None:
            task = asyncio.create_task(self._run(self._begin(batch)))
            task.add_done_callback(lambda _: self._wake.set())
            self._tasks.add(task)
        elif self._tasks:
            await self._any_news()
        elif self._scheduler.requests and not self._changes:
            self._answer_as_is(self._scheduler.most_urgent())

    def _next_batch(self) -> Batch | None:
        """The batch that begins now, if any does; before a change none begins."""
        if self._is_busy:
            self._set_aside()  # no batch has questions of both kinds
        if not self._scheduler.requests or len(self._at_once) >= self._most_at_once or self._changes:
            return None
        if self._at_once:
            return self._scheduler.schedule_beside(self.now(), self._at_once)
        return self._scheduler.schedule(self.now())

    async def _any_news(self) -> None:
        """Wait for the end of a batch, or for a request that may run beside it."""
        self._wake.clear()
        if not any(task.done() for task in self._tasks):
            await self._wake.wait()
        ended = {task for task in self._tasks if task.done()}
        self._tasks -= ended
        for task in ended:
            task.result()  # raises what nobody foresaw

    def _begin(self, batch: Batch) -> Running:
        lane = self._lanes.of(batch.adapter)
        n_threads = 0 if lane.planner.is_served(batch.adapter) else lane.n_threads
        return self._at_once.begin(batch, n_threads, self.now(), self._slowest)

    async def _run(self, running: Running) -> None:
        """Score a batch and walk its items on."""
        batch = running.batch
        try:
            scores, alone = await self._scored(running)
        except BackendError as error:
            self._fail_batch(batch, error)
            return
        for request, fault in self._scheduler.postprocess(batch, scores, alone):
            self._finish(request, fault)

    async def _build_further(self) -> None:
        """Build what items want that have come to a stage of another model, or to one that reads their text."""
        for request in tuple(self._scheduler.requests):
            if len(self._lanes) == 1 and not request.cascade.text_limits():
                continue
            try:
                await self._admission.build(request)
                self._scheduler.take_in(request)
            except Exception as error:  # noqa: BLE001 - as in admission
                self._finish(request, error)

    async def _scored(self, running: Running) -> tuple[Scores, float]:
        """A batch's scores, of which ``spoilt`` has all that are no finite number; and see ``AtOnce.end``.

        Raises:
            BackendError: Scoring failed, or there are not as many answers as queries.
        """
        batch, alone = running.batch, 1.0
        try:
            scores = await self._observers.scored(batch, self._backend_of(batch).score(batch, running.stop))
        finally:
            alone = self._at_once.end(running, self.now())
        return replace(scores, spoilt=spoilt_places(batch, scores, is_stopped=running.stop.is_asked)), alone

    def _fail_batch(self, batch: Batch, error: BackendError) -> None:
        self._scheduler.lose_cache(batch)
        for request in batch.by_request:
            self._finish(request, error)

    def _answer_as_is(self, request: Request) -> None:
        """Answer a request of which no query fits into a batch: its time is up, or the cache is too small for it."""
        if request.ends < inf:
            self._give_up(request)
            return
        capacities = [lane.planner.limits.capacity for lane in self._lanes]
        least = min(capacities, key=lambda capacity: (capacity.nodes, capacity.tokens))
        msg = (
            f"There is no room for a prompt where {least.nodes} sequences and {least.tokens} cells are all. "
            "Raise model.n_seq_max or model.n_ctx in the config."
        )
        self._finish(request, BackendError(msg))

    def _give_up(self, request: Request) -> None:
        """Answer a request with the likeliest labels of the items that are still on their way."""
        if request.done.done():
            return
        fault = request.tell(request.cut())
        self._finish(request, fault)

    def _settle(self) -> None:
        for request in (*self._admission.growing, *self._scheduler.requests):
            if request.is_scoring:  # half of its steps would pass for all
                self._finish(request, ClosedError("The engine was settled before all stages were asked. Ask again."))
            else:
                self._give_up(request)

    def _drop(self, request: Request) -> None:
        """Let a request go whose caller has left."""
        if request in self._scheduler.requests:
            self._finish(request)

    def _finish(self, request: Request, error: BaseException | None = None) -> None:
        """Complete a request and let it go."""
        request.complete(self.now(), error)
        self._let_go(request)

    def _let_go(self, request: Request) -> None:
        """Free all that is kept for a request; a batch that nobody waits for any more is stopped."""
        self._scheduler.drop(request)
        self._wake.set()  # what had to wait for it may begin now
        if request in self._timers:
            self._timers.pop(request).cancel()  # or it would hold the request until its deadline
        for running in self._at_once:
            if request in running.batch.by_request:
                still = any(other in self._scheduler.requests for other in running.batch.by_request)
                running.stop.ask() if still else running.stop.abort()
        # A backend that is about to be closed frees all.
        for model, root in request.prompts.roots.items() if self._failure is None else ():
            self._backends[model].release([root])

    def _release(self, model: str, gone: Sequence[CachedNode]) -> None:
        """Let a model's backend free cached nodes, each under its own prefix adapter."""
        for prefix_adapter in dict.fromkeys(prefix_adapter for _, prefix_adapter in gone):
            self._backends[model].release([node for node, of in gone if of == prefix_adapter], prefix_adapter)

    def _backend_of(self, batch: Batch) -> Backend:
        return self._backends[self._lanes.of(batch.adapter).name]

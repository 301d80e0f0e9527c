"""The engines of a cluster, asked like one: each on an actor, and what a lost actor was asked goes to another."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from queue import Empty, PriorityQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from cascade.arguments import refuse, whole
from cascade.batch.answers import CONCURRENCY, ITEMS_EACH
from cascade.batch.portions import MOST_ASKED
from cascade.batch.provenance import RunProvenance
from cascade.budget import BudgetLike
from cascade.config.schema import Config
from cascade.engine.engine import Engine
from cascade.engine.generation import cascade_of
from cascade.errors import CascadeError, ClosedError, ConfigError, MachineError
from cascade.items import Item, Task
from cascade.machine import get_logger
from cascade.ray.share import assigned_cpus, check_ray, on_share, resources
from cascade.report import Report
from cascade.tree import Cascade

if TYPE_CHECKING:
    from ray.actor import ActorHandle

log = get_logger("cascade.ray")

_LOOK_S = 10.0  # for somebody who listens

PATIENCE_S = 600.0
"""Seconds that a request waits for an actor that is free, before it is said that there is none."""


_AHEAD = -(-2 * MOST_ASKED // (ITEMS_EACH * CONCURRENCY))  # so that an actor has two of the largest requests as well
_CLOSED = "The engines of the cluster were closed."


_Slot = tuple[int, int, "ActorHandle | None"]
"""Which request of an actor at a time, when it became free, and the actor; low numbers first spread the load."""


class ActorEngine:
    """The engine of one actor; it keeps no log, for a log has one writer.

    Args:
        config: Its config, whose files this node has under the same paths.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._engine: Engine | None = None
        self._gate = threading.Lock()

    def is_there(self) -> bool:
        """Whether it can be asked."""
        return True

    def made_by(self, cascade: str, depth: int | None) -> RunProvenance:
        """What it answers with."""
        return RunProvenance.of(self._opened(), cascade, depth)

    def ask(
        self, task: Task | str, items: Sequence[Item], cascade: str, budget: BudgetLike, made_by: RunProvenance
    ) -> Report:
        """Answer, as long as it answers with the same as all others do.

        Raises:
            ConfigError: It does not: its files are others.
        """
        differs = made_by.differences(self.made_by(cascade, made_by.depth))
        if differs:
            msg = f"A node of the cluster has something else than the others: {', '.join(differs)}. Copy the files."
            raise ConfigError(msg)
        return self._opened().classify(task, items, cascade, budget=budget)

    def _opened(self) -> Engine:
        with self._gate:
            if self._engine is None:
                self._engine = Engine.open(on_share(self._config, assigned_cpus()), log=None)
            return self._engine


class RayEngines:
    """Asked like an engine; ``opened`` makes them.

    Args:
        config: What all of them open.
        actors: Where they are, at least one.
        cascade: The one cascade that they are asked.
        depth: Most stages that an item passes; None for no limit.

    Attributes:
        made_by: What all of them answer with.
        concurrency: Requests that are worth having open: those that they answer at once, and some that wait.

    Raises:
        InputError: There is no such cascade.
        CascadeError: The first of them cannot open the config.
        ClosedError: None of them could be started.
    """

    def __init__(self, config: Config, actors: Sequence[ActorHandle], cascade: str, depth: int | None = None) -> None:
        self._cascades = config.cascades()
        n_slots = len(actors) * CONCURRENCY
        self.concurrency = n_slots * _AHEAD
        self._actors = list(actors)
        self._free: PriorityQueue[_Slot] = PriorityQueue()
        self._order = count()
        self._threads = ThreadPoolExecutor(n_slots, "cascade-ray")
        self._is_closed = False
        for actor in actors:
            self._await(actor, range(CONCURRENCY))
        self.made_by = self._first_made_by(cascade, depth)

    def cascade(self, name: str) -> Cascade:
        """The cascade of that name.

        Raises:
            InputError: There is none.
        """
        return cascade_of(self._cascades, name)

    def submit(
        self, task: Task | str, items: Sequence[Item], cascade: str = "precision", *, budget: BudgetLike = "config"
    ) -> Future[Report]:
        """Ask for every item's label without waiting; see ``Engine.submit``. What is on its way is not cancelled.

        Raises:
            ClosedError: ``close`` was called. Other errors are the future's.
        """
        try:
            return self._threads.submit(self._ask, "ask", task, items, cascade, budget, self.made_by)
        except RuntimeError as error:
            raise ClosedError(_CLOSED) from error

    def close(self) -> None:
        """End the actors; who waits gets a ClosedError. A second call does nothing."""
        import ray  # noqa: PLC0415 - loaded by whoever made the actors

        self._is_closed = True
        while self._actors:
            ray.kill(self._actors.pop())
        for _ in range(self.concurrency):
            self._put(-1, None)
        self._threads.shutdown(cancel_futures=True)

    def _first_made_by(self, cascade: str, depth: int | None) -> RunProvenance:
        try:
            self.cascade(cascade)
            found: RunProvenance = self._ask("made_by", cascade, depth)
        except BaseException:
            self.close()
            raise
        return found

    def _ask(self, method: str, *arguments: object) -> Any:
        """What a method of any actor returns; another is asked where one is lost, as often as it takes."""
        import ray  # noqa: PLC0415 - loaded by whoever made the actors
        from ray.exceptions import RayError, RayTaskError  # noqa: PLC0415 - as above

        while True:
            number, actor = self._next()
            try:
                found = ray.get(getattr(actor, method).remote(*arguments))
            except RayTaskError as error:
                self._put(number, actor)
                if isinstance(error.cause, CascadeError):
                    raise error.cause from error
                raise
            except RayError as error:
                log.warning("an actor is lost, another is asked", error=type(error).__name__)
                self._await(actor, [number])
            else:
                self._put(number, actor)
                return found

    def _next(self) -> tuple[int, ActorHandle]:
        """An actor that may be asked more, of several one with the fewest requests, and which of its slots that takes.

        Raises:
            ClosedError: There is none any more.
        """
        try:
            number, _, actor = self._free.get(timeout=PATIENCE_S)
        except Empty as error:
            msg = f"No actor of the cluster was free for {PATIENCE_S:.0f} s. See `ray status` for what it lacks."
            raise ClosedError(msg) from error
        if self._is_closed or actor is None:
            raise ClosedError(_CLOSED)
        return number, actor

    def _put(self, number: int, actor: ActorHandle | None) -> None:
        self._free.put((number, next(self._order), actor))

    def _await(self, actor: ActorHandle, numbers: Iterable[int]) -> None:
        """Let an actor be asked in these slots, once it is there, or there again."""

        def tell(done: Future[object]) -> None:
            if not self._is_closed and done.exception() is None:
                for number in numbers:
                    self._put(number, actor)

        actor.is_there.options(max_task_retries=-1).remote().future().add_done_callback(tell)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def opened(
    config: Config, cascade: str, *, address: str | None = None, n_actors: int | None = None, depth: int | None = None
) -> Iterator[RayEngines]:
    """The engines of a cluster, until the end of the ``with``.

    Args:
        config: What each opens; its files are on every node under the same paths.
        cascade: The cascade that they are asked.
        address: Of the cluster; None for the one that RAY_ADDRESS names or that runs on this machine, and otherwise
            one that is started here for as long as this takes.
        n_actors: How many engines; None for as many as the cluster has CPUs and GPUs for.
        depth: Most stages that an item passes; None for no limit.

    Raises:
        InputError: There is no such cascade, or ``n_actors`` is not allowed.
        MachineError: Ray is not installed, or there is no cluster at that address.
        CascadeError: A node cannot open the config.
    """
    check_ray()
    import ray  # noqa: PLC0415 - the extra `ray` may be absent

    if n_actors is not None and whole(n_actors) is None:
        refuse("n_actors", n_actors, "a whole number from 1 on is needed, or None")
    is_ours = not ray.is_initialized()
    if is_ours:
        _join(address)
    try:
        needs = resources(config)
        kind = ray.remote(**needs, max_restarts=-1, max_concurrency=CONCURRENCY + 1, scheduling_strategy="SPREAD")
        own = _with_one(config, cascade)
        actors = [kind(ActorEngine).remote(own) for _ in range(n_actors or _n_fitting(needs))]
        with RayEngines(config, actors, cascade, depth) as engines:
            yield engines
    finally:
        if is_ours:
            ray.shutdown()


def _with_one(config: Config, cascade: str) -> Config:
    """The config with the one cascade that is asked, which is small enough for Ray to keep it with the actor."""
    return config.model_copy(
        update={"cascade": {name: each for name, each in config.cascade.items() if name == cascade}}
    )


def _join(address: str | None) -> None:
    import ray  # noqa: PLC0415 - the extra `ray` may be absent

    try:
        _check_listens(address or "")
        ray.init(address, log_to_driver=False, logging_level="warning", include_dashboard=None if address else False)
    except (OSError, OverflowError, ValueError, RuntimeError) as error:
        msg = f"There is no Ray cluster at {address or 'this machine'} ({error}). Start one with `ray start --head`."
        raise MachineError(msg) from error


def _check_listens(address: str) -> None:
    """Look whether anybody listens at HOST:PORT, for Ray itself would look for minutes."""
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _LOOK_S).close()


def _n_fitting(needs: Mapping[str, float]) -> int:
    """How many actors the nodes hold, at least 1."""
    import ray  # noqa: PLC0415 - the extra `ray` may be absent

    kinds = {"num_cpus": "CPU", "num_gpus": "GPU"}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    held = [min(int(node.get(kinds[name], 0) / amount) for name, amount in needs.items() if amount) for node in nodes]
    return max(sum(held), 1)

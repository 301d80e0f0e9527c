"""``Engine``: opens a backend, takes requests and returns reports. Safe to call from many threads and loops at once."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from inspect import iscoroutinefunction
from os import PathLike
from pathlib import Path
from types import NoneType, TracebackType
from typing import TYPE_CHECKING, Literal, NoReturn, Self, TypeVar

from cascade.arguments import is_real, one_of, refuse, text, texts
from cascade.backends.base import Backend
from cascade.budget import NO_LIMIT, BudgetLike, budget_of
from cascade.config.lock import check_locks
from cascade.config.model import MAX_SCALE
from cascade.config.schema import AdapterConfig, Config, shipped_config
from cascade.engine.adoption import Adopter, Adoption, Origin
from cascade.engine.generation import Generation, Generations
from cascade.engine.info import EngineInfo
from cascade.engine.item_state import ItemState
from cascade.engine.loop import Loop
from cascade.engine.observer import Log, Observer, Observers
from cascade.engine.request import OnDecision, Request, needs_evidence, new_request
from cascade.engine.settings import ConfigLike, EngineSettings, given_config, log_of, settings_of
from cascade.engine.shadow import ShadowTally
from cascade.errors import CascadeError, InputError
from cascade.items import Item, Task
from cascade.prompt import Limits, PromptBuilder
from cascade.report import Decision, Report, Step
from cascade.stages import SERVED
from cascade.tree import Cascade

if TYPE_CHECKING:
    from cascade.log.outcomes import Outcome

_Frame = TypeVar("_Frame")

_CONFIG: Literal["config"] = "config"


class Engine:
    """Runs cascades on a backend.

    Open one engine per process and share it: it holds the model, and concurrent requests share its KV cache. It may be
    called from many threads and event loops at once, but not from a process that was forked after it was opened. Use it
    as a context manager, sync or async, or call ``close``.

    Examples:
        >>> from cascade import Engine, Item
        >>> items = [Item(id="1", kind="method", name="Parser.feed"), Item(id="2", kind="class", name="Cache")]
        >>> with Engine.open() as engine:  # the shipped model and its cascades
        ...     report = engine.classify("fix the parser", items, cascade="precision", budget=2_000)  # milliseconds
        >>> [decision.id for decision in report.decisions]
        ['1', '2']
        >>> {decision.label for decision in report.decisions} <= {"excluded", "primary", "supporting", "type_context"}
        True
    """

    def __init__(
        self,
        backend: Backend | Mapping[str, Backend],
        cascades: Mapping[str, Cascade],
        limits: Limits | Mapping[str, Limits] | None = None,
        *,
        settings: EngineSettings | None = None,
    ) -> None:
        """Make an engine from its parts; ``open`` makes one from a config file.

        Args:
            backend: What scores batches; the engine closes it. For several base models, name -> backend of each.
            cascades: Name -> cascade.
            limits: Most tokens of texts from outside; None for the defaults. They may differ by model.
            settings: Default budgets, limits for concurrent requests, observers; None for the defaults.

        Raises:
            ConfigError: A cascade names an adapter that the backend lacks, or has a prior stage that is not tuned yet;
                or two backends have an adapter of the same name.
        """
        _check_cascades(cascades)
        one_of("limits", limits, (Limits, Mapping, NoneType), "a Limits is needed, a dict from model to one, or None")
        one_of("settings", settings, (EngineSettings, NoneType), "an EngineSettings is needed, or None")
        backends = dict(backend) if isinstance(backend, Mapping) else {"": backend}
        given = limits if isinstance(limits, Mapping) else dict.fromkeys(backends, limits or Limits())
        own = {name: given.get(name, Limits()) for name in backends}
        if len(backends) == 1:  # one model alone has no name
            (name,) = backends
            backends, own = {"": backends[name]}, {"": own[name]}
        settings = settings or EngineSettings()
        info = EngineInfo(backends={name: each.info for name, each in backends.items()}, limits=own)
        first = Generation(
            info=info,
            cascades=dict(cascades),
            budgets=dict(settings.budgets),
            keys={name: name for name in info.adapters if info.prefix_adapters[name] != SERVED},
        )
        self._log, self._closes_log = settings.log, settings.closes_log
        prompts = {
            name: PromptBuilder(each.form, each.tokenizer, info.limits[name]) for name, each in info.backends.items()
        }
        self._observers = Observers(settings.told)
        backends = backends if self._log is None else self._log.remembering(backends)
        self._loop = Loop(backends, prompts, settings.rules, settings.new_event_loop, self._observers)
        told = self._log.shadowed if self._log is not None else None
        self._adopter = Adopter(backends, own, self._loop, first, settings.origin, told)
        self._generations = self._adopter.generations

    @classmethod
    def open(
        cls,
        config: ConfigLike | None = None,
        observers: Sequence[Observer] = (),
        *,
        cascades: Mapping[str, Cascade] | None = None,
        labels: tuple[str, str] | None = None,
        log: Log | Literal["config"] | None = _CONFIG,
    ) -> Self:
        """An engine with the backends that a config names: this process, servers, or both.

        Args:
            config: A config, the path of a config file, or its tables as a dict; None for the shipped one.
            observers: Who is told of requests and batches.
            cascades: Name -> cascade, to run these in place of the config's own. They may ask the adapters of the
                config. Tuned thresholds are the config's own, so whether they fit is checked for its own cascades
                alone; its budgets hold for cascades of the same name.
            labels: Texts of the tokens that mean yes and no, in place of those of the prompt format.
            log: Keeps requests, decisions and calls, such as a ``DecisionLog``, which the caller closes; "config" for
                the one that the config's ``[log]`` names, if it does; None for no log.

        Raises:
            ConfigError: The config does not hold together or does not fit the model, a package is missing, or tuned
                thresholds are for other files or questions.
            ModelFileError: A model or adapter file is missing, damaged or does not fit.
            ServerError: A server cannot be reached, serves another base model, or lacks an adapter.
            MachineError: llama.cpp cannot compute here, or this process was forked from one that has used it.
        """
        from cascade.backends import open_any  # noqa: PLC0415 - gguf and llama_cpp load only where they are used

        config = given_config(shipped_config() if config is None else config)
        run = config.cascades() if cascades is None else cascades
        _check_cascades(run)  # before a model is loaded
        _check_labels(labels)
        opened = log_of(log, config)
        try:
            backends = open_any(config, run, labels)
            origin = Origin(config=config, is_whole=cascades is None)
            settings = replace(settings_of(config, observers, opened, closes_log=log == _CONFIG), origin=origin)
            limits = {name: model.limits.limits() for name, model in config.base_models.items()}
            engine = cls(backends, run, limits, settings=settings)
        except BaseException:
            if opened is not None and log == _CONFIG:
                opened.close()
            raise
        try:
            for name, cascade in run.items() if cascades is None else ():
                check_locks(config, {name: cascade}, engine.info.provenance_of(cascade))
            if config.shadow and engine.has_log and cascades is None:
                engine.adopt(config)
        except CascadeError:
            engine.close()
            raise
        return engine

    def adopt(self, config: ConfigLike) -> Adoption:
        """Take over what a config says of adapters and cascades, thresholds included, while requests run.

        Requests that run end under the adapters that they began with; all that are made from now on are asked with the
        new ones. Former adapters are freed once no request needs them, so that for a while one more of each that
        changes is in memory. Whatever goes wrong leaves everything as it was.

        Args:
            config: A config, the path of a config file or its tables, with the same base models and servers.

        Returns:
            What is other than before.

        Raises:
            InputError: The engine was made from parts.
            ConfigError: The config does not hold together, has other base models or servers, or tuned thresholds are
                for other files or questions.
            ModelFileError: An adapter's file is missing, damaged or does not fit.
            MachineError: There is not enough memory.
            ClosedError: The engine is closed.
        """
        self._loop.check_may_wait()
        return self._adopter.adopt(given_config(config))

    async def aadopt(self, config: ConfigLike) -> Adoption:
        """Take over a config, for async callers; see ``adopt``. A change that has begun comes to its end."""
        return await asyncio.to_thread(self.adopt, config)

    def swap_adapter(
        self, name: str, path: Path | str, *, scale: float = 1.0, cascades: Mapping[str, Cascade] | None = None
    ) -> Adoption:
        """Take another file for one adapter while requests run; see ``adopt``.

        Args:
            name: What cascades call the adapter, which is in this process.
            path: Its new file.
            scale: Factor on its alpha / rank.
            cascades: Name -> cascade, to run these in place of those of the same names, with thresholds for the new
                file. Tuned thresholds of the config are checked for its own cascades alone.

        Raises:
            InputError: There is no adapter of that name.
            ConfigError: A cascade does not fit, or its tuned thresholds are for the former file.
            ModelFileError: As ``adopt``.
            MachineError: As ``adopt``.
            ClosedError: As ``adopt``.

        Examples:
            >>> from cascade import Engine, shipped_config
            >>> file = shipped_config().parent / "relevant.gguf"
            >>> with Engine.open() as engine:
            ...     engine.swap_adapter("relevant", file).is_change  # it is the file that is live
            False
        """
        self._loop.check_may_wait()
        one_of("path", path, (str, PathLike), "the path of a GGUF file is needed")
        _check_cascades({} if cascades is None else cascades)
        if not (is_real(scale) and 0 < scale <= MAX_SCALE):
            refuse("scale", scale, f"a number above 0, up to {MAX_SCALE}, is needed")
        entry = AdapterConfig(path=Path(path).absolute(), scale=scale)
        return self._adopter.swap(text("name", name), entry, cascades or {})

    async def aswap_adapter(
        self, name: str, path: Path | str, *, scale: float = 1.0, cascades: Mapping[str, Cascade] | None = None
    ) -> Adoption:
        """Take another file for one adapter, for async callers; see ``swap_adapter``."""
        return await asyncio.to_thread(self.swap_adapter, name, path, scale=scale, cascades=cascades)

    def beside(self, config: ConfigLike) -> Engine:
        """Other adapters and cascades on the same base models, which are asked at the same time as these.

        What one of them computed is never used for another, but for adapters whose files are the same, of which there
        is one in memory. Each takes part in the same waves.

        Args:
            config: A config, the path of one or its tables, with the same base models and servers.

        Returns:
            An engine that shares models, log and observers with this one. ``close`` ends it alone: requests that are
            open go on, and then its adapters are freed. It ends with this engine at the latest.

        Raises:
            InputError: As ``adopt``, and so are the other errors.

        Examples:
            >>> from cascade import Engine, Item
            >>> items = [Item(id="1", name="parse")]
            >>> with Engine.open() as engine, engine.beside({"extends": "shipped"}) as other:
            ...     len(engine.classify("fix it", items).decisions), len(other.classify("fix it", items).decisions)
            (1, 1)
        """
        self._loop.check_may_wait()
        return _Beside(self, self._adopter.beside(given_config(config)))

    @property
    def cascades(self) -> Mapping[str, Cascade]:
        """Name -> cascade, as new requests are asked."""
        return self._generations.live.cascades

    @property
    def info(self) -> EngineInfo:
        """Base models, their adapters and prompt formats, as new requests are asked."""
        return self._generations.live.info

    def classify(
        self,
        task: Task | str,
        items: Sequence[Item],
        cascade: str = "precision",
        *,
        budget: BudgetLike = "config",
        on_decision: OnDecision | None = None,
    ) -> Report:
        """Label every item, and wait for the report.

        Args:
            task: The task, or its text.
            items: The items, ids unique; may be empty.
            cascade: Name of the cascade.
            budget: Milliseconds that the call may take, or a ``Budget``; None for no limit, "config" for the budget of
                the cascade's config. When time is up, an item without a label gets the likeliest label that it can
                still reach, with status ``depth_cap``, or ``deadline`` if it was asked nothing.
            on_decision: Called with each decision as soon as it is made, in the engine's own thread: it must return
                quickly and must not wait for another call. An exception from it ends the request.

        Returns:
            One decision per item, in the order of the items, and what the request cost.

        Raises:
            InputError: The task is empty, the cascade unknown, the budget not allowed, an id stands twice, or an item
                cannot be asked.
            OverloadError: Too many requests are open, or the budget cannot be kept and the engine is set to refuse.
            BackendError: Scoring failed, or the engine was closed.
        """
        self._loop.check_may_wait()
        request = self._new_request(task, items, cascade, budget, on_decision)
        self._submit(request)
        return request.report(self._wait(request))

    async def aclassify(
        self,
        task: Task | str,
        items: Sequence[Item],
        cascade: str = "precision",
        *,
        budget: BudgetLike = "config",
        on_decision: OnDecision | None = None,
    ) -> Report:
        """Label every item, for async callers; see ``classify``. Cancelling the await drops the request."""
        request = await self._anew_request(task, items, cascade, budget, on_decision)
        self._submit(request)
        answered = await asyncio.wrap_future(request.done)
        return request.report(answered)

    def submit(
        self, task: Task | str, items: Sequence[Item], cascade: str = "precision", *, budget: BudgetLike = "config"
    ) -> Future[Report]:
        """Ask for every item's label without waiting; see ``classify``. Cancelling the future drops the request.

        The future's callbacks run in the engine's own thread, so they must return quickly.

        Raises:
            InputError: As ``classify``.
            ClosedError: The engine was closed. Other errors are the future's.

        Examples:
            >>> from cascade import Engine, Item
            >>> with Engine.open() as engine:
            ...     futures = [engine.submit(task, [Item(id="1", name="parse")]) for task in ("fix it", "test it")]
            ...     [len(future.result().decisions) for future in futures]
            [1, 1]
        """
        request = self._new_request(task, items, cascade, budget)
        report: Future[Report] = Future()

        def tell(done: Future[list[ItemState]]) -> None:
            if not report.set_running_or_notify_cancel():
                return
            error = CancelledError() if done.cancelled() else done.exception()
            if error is None:
                report.set_result(request.report(done.result()))
            else:
                report.set_exception(error)

        request.done.add_done_callback(tell)
        report.add_done_callback(lambda _: self._loop.cancel(request))
        self._submit(request)
        return report

    def run(
        self,
        frame: _Frame,
        cascade: str = "precision",
        *,
        by: str = "task",
        depth: int | None = None,
        concurrency: int = 8,
        prefix: str = "",
    ) -> _Frame:
        """Label every row of a frame, and wait for the frame with columns added. It needs the extra ``frames``.

        A row is an item: its columns have the names of an item's fields (``name`` at least), and the column ``by`` has
        the text of its task; ``seeds`` and ``task_id`` may stand beside that. Rows of one task need not stand together.
        Other columns, ids and the order of rows stay as they are. A row that cannot be answered has an ``error`` and
        its ``error_kind``, and keeps no other from being answered. No time limit holds, whatever the config says.

        Args:
            frame: A ``pyarrow.Table`` or ``RecordBatch``, a ``pandas.DataFrame`` or a ``polars.DataFrame``.
            cascade: Name of the cascade.
            by: The column with the text of each row's task.
            depth: Most stages that a row passes, at least 1; None for no limit.
            concurrency: Most requests that are open at once.
            prefix: What the names of the added columns begin with.

        Returns:
            A frame of the same type with the columns ``label``, ``status``, ``p_label``, ``p_STAGE`` for each yes/no
            stage (p(yes) in [0, 1]; ``choice_STAGE`` or ``score_STAGE`` and ``confidence_STAGE`` for others),
            ``n_calls``, ``error_kind`` and ``error``. What does not apply to a row is null.

        Raises:
            InputError: It is no such frame, lacks a column, has one of those that are added, or as ``classify``.
            MachineError: pyarrow is not installed.
            ClosedError: As ``classify``.

        Examples:
            >>> import pyarrow as pa
            >>> from cascade import Engine
            >>> table = pa.table({"id": [1, 2], "task": ["fix the parser"] * 2, "name": ["Parser.feed", None]})
            >>> with Engine.open() as engine:
            ...     found = engine.run(table)
            >>> found["label"].to_pylist()[0] in engine.cascade("precision").labels, found["error_kind"].to_pylist()
            (True, [None, 'item'])
        """
        from cascade.batch.frames import run_frame  # noqa: PLC0415 - it is built on the engine

        self._loop.check_may_wait()
        return run_frame(self, frame, cascade, by=by, depth=depth, concurrency=concurrency, prefix=prefix)

    async def stream(
        self, task: Task | str, items: Sequence[Item], cascade: str = "precision", *, budget: BudgetLike = "config"
    ) -> AsyncGenerator[Decision, None]:
        """Yield each decision as soon as it is made; see ``classify``. Leaving the iteration early drops the request.

        Examples:
            >>> import asyncio
            >>> from cascade import Engine, Item
            >>> async def main() -> list[str]:
            ...     async with Engine.open() as engine:
            ...         stream = engine.stream("fix the parser", [Item(id="1", name="parse")])
            ...         return [decision.id async for decision in stream]
            >>> asyncio.run(main())
            ['1']
        """
        loop = asyncio.get_running_loop()
        settled: asyncio.Queue[Decision | None] = asyncio.Queue()

        def post(decision: Decision | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(settled.put_nowait, decision)

        request = await self._anew_request(task, items, cascade, budget, post)
        request.done.add_done_callback(lambda _: post(None))
        self._submit(request)
        try:
            while (decision := await settled.get()) is not None:
                yield decision
            request.done.result()
        finally:
            self._loop.cancel(request)

    def score(self, task: Task | str, items: Sequence[Item], cascade: str, *stages: str) -> list[tuple[Step, ...]]:
        """Ask every item the questions of the given stages, whatever the tree would skip.

        ``cascade evaluate`` and ``cascade tune`` use it to see each stage by itself.

        Args:
            task: The task, or its text.
            items: The items, ids unique.
            cascade: Name of the cascade.
            stages: Names of the stages, each once; all stages of the cascade if none is given.

        Returns:
            For each item, in their order, one step per stage and tier.

        Raises:
            InputError: As ``classify``, or a stage is unknown.
            BackendError: As ``classify``.
        """
        self._loop.check_may_wait()
        request = self._submit_score(self._new_request(task, items, cascade, None), stages)
        return [tuple(state.steps) for state in self._wait(request)]

    async def ascore(self, task: Task | str, items: Sequence[Item], cascade: Cascade | str, *stages: str) -> Report:
        """Ask every item the questions of the given stages, for async callers; cancelling the await drops the request.

        Args:
            task: The task, or its text.
            items: The candidates.
            cascade: Name of the cascade, or one that the engine does not know.
            stages: As ``score``.

        Returns:
            One decision per item, with its steps and without a label, and what the request cost.

        Raises:
            InputError: As ``score``, or the cascade asks an adapter that the backend lacks.
            BackendError: As ``classify``.
        """
        request = self._submit_score(await self._anew_request(task, items, cascade, None), stages)
        answered = await asyncio.wrap_future(request.done)
        return request.report(answered)

    async def aask(
        self, task: Task | str, items: Sequence[Item], cascade: Cascade | str, stages: Mapping[str, str]
    ) -> Report:
        """Ask every item the question of one stage of its own, for async callers; see ``ascore``.

        Args:
            task: The task.
            items: The candidates.
            cascade: As ``ascore``.
            stages: Id of an item -> name of its stage; every item has one.

        Returns:
            As ``ascore``.

        Raises:
            InputError: As ``ascore``, or an item has no stage.
            BackendError: As ``classify``.
        """
        open_ = [item.id for item in items if item.id not in stages]
        if open_:
            msg = f"Item {open_[0]!r} has no stage; name one for every item."
            raise InputError(msg)
        request = await self._anew_request(task, items, cascade, None)
        self._submit(request, only={name: (stage,) for name, stage in stages.items()})
        answered = await asyncio.wrap_future(request.done)
        return request.report(answered)

    def cascade(self, name: str) -> Cascade:
        """The cascade of that name.

        Raises:
            InputError: There is none.
        """
        return self._generations.live.cascade(name)

    @property
    def config(self) -> Config | None:
        """The config that it runs, as it was opened with or has adopted since; None for an engine of parts."""
        return self._adopter.config

    @property
    def n_cached(self) -> int:
        """Prompt nodes that the backend keeps for open requests; 0 when there is none."""
        return self._loop.n_cached

    @property
    def is_open(self) -> bool:
        """Whether the engine accepts requests; False once it is closed or has failed."""
        return self._loop.is_open

    @property
    def shadow(self) -> ShadowTally:
        """What adapters that answer beside the live ones have done so far."""
        return self._adopter.shadow.tally

    @property
    def has_log(self) -> bool:
        """Whether it keeps a log, which ``record_outcome`` needs."""
        return self._log is not None

    def settle(self) -> None:
        """Answer open requests with what they have, as if their time were up; ``score`` fails. Returns at once."""
        self._loop.settle()

    def close(self) -> None:
        """Stop the engine and free model and cache. Calls that wait get a ClosedError. A second ``close`` does nothing.

        Raises:
            InputError: It is called in the engine's own thread, such as from ``on_decision``, where it would wait for
                itself.
        """
        self._loop.stop()
        self._end_log()

    def record_outcome(self, outcomes: Outcome | Iterable[Outcome]) -> None:
        """Keep in the log what became of items: what was really used, changed or wrong.

        Args:
            outcomes: One or several; a later one for the same task, item and kind corrects an earlier one.

        Raises:
            InputError: The engine has no log, or one is no Outcome.
            MachineError: The log is closed, or too many entries wait for the disk.
        """
        if self._log is None:
            msg = "This engine keeps no log. Give the config a [log] with a path, or Engine.open a DecisionLog."
            raise InputError(msg)
        self._log.record(outcomes)

    def _end_log(self) -> None:
        if self._log is not None:
            self._log.close() if self._closes_log else self._log.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._loop.astop()
        await asyncio.to_thread(self._end_log)

    def _new_request(
        self,
        task: Task | str,
        items: Sequence[Item],
        cascade: Cascade | str,
        budget: BudgetLike,
        on_decision: OnDecision | None = None,
        called: float | None = None,
    ) -> Request:
        called = self._loop.now() if called is None else called
        _check_function(on_decision)
        generation, token = self._generations.enter()
        try:
            if isinstance(cascade, Cascade):
                generation.info.check(cascade)
                name, expected = cascade.name, generation.profile(cascade)
            else:
                generation.cascade(cascade)  # refuses a name that is unknown
                name, expected = cascade, generation.expected[cascade]
            allowed = budget_of(budget, generation.budgets.get(name, NO_LIMIT))
            request = new_request(task, items, expected, generation.info.provenance, called=called, budget=allowed)
        except BaseException:
            self._generations.leave(generation, token)
            raise
        weakref.finalize(request, generation.open.discard, token).atexit = False  # nobody may hand it over
        request.done.add_done_callback(lambda _: self._generations.leave(generation, token))
        if self._adopter.shadow.generation is not None and self._generations is self._adopter.generations:
            request.done.add_done_callback(lambda _: self._adopter.shadow.follow(request))
        request.on_decision, request.is_callers = on_decision, isinstance(cascade, Cascade)
        return request

    async def _anew_request(
        self,
        task: Task | str,
        items: Sequence[Item],
        cascade: Cascade | str,
        budget: BudgetLike,
        on_decision: OnDecision | None = None,
    ) -> Request:
        """A new request for async callers; evidence is made in another thread, for it takes longer than loops wait."""
        called = self._loop.now()
        named = cascade if isinstance(cascade, Cascade) else self.cascade(cascade)
        if needs_evidence(named, items):
            return await asyncio.to_thread(self._new_request, task, items, cascade, budget, on_decision, called)
        return self._new_request(task, items, cascade, budget, on_decision, called)

    def _submit_score(self, request: Request, stages: Sequence[str]) -> Request:
        return self._submit(request, only=stages or [stage.name for stage in request.cascade.stages])

    def _wait(self, request: Request) -> list[ItemState]:
        """What a request was answered; it is dropped where its caller is interrupted meanwhile."""
        try:
            request.told.wait()  # a future wakes who waits for it before it tells who watches it
            return request.done.result()
        except BaseException:
            self._loop.cancel(request)
            raise

    def _submit(self, request: Request, only: Sequence[str] | Mapping[str, Sequence[str]] = ()) -> Request:
        try:
            request.begin(only)
            self._observers.watch(request)
            told = request.told
            request.done.add_done_callback(lambda _: told.set())
            self._loop.submit(request)
        except CascadeError:
            request.done.cancel()  # whoever watches it hears that it is over
            raise
        return request


class _Beside(Engine):
    """Other adapters and cascades of an engine; see ``Engine.beside``."""

    def __init__(self, engine: Engine, generations: Generations) -> None:
        vars(self).update(vars(engine), _generations=generations)

    def close(self) -> None:
        """Ask these adapters and cascades no more, and free them once nobody waits for them."""
        self._loop.check_may_wait()
        self._generations.end()

    @property
    def is_open(self) -> bool:
        """Whether it accepts requests; False once it or the engine that it stands beside is closed."""
        return self._loop.is_open and not self._generations.is_over

    def adopt(self, *_: object, **__: object) -> NoReturn:
        """Refused: it would change the engine that this one stands beside."""
        raise InputError(_STANDS_BESIDE)

    def swap_adapter(self, *_: object, **__: object) -> NoReturn:
        """Refused: it would change the engine that this one stands beside."""
        raise InputError(_STANDS_BESIDE)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_STANDS_BESIDE = "These adapters and cascades stand beside an engine. Close them, and open others with `beside`."


def _check_function(value: object) -> None:
    """Refuse what cannot be told of decisions."""
    if value is not None and not callable(value):
        refuse("on_decision", value, "a function of one decision is needed, or None")
    if iscoroutinefunction(value):
        refuse("on_decision", value, "a function that is not async is needed; async callers may use stream")


def _check_cascades(cascades: object) -> None:
    """Refuse what cannot be run, whatever the backend has."""
    for name, cascade in one_of("cascades", cascades, Mapping, "a dict from name to Cascade is needed").items():
        one_of(f"cascades[{name!r}]", cascade, Cascade, "a Cascade is needed").check_is_tuned()


def _check_labels(labels: object) -> None:
    """Refuse what are no texts of yes and no."""
    if labels is not None and len(texts("labels", labels)) != 2:  # noqa: PLR2004 - yes and no
        refuse("labels", labels, "the texts of two tokens are needed, those of yes and no, or None")

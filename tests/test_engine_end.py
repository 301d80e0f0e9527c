"""How an engine ends: by a fault, by being closed at any moment, in a forked process, with the interpreter."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from typing import TypeVar

import pytest

from cascade import (
    BackendError,
    BackendFacts,
    ClosedError,
    Decision,
    Engine,
    InputError,
    Scores,
    ScriptedBackend,
    SeenWave,
    Wave,
)
from cascade.backends.scripted import ByteTokenizer
from cascade.engine_settings import EngineSettings
from cascade.prompt import Node
from cascade.request import Request
from cascade.stop import Stop
from tests.asyncs import run
from tests.requests import plain_items
from tests.shipped import CASCADES

ADAPTERS = frozenset({"relevant", "primary", "supporting", "dependency", "co_change", "metadata"})
ENDINGS = [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, MemoryError, StopIteration]
PATIENCE_S = 30
T = TypeVar("T")


def _begin(function: Callable[..., T], *arguments: object, **options: object) -> Future[T]:
    """A call in a thread that ends with the tests, whatever becomes of it."""
    done: Future[T] = Future()

    def call() -> None:
        try:
            done.set_result(function(*arguments, **options))
        except BaseException as error:  # noqa: BLE001 - what is raised is looked at
            done.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    return done


class _Faulty(ScriptedBackend):
    """A backend that waits until it is let, and then raises."""

    def __init__(self, error: type[BaseException], *, at_release: bool = False) -> None:
        super().__init__(script=dict.fromkeys(ADAPTERS, 0.9), adapters=ADAPTERS)
        self.error, self.at_release = error, at_release
        self.gate, self.reached = threading.Event(), threading.Event()

    async def score(self, wave: Wave, stop: Stop) -> Scores:
        self.reached.set()
        await asyncio.to_thread(self.gate.wait, PATIENCE_S)
        if not self.at_release:
            raise self.error
        return await super().score(wave, stop)

    def release(self, nodes: Iterable[Node], lineage: str | None = None) -> None:
        if self.at_release:
            raise self.error
        super().release(nodes, lineage)


def _check_that_all_hear(backend: _Faulty) -> None:
    """Calls that are being served, that wait in line and that come later get an error, and closing comes to an end."""
    engine = Engine(backend, CASCADES)
    calls = [_begin(engine.classify, "a task", plain_items(3))]
    assert backend.reached.wait(PATIENCE_S)
    calls += [_begin(engine.classify, "a task", plain_items(3), budget=60_000) for _ in range(3)]
    backend.gate.set()
    errors = [call.exception(timeout=PATIENCE_S) for call in calls]
    failed = [error for error in errors if error is not None]
    assert failed
    assert all(isinstance(error, BackendError) and "Open a new one" in str(error) for error in failed)
    with pytest.raises(BackendError, match=r"open a new one|Open a new one"):
        _begin(engine.classify, "a task", plain_items(1)).result(timeout=PATIENCE_S)
    _begin(engine.close).result(timeout=PATIENCE_S)
    assert not engine.is_open
    assert engine.n_kept == 0
    assert backend.is_closed


@pytest.mark.parametrize("error", ENDINGS)
def test_whatever_a_backend_raises_completes_every_call(error: type[BaseException]) -> None:
    """Not even what would end a program or a task leaves a caller waiting."""
    _check_that_all_hear(_Faulty(error))


@pytest.mark.parametrize("error", [SystemExit, RuntimeError])
def test_whatever_a_release_raises_completes_every_call(error: type[BaseException]) -> None:
    """A backend that fails outside of a wave leaves no caller waiting either."""
    _check_that_all_hear(_Faulty(error, at_release=True))


class _StrayTask(_Faulty):
    """A backend that starts a task of its own, which raises while the wave waits."""

    async def score(self, wave: Wave, stop: Stop) -> Scores:
        task = asyncio.ensure_future(super().score(wave, stop))
        await asyncio.wait([task])
        return task.result()


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_a_task_of_a_backend_raises_completes_every_call(error: type[BaseException]) -> None:
    """What ends the event loop from within another task than the engine's is heard by all callers, too."""
    _check_that_all_hear(_StrayTask(error))


class _Unreadable(ByteTokenizer):
    """A tokenizer that would end the program over one text."""

    def encode(self, text: str, *, special: bool) -> list[int]:
        if "unreadable" in text:
            raise SystemExit
        return super().encode(text, special=special)


class _Unread(ScriptedBackend):
    """A backend with that tokenizer."""

    @property
    def facts(self) -> BackendFacts:
        return replace(super().facts, tokenizer=_Unreadable())


def test_a_fault_in_building_prompts_fails_its_request_alone() -> None:
    """Whatever is raised over one request's texts goes to its caller; others are answered."""
    with Engine(_Unread(dict.fromkeys(ADAPTERS, 0.9), ADAPTERS), CASCADES) as engine:
        with pytest.raises(SystemExit):
            engine.classify("unreadable", plain_items(2))
        assert len(engine.classify("a task", plain_items(2)).decisions) == 2


@run
async def test_whatever_a_callers_function_raises_reaches_a_caller_that_awaits() -> None:
    """A StopIteration, which no awaited future may hold, does not leave the caller waiting."""

    def leave(_: Decision) -> None:
        raise StopIteration

    async with Engine(ScriptedBackend(dict.fromkeys(ADAPTERS, 0.9), ADAPTERS), CASCADES) as engine:
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(RuntimeError, match="StopIteration"):
                await engine.aclassify("a task", plain_items(2), on_decision=leave)


@pytest.mark.parametrize("name", ["classify", "probe", "close"])
def test_a_callers_function_cannot_wait_for_the_engine(name: str) -> None:
    """In the engine's own thread a call that would wait for itself is refused, and says what to do."""
    with Engine(ScriptedBackend(dict.fromkeys(ADAPTERS, 0.9), ADAPTERS), CASCADES) as engine:

        def wait(_: Decision) -> None:
            match name:
                case "classify":
                    engine.classify("another", plain_items(1))
                case "probe":
                    engine.probe("another", plain_items(1), "precision")
                case _:
                    engine.close()

        with pytest.raises(InputError, match=r"engine's own thread.*Let another thread call"):
            engine.classify("a task", plain_items(2), on_decision=wait)
        assert len(engine.classify("a task", plain_items(2)).decisions) == 2


class _Nosy:
    """An observer that asks the engine itself."""

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.errors: list[Exception] = []

    def began(self, request: Request) -> None:
        """It minds its own business."""

    def scored(self, seen: SeenWave) -> None:
        """It closes the engine, in the engine's thread."""
        self._try(seen)

    def ended(self, request: Request) -> None:
        """It closes the engine, in the engine's thread."""
        self._try(request)

    def _try(self, _: object) -> None:
        assert self.engine is not None
        try:
            self.engine.close()
        except InputError as error:
            self.errors.append(error)


def test_an_observer_cannot_wait_for_the_engine() -> None:
    """What it tries in the engine's own thread is refused, and the request is answered."""
    nosy = _Nosy()
    backend = ScriptedBackend({"relevant": 0.01}, ADAPTERS)
    with Engine(backend, CASCADES, settings=EngineSettings(observers=[nosy])) as nosy.engine:
        assert len(nosy.engine.classify("a task", plain_items(2)).decisions) == 2
        assert len(nosy.errors) == 2


def test_a_closed_engine_keeps_nothing() -> None:
    """Where requests are open when it closes, all that was kept for them is counted as gone."""
    engine = Engine.open()
    begun = threading.Event()
    calls = [
        _begin(engine.classify, "a task", plain_items(300), budget=None, on_decision=lambda _: begun.set())
        for _ in range(2)
    ]
    assert begun.wait(PATIENCE_S)
    _begin(engine.close).result(timeout=PATIENCE_S)
    assert engine.n_kept == 0
    errors = [call.exception(timeout=PATIENCE_S) for call in calls]
    assert all(error is None or isinstance(error, ClosedError) for error in errors)

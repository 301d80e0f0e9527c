"""How an engine ends: by a fault, by being closed at any moment, in a forked process, with the interpreter."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import TypeVar

import pytest

from cascade import Decision, Engine, ScriptedBackend
from cascade.backends.base import BackendInfo, Batch, Scores, Stop
from cascade.backends.scripted import ByteTokenizer
from cascade.engine.observer import SeenBatch
from cascade.engine.request import Request
from cascade.engine.settings import EngineSettings
from cascade.errors import BackendError, ClosedError, InputError
from cascade.prompt import Node
from tests.helpers.asyncs import run
from tests.helpers.requests import plain_items
from tests.helpers.shipped import ADAPTERS, CASCADES

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


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


class _Faulty(ScriptedBackend):
    """A backend that waits until it is let, and then raises."""

    def __init__(self, error: type[BaseException], *, at_release: bool = False) -> None:
        super().__init__(script=dict.fromkeys(ADAPTERS, 0.9), adapters=ADAPTERS)
        self.error, self.at_release = error, at_release
        self.gate, self.reached = threading.Event(), threading.Event()

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        self.reached.set()
        await asyncio.to_thread(self.gate.wait, PATIENCE_S)
        if not self.at_release:
            raise self.error
        return await super().score(batch, stop)

    def release(self, nodes: Iterable[Node], prefix_adapter: str | None = None) -> None:
        if self.at_release:
            raise self.error
        super().release(nodes, prefix_adapter)


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
    assert all(isinstance(error, BackendError) and "pen a new one" in str(error) for error in failed)
    with pytest.raises(BackendError, match="pen a new one"):
        _begin(engine.classify, "a task", plain_items(1)).result(timeout=PATIENCE_S)
    _begin(engine.close).result(timeout=PATIENCE_S)
    assert not engine.is_open
    assert engine.n_cached == 0
    assert backend.is_closed


@pytest.mark.parametrize("error", ENDINGS)
def test_whatever_a_backend_raises_completes_every_call(error: type[BaseException]) -> None:
    """Not even what would end a program or a task leaves a caller waiting."""
    _check_that_all_hear(_Faulty(error))


@pytest.mark.parametrize("error", [SystemExit, RuntimeError])
def test_whatever_a_release_raises_completes_every_call(error: type[BaseException]) -> None:
    """A backend that fails outside of a batch leaves no caller waiting either."""
    _check_that_all_hear(_Faulty(error, at_release=True))


class _StrayTask(_Faulty):
    """A backend that starts a task of its own, which raises while the batch waits."""

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        task = asyncio.ensure_future(super().score(batch, stop))
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
    def info(self) -> BackendInfo:
        return replace(super().info, tokenizer=_Unreadable())


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


@pytest.mark.parametrize("name", ["classify", "score", "close"])
def test_a_callers_function_cannot_wait_for_the_engine(name: str) -> None:
    """In the engine's own thread a call that would wait for itself is refused, and says what to do."""
    with Engine(ScriptedBackend(dict.fromkeys(ADAPTERS, 0.9), ADAPTERS), CASCADES) as engine:

        def wait(_: Decision) -> None:
            match name:
                case "classify":
                    engine.classify("another", plain_items(1))
                case "score":
                    engine.score("another", plain_items(1), "precision")
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

    def scored(self, seen: SeenBatch) -> None:
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


@pytest.mark.slow
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
    assert engine.n_cached == 0
    errors = [call.exception(timeout=PATIENCE_S) for call in calls]
    assert all(error is None or isinstance(error, ClosedError) for error in errors)


_PRELUDE = """
import atexit, multiprocessing, os, sys, threading
last = []
atexit.register(lambda: [function() for function in last])  # what is registered first is called last
from cascade import CascadeError, Engine, ScriptedBackend
from tests.helpers.requests import plain_items
from tests.helpers.shipped import ADAPTERS, CASCADES

def say(what, call):
    try:
        print(what, call(), flush=True)
    except CascadeError as error:
        print(what, type(error).__name__, error, flush=True)

def count(engine, n=3):
    return len(engine.classify("a task", plain_items(n), budget=None).decisions)
"""


def _run(program: str) -> tuple[int, list[str], str]:
    """Run a program in a process of its own: its exit status, the lines of its output, and what it says to stderr."""
    done = subprocess.run(
        [sys.executable, "-c", _PRELUDE + dedent(program)],
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_S,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.mark.slow
@needs_fork
def test_a_forked_process_hangs_with_no_engine_of_its_parents() -> None:
    """What it inherits is closed, what it opens says what to do, it comes to its end, and the parent goes on."""
    status, lines, errors = _run("""
        engine = Engine.open()
        count(engine)
        child = os.fork()
        if not child:
            say("inherited", lambda: count(engine))
            say("open", lambda: engine.is_open)
            say("kept", lambda: engine.n_cached)
            say("settled", engine.settle)
            say("closed", engine.close)
            say("new", Engine.open)
            sys.exit(7)
        print("status", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        say("parent", lambda: count(engine))
        engine.close()
    """)
    assert (status, errors) == (0, "")
    assert re.fullmatch(r"inherited ClosedError The engine belongs to process \d+, .* \"spawn\" method .*", lines[0])
    assert lines[1:5] == ["open False", "kept 0", "settled None", "closed None"]
    assert re.fullmatch(r"new MachineError llama.cpp was used in process \d+ .* \"spawn\" method.*", lines[5])
    assert lines[6:] == ["status 7", "parent 3"]


@pytest.mark.slow
@needs_fork
def test_a_process_that_was_forked_before_llama_cpp_was_used_opens_engines() -> None:
    """An engine without llama.cpp in its parent does not keep it from an engine of its own."""
    status, lines, errors = _run("""
        engine = Engine(ScriptedBackend({"relevant": 0.01}, frozenset(CASCADES["precision"].adapters())),
                        {"precision": CASCADES["precision"]})
        count(engine)
        child = os.fork()
        if not child:
            with engine, Engine.open() as own:
                say("own", lambda: count(own))
            sys.exit(0)
        print("status", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        say("parent", lambda: count(engine))
    """)
    assert (status, errors, lines) == (0, "", ["own 3", "status 0", "parent 3"])


@pytest.mark.slow
@needs_fork
def test_a_pool_of_forked_processes_gives_its_caller_the_error() -> None:
    """The error goes back from the pool's process, which ends as any other."""
    status, lines, errors = _run("""
        engine = Engine.open()
        def ask(_):
            return count(engine)
        with multiprocessing.get_context("fork").Pool(1) as pool:
            say("pool", lambda: pool.map(ask, [1]))
    """)
    assert (status, errors) == (0, "")
    assert lines[0].startswith("pool ClosedError The engine belongs to process")


@pytest.mark.slow
def test_threads_and_exit_functions_are_answered_after_the_main_thread() -> None:
    """Threads that are still in a call when the main thread ends get their answer, and so do functions at exit."""
    status, lines, errors = _run("""
        engine = Engine.open()
        started = threading.Event()
        def work():
            started.set()
            say("thread", lambda: count(engine, 400))
        threading.Thread(target=work).start()
        started.wait()
        atexit.register(lambda: say("exit", lambda: count(engine)))
        print("main", flush=True)
    """)
    assert (status, errors, lines) == (0, "", ["main", "thread 400", "exit 3"])


@pytest.mark.slow
def test_what_waits_when_python_ends_hears_of_it() -> None:
    """An exit function that waits for a daemon's call is no deadlock: engines end, and the call gets a ClosedError."""
    status, lines, errors = _run("""
        begun = threading.Event()
        engine = Engine.open()
        thread = threading.Thread(
            target=lambda: say("daemon", lambda: engine.classify(
                "a task", plain_items(5000), budget=None, on_decision=lambda _: begun.set())),
            daemon=True,
        )
        thread.start()
        last.append(thread.join)
        begun.wait()
    """)
    assert (status, errors) == (0, "")
    assert len(lines) == 1
    assert lines[0].startswith("daemon ClosedError Python ended while this call was waiting.")


@pytest.mark.slow
@needs_fork
def test_an_engine_without_files_to_open_says_so() -> None:
    """Where its event loop could not be made, one line says what to do, and nothing is printed beside it."""
    status, lines, errors = _run("""
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (128, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        def engine():
            adapters = frozenset(CASCADES["precision"].adapters())
            with Engine(ScriptedBackend({"relevant": 0.01}, adapters), {"precision": CASCADES["precision"]}) as it:
                return count(it)
        say("before", engine)
        held = []
        while len(held) < 1000:
            try:
                held.append(os.dup(0))
            except OSError:
                break
        for free in range(4):
            say(free, engine)
            os.close(held.pop())
        while held:
            os.close(held.pop())
        say("after", engine)
    """)
    assert (status, errors) == (0, "")
    assert (lines[0], lines[-1]) == ("before 3", "after 3")
    assert len(lines) == 6
    assert all(" MachineError The engine cannot open the pipes that it needs" in line for line in lines[1:-1])

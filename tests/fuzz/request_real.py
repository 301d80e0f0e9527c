"""Real requests: the shipped model in contexts so small that everything is cut and evicted, wrapped in trouble."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf, nan
from pathlib import Path

from cascade import Engine
from cascade.backends.base import BackendInfo, Batch, Query, Scores, Stop
from cascade.backends.llama.backend import LlamaBackend
from cascade.backends.llama.native import ContextSize
from cascade.backends.llama.runner import LlamaRunner
from cascade.engine.admission import Rules
from cascade.engine.settings import EngineSettings
from cascade.errors import BackendError
from cascade.models.model_set import ModelSet, file_hash, load_model_set
from cascade.prompt import Node, prompt_format
from cascade.stages import BASE, Question
from tests.fuzz.request_book import BookedModel
from tests.fuzz.request_calls import Callers, Tally
from tests.fuzz.request_checks import Checker, Truth
from tests.fuzz.request_worlds import Asked, Kind, World, random_world
from tests.helpers.gguf_files import write_filled
from tests.helpers.rig import Rig
from tests.helpers.shipped import SHIPPED

TOLERANCE = 5e-3
"""Of a score: calls of fewer than 64 tokens have another kernel, which moves p by up to 0.002; the book is exact."""

AT_ONCE = 8
"""Callers at once."""

BROKEN = "broken"
"""An adapter whose weights are finite and overflow."""

KINDS = {Kind.CLASSIFY: 5, Kind.STREAM: 3, Kind.SCORE: 1, Kind.THREAD: 3}
"""How often requests are made in which way."""

FORM = prompt_format("embedded")

_LARGE = ContextSize(n_ctx=2_048, n_seq_max=8, n_batch=512, n_threads=1)
_HUGE = 3e4
_MEAN_S = 0.05
_SETTLING_S = 20.0


@dataclass(frozen=True, slots=True)
class Yard:
    """What answers are held against, which all engines of a run share.

    Attributes:
        models: The files.
        world: What is asked.
        truth: What is answered on an empty cache.
    """

    models: ModelSet
    world: World
    truth: Truth


class Troubled:
    """A backend around another one, which fails in every way a backend may.

    Args:
        inner: What computes.
        rng: Where chance comes from.
        share: How much of the batches has trouble of each kind.
    """

    def __init__(self, inner: LlamaBackend, rng: random.Random, share: float) -> None:
        self._inner, self._rng, self._share = inner, rng, share
        self.n_faults = self.n_unable = 0

    @property
    def info(self) -> BackendInfo:
        """See ``Backend.info``."""
        return self._inner.info

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        """See ``Backend.score``."""
        if self._happens():
            self.n_faults += 1
            msg = "The backend fails, as it was told to. Ask again."
            raise BackendError(msg)
        if self._happens():
            await asyncio.sleep(self._rng.uniform(0, _MEAN_S))
        if self._happens():
            end = self._rng.choice((stop.ask, stop.abort))
            asyncio.get_running_loop().call_later(self._rng.uniform(0, 0.01), end)
        scores = await self._inner.score(batch, stop)
        if self._happens():
            self.n_faults += 1
            at = self._rng.randrange(len(scores.logits))
            logits = [*scores.logits[:at], self._rng.choice((nan, inf, -inf)), *scores.logits[at + 1 :]]
            return replace(scores, logits=logits)
        if self._happens():
            self.n_faults += 1
            return replace(scores, logits=scores.logits[1:])
        return scores

    def release(self, nodes: Iterable[Node], prefix_adapter: str | None = None) -> None:
        """See ``Backend.release``."""
        self._inner.release(nodes, prefix_adapter)

    async def close(self) -> None:
        """See ``Backend.close``."""
        await self._inner.close()

    def _happens(self) -> bool:
        return self._rng.random() < self._share


@contextmanager
def opened_yard(seed: int) -> Iterator[Yard]:
    """A yard, with a context of its own."""
    with tempfile.TemporaryDirectory() as folder:
        models = _models(Path(folder))
        rig = Rig(models, _LARGE)
        try:
            adapters = [BASE, *models.adapters]
            world = random_world(random.Random(seed), adapters, n_cascades=6, n_items=10)
            yield Yard(models, world, Truth(world, rig.builder, _cold(rig), TOLERANCE))
        finally:
            rig.native.close()


def run(yard: Yard, seed: int, n: int, patience_s: float, runner: type[LlamaRunner] = LlamaRunner) -> Tally:
    """Requests on one engine.

    Args:
        yard: What they ask, and what is right.
        seed: Everything follows from it but when threads run.
        n: Requests.
        patience_s: Seconds after which a request counts as hung.
        runner: What runs batches; a test may plant a fault in it.
    """
    rng = random.Random(seed)
    size = ContextSize(
        n_ctx=rng.choice((512, 768, 1_536)),
        n_seq_max=rng.choice((6, 8, 12, 40)),  # texts of three lengths need six
        n_batch=rng.choice((32, 96, 256)),
        n_batch_questions=rng.choice((4, 62)),
        n_threads=1,
    )
    inner, book = _backend(yard.models, size, runner)
    faulty = Troubled(inner, random.Random(rng.random()), rng.choice((0.0, 0.02, 0.1)))
    rules = Rules(asks_ahead=rng.random() < 0.7)
    checker = Checker(yard.truth)
    with Engine(faulty, yard.world.cascades, settings=EngineSettings(rules=rules)) as engine:
        callers = Callers(engine, checker, faulty, rules, rng, broken=frozenset({BROKEN}))
        asyncio.run(_all(callers, [yard.world.asked(rng, KINDS, 6, _MEAN_S) for _ in range(n)], patience_s))
        usage = inner.usage()
        left = {"nodes of the planner": engine.n_cached, "cells": usage.cells, "sequences": usage.sequences}
        for problem in (f"{number} {what} are left" for what, number in left.items() if number):
            callers.tally.fail(problem)
        callers.tally.ends["wrong"] += len(book.faults)
        callers.tally.failures += book.faults[:1]
        if usage.peak_cells > engine.info.main.max_tokens:
            callers.tally.fail(f"{usage.peak_cells} cells were used at once, of {engine.info.main.max_tokens}")
        if not engine.is_open:
            callers.tally.fail("the engine has failed")
    callers.tally.items, callers.tally.steps = checker.n_items, checker.n_steps
    return callers.tally


async def _all(callers: Callers, asked: Iterable[Asked], patience_s: float) -> None:
    """Several callers, each with one request after the other."""
    left = iter(asked)

    async def caller() -> None:
        for request in left:
            try:
                await asyncio.wait_for(callers.one(request), patience_s)
            except TimeoutError:
                callers.tally.fail(f"a {request.kind} has not ended within {patience_s:.0f} s")

    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))
    for _ in range(round(_SETTLING_S / 0.01)):  # what was given up at last is let go in the engine's own time
        if not callers.engine.n_cached:
            break
        await asyncio.sleep(0.01)


def _models(folder: Path) -> ModelSet:
    """The shipped files, and an adapter that overflows."""
    models = load_model_set(SHIPPED)
    sound = models.adapters["co_change"]
    path = write_filled(sound.path, folder / "broken.gguf", _HUGE)
    return replace(
        models, adapters={**models.adapters, BROKEN: replace(sound, name=BROKEN, path=path, sha256=file_hash(path))}
    )


def _backend(models: ModelSet, size: ContextSize, runner: type[LlamaRunner]) -> tuple[LlamaBackend, BookedModel]:
    """A backend, and the book of its cache."""
    usual = LlamaBackend.open(models, FORM, size)
    usual.abandon()
    book = BookedModel(models.model_path, size)
    rig = Rig(models, book, runner)
    return LlamaBackend(rig.runner, book, models, replace(usual.info, tokenizer=book.tokenizer)), book


def _cold(rig: Rig) -> Callable[[Node, Question], float]:
    def p(item: Node, question: Question) -> float:
        return rig.cold(Query(rig.builder.question(item, question.marker), question.adapter))

    return p

"""A backend that computes nothing and takes time as a machine would: prices of its own, noise and stalls.

It keeps book of prompt nodes as llama.cpp's cache would hold them, cuts batches into calls as the
embedded backend does, and ends them early when it is told to.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from cascade.backends.base import BackendInfo, Batch, BatchCost, Scores, Stop
from cascade.backends.costs import CallSizes, Costs, Work
from cascade.backends.scripted import ByteTokenizer
from cascade.errors import DecodeError
from cascade.machine import n_cores
from cascade.prompt import FORMATS, Node
from cascade.report import Provenance
from cascade.stages import BASE

_SLICE_S = 2e-3  # of time, after which those that share cores look who else is there
_AT_ONCE = 0.89  # what two at once take over one after the other, as measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the simulated machine is like; the engine is not told.

    Attributes:
        costs: What the parts of a call really cost.
        noise: Standard deviation of the logarithm of a call's time.
        stalls: Share of batches that stall, in [0, 1].
        stall: Least and most times as long as usual that a batch takes which stalls.
        abort_s: Most seconds from an abort to the batch's end.
    """

    costs: Costs = field(
        default_factory=lambda: Costs(
            per_token_ms=0.2, per_output_ms=0.6, per_call_ms=6.0, per_swap_ms=4.0, per_cell_ms=4e-5
        )
    )
    noise: float = 0.1
    stalls: float = 0.02
    stall: tuple[float, float] = (3.0, 30.0)
    abort_s: float = 0.005

    def predict(self, work: Work) -> float:
        """Milliseconds of work on average, stalls aside."""
        return work.at(self.costs.parts)


@dataclass(slots=True)
class Cores:
    """What the backends of several models share.

    Attributes:
        n_busy: Backends that compute.
        most_busy: The most at once so far.
    """

    n_busy: int = 0
    most_busy: int = 0

    @property
    def slowdown(self) -> float:
        """How many times as long as alone each of them takes."""
        return self.n_busy * _AT_ONCE if self.n_busy > 1 else 1.0


@dataclass(frozen=True, slots=True)
class _Call:
    """A call of the model: its work, and the nodes and queries that it finishes."""

    work: Work
    nodes: tuple[Node, ...] = ()
    queries: tuple[int, ...] = ()


class SimulatedBackend:
    """Answers at random.

    Args:
        adapters: Adapters that queries may ask; each is an activated one, so that items are computed once.
        machine: What it takes.
        rng: Where chance comes from.
        cores: What it shares with others; None if it is the only one.
        base: Name of the model without an adapter.

    Attributes:
        machine: What it takes.
        n_batches: Batches so far.
        kept: Nodes that are kept.
    """

    def __init__(
        self,
        adapters: Iterable[str],
        machine: Machine,
        rng: random.Random,
        cores: Cores | None = None,
        base: str = BASE,
    ) -> None:
        names = sorted(adapters)
        self.machine = machine
        self.n_batches = 0
        self.kept: dict[Node, None] = {}
        self._rng = rng
        self._cores = cores or Cores()
        self._base = base
        self._active = ""
        self._tokens = 0
        self._is_busy = False
        self._released: list[Node] = []
        self._info = BackendInfo(
            provenance=Provenance(
                model="simulated",
                adapters=dict.fromkeys(names, "simulated"),
                prompt_format="embedded",
                label_tokens=(256, 257),
            ),
            prefix_adapters=dict.fromkeys((base, *names), base),
            form=FORMATS["embedded"],
            tokenizer=ByteTokenizer(),
            max_prompt=4_096,
            max_tokens=16_384,
            max_nodes=256,
            sizes=CallSizes(n_batch=512, n_batch_questions=62),
            n_threads=n_cores(),
        )

    @property
    def info(self) -> BackendInfo:
        """See ``Backend.info``; its costs are those that an engine starts from, not the machine's."""
        return self._info

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        """See ``Backend.score``.

        Raises:
            DecodeError: The engine's book lets more be kept than there is room for.
        """
        self.n_batches += 1
        self._is_busy = True
        self._cores.n_busy += 1
        self._cores.most_busy = max(self._cores.most_busy, self._cores.n_busy)
        try:
            return await self._score(batch, stop)
        finally:
            self._is_busy = False
            self._cores.n_busy -= 1
            self._forget()

    def release(self, nodes: Iterable[Node], prefix_adapter: str | None = None) -> None:  # noqa: ARG002 - there is but one
        """See ``Backend.release``; what is released during a batch goes when it ends."""
        self._released += nodes
        if not self._is_busy:
            self._forget()

    async def close(self) -> None:
        """See ``Backend.close``."""

    async def _score(self, batch: Batch, stop: Stop) -> Scores:
        loop = asyncio.get_running_loop()
        began = loop.time()
        nodes = list(dict.fromkeys(node for query in batch.queries for node in query.node.path[:-1]))
        missing = [node for node in nodes if node not in self.kept]
        self._keep(missing, sum(len(query.node.tokens) for query in batch.queries))
        slowness = self._rng.uniform(*self.machine.stall) if self._rng.random() < self.machine.stalls else 1.0
        done: list[_Call] = []
        decodes: list[tuple[Work, float]] = []
        for call in self._calls(batch, missing):
            ms = self.machine.predict(call.work) * slowness * self._rng.lognormvariate(0.0, self.machine.noise)
            started = loop.time()
            if stop.is_asked or not await self._compute(ms / 1_000, stop):
                break
            done.append(call)
            decodes.append((call.work, 1_000 * (loop.time() - started)))
        finished = {node for call in done for node in call.nodes}
        lost = tuple(node for node in missing if node not in finished)
        self._drop(lost)
        answered = {at for call in done for at in call.queries}
        logits = [self._logit() if at in answered else math.nan for at in range(len(batch.queries))]
        cost = BatchCost(
            decode_calls=len(done),
            adapter_swaps=round(sum(call.work.swaps for call in done)),
            tokens_decoded=round(sum(call.work.tokens + call.work.short_tokens for call in done)),
            tokens_reused=0,
            elapsed_ms=1_000 * (loop.time() - began),
            decodes=tuple(decodes),
        )
        return Scores(logits, cost, tuple((node, self._base) for node in lost))

    def _logit(self) -> float:
        return self._rng.uniform(-5.0, 5.0)

    async def _compute(self, seconds: float, stop: Stop) -> bool:
        """Compute what takes so long alone; False if it was cut short."""
        while self._cores.n_busy > 1 or self._cores.most_busy > 1:
            slowdown = self._cores.slowdown
            part = min(_SLICE_S, seconds * slowdown)
            if not await self._pass(part, stop):
                return False
            seconds -= part / slowdown
            if seconds <= 1e-9:
                return True
        return await self._pass(seconds, stop)

    async def _pass(self, seconds: float, stop: Stop) -> bool:
        """Let virtual time pass; False if it was cut short."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[bool] = loop.create_future()

        def end(is_whole: bool) -> None:  # noqa: FBT001 - a callback
            if not ended.done():
                ended.set_result(is_whole)

        def interrupt() -> None:
            loop.call_later(self._rng.uniform(0, self.machine.abort_s), end, False)

        timer = loop.call_later(seconds, end, True)
        with stop.interrupting(interrupt):
            is_whole = await ended
        timer.cancel()
        return is_whole

    def _calls(self, batch: Batch, missing: Sequence[Node]) -> Iterator[_Call]:
        """First what is missing in calls of at most ``n_batch`` tokens, then questions by ``n_batch_questions``."""
        sizes = self._info.sizes
        swap = bool(missing) and self._active != self._base
        for part in _parts([len(node.tokens) for node in missing], sizes.n_batch):
            self._active = self._base
            nodes = tuple(missing[at] for at in part)
            yield _Call(self._work(sum(len(node.tokens) for node in nodes), 0, swap), nodes)
            swap = False
        swap = self._active != batch.adapter
        for part in _parts([len(query.node.tokens) for query in batch.queries], sizes.n_batch_questions):
            self._active = batch.adapter
            tokens = sum(len(batch.queries[at].node.tokens) for at in part)
            yield _Call(self._work(tokens, len(part), swap), queries=tuple(part))
            swap = False

    def _work(self, tokens: int, outputs: int, swap: bool) -> Work:  # noqa: FBT001 - counted
        return Work.of(tokens=tokens, cells=self._tokens, most=max(tokens, 1), outputs=outputs, swaps=swap)

    def _keep(self, nodes: Sequence[Node], n_asked: int) -> None:
        self.kept.update(dict.fromkeys(nodes))
        self._tokens += sum(len(node.tokens) for node in nodes)
        room = self._info
        if len(self.kept) > room.max_nodes or self._tokens + n_asked > room.max_tokens:
            msg = (
                f"A batch brings what is kept to {len(self.kept)} nodes and {self._tokens + n_asked} tokens; "
                f"there is room for {room.max_nodes} and {room.max_tokens}. The planner's book is wrong."
            )
            raise DecodeError(msg)

    def _drop(self, nodes: Iterable[Node]) -> None:
        for node in nodes:
            del self.kept[node]
            self._tokens -= len(node.tokens)

    def _forget(self) -> None:
        """Drop everything at and below the nodes that were released."""
        if self._released:
            gone = set(self._released)
            self._released.clear()
            self._drop([node for node in self.kept if not gone.isdisjoint(node.path)])


def _parts(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Places cut into runs of at most ``most`` tokens; a longer one is a run by itself."""
    part: list[int] = []
    total = 0
    for at, length in enumerate(lengths):
        if part and total + length > most:
            yield part
            part, total = [], 0
        part.append(at)
        total += length
    if part:
        yield part

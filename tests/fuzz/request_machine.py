"""A backend in virtual time whose answers tell what was in its cache, and which fails in every way a backend may.

It keeps a number for every prompt node and prefix adapter, made of the number of the node above, the node's tokens
and the adapter that computes it, as llama.cpp keeps KV. An answer is made of the number of its item: whatever is
kept under a wrong node or prefix adapter, or read from one, shows in it.
"""

from __future__ import annotations

import asyncio
import math
import random
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from cascade.backends.base import BackendInfo, Batch, BatchCost, Query, Scores, Stop
from cascade.backends.costs import CallSizes, Costs, Work
from cascade.errors import BackendError, DecodeError
from cascade.probability import p_yes, sure_logit
from cascade.prompt import FORMATS, Node
from cascade.report import Provenance
from cascade.stages import BASE, SERVED

ADAPTERS: Mapping[str, str] = {
    BASE: BASE, "active": BASE, "active2": BASE, "plain": "plain", "plain2": "plain2", "far": SERVED, "far2": SERVED,
}  # fmt: skip
"""Adapter -> its prefix adapter."""

_STEPS = 32  # p(yes) is a multiple of one over this, 0 and 1 included


class WordTokenizer:
    """One token a word."""

    def encode(self, text: str, *, special: bool) -> list[int]:  # noqa: ARG002 - the protocol's signature
        """Token ids of the words; those of the labels are 1 and 2."""
        return [{"yes": 1, "no": 2}.get(word) or 3 + _number(word) % 60_000 for word in text.split()]


@cache
def _number(word: str) -> int:
    return zlib.crc32(word.encode())


def state_of(above: int, tokens: Sequence[int], adapter: str) -> int:
    """What is kept of a node: a number that differs wherever a prompt or an adapter does, however it is cut."""
    for token in tokens:
        above = hash((above, token, _number(adapter)))
    return above


def answer_of(state: int, question: Sequence[int], adapter: str) -> float:
    """p(yes) of a question behind an item."""
    number = hash((state, tuple(question), _number(adapter))) % 1_000_003
    return number % (_STEPS + 1) / _STEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """How often what goes wrong; shares of batches, or of a batch's queries.

    Attributes:
        fails: Scoring raises.
        spoils: Some answers are NaN or infinite.
        shorts: An answer is missing, or there is one too many.
        slow: It takes 50 times as long.
        owes: A server owes an answer for a while.
        unable: A server cannot answer.
        stops: The batch ends by itself, as if it was stopped.
    """

    fails: float = 0.0
    spoils: float = 0.0
    shorts: float = 0.0
    slow: float = 0.02
    owes: float = 0.2
    unable: float = 0.0
    stops: float = 0.0


@dataclass(slots=True)
class Machine:
    """See the module.

    Attributes:
        rng: Where chance comes from.
        max_tokens: Tokens that may be kept at once.
        max_nodes: Prompt nodes that may be kept at once.
        trouble: What goes wrong.
        n_faults: Faults so far for which a request may fail.
        n_unable: Questions so far that a server could not answer.
        faults: What the engine did wrong.
        kept: (node, prefix adapter) -> its number.
        owed: (question's item and tokens, adapter) -> when a server has the answer.
    """

    rng: random.Random
    max_tokens: int
    max_nodes: int
    trouble: Trouble
    n_faults: int = 0
    n_unable: int = 0
    faults: list[str] = field(default_factory=list)
    cached: dict[tuple[Node, str], int] = field(default_factory=dict)
    owed: dict[tuple[Node, tuple[int, ...], str], float] = field(default_factory=dict)
    info: BackendInfo = field(init=False)
    _is_busy: bool = False
    _released: list[tuple[tuple[Node, ...], str | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = [name for name in ADAPTERS if name != BASE]
        self.info = BackendInfo(
            provenance=Provenance(
                model="machine", adapters=dict.fromkeys(names, "a"), prompt_format="embedded", label_tokens=(1, 2)
            ),
            prefix_adapters=ADAPTERS,
            form=FORMATS["embedded"],
            tokenizer=WordTokenizer(),
            max_prompt=self.max_tokens,
            max_tokens=self.max_tokens,
            max_nodes=self.max_nodes,
            costs=Costs(
                per_call_ms=self.rng.choice((1.0, 20.0, 50.0)), per_cell_ms=self.rng.choice((0.0, 2.5e-4, 0.1))
            ),
            sizes=CallSizes(
                n_batch=self.rng.choice((16, 64, 512)),
                n_served=self.rng.choice((1, 4, 256)),
                together=frozenset({"far"} if self.rng.random() < 0.5 else ()),
            ),
        )

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        """See ``Backend.score``."""
        if self._is_busy:
            self.faults.append("two batches at once")
        self._is_busy = True
        try:
            if self.rng.random() < self.trouble.fails:
                await self._pass(self.rng.uniform(0, 0.1), stop)
                self.cached.clear()
                self.n_faults += 1
                msg = "The machine fails, as it was told to. Ask again."
                raise BackendError(msg)
            if ADAPTERS[batch.adapter] == SERVED:
                return self._troubled(await self._serve(batch, stop))
            return self._troubled(await self._compute(batch, stop))
        finally:
            self._is_busy = False
            self._forget()

    def release(self, nodes: Iterable[Node], prefix_adapter: str | None = None) -> None:
        """See ``Backend.release``; what is released during a batch goes when it ends."""
        self._released.append((tuple(nodes), prefix_adapter))
        if not self._is_busy:
            self._forget()

    async def close(self) -> None:
        """See ``Backend.close``."""

    def find(self, node: Node, prefix_adapter: str) -> int | None:
        """The number that is kept of a node; None if there is none."""
        return self.cached.get((node, prefix_adapter))

    async def _compute(self, batch: Batch, stop: Stop) -> Scores:
        """Nodes that are missing, upper ones first, then the questions; calls by calls, until it is stopped."""
        prefix_adapter = ADAPTERS[batch.adapter]
        nodes = list(dict.fromkeys(node for query in batch.queries for node in query.node.path[:-1]))
        missing = [node for node in nodes if self.find(node, prefix_adapter) is None]
        self._check_room(batch, missing)
        slow = 50.0 if self.rng.random() < self.trouble.slow else 1.0
        logits = [math.nan] * len(batch.queries)
        finished, decodes = 0, []
        for first, last in _parts(len(missing) + len(batch.queries), self.rng.randint(1, 40)):
            own = missing[first:last]
            asked = range(max(0, first - len(missing)), max(0, last - len(missing)))
            tokens = sum(len(node.tokens) for node in own) + sum(len(batch.queries[at].node.tokens) for at in asked)
            work = Work.of(tokens=tokens, cells=len(self.cached), most=max(1, tokens), outputs=len(asked))
            ms = slow * self.rng.uniform(0.5, 2.0) * (1 + 0.1 * tokens)
            if self.rng.random() < self.trouble.stops:
                stop.ask()
            if stop.is_asked or not await self._pass(ms / 1_000, stop):
                break
            decodes.append((work, ms))
            for node in own:
                above = self.find(node.parent, prefix_adapter) if node.parent else 0
                self.cached[node, prefix_adapter] = state_of(above or 0, node.tokens, prefix_adapter)
            finished += len(own)
            for at in asked:
                logits[at] = self._answer(batch.queries[at], prefix_adapter)
        return Scores(logits, _cost(decodes), tuple((node, prefix_adapter) for node in missing[finished:]))

    async def _serve(self, batch: Batch, stop: Stop) -> Scores:
        """Answers of a server; what it owes is waited for where nothing else came."""
        loop = asyncio.get_running_loop()
        began, is_fresh = loop.time(), False
        keys = [(query.node.path[-2], query.node.tokens, query.adapter) for query in batch.queries]
        for key in keys:
            if key not in self.owed:
                is_fresh = True
                late = self.rng.expovariate(1.0) if self.rng.random() < self.trouble.owes else 0.0
                self.owed[key] = began + late
        ends = min(began + 0.005 if is_fresh else min(self.owed[key] for key in keys), began + batch.left_ms / 1_000)
        while not stop.is_asked and loop.time() < ends:
            await self._pass(min(0.02, ends - loop.time()), stop)
        logits, unanswered, under_way = [math.nan] * len(keys), {}, {}
        for at, key in enumerate(keys):
            if self.owed[key] > loop.time():
                under_way[at] = self._owes(key)
            else:
                del self.owed[key]
                if self.rng.random() < self.trouble.unable:
                    unanswered[at] = "The server cannot, as it was told. Ask again."
                    self.n_unable += 1
                else:
                    logits[at] = self._answer(batch.queries[at], batch.adapter, is_kept=False)
        ms = 1_000 * (loop.time() - began)
        work = Work(batches=1, requests=len(keys), questions=len(keys))
        return Scores(logits, _cost([(work, ms)]), unanswered=unanswered, under_way=under_way)

    def _owes(self, key: tuple[Node, tuple[int, ...], str]) -> Callable[[], bool]:
        loop = asyncio.get_running_loop()
        return lambda: self.owed.get(key, 0.0) > loop.time()

    def _answer(self, query: Query, prefix_adapter: str, *, is_kept: bool = True) -> float:
        if is_kept:
            state = self.find(query.node.path[-2], prefix_adapter) or 0
        else:
            state = 0
            for node in query.node.path[:-1]:
                state = state_of(state, node.tokens, prefix_adapter)
        return LOGITS[answer_of(state, query.node.tokens, query.adapter)]

    def _troubled(self, scores: Scores) -> Scores:
        """Answers with what may be wrong with them."""
        logits = list(scores.logits)
        if self.rng.random() < self.trouble.spoils:
            self.n_faults += 1
            for at in self.rng.sample(range(len(logits)), self.rng.randint(1, len(logits))):
                logits[at] = self.rng.choice((math.nan, math.inf, -math.inf))
        if self.rng.random() < self.trouble.shorts:
            self.n_faults += 1
            logits = logits[1:] if self.rng.random() < 0.5 else [*logits, 0.5]
        return replace(scores, logits=logits)

    async def _pass(self, seconds: float, stop: Stop) -> bool:
        """Let virtual time pass; False if it was cut short."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[bool] = loop.create_future()

        def end(is_whole: bool) -> None:  # noqa: FBT001 - a callback
            if not ended.done():
                ended.set_result(is_whole)

        timer = loop.call_later(seconds, end, True)
        with stop.interrupting(lambda: end(False)):
            is_whole = await ended
        timer.cancel()
        return is_whole

    def _check_room(self, batch: Batch, missing: Sequence[Node]) -> None:
        """The engine's book must not let more be kept than there is room for."""
        asked = sum(len(query.node.tokens) for query in batch.queries)
        tokens = sum(len(node.tokens) for node, _ in self.cached) + sum(len(node.tokens) for node in missing) + asked
        if tokens > self.max_tokens or len(self.cached) + len(missing) > self.max_nodes:
            self.faults.append(f"{tokens} tokens and {len(self.cached) + len(missing)} nodes do not fit")
            msg = "There is no room."
            raise DecodeError(msg)

    def _forget(self) -> None:
        """Drop what was released, and all below it."""
        for nodes, prefix_adapter in self._released:
            gone = set(nodes)
            for key in [
                key for key in self.cached if prefix_adapter in {None, key[1]} and not gone.isdisjoint(key[0].path)
            ]:
                del self.cached[key]
            if prefix_adapter is None:
                for owed in [owed for owed in self.owed if not gone.isdisjoint(owed[0].path)]:
                    del self.owed[owed]
        self._released.clear()


LOGITS = {at / _STEPS: float(sure_logit(at / _STEPS)) for at in range(_STEPS + 1)}
"""p(yes) -> log odds."""

EXACT = {p: float(p_yes([odds])[0]) for p, odds in LOGITS.items()}
"""p(yes) -> what becomes of it on the way through log odds."""


def _parts(n: int, size: int) -> Iterator[tuple[int, int]]:
    for first in range(0, n, size):
        yield first, min(n, first + size)


def _cost(decodes: Sequence[tuple[Work, float]]) -> BatchCost:
    elapsed_ms = sum(ms for _, ms in decodes)
    return BatchCost(
        decode_calls=len(decodes),
        adapter_swaps=1,
        tokens_decoded=round(sum(work.tokens + work.short_tokens for work, _ in decodes)),
        tokens_reused=0,
        elapsed_ms=elapsed_ms,
        decodes=tuple(decodes),
    )

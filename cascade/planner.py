"""Which probes go together next, and which prompt nodes are kept for later. Pure: no clock, no model.

A token costs far more than a change of the adapter, so what an item has computed is kept until no
stage ahead of it wants it. Within what fits, waves go breadth first: all items of a stage under one
adapter, then the survivors under the next. Only when the room left is too small for a wave that is
worth its swaps, or survivors lie in the way of too much that is still to come, do they go ahead.

A wave has a best length. Every wave pays for its calls and swaps, which speaks for few and long ones;
but every token looks at every cell in use, which speaks for short ones whose items leave early.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, sqrt

from cascade.costs import Costs
from cascade.prompt import Node
from cascade.tree import Question
from cascade.walk import Walk

WORTH = 0.5
"""A wave that leaves items of its stage behind must have this share of the best length, or the next one waits."""

Kept = tuple[Node, str]
"""A prompt node and its lineage: the adapter that computed it."""


@dataclass(frozen=True, slots=True)
class Job:
    """A probe that could be asked now.

    Attributes:
        walk: The item's way.
        tier: The tier under which its stage asks.
        question: What is asked.
    """

    walk: Walk
    tier: str
    question: Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a backend can keep at once.

    Attributes:
        nodes: Prompt nodes, each in each of its lineages.
        tokens: Tokens of those, with the questions that are being answered.
    """

    nodes: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Plan:
    """The next wave.

    Attributes:
        jobs: Its probes, all under one adapter; empty when nothing is open.
        evicted: What must be forgotten first to make room, although it is wanted again.
    """

    jobs: tuple[Job, ...]
    evicted: tuple[Kept, ...] = ()

    @property
    def adapter(self) -> str:
        """The adapter that all jobs share."""
        return self.jobs[0].question.adapter


@dataclass(slots=True)
class _Draft:
    """A wave in the making, and what it adds to what is kept."""

    jobs: list[Job] = field(default_factory=list)
    new: dict[Node, None] = field(default_factory=dict)
    tokens: int = 0  # of the new nodes
    asked: int = 0  # tokens of the questions
    is_whole: bool = True  # whether no job was left behind


@dataclass(slots=True)
class Planner:
    """Plans waves over all open requests, and keeps book of what the backend keeps.

    Attributes:
        room: What may be kept at once.
        lineages: Adapter -> adapter that computes what stands before its questions.
        costs: What the parts of a wave cost.
        question_tokens: How many tokens a question takes behind an item.
        kept: What the backend keeps.
        kept_tokens: The tokens of that.
    """

    room: Room
    lineages: Mapping[str, str]
    costs: Costs
    question_tokens: Callable[[Question], int]
    kept: dict[Kept, None] = field(default_factory=dict)
    kept_tokens: int = 0
    _wanted: Counter[Kept] = field(default_factory=Counter)  # by how many walks
    _lies_ahead: dict[Walk, frozenset[str]] = field(default_factory=dict)  # lineages that each open walk may want
    _active: str = ""

    def admit(self, walks: Iterable[Walk]) -> None:
        """Take in the walks of a new request."""
        for walk in walks:
            self._lies_ahead[walk] = self._lineages_of(walk)
            self._wanted.update((node, lineage) for lineage in self._lies_ahead[walk] for node in walk.node.path)

    def best_length(self, adapter: str) -> float:
        """New tokens of a wave at which a token costs least.

        Of R tokens in waves of T each, R / T waves pay ``fixed`` each, and R tokens look at T / 2 cells
        of their own wave on average: R * fixed / T + R * per_cell * T / 2 is least where the two are equal.
        """
        if not self.costs.per_cell_ms:
            return inf
        n_turns = 1 if self.lineages[adapter] == adapter else 2  # an activated adapter takes turns with the base
        fixed = n_turns * self.costs.per_call_ms + (n_turns > 1) * n_turns * self.costs.per_swap_ms
        return sqrt(2 * fixed / self.costs.per_cell_ms)

    def next_wave(self, requests: Sequence[Iterable[Walk]]) -> Plan:
        """The next wave; what it computes counts as kept from now on.

        Args:
            requests: The open walks of each request, that which has waited longest first. It leads: the
                wave is its own, filled up with the jobs of others under the same adapter, unless first
                some items must go ahead to make room.
        """
        by_request = [found for walks in requests if (found := list(jobs(walks)))]
        if not by_request:
            return Plan(())
        leader, every = by_request[0], [job for found in by_request for job in found]
        draft = (
            (self._ahead(every) if self._ahead_pays(every) else None)
            or self._worthwhile(leader, every)
            or self._ahead(every)
            or self._any(leader, every)
        )
        evicted: tuple[Kept, ...] = ()
        if draft is None:
            evicted = self._evict(leader[0])
            draft = self._fill(every, leader[0].question.adapter)
        plan = Plan(tuple(draft.jobs), evicted)
        lineage = self.lineages[plan.adapter]
        self.kept.update(((node, lineage), None) for node in draft.new)
        self.kept_tokens += draft.tokens
        self._active = plan.adapter
        return plan

    def advance(self, walks: Iterable[Walk]) -> list[Kept]:
        """What no walk wants any more, now that these have moved on."""
        gone: list[Kept] = []
        for walk in walks:
            before = self._lies_ahead.get(walk, frozenset())
            self._lies_ahead[walk] = self._lineages_of(walk)
            gone += self._unwant(walk, before - self._lies_ahead[walk])
            if walk.is_done:
                del self._lies_ahead[walk]
        return gone

    def drop(self, walks: Iterable[Walk]) -> list[Kept]:
        """What no walk wants any more, now that these are given up."""
        return [kept for walk in walks for kept in self._unwant(walk, self._lies_ahead.pop(walk, frozenset()))]

    def lose(self) -> None:
        """The backend has forgotten everything."""
        self.kept.clear()
        self.kept_tokens = 0

    def _lineages_of(self, walk: Walk) -> frozenset[str]:
        return frozenset(self.lineages[adapter] for adapter in walk.adapters())

    def _unwant(self, walk: Walk, lineages: Iterable[str]) -> Iterator[Kept]:
        for lineage in lineages:
            for node in walk.node.path:
                key = (node, lineage)
                self._wanted[key] -= 1
                if not self._wanted[key]:
                    del self._wanted[key]
                    if self._forget(key):
                        yield key

    def _forget(self, key: Kept) -> bool:
        if key not in self.kept:
            return False
        del self.kept[key]
        self.kept_tokens -= len(key[0].tokens)
        return True

    def _worthwhile(self, leader: Sequence[Job], every: Sequence[Job]) -> _Draft | None:
        """The leader's shallowest wave that finishes its stage, or is long enough to be worth its swaps."""
        for adapter in self._options(leader):
            draft = self._fill(every, adapter)
            if draft.jobs and (draft.is_whole or draft.tokens >= WORTH * self.best_length(adapter)):
                return draft
        return None

    def _ahead_pays(self, every: Sequence[Job]) -> bool:
        """Whether survivors had better go ahead than lie in the way of what is still to be computed.

        Every token that is still to be computed looks at their cells; going ahead takes calls and swaps
        that they could have shared with survivors to come.
        """
        survivors = [job for job in every if job.walk.depth and self._is_kept(job)]
        kept = sum(len(job.walk.node.tokens) for job in survivors)
        to_come = sum(len(job.walk.node.tokens) for job in every if not self._is_kept(job))
        turns = {job.walk.cascade.name: len(job.walk.cascade.stages) - job.walk.depth for job in survivors}
        price = sum(turns.values()) * (self.costs.per_call_ms + self.costs.per_swap_ms)
        return self.costs.per_cell_ms * kept * to_come > price

    def _ahead(self, every: Sequence[Job]) -> _Draft | None:
        """The deepest wave of items that are kept already: all it takes is their questions, and it frees room."""
        deepest = sorted(filter(self._is_kept, every), key=_depth, reverse=True)
        for adapter in dict.fromkeys(job.question.adapter for job in deepest):
            draft = self._fill(deepest, adapter)
            if draft.jobs:
                return draft
        return None

    def _any(self, leader: Sequence[Job], every: Sequence[Job]) -> _Draft | None:
        """The leader's deepest wave, however short."""
        for adapter in reversed(self._options(leader)):
            draft = self._fill(every, adapter)
            if draft.jobs:
                return draft
        return None

    def _options(self, leader: Sequence[Job]) -> list[str]:
        """The adapters that the leader waits for, of shallow stages first, the active one first among equals."""
        ranked = sorted(leader, key=lambda job: (job.walk.depth, job.question.adapter != self._active))
        return list(dict.fromkeys(job.question.adapter for job in ranked))

    def _fill(self, every: Iterable[Job], adapter: str) -> _Draft:
        """Jobs under an adapter, in order, as fit beside what is kept, up to the best length."""
        lineage = self.lineages[adapter]
        own = [job for job in every if job.question.adapter == adapter]
        longest = self._length(own, lineage, self.best_length(adapter))
        draft = _Draft()
        for job in own:
            new = [node for node in job.walk.node.path if node not in draft.new and (node, lineage) not in self.kept]
            tokens = sum(len(node.tokens) for node in new)
            asked = self.question_tokens(job.question)
            if (
                (draft.jobs and tokens and draft.tokens + tokens > longest)
                or len(self.kept) + len(draft.new) + len(new) > self.room.nodes
                or self.kept_tokens + draft.tokens + tokens + draft.asked + asked > self.room.tokens
            ):
                draft.is_whole = False
                break
            draft.jobs.append(job)
            draft.new.update(dict.fromkeys(new))
            draft.tokens += tokens
            draft.asked += asked
        return draft

    def _length(self, own: Sequence[Job], lineage: str, best: float) -> float:
        """New tokens of a wave when all that these jobs miss is cut into waves of equal length, near the best."""
        missing = {node for job in own for node in job.walk.node.path if (node, lineage) not in self.kept}
        total = sum(len(node.tokens) for node in missing)
        return total / max(1, round(total / best)) if best else 0.0

    def _is_kept(self, job: Job) -> bool:
        return (job.walk.node, self.lineages[job.question.adapter]) in self.kept

    def _evict(self, job: Job) -> tuple[Kept, ...]:
        """Forget until one job fits, lower nodes first: the last resort, when nothing fits beside what is kept."""
        adapter = job.question.adapter
        own = {(node, self.lineages[adapter]) for node in job.walk.node.path}
        gone: list[Kept] = []
        others = [key for key in self.kept if key not in own]
        for key in sorted(others, key=lambda kept: -len(kept[0].path)):
            if self._fill([job], adapter).jobs:
                break
            self._forget(key)
            gone.append(key)
        return tuple(gone)


def jobs(walks: Iterable[Walk]) -> Iterator[Job]:
    """Everything that could be asked now."""
    for walk in walks:
        for tier, question in walk.pending():
            yield Job(walk, tier, question)


def _depth(job: Job) -> int:
    return job.walk.depth

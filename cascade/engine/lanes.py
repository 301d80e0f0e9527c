"""The base models of an engine side by side: each has prompts, a cache and prices of its own. Pure.

Each runs one batch at a time, beside those of the others. Among the models that are free and that the request whose
turn it is waits for, the batch goes first that settles the most items in a millisecond: a small model's wave, as a
rule, whose survivors then fill the batches of a large one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

from cascade.engine.batch import Batch, BatchBuilder
from cascade.engine.item_state import ItemState
from cascade.engine.planner import Planner
from cascade.engine.query import open_queries
from cascade.engine.request import Request
from cascade.prompt import PromptBuilder


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One base model at work.

    Attributes:
        planner: Plans its batches, keeps the book of its cache, and learns its prices.
        prompts: Builds its prompts.
        max_prompt: Most tokens of one.
        n_threads: Threads that compute its batches here; 0 if others do.
    """

    planner: Planner
    prompts: PromptBuilder
    max_prompt: int
    n_threads: int = 0

    @property
    def name(self) -> str:
        """Name of the model; empty where there is one."""
        return self.planner.name


class Lanes:
    """All of them.

    Args:
        lanes: At least one; no adapter belongs to two.
        weighs: Whether the batch goes first that settles most in a millisecond; otherwise that of the first lane.
    """

    def __init__(self, lanes: Sequence[Lane], *, weighs: bool = True) -> None:
        self._lanes = tuple(lanes)
        self._weighs = weighs
        self._by_adapter: dict[str, Lane] = {}
        self._index()

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes)

    def __len__(self) -> int:
        return len(self._lanes)

    def of(self, adapter: str) -> Lane:
        """That of an adapter, by its key."""
        return self._by_adapter[adapter]

    def refit(self, model: str, prefix_adapters: Mapping[str, str]) -> None:
        """Go by the adapters that the backend of a model has now; see ``Planner.refit``."""
        for lane in self:
            if lane.name == model:
                lane.planner.refit(prefix_adapters)
        self._index()

    def _index(self) -> None:
        self._by_adapter = {key: lane for lane in self for key in lane.planner.limits.prefix_adapters}

    @property
    def n_cached(self) -> int:
        """Prompt nodes in the caches of all."""
        return sum(len(lane.planner.prefix_index) for lane in self)

    def grow(self, request: Request) -> Iterator[None]:
        """Build what a request's items need to be asked where they stand; pauses after each.

        Raises:
            ItemError: See ``Prompts.grow``.
        """
        for lane in self:
            yield from request.prompts.grow(lane.prompts, lane.max_prompt, lane.name)

    def admit(self, items: Sequence[ItemState]) -> None:
        """Take items into the books of the caches, as far as they are built."""
        for lane in self:
            lane.planner.prefix_index.admit(items)

    def advance(self, items: Sequence[ItemState]) -> None:
        """Release what no item wants any more, now that these have moved on."""
        for lane in self:
            lane.planner.prefix_index.advance(items)

    def drop(self, items: Sequence[ItemState]) -> None:
        """Forget what no item wants any more, now that these are given up."""
        for lane in self:
            lane.planner.prefix_index.drop(items)

    def next_batch(self, offers: Mapping[Request, Iterable[ItemState]], left_ms: float = inf) -> Batch | None:
        """The next batch of any model where none is at work; see ``Planner.next_batch``.

        Only where no model has a batch that fits is anything evicted from a cache.
        """
        if len(self) == 1:
            return self._lanes[0].planner.next_batch(offers, left_ms)
        room = dict.fromkeys((lane.name for lane in self), left_ms)
        return self.beside(offers, room) or (
            self.beside(offers, room) if self._make_room(self._asked(offers, room), offers) else None
        )

    def beside(self, offers: Mapping[Request, Iterable[ItemState]], room_ms: Mapping[str, float]) -> Batch | None:
        """The next batch of a model that is free; nothing is evicted for it.

        Args:
            offers: See ``Planner.next_batch``.
            room_ms: Model -> how long its batch may take; those that are at work are not there.
        """
        proposed: list[tuple[Lane, BatchBuilder]] = []
        for lane in self._asked(offers, room_ms):
            builder = lane.planner.propose(offers, room_ms[lane.name])
            proposed += [(lane, builder)] if builder is not None else []
        if not proposed:
            return None
        by_rate = max(proposed, key=lambda each: each[0].planner.settled_per_ms(each[1]))
        lane, builder = by_rate if self._weighs else proposed[0]
        return replace(lane.planner.begin(builder, room_ms[lane.name]), model=lane.name)

    def _asked(self, offers: Mapping[Request, Iterable[ItemState]], names: Collection[str]) -> list[Lane]:
        """Of some models those that the first request waits for which waits for any of them."""
        for request, items in offers.items():
            asked = {self.of(query.adapter).name for query in open_queries(request, items)}.intersection(names)
            if asked:
                return [lane for lane in self if lane.name in asked]
        return []

    @staticmethod
    def _make_room(lanes: Sequence[Lane], offers: Mapping[Request, Iterable[ItemState]]) -> bool:
        made = [lane.planner.make_room(offers) for lane in lanes]  # each that needs it
        return any(made)

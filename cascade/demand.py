"""What it takes to bring a request's items to each depth, as far as can be expected. Reads no clock."""

from __future__ import annotations

from math import ceil

from cascade.costs import Work
from cascade.expectation import Reach
from cascade.planner import Planner
from cascade.request import Request
from cascade.stage import SERVED, Question
from cascade.walk import Walk


def by_depth(planner: Planner, request: Request) -> list[float]:
    """Milliseconds to bring a request's open items to depth 1, 2 and so on, all that comes before included."""
    demand = _Demand(planner, request)
    total, found = 0.0, []
    for level in range(request.expected.n_levels):
        total += planner.model.predict(demand.work(level))
        found.append(total)
    return found


class _Demand:
    """What it takes to bring a request's open items to each depth, as far as can be expected."""

    def __init__(self, planner: Planner, request: Request) -> None:
        n = request.expected.n_levels
        self._planner = planner
        self._tokens, self._asked, self._probes = [0.0] * n, [0.0] * n, [0.0] * n
        self._adapters: list[set[str]] = [set() for _ in range(n)]
        counted: dict[str, set[int]] = {}
        for walk in request.open_walks:
            self._add(walk, counted)

    def work(self, level: int) -> Work:
        """The work of one level."""
        planner, adapters = self._planner, self._adapters[level]
        if not adapters or not self._probes[level]:
            return Work()
        tokens, asked, probes = self._tokens[level], self._asked[level], self._probes[level]
        one = next(iter(adapters))
        if planner.kept.lineages[one] == SERVED:
            return Work(waves=max(1, round(probes / planner.terms.sizes.n_served)), requests=probes, questions=probes)
        is_plain = planner.kept.lineages[one] == one
        n_waves = max(1, round(tokens / planner.best_length(one))) * len(adapters)
        cells: float = planner.kept.tokens
        waves = Work(waves=n_waves)
        if is_plain:
            most = min(planner.terms.sizes.n_batch, ceil((tokens + asked) / n_waves))
            along = Work.of(tokens=tokens + asked, cells=cells, most=max(1, most), outputs=probes, swaps=n_waves)
            return waves.plus(along)
        along = Work.of(tokens=tokens, cells=cells, most=planner.terms.sizes.n_batch, swaps=n_waves if tokens else 0)
        most = max(1, min(planner.terms.sizes.n_ask, ceil(asked / n_waves)))
        cells += min(tokens, planner.best_length(one))
        return waves.plus(along).plus(Work.of(tokens=asked, cells=cells, most=most, outputs=probes, swaps=n_waves))

    def _add(self, walk: Walk, counted: dict[str, set[int]]) -> None:
        if walk.stage is None:
            return
        lineages: set[str] = set()
        for entry in walk.expected.reach(walk.stage):
            level = walk.depth + entry.further
            if level < len(self._tokens):
                for question in _questions(walk, entry):
                    self._ask(level, question, entry.probability)
                    lineage = self._planner.kept.lineages[question.adapter]
                    if lineage not in lineages:
                        lineages.add(lineage)
                        self._compute(level, walk, lineage, entry.probability, counted.setdefault(lineage, set()))

    def _ask(self, level: int, question: Question, probability: float) -> None:
        self._adapters[level].add(question.adapter)
        self._asked[level] += probability * self._planner.question_tokens(question)
        self._probes[level] += probability

    def _compute(self, level: int, walk: Walk, lineage: str, probability: float, seen: set[int]) -> None:
        for node in self._planner.kept.missing(walk, lineage):
            if id(node) not in seen:
                seen.add(id(node))
                self._tokens[level] += probability * len(node.tokens)


def _questions(walk: Walk, entry: Reach) -> list[Question]:
    """What a stage still has to ask an item."""
    if not entry.further:
        return [question for _, question in walk.pending()]
    return [entry.stage.question(tier) for tier in entry.stage.tiers_of(walk.item)]

"""How long a request will take to each depth, as far as can be expected. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cascade.engine.cost_model import BatchShape
from cascade.engine.item_state import ItemState
from cascade.engine.online_profile import Reach
from cascade.engine.planner import Planner
from cascade.engine.request import Request
from cascade.prompt import Segment
from cascade.stages import Question

_CHARACTERS = 3  # of a token of source text, or more


def by_depth(planner: Planner, request: Request) -> list[float]:
    """Milliseconds to bring a request's open items to depth 1, 2 and so on, all that comes before included."""
    forecast = _Forecast(planner, request)
    total, found = 0.0, []
    for level in range(request.expected.n_levels):
        shape = forecast.shape(level)
        total += planner.predict(shape) if shape is not None else 0.0
        found.append(total)
    return found


class _Forecast:
    """What it takes to bring a request's open items to each depth, as far as can be expected."""

    def __init__(self, planner: Planner, request: Request) -> None:
        n = request.expected.n_levels
        self._planner = planner
        self._tokens, self._asked, self._queries = [0.0] * n, [0.0] * n, [0.0] * n
        self._adapters: list[set[str]] = [set() for _ in range(n)]
        counted: dict[str, set[int]] = {}
        for item in request.open_items:
            self._add(item, counted)

    def shape(self, level: int) -> BatchShape | None:
        """The batches of one level; None where nothing is asked."""
        planner, adapters = self._planner, self._adapters[level]
        if not adapters or not self._queries[level]:
            return None
        tokens, asked, queries = self._tokens[level], self._asked[level], self._queries[level]
        one = next(iter(adapters))
        if planner.is_served(one):
            n_batches = max(1, round(queries / planner.limits.sizes.n_served))
            return BatchShape(outputs=queries, requests=queries, batches=n_batches, is_served=True)
        longest = planner.best_length(one)
        n_batches = max(1, round(tokens / longest)) * len(adapters)
        shape = BatchShape(tokens=tokens, asked=asked, outputs=queries, cells=planner.n_cells, batches=n_batches)
        if planner.prefix_adapter(one) == one:
            return shape._replace(swaps=n_batches)
        return shape._replace(
            cells_asked=shape.cells + min(tokens, longest), swaps=2 * n_batches if tokens else n_batches
        )

    def _add(self, item: ItemState, counted: dict[str, set[int]]) -> None:
        if item.stage is None:
            return
        read: dict[str, int] = {}  # prefix adapter -> tokens of the item's text that it has computed by then
        for entry in item.expected.reach(item.stage):
            level = item.depth + entry.further
            if level < len(self._tokens):
                for question in filter(lambda question: self._is_own(item, question), _questions(item, entry)):
                    self._ask(level, item, question, entry.probability)
                    prefix_adapter = self._planner.prefix_adapter(item.key_of(question))
                    keeps = self._planner.limits.keeps
                    if prefix_adapter not in read or not keeps:
                        read[prefix_adapter] = 0
                        seen = counted.setdefault(prefix_adapter, set()) if keeps else set()
                        self._compute(level, item, prefix_adapter, entry.probability, seen)
                    if question.max_text_tokens:
                        self._read(level, item, question, entry.probability, read)

    def _is_own(self, item: ItemState, question: Question) -> bool:
        return self._planner.has(item.key_of(question))

    def _ask(self, level: int, item: ItemState, question: Question, probability: float) -> None:
        self._adapters[level].add(item.key_of(question))
        self._asked[level] += probability * self._planner.question_tokens(question)
        self._queries[level] += probability

    def _read(self, level: int, item: ItemState, question: Question, probability: float, read: dict[str, int]) -> None:
        """Count what a question reads of its item's text beyond what those before it have read."""
        prefix_adapter = self._planner.prefix_adapter(item.key_of(question))
        tokens = self._text_tokens(item, question, prefix_adapter)
        self._tokens[level] += probability * max(0, tokens - read[prefix_adapter])
        read[prefix_adapter] = max(read[prefix_adapter], tokens)

    def _text_tokens(self, item: ItemState, question: Question, prefix_adapter: str) -> int:
        """Tokens of an item's text that are to be computed for a question; a guess where the text is not tokenised."""
        if self._planner.is_served(item.key_of(question)):
            return 0
        if not item.is_read_for(question):
            return min(question.max_text_tokens, -(-len(item.item.text) // _CHARACTERS))
        missing = self._planner.missing(item.node_above(question), prefix_adapter)
        return sum(len(node.tokens) for node in missing if node.segment is Segment.TEXT)

    def _compute(self, level: int, item: ItemState, prefix_adapter: str, probability: float, seen: set[int]) -> None:
        # An item that its model was not asked of yet has about as many tokens as in the trie of another model.
        branch = item.branches.get(self._planner.name) or next(iter(item.branches.values()), None)
        for node in self._planner.missing(branch.node, prefix_adapter) if branch is not None else ():
            if id(node) not in seen:
                seen.add(id(node))
                self._tokens[level] += probability * len(node.tokens)


def _questions(item: ItemState, entry: Reach) -> Sequence[Question]:
    """What a stage still has to ask an item."""
    if not entry.further:
        return [question for _, question in item.pending()]
    return [entry.stage.question(tier) for tier in entry.stage.tiers_of(item.item)]

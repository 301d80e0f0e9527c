"""One question put to one item. The same object goes from the choice of a batch to the answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from cascade.backends import base
from cascade.engine.item_state import ItemState
from cascade.engine.request import Request
from cascade.prompt import Labels, Node, PromptBuilder
from cascade.stages import Question, Stage

_ON_THE_WAY = 0.01  # of an item


@dataclass(slots=True, eq=False)
class Query(base.Query):
    """A question that an item could be asked now.

    Attributes:
        node: The question's node; there is none before ``build``.
        adapter: The key under which the backend has the adapter that answers.
        wording: The question in full.
        labels: The labels of its values, once it is built; None for yes or no.
        item: Where the item stands in its cascade.
        request: The request that the item is of.
        stage: The stage that asks.
        tier: The tier under which it asks; empty for a stage without tiers.
        question: What is asked.
        above: The node that it goes below: the item's own, or its text.
    """

    node: Node = field(init=False)
    adapter: str = field(init=False)
    wording: str = field(init=False)
    labels: Labels | None = field(init=False)
    item: ItemState
    request: Request
    stage: Stage
    tier: str
    question: Question
    above: Node = field(init=False)

    def __post_init__(self) -> None:
        wording = self.item.item.name if self.question.is_open else self.question.wording
        self.adapter, self.wording, self.labels = self.item.key_of(self.question), wording, None
        self.above = self.item.node_above(self.question)

    @property
    def item_node(self) -> Node:
        """The item's own node, which its text and its questions go below."""
        return self.item.branch_of(self.question).node

    @property
    def settles(self) -> float:
        """How likely it is that the answer brings the item to its label; of several tiers each has its share.

        An answer that leads on counts a little as well, so that waves between stages are weighed by what they take.
        """
        if self.item.fixed is not None:
            return 1.0
        return max(self.item.expected.p_settled(self.stage), _ON_THE_WAY) / max(1, len(self.item.pending()))

    @property
    def is_ahead(self) -> bool:
        """True if the item has not reached this stage yet: the question is asked ahead."""
        return self.item.stage is not self.stage

    def build(self, prompts: PromptBuilder) -> None:
        """Build the question's node, once the query is in a batch."""
        self.node = prompts.question(self.above, self.question.marker)
        self.labels = prompts.labels(self.question)


def open_queries(request: Request, items: Iterable[ItemState]) -> Iterator[Query]:
    """All that the stages of some items of a request still ask, once what stands before it is built."""
    for item in items:
        if item.stage is not None:
            for tier, question in item.pending():
                if item.is_read_for(question):
                    yield Query(item, request, item.stage, tier, question)

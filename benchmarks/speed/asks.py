"""Which queries a workload causes, in the order in which a loop over its items would ask them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.speed.workload import Call, Workload
from cascade.prompt import Node, PromptBuilder
from cascade.tree import Cascade

Path = tuple[tuple[int, ...], ...]
"""The tokens of a question's nodes from the task down: what tells one query from another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One query that the labels cause.

    Attributes:
        adapter: What answers.
        node: The question's node; nodes are shared as prompts share beginnings.
        truth: The answer that leads to the item's label.
        depth: Stages passed before.
    """

    adapter: str
    node: Node
    truth: bool
    depth: int

    @property
    def path(self) -> Path:
        """The tokens of its nodes."""
        return tuple(node.tokens for node in self.node.path)


def asks(workload: Workload, builder: PromptBuilder, cascades: Mapping[str, Cascade]) -> list[Ask]:
    """Every query of a workload."""
    wide = replace(builder, limits=workload.limits)
    return [ask for call in workload.calls for ask in _asks_of(call, wide, cascades[call.cascade])]


def _asks_of(call: Call, builder: PromptBuilder, cascade: Cascade) -> Iterator[Ask]:
    root = builder.task(cascade.instructions, cascade.questions(), call.task)
    truths = {label: cascade.truths(label) for label in cascade.labels}
    groups = {item.group: builder.group(root, item.group) for item in call.items if item.group}
    for item, label in zip(call.items, call.labels, strict=True):
        node = builder.item(groups[item.group] if item.group else root, item)
        for depth, (stage, truth) in enumerate(truths[label]):
            for tier in stage.tiers_of(item):
                question = stage.question(tier)
                yield Ask(
                    adapter=question.adapter,
                    node=builder.question(node, question.marker),
                    truth=truth,
                    depth=depth,
                )


def by_stage(asked: Sequence[Ask]) -> list[list[int]]:
    """Places of the queries, those of one depth and adapter together: the order with the fewest changes of adapter."""
    found: dict[tuple[int, str], list[int]] = {}
    for at, ask in enumerate(asked):
        found.setdefault((ask.depth, ask.adapter), []).append(at)
    return [found[key] for key in sorted(found, key=lambda key: key[0])]


def by_item(asked: Sequence[Ask]) -> list[list[int]]:
    """Places of the queries, those of one item together, in the order in which its answers lead to them."""
    found: dict[Node | None, list[int]] = {}
    for at, ask in enumerate(asked):
        found.setdefault(ask.node.parent, []).append(at)
    return list(found.values())

"""Where a workload's tokens go: what prompts share, and what that saves. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from benchmarks.speed.asks import Ask
from cascade.prompt import Node, Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """Tokens of a workload.

    Attributes:
        asked: Of all prompts, as if nothing were shared.
        saved_by_task: Saved by computing the task's prefix once per prefix adapter.
        saved_by_group: Saved by computing group headers once per prefix adapter.
        saved_by_item: Saved by computing an item once per prefix adapter for all of its stages.
        least: What is left: the fewest that answer all queries.
    """

    asked: int
    saved_by_task: int
    saved_by_group: int
    saved_by_item: int
    least: int

    @staticmethod
    def of(asked: Iterable[Ask], prefix_adapters: Mapping[str, str]) -> Reuse:
        """What the queries of a workload share.

        Args:
            asked: The queries.
            prefix_adapters: Adapter -> which adapter computes what stands before its questions.
        """
        saved = dict.fromkeys((Segment.TASK, Segment.GROUP, Segment.ITEM), 0)
        seen: set[tuple[Node, str]] = set()
        total = 0
        for ask in asked:
            total += ask.node.end
            for node in ask.node.path[:-1]:
                key = (node, prefix_adapters[ask.adapter])
                if key in seen:
                    saved[node.segment] += len(node.tokens)
                seen.add(key)
        return Reuse(
            asked=total,
            saved_by_task=saved[Segment.TASK],
            saved_by_group=saved[Segment.GROUP],
            saved_by_item=saved[Segment.ITEM],
            least=total - sum(saved.values()),
        )

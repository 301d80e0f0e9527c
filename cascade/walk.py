"""One item's way down its tree: what it is asked next, what it was answered, where it ended. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from cascade.items import Item
from cascade.prompt import Node
from cascade.report import Step
from cascade.tree import Cascade, Question, Stage


@dataclass(slots=True, eq=False)
class Walk:
    """An item on its way.

    Attributes:
        item: The item.
        node: Its prompt node.
        cascade: The tree.
        stage: The stage it stands at; None once it is done.
        one_stage: Whether it stops after the first stage, without a label.
        steps: The probes of every stage it has passed.
        label: Where it ended; empty while it is on its way, or with ``one_stage``.
    """

    item: Item
    node: Node
    cascade: Cascade
    stage: Stage | None
    one_stage: bool = False
    steps: list[Step] = field(default_factory=list)
    label: str = ""
    depth: int = 0
    _scores: dict[str, float] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to ask."""
        return self.stage is None

    def pending(self) -> list[tuple[str, Question]]:
        """The (tier, question) pairs that its stage still asks."""
        if self.stage is None:
            return []
        tiers = self.stage.tiers_of(self.item)
        return [(tier, self.stage.question(tier)) for tier in tiers if tier not in self._scores]

    def adapters(self) -> set[str]:
        """The adapters that may still be asked on this way."""
        found = {question.adapter for _, question in self.pending()}
        if self.stage is not None and not self.one_stage:
            for stage in self.cascade.after(self.stage):
                found.update(stage.question(tier).adapter for tier in stage.tiers_of(self.item))
        return found

    def take(self, tier: str, p_yes: float) -> None:
        """Records an answer; once all tiers have answered, moves on."""
        if self.stage is None or tier in self._scores:
            return
        self._scores[tier] = p_yes
        if not self.pending():
            self._move(self.stage)

    def _move(self, stage: Stage) -> None:
        # In the item's own order of tiers: waves may have asked them in another.
        self.steps += [_step(stage, tier, self._scores[tier]) for tier in stage.tiers_of(self.item)]
        target = stage.target(answer=stage.is_yes(self._scores))
        self._scores = {}
        self.depth += 1
        if self.one_stage:
            self.stage = None
        elif target.is_label:
            self.stage, self.label = None, target.name
        else:
            self.stage = self.cascade.stage(target.name)


def _step(stage: Stage, tier: str, p_yes: float) -> Step:
    question = stage.question(tier)
    return Step(
        stage=stage.name,
        tier=tier,
        adapter=question.adapter,
        p_yes=p_yes,
        threshold=question.threshold,
        answer=p_yes >= question.threshold,
    )

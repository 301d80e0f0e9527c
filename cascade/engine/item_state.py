"""One item's way down its tree: what it is asked next, what it was answered, where it ended. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan

import numpy as np

from cascade.engine.online_profile import OnlineProfile
from cascade.items import Item
from cascade.probability import expected_score
from cascade.prompt import Node
from cascade.report import Status, Step
from cascade.stages import ANY_TIER, Answer, Question, Stage, Target
from cascade.tree import Cascade


@dataclass(slots=True)
class Branch:
    """What of an item is built in the trie of one model's prompts.

    Attributes:
        node: The item's own node.
        texts: Most tokens of its text that a question reads -> the node that the question goes below; empty until the
            text is wanted.
    """

    node: Node
    texts: Mapping[int, Node] = field(default_factory=dict)

    def above(self, question: Question) -> Node:
        """The node that a question goes below."""
        return self.texts[question.max_text_tokens] if question.max_text_tokens else self.node

    def has(self, question: Question) -> bool:
        """Whether all nodes are built that stand before a question."""
        return not question.max_text_tokens or question.max_text_tokens in self.texts


@dataclass(slots=True, eq=False)
class ItemState:
    """An item on its way.

    Attributes:
        item: The item.
        expected: What is expected of the cascade's items.
        stage: The stage it stands at; None once it is done.
        fixed: Stages that are put to it in turn, whatever it answers, and no label; None where it walks the tree.
        most: Stages after which it stops; None for no limit.
        p_matters: How likely it is kept, before it was asked anything; None where that was not wanted.
        branches: Model -> what of the item is built in its trie; a model is left out until a stage of it asks.
        steps: The queries of every stage it has passed, and what a prior stage settled.
        passed: Those stages, with what each answered.
        label: Where it ended; empty while it is on its way, or with ``fixed``.
        p_label: The label's probability where the way was cut short; None for one that was walked to its end.
        status: How the label came about.
        cause: Why the way was cut short, where a server could not answer; empty otherwise.
        is_owed: Whether a server still owes it an answer; None where none does.
        owed: The (stage, tier) pairs of which that was so when they were asked last.
    """

    item: Item
    expected: OnlineProfile
    stage: Stage | None
    fixed: tuple[Stage, ...] | None = None
    most: int | None = None
    p_matters: float | None = None
    branches: dict[str, Branch] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    passed: list[tuple[Stage, Answer]] = field(default_factory=list)
    label: str = ""
    p_label: float | None = None
    status: Status = Status.DECIDED
    cause: str = ""
    is_owed: Callable[[], bool] | None = None
    owed: set[tuple[str, str]] = field(default_factory=set)
    _scores: dict[tuple[str, str], float | Sequence[float]] = field(default_factory=dict)  # by stage and tier

    @property
    def cascade(self) -> Cascade:
        """The tree."""
        return self.expected.cascade

    @property
    def depth(self) -> int:
        """How many stages it has passed."""
        return len(self.passed)

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to ask."""
        return self.stage is None

    @property
    def is_half_asked(self) -> bool:
        """Whether some tiers of its stage have answered and others have not."""
        return self.stage is not None and bool(self._known(self.stage))

    def pending(self) -> list[tuple[str, Question]]:
        """The (tier, question) pairs that its stage still asks."""
        return self._open(self.stage) if self.stage is not None else []

    def ahead(self, key: str) -> Iterator[tuple[Stage, str, Question]]:
        """The (stage, tier, question) triples of later stages that the adapter of a key could answer now."""
        if self.stage is not None and self.fixed is None:
            for stage in self.cascade.after(self.stage):
                yield from (
                    (stage, tier, question) for tier, question in self._open(stage) if self.key_of(question) == key
                )

    def questions(self) -> Iterator[Question]:
        """All that may still be asked on this way."""
        if self.stage is None:
            return
        later = self.cascade.after(self.stage) if self.fixed is None else self.fixed[self.depth + 1 :]
        for stage in (self.stage, *later):
            yield from (question for _, question in self._open(stage))

    @property
    def path(self) -> tuple[Node, ...]:
        """Its nodes down to its own, in the trie of the first model that it is asked of; empty until then."""
        branch = next(iter(self.branches.values()), None)
        return branch.node.path if branch is not None else ()

    def model_of(self, question: Question) -> str:
        """The model that answers a question."""
        return self.expected.model_of(question)

    def key_of(self, question: Question) -> str:
        """The key of the adapter that answers a question; see ``OnlineProfile``."""
        return self.expected.key_of(question)

    def asks(self, model: str) -> bool:
        """Whether its stage asks a model."""
        return any(self.model_of(question) == model for _, question in self.pending())

    def is_read_for(self, question: Question) -> bool:
        """Whether all nodes are built that stand before a question, in the trie of its model."""
        branch = self.branches.get(self.model_of(question))
        return branch is not None and branch.has(question)

    def branch_of(self, question: Question) -> Branch:
        """What is built of it for the model that answers a question; ``is_read_for`` it must be true."""
        return self.branches[self.model_of(question)]

    def node_above(self, question: Question) -> Node:
        """The node that a question goes below; ``is_read_for`` it must be true."""
        return self.branch_of(question).above(question)

    def take(self, stage: Stage, tier: str, answer: float | Sequence[float]) -> None:
        """Records an answer, p(yes) or the probabilities of values; once all tiers have answered, moves on."""
        self._scores.setdefault((stage.name, tier), answer)
        while self.stage is not None and not self.pending():
            self._move(self.stage)

    def enter(self) -> None:
        """Pass the cascade's prior stage, which may settle the item or lead it past the first question."""
        prior = self.cascade.prior_stage
        if prior is None:
            return
        p = prior.known_p(self.item)
        known = {} if p is None else {ANY_TIER: p}
        answer = prior.answer(known)
        if prior.target(answer=answer) == Target(self.cascade.first.name, is_label=False) and answer is None:
            return  # it has said nothing, and the first question is asked as ever
        self.steps += [_step(prior, tier, p_yes, self.expected.models) for tier, p_yes in known.items()]
        self._go(prior, answer)

    def give_up(self, cause: str = "") -> None:
        """End here because time ran out or nobody can answer, as far as what has answered does not lead on."""
        while self.stage is not None and self.fixed is None and self._is_sure(self.stage):
            self._move(self.stage)
        self._cut(cause)

    def _cut(self, cause: str = "") -> None:
        """End here, with the likeliest label of items that stand here, and the status that tells how far it got."""
        if self.stage is None:
            return
        self.cause = cause
        self.label, self.p_label = self.expected.likeliest(self.stage, None if self.depth else self.p_matters)
        self.status = Status.DEPTH_CAP if self.depth else Status.DEADLINE
        self.stage = None

    def _open(self, stage: Stage) -> list[tuple[str, Question]]:
        tiers = stage.tiers_of(self.item)
        return [(tier, stage.question(tier)) for tier in tiers if (stage.name, tier) not in self._scores]

    def _known(self, stage: Stage) -> dict[str, float]:
        """p(yes) by tier, in the item's own order of tiers: batches may have asked them in another; p by value."""
        found: dict[str, float] = {}
        for tier in stage.tiers_of(self.item):
            p = self._scores.get((stage.name, tier))
            if p is not None:
                found |= {tier: p} if isinstance(p, float) else dict(zip(stage.columns, p, strict=True))
        return found

    def _is_sure(self, stage: Stage) -> bool:
        """Whether some tiers have answered yes so that no other could change it."""
        return stage.is_surely_yes(self._known(stage))

    def _move(self, stage: Stage) -> None:
        known = self._known(stage)
        answer = stage.answer(known)
        if stage.has_values:
            self.steps.append(_value_step(stage, known, answer, self.expected.models))
        else:
            self.steps += [_step(stage, tier, p_yes, self.expected.models) for tier, p_yes in known.items()]
        self.passed.append((stage, answer))
        if self.fixed is not None:
            self.stage = self.fixed[self.depth] if self.depth < len(self.fixed) else None
            return
        self._go(stage, answer)
        if self.depth == self.most:
            self._cut()

    def _go(self, stage: Stage, answer: Answer) -> None:
        target = stage.target(answer=answer)
        if not target.is_label:
            self.stage = self.cascade.stage(target.name)
            return
        self.stage, self.label = None, target.name
        self.status = Status.UNCERTAIN if answer is None else Status.DECIDED


def _value_step(stage: Stage, known: Mapping[str, float], answer: Answer, models: Mapping[str, str]) -> Step:
    question = stage.question(ANY_TIER)
    p = np.array([list(known.values())])
    return Step(
        stage=stage.name,
        tier=ANY_TIER,
        adapter=question.adapter,
        model=models.get(question.adapter, ""),
        p_yes=nan,
        threshold=question.threshold,
        answer=answer,
        probabilities=known,
        confidence=float(question.confidence(p)[0]),
        score=float(expected_score(p)[0]) if question.is_scale else None,
    )


def _step(stage: Stage, tier: str, p_yes: float, models: Mapping[str, str]) -> Step:
    question = stage.questions.get(tier)
    curve = question.curve if question is not None else None
    no_below, yes_from = stage.limits[tier]
    return Step(
        stage=stage.name,
        tier=tier,
        adapter=question.adapter if question is not None else "",
        model=models.get(question.adapter, "") if question is not None else "",
        p_yes=p_yes,
        threshold=yes_from,
        answer=True if p_yes >= yes_from else False if p_yes < no_below else None,
        p_calibrated=float(curve(p_yes)) if curve is not None else None,
        no_below=no_below if no_below < yes_from else None,
    )

"""What answers typed questions by the config's own stages and cascades."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cascade.engine.engine import Engine
from cascade.items import Item, Task
from cascade.probability import Array
from cascade.report import Decision, Report, Step
from cascade.service.typed import Answered
from cascade.stages import Answer, Stage, Target, in_words
from cascade.tree import Cascade


class Work(Protocol):
    """One request to the engine, which answers one question or several."""

    async def run(self, engine: Engine) -> Report:
        """Ask.

        Raises:
            InputError: See ``Engine.ascore``.
            BackendError: As above.
        """

    def read(self, report: Report) -> Iterator[tuple[int, Answered]]:
        """The answers, each with the place of its question in the caller's request."""


@dataclass(frozen=True, slots=True)
class StageWork:
    """Stages of a cascade, asked of one item whatever the tree would skip.

    Attributes:
        task: The task.
        item: The item.
        cascade: Whose stages: a name, or one that was made for a single question.
        stages: Place of a question -> the stage that answers it, and the tiers that count.
    """

    task: Task
    item: Item
    cascade: Cascade | str
    stages: Mapping[int, tuple[Stage, Sequence[str]]]

    async def run(self, engine: Engine) -> Report:
        """See ``Work.run``."""
        names = dict.fromkeys(stage.name for stage, _ in self.stages.values())
        return await engine.ascore(self.task, [self.item], self.cascade, *names)

    def read(self, report: Report) -> Iterator[tuple[int, Answered]]:
        """See ``Work.read``."""
        steps = report.decisions[0].steps
        for place, (stage, tiers) in self.stages.items():
            own = [step for step in steps if step.stage == stage.name and (not stage.is_tiered or step.tier in tiers)]
            yield place, _of_stage(stage, own)


def _of_stage(stage: Stage, steps: Sequence[Step]) -> Answered:
    if stage.has_values:
        p = list(steps[0].probabilities.values())
        return Answered(p=p, more={"x_answer": in_words(steps[0].answer)})
    p_yes, threshold = stage.joined_p({step.tier: step.p_yes for step in steps})
    answer = stage.answer({step.tier: step.p_yes for step in steps})
    return Answered(p=p_yes, more={"x_answer": in_words(answer), "x_threshold": threshold})


@dataclass(frozen=True, slots=True)
class TreeWork:
    """One item on its way down the tree of a cascade: its label answers choices.

    Attributes:
        task: The task.
        item: The item.
        cascade: The cascade.
        options: Place of a question -> the labels that it may choose from.
    """

    task: Task
    item: Item
    cascade: Cascade
    options: Mapping[int, Sequence[str]]

    async def run(self, engine: Engine) -> Report:
        """See ``Work.run``."""
        return await engine.aclassify(self.task, [self.item], self.cascade.name)

    def read(self, report: Report) -> Iterator[tuple[int, Answered]]:
        """See ``Work.read``."""
        decision = report.decisions[0]
        p = label_probabilities(self.cascade, decision)
        more = {
            "x_label": decision.label,
            "x_status": str(decision.status),
            "x_calls": report.stats.calls,
            **({"x_cause": decision.cause} if decision.cause else {}),
        }
        for place, options in self.options.items():
            chosen = options.index(decision.label) if decision.label in options else None
            yield place, Answered(p=_among(options, p, chosen), chosen=chosen, more=more)


def label_probabilities(cascade: Cascade, decision: Decision) -> dict[str, float]:
    """Label -> its probability, from the answers on an item's way and, beside the way, from the cascade's profile.

    What is uncertain widens it: an uncertain answer counts all of its stage's answers alike. Where it led to another
    stage, that one decides alone.
    """
    steps: dict[str, list[Step]] = {}
    for step in decision.steps:
        steps.setdefault(step.stage, []).append(step)
    known: dict[str, dict[str, float]] = {}

    def below(target: Target) -> dict[str, float]:
        if target.is_label:
            return {target.name: 1.0}
        if target.name not in known:
            known[target.name] = _below_stage(cascade.stage(target.name))
        return known[target.name]

    def _below_stage(stage: Stage) -> dict[str, float]:
        own = steps.get(stage.name, [])
        uncertain = stage.uncertain
        if own and _answer(stage, own) is None and uncertain is not None and not uncertain.is_label:
            return below(uncertain)
        shares = _shares(stage, own) if own else _expected(cascade, stage)
        found = dict.fromkeys(cascade.labels, 0.0)
        for answer, target in stage.sure_ways.items():
            for label, p in below(target).items():
                found[label] += shares[answer] * p
        return found

    first, prior = Target(cascade.first.name, is_label=False), cascade.prior_stage
    is_settled = prior is not None and prior.name in steps and _answer(prior, steps[prior.name]) is not None
    return _below_stage(prior) if prior is not None and is_settled else below(first)


def _answer(stage: Stage, steps: Sequence[Step]) -> Answer:
    return steps[0].answer if stage.has_values else stage.answer({step.tier: step.p_yes for step in steps})


def _shares(stage: Stage, steps: Sequence[Step]) -> Mapping[Answer, float]:
    """Sure answer of a stage that was asked -> its probability."""
    if _answer(stage, steps) is None:
        return dict.fromkeys(stage.sure_ways, 1 / len(stage.sure_ways))
    if stage.has_values:
        found = stage.p_of_answers(np.array([list(steps[0].probabilities.values())]))
        return {answer: float(p[0]) for answer, p in found.items()}
    yes = stage.joined_p({step.tier: step.p_yes for step in steps})[0]
    return {True: yes, False: 1 - yes}


def _expected(cascade: Cascade, stage: Stage) -> Mapping[Answer, float]:
    """Sure answer of a stage that was not asked -> its share by the profile."""
    rates = {answer: rate for answer, rate in cascade.answer_rates(stage).items() if answer is not None}
    total = sum(rates.values())
    return {answer: rate / total if total else 1 / len(rates) for answer, rate in rates.items()}


def _among(options: Sequence[str], p: Mapping[str, float], chosen: int | None) -> list[float]:
    """The probabilities of some labels, which sum to 1; none is likelier than the one that the tree gave.

    Thresholds may lead to another label than the likeliest: that one is then held as likely as it.
    """
    found: Array = np.array([p.get(option, 0.0) for option in options])
    if chosen is not None:
        found[chosen] = found.max() or 1.0
    total = found.sum()
    shares: list[float] = (found / total if total else np.full(len(options), 1 / len(options))).tolist()
    return shares

"""Evaluates a cascade on labelled tasks: every stage by itself, and the cascade as a whole.

A stage is scored on all items whose true label decides its answer, including items that an earlier stage would have
stopped, so its figures do not depend on the stages before it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cascade.config.figures import Figure
from cascade.engine.engine import Engine
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.metrics import HandedOn, auc, auc_per_task, calibration_error, f1, macro_f1, recall_over_rows
from cascade.evaluation.value_tally import ValueTally
from cascade.items import Item
from cascade.probability import Ints, logit, sure_logit
from cascade.report import Decision, Status, Step
from cascade.stages import ANY_TIER, Stage
from cascade.tree import Cascade


@dataclass(slots=True)
class Tally:
    """Scores and truths of one question, or of a stage.

    Attributes:
        tasks: Number of the task of each row.
        p: p(yes) of each row.
        thresholds: The threshold that each p is compared with; they differ where tiers have thresholds of their own.
        truths: Whether yes is true.
    """

    tasks: list[int] = field(default_factory=list)
    p: list[float] = field(default_factory=list)
    thresholds: list[float] = field(default_factory=list)
    truths: list[bool] = field(default_factory=list)

    def add(self, task: int, p_yes: float, threshold: float, *, truth: bool) -> None:
        """Add a row."""
        self.tasks.append(task)
        self.p.append(p_yes)
        self.thresholds.append(threshold)
        self.truths.append(truth)

    def as_dict(self) -> dict[str, Any]:
        """The figures; None where a figure needs a class that does not occur."""
        ranks = self._ranks()
        return {
            "n": len(self.p),
            "base_rate": _known(float(np.mean(self.truths)) if self.truths else math.nan),
            Figure.AUC_OVER_ROWS: _known(auc(ranks, self.truths)),
            Figure.AUC_PER_TASK: _known(auc_per_task(ranks, self.truths, self.tasks)),
            "ece": _known(calibration_error(self.p, self.truths)),
            Figure.F1_OVER_ROWS: _known(f1(np.greater_equal(self.p, self.thresholds), self.truths)),
        }

    def _ranks(self) -> ArrayLike:
        """The p of each row, or its distance from the threshold in log odds if rows have several thresholds."""
        if len(set(self.thresholds)) <= 1:
            return self.p
        return sure_logit(self.p) - logit(self.thresholds)


@dataclass(slots=True)
class PriorTally:
    """Scores and truths of a prior stage.

    Attributes:
        known: Items that have a prior probability; the truth is whether the item matters.
        settled: Those of them that the prior stage answers.
    """

    known: Tally = field(default_factory=Tally)
    settled: Tally = field(default_factory=Tally)

    def add(self, task: int, stage: Stage, item: Item, *, matters: bool) -> None:
        """Add an item."""
        p = stage.known_p(item)
        if p is None:
            return
        self.known.add(task, p, stage.yes_from, truth=matters)
        if stage.answer({ANY_TIER: p}) is not None:
            self.settled.add(task, p, stage.yes_from, truth=matters)

    def as_dict(self, name: str) -> dict[str, Any]:
        """The figures: F1 over settled items, all others over known ones; None where a figure is undefined."""
        f1_of_settled = self.settled.as_dict()[Figure.F1_OVER_ROWS]
        counts = {"stage": name, "n_settled": len(self.settled.p)}
        return counts | self.known.as_dict() | {Figure.F1_OVER_ROWS: f1_of_settled}


class Evaluation:
    """Figures of a cascade over labelled tasks.

    Args:
        engine: Scores the items.
        cascade: The cascade to evaluate.
    """

    def __init__(self, engine: Engine, cascade: Cascade) -> None:
        self._engine = engine
        self._cascade = cascade
        self._true_answers = cascade.true_answers()
        self._n_tasks = self._n_items = self._n_calls = self._n_tokens = 0
        self._elapsed_ms = 0.0
        self._recalls: list[float] = []
        self._settled = PriorTally()
        self.tallies = {
            stage.name: {tier: Tally() for tier in (ANY_TIER, *stage.questions)}
            for stage in cascade.stages
            if not stage.has_values
        }
        self.value_tallies = {stage.name: ValueTally.of(stage) for stage in cascade.stages if stage.has_values}
        self._handed_on = [cascade.labels.index(label) for label in cascade.handed_on]
        self._statuses: Counter[Status] = Counter()
        size = len(cascade.labels)
        self._confusion: Ints = np.zeros((size, size), np.int64)

    def add(self, labelled: Labelled) -> None:
        """Classify a task's items, then ask each the stages that it did not reach."""
        report = self._engine.classify(labelled.task, labelled.items, self._cascade.name)
        labels = self._cascade.labels
        confusion = np.zeros_like(self._confusion)
        for decision, truth in zip(report.decisions, labelled.labels, strict=True):
            confusion[labels.index(truth), labels.index(decision.label)] += 1
        self._confusion += confusion
        self._statuses += report.statuses()
        recall = recall_over_rows(confusion, labels.index(self._cascade.dropped), self._handed_on)
        if not math.isnan(recall):  # a task with nothing to find has none
            self._recalls.append(recall)
        prior = self._cascade.prior_stage
        if prior is not None:
            for item, label in zip(labelled.items, labelled.labels, strict=True):
                self._settled.add(self._n_tasks, prior, item, matters=label != self._cascade.dropped)
        for stage in self._cascade.stages:
            self._add_stage(stage, labelled, report.decisions)
        self._n_tasks += 1
        self._n_items += report.stats.items
        self._n_calls += report.stats.calls
        self._n_tokens += report.stats.tokens_decoded
        self._elapsed_ms += report.stats.elapsed_ms

    def as_dict(self) -> dict[str, Any]:
        """All figures in JSON form; None where these tasks do not define a figure."""
        labels, prior = self._cascade.labels, self._cascade.prior_stage
        dropped = labels.index(self._cascade.dropped)
        return {
            "cascade": self._cascade.name,
            "tasks": self._n_tasks,
            "items": self._n_items,
            "prior_stage": self._settled.as_dict(prior.name) if prior is not None else None,
            "stages": {stage.name: self._stage_dict(stage) for stage in self._cascade.stages},
            "confusion": {
                truth: dict(zip(labels, self._confusion[labels.index(truth)].tolist(), strict=True))
                for truth in self._cascade.answers
            },
            "statuses": {str(status): self._statuses[status] for status in Status},
            "handed_on": asdict(HandedOn.of(self._confusion, dropped, self._handed_on)) if self._handed_on else None,
            Figure.MACRO_F1_OVER_ROWS: _known(macro_f1(self._confusion)),
            Figure.RECALL_OVER_ROWS: _known(recall_over_rows(self._confusion, dropped, self._handed_on)),
            Figure.RECALL_PER_TASK: float(np.mean(self._recalls)) if self._recalls else None,
            "calls_per_item": self._n_calls / self._n_items if self._n_items else None,
            "tokens_per_item": self._n_tokens / self._n_items if self._n_items else None,
            "elapsed_ms": round(self._elapsed_ms, 3),
        }

    def _add_stage(self, stage: Stage, labelled: Labelled, decisions: Iterable[Decision]) -> None:
        rows = []
        for item, label, decision in zip(labelled.items, labelled.labels, decisions, strict=True):
            truth = self._true_answers[label].get(stage.name)
            if truth is not None:
                rows.append((item, truth, tuple(step for step in decision.steps if step.stage == stage.name)))
        missed = [item for item, _, steps in rows if not steps]
        asked = self._engine.score(labelled.task, missed, self._cascade.name, stage.name) if missed else []
        extra = dict(zip((item.id for item in missed), asked, strict=True))
        for item, truth, steps in rows:
            own = steps or extra[item.id]
            if stage.has_values:
                self.value_tallies[stage.name].add(own[0], truth)
            else:
                self._book(stage, own, truth=truth is True)

    def _book(self, stage: Stage, steps: tuple[Step, ...], *, truth: bool) -> None:
        tallies = self.tallies[stage.name]
        by_tier = {step.tier: step.p_yes for step in steps}
        tallies[ANY_TIER].add(self._n_tasks, *stage.joined_p(by_tier), truth=truth)
        if stage.is_tiered:
            for step in steps:
                tallies[step.tier].add(self._n_tasks, step.p_yes, step.threshold, truth=truth)

    def _stage_dict(self, stage: Stage) -> dict[str, Any]:
        if stage.has_values:
            return self.value_tallies[stage.name].as_dict()
        tallies = self.tallies[stage.name]
        by_tier = {tier: tallies[tier].as_dict() for tier in stage.questions} if stage.is_tiered else {}
        return tallies[ANY_TIER].as_dict() | {"by_tier": by_tier}


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value

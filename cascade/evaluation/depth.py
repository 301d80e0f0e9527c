"""Runs labelled tasks to each depth and under time budgets, to find how much each further question gains.

The full runs also give the cascade's profile: pass rates, label shares, and a prior.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Self

import numpy as np

from cascade.budget import Budget
from cascade.engine.engine import Engine
from cascade.engine.online_profile import OnlineProfile
from cascade.errors import InputError
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.depth_choice import DepthChoice, Level, Runs, rows
from cascade.evaluation.metrics import HandedOn, accuracy, macro_f1, recall_over_rows
from cascade.evaluation.profile_fit import Learner
from cascade.probability import Ints
from cascade.profile import Profile
from cascade.report import Decision, Statistics
from cascade.tree import Cascade

SHARES = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5)
"""Budgets of the anytime curve, as shares of the median full run's time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """Result of a depth study.

    Attributes:
        cascade: Name of the cascade.
        n_tasks: Tasks that were run.
        n_items: Their items.
        levels: Every depth from 1 on.
        anytime: Quality under each budget, in JSON form.
        profile: The profile learned from the full runs.
        unreached: Stages that no item reached in them.
        prior_auc: How well a prior ranks what the cascade keeps, on tasks that it was not fitted to; see
            ``prior_fit.prior_auc``.
    """

    cascade: str
    n_tasks: int
    n_items: int
    levels: tuple[Level, ...]
    anytime: tuple[dict[str, Any], ...]
    profile: Profile
    unreached: tuple[str, ...]
    prior_auc: float

    def as_dict(self, choice: DepthChoice, zero: Level | None = None) -> dict[str, Any]:
        """JSON form; None where a figure cannot be had from these tasks.

        Args:
            choice: How the depth is chosen.
            zero: Depth 0, where it was measured.
        """
        levels = (zero, *self.levels) if zero else self.levels
        chosen, certainty = choice.choose(levels), choice.certainty(levels)
        verdict = {"verdict": "clear" if certainty.is_clear else "unclear", "tasks_needed": certainty.n_needed}
        return {
            "cascade": self.cascade,
            "tasks": self.n_tasks,
            "items": self.n_items,
            "depths": rows(levels),
            "choice": choice.as_dict() | {"depth": chosen.depth if chosen else None} | verdict,
            "anytime": list(self.anytime),
            "learned": {
                "pass_rates": dict(self.profile.pass_rates),
                "answer_rates": {stage: dict(rates) for stage, rates in self.profile.answer_rates.items()},
                "uncertain_rates": dict(self.profile.uncertain_rates),
                "unreached": list(self.unreached),
                "label_shares": {
                    stage: dict(label_shares) for stage, label_shares in self.profile.label_shares.items()
                },
                "prior_features": len(self.profile.prior.weights) if self.profile.prior else None,
                "prior_auc_per_task": None if math.isnan(self.prior_auc) else self.prior_auc,
            },
        }


@dataclass(slots=True)
class Tally:
    """Sums over requests of one kind.

    Attributes:
        labels: The cascade's labels, in order.
        dropped: The label of items that do not matter.
        handed_on: The labels of items that are handed on as uncertain.
    """

    labels: tuple[str, ...]
    dropped: str
    handed_on: tuple[str, ...] = ()
    _confusions: list[Ints] = field(default_factory=list)
    _stats: list[Statistics] = field(default_factory=list)

    @classmethod
    def of(cls, cascade: Cascade) -> Self:
        """For requests to a cascade."""
        return cls(cascade.labels, cascade.dropped, cascade.handed_on)

    def add(self, truths: Sequence[str], answers: Sequence[str], stats: Statistics) -> None:
        """Add a request."""
        confusion = np.zeros((len(self.labels), len(self.labels)), np.int64)
        for truth, answer in zip(truths, answers, strict=True):
            confusion[self.labels.index(truth), self.labels.index(answer)] += 1
        self._confusions.append(confusion)
        self._stats.append(stats)

    @property
    def elapsed_ms(self) -> float:
        """Median over requests."""
        return median(stats.elapsed_ms for stats in self._stats)

    def quality(self) -> dict[str, float | None]:
        """Accuracy, macro F1 and recall, over rows; and what is handed on, None where nothing can be."""
        confusion, dropped = np.sum(self._confusions, axis=0), self.labels.index(self.dropped)
        handed_on = [self.labels.index(label) for label in self.handed_on]
        recall = recall_over_rows(confusion, dropped, handed_on)
        beside = HandedOn.of(confusion, dropped, handed_on) if handed_on else None
        return {
            "accuracy": accuracy(confusion),
            "macro_f1_over_rows": macro_f1(confusion),
            "recall_over_rows": None if math.isnan(recall) else recall,
            "handed_on": beside.share if beside is not None else None,
            "mattering_handed_on": beside.of_mattering if beside is not None else None,
            "error_among_answered": beside.error_among_answered if beside is not None else None,
        }

    def level(self, depth: int) -> Level:
        """The figures of these requests as a ``Level``."""
        quality = self.quality()
        return Level(
            depth=depth,
            accuracy=quality["accuracy"] or 0.0,
            macro_f1_over_rows=quality["macro_f1_over_rows"] or 0.0,
            recall_over_rows=quality["recall_over_rows"],
            handed_on=quality["handed_on"],
            mattering_handed_on=quality["mattering_handed_on"],
            error_among_answered=quality["error_among_answered"],
            calls_per_item=sum(stats.calls for stats in self._stats) / sum(stats.items for stats in self._stats),
            predicted_ms=median(stats.predicted_ms for stats in self._stats),
            elapsed_ms=self.elapsed_ms,
            runs=Runs(
                confusions=np.stack(self._confusions),
                elapsed_ms=np.array([stats.elapsed_ms for stats in self._stats]),
            ),
        )


class DepthStudy:
    """Runs labelled tasks to every depth and under budgets.

    Args:
        engine: An engine with the cascade.
        cascade: The cascade.
        tasks: The tasks; those without items are passed over.
        advance: Called after each request; ``n_requests`` says how many there will be.

    Raises:
        InputError: No task has an item.
    """

    def __init__(
        self, engine: Engine, cascade: Cascade, tasks: Sequence[Labelled], advance: Callable[[], object] = lambda: None
    ) -> None:
        self._engine = engine
        self._cascade = cascade
        self._tasks = [labelled for labelled in tasks if labelled.items]
        self._advance = advance
        self._learner = Learner(cascade)
        self._n_levels = OnlineProfile(cascade).n_levels
        if not self._tasks:
            msg = "No task has an item, so nothing can be measured. Give labelled tasks with items."
            raise InputError(msg)

    @property
    def n_requests(self) -> int:
        """Number of requests that ``run`` makes."""
        return len(self._tasks) * (self._n_levels + len(SHARES))

    def run(self) -> Findings:
        """Measure every depth and every budget."""
        levels = self._levels()
        profile = self._learner.profile()
        return Findings(
            cascade=self._cascade.name,
            n_tasks=len(self._tasks),
            n_items=sum(len(labelled.items) for labelled in self._tasks),
            levels=tuple(levels),
            anytime=tuple(self._anytime(share, levels[-1].elapsed_ms) for share in SHARES),
            profile=profile,
            unreached=tuple(stage.name for stage in self._cascade.stages if stage.name not in profile.label_shares),
            prior_auc=self._learner.prior_auc(),
        )

    def _levels(self) -> list[Level]:
        """Every depth from 1 to the last; each task goes to all of them in turn, so that noise meets all alike."""
        tallies = [Tally.of(self._cascade) for _ in range(self._n_levels)]
        for labelled in self._tasks:
            by_depth = [self._run(labelled, Budget(depth=depth), tally) for depth, tally in enumerate(tallies, 1)]
            self._learner.add(labelled.items, labelled.labels, by_depth[-1])
        return [tally.level(depth) for depth, tally in enumerate(tallies, 1)]

    def _anytime(self, share: float, full_ms: float) -> dict[str, Any]:
        """Quality if every request has a budget of ``share`` times the median full run's time."""
        tally, budget = Tally.of(self._cascade), Budget(ms=share * full_ms)
        for labelled in self._tasks:
            self._run(labelled, budget, tally)
        return {"share": share, "budget_ms": budget.ms, "elapsed_ms": tally.elapsed_ms} | tally.quality()

    def _run(self, labelled: Labelled, budget: Budget, tally: Tally) -> tuple[Decision, ...]:
        report = self._engine.classify(labelled.task, labelled.items, self._cascade.name, budget=budget)
        tally.add(labelled.labels, [decision.label for decision in report.decisions], report.stats)
        self._advance()
        return report.decisions

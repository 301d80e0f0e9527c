"""Learns a cascade's profile from what it decided of items whose labels are known. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from cascade.evaluation.features import FeatureTable
from cascade.evaluation.prior_fit import Examples, fit_prior, prior_auc
from cascade.items import Item
from cascade.profile import Profile
from cascade.report import Decision
from cascade.stages import Stage
from cascade.tree import Cascade

_HALF = 0.5  # what is added to every count, so that nothing is held impossible (Jeffreys 1946)
_LEAST_RATE = 1e-3  # what is asked a thousand times before it is passed once can as well be a little more


class Learner:
    """Gathers what a cascade's own full runs say of its items.

    Args:
        cascade: The cascade; what its profile says already counts for nothing.
    """

    def __init__(self, cascade: Cascade) -> None:
        self._cascade = cascade
        self._asked: Counter[str] = Counter()
        self._passed: Counter[str] = Counter()
        self._truths: dict[str, Counter[str]] = defaultdict(Counter)
        self._items: list[Item] = []
        self._kept: list[bool] = []
        self._tasks: list[int] = []
        self._n_tasks = 0

    def add(self, items: Sequence[Item], labels: Sequence[str], decisions: Sequence[Decision]) -> None:
        """Take in a task: its items, the true label of each, and what was decided without a limit."""
        for item, label, decision in zip(items, labels, decisions, strict=True):
            self._items.append(item)
            self._kept.append(decision.label != self._cascade.dropped)
            self._tasks.append(self._n_tasks)
            for stage in self._cascade.stages:
                scores = {step.tier: step.p_yes for step in decision.steps if step.stage == stage.name}
                if scores:
                    self._asked[stage.name] += 1
                    self._passed[stage.name] += stage.is_yes(scores)
                    self._truths[stage.name][label] += 1
        self._n_tasks += 1

    def profile(self) -> Profile:
        """What was learned; a stage that no item reached is left out."""
        reached = [stage for stage in self._cascade.stages if self._asked[stage.name]]
        return Profile(
            pass_rates={stage.name: self._rate(stage) for stage in reached},
            label_shares={stage.name: self._label_shares(stage) for stage in reached},
            prior=fit_prior(self._examples),
        )

    def prior_auc(self) -> float:
        """How well a prior ranks what the cascade keeps above the rest of a task; see ``prior_fit.prior_auc``."""
        return prior_auc(self._examples)

    @property
    def _examples(self) -> Examples:
        return Examples(features=FeatureTable.of(self._items, self._tasks), kept=self._kept, tasks=self._tasks)

    def _rate(self, stage: Stage) -> float:
        rate = (self._passed[stage.name] + _HALF) / (self._asked[stage.name] + 2 * _HALF)
        return min(max(rate, _LEAST_RATE), 1 - _LEAST_RATE)

    def _label_shares(self, stage: Stage) -> Mapping[str, float]:
        truths, labels = self._truths[stage.name], self._cascade.labels
        total = self._asked[stage.name] + _HALF * len(labels)
        return {label: (truths[label] + _HALF) / total for label in labels}

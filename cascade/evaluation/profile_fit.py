"""Learns a cascade's profile from its decisions on labelled items. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from cascade.evaluation.features import FeatureTable
from cascade.evaluation.prior_fit import Examples, fit_prior, prior_auc
from cascade.items import Item
from cascade.profile import Profile
from cascade.report import Decision
from cascade.stages import Stage, in_words
from cascade.tree import Cascade

_HALF = 0.5  # added to every count, so that no probability is 0 (Jeffreys 1946)
_LEAST_RATE = 1e-3  # rates below it cannot be told from it


class Learner:
    """Learns a profile from full runs of a cascade.

    Args:
        cascade: The cascade; the profile that it has is not used.
    """

    def __init__(self, cascade: Cascade) -> None:
        self._cascade = cascade
        self._asked: Counter[str] = Counter()
        self._passed: Counter[str] = Counter()
        self._unsure: Counter[str] = Counter()
        self._answers: dict[str, Counter[str]] = defaultdict(Counter)
        self._truths: dict[str, Counter[str]] = defaultdict(Counter)
        self._items: list[Item] = []
        self._kept: list[bool] = []
        self._tasks: list[int] = []
        self._n_tasks = 0

    def add(self, items: Sequence[Item], labels: Sequence[str], decisions: Sequence[Decision]) -> None:
        """Add a task: its items, their true labels, and the decisions of a run without a budget."""
        for item, label, decision in zip(items, labels, decisions, strict=True):
            self._items.append(item)
            self._kept.append(decision.label != self._cascade.dropped)  # what is handed on is worth being asked
            self._tasks.append(self._n_tasks)
            for stage in self._cascade.stages:
                own = [step.scores for step in decision.steps if step.stage == stage.name]
                scores = {name: p for each in own for name, p in each.items()}
                if scores:
                    self._asked[stage.name] += 1
                    answer = stage.answer(scores)
                    self._passed[stage.name] += answer is True
                    self._unsure[stage.name] += answer is None
                    self._answers[stage.name][in_words(answer)] += answer is not None and stage.has_values
                    self._truths[stage.name][label] += 1
        self._n_tasks += 1

    def profile(self) -> Profile:
        """The profile learned so far; stages that no item reached are left out."""
        reached = [stage for stage in self._cascade.stages if self._asked[stage.name]]
        return Profile(
            pass_rates={stage.name: self._rate(stage, self._passed) for stage in reached if not stage.has_values},
            answer_rates={stage.name: self._answer_rates(stage) for stage in reached if stage.has_values},
            uncertain_rates={
                stage.name: self._rate(stage, self._unsure) for stage in reached if stage.may_be_uncertain
            },
            label_shares={stage.name: self._label_shares(stage) for stage in reached},
            prior=fit_prior(self._examples),
        )

    def prior_auc(self) -> float:
        """AUC of a prior that ranks kept items above the rest of their task; see ``prior_fit.prior_auc``."""
        return prior_auc(self._examples)

    @property
    def _examples(self) -> Examples:
        return Examples(features=FeatureTable.of(self._items, self._tasks), kept=self._kept, tasks=self._tasks)

    def _rate(self, stage: Stage, counts: Counter[str]) -> float:
        rate = (counts[stage.name] + _HALF) / (self._asked[stage.name] + len(stage.ways) * _HALF)
        return min(max(rate, _LEAST_RATE), 1 - _LEAST_RATE)

    def _answer_rates(self, stage: Stage) -> Mapping[str, float]:
        counts = {in_words(answer): self._answers[stage.name][in_words(answer)] + _HALF for answer in stage.sure_ways}
        return {answer: count / sum(counts.values()) for answer, count in counts.items()}

    def _label_shares(self, stage: Stage) -> Mapping[str, float]:
        truths, labels = self._truths[stage.name], self._cascade.answers
        total = self._asked[stage.name] + _HALF * len(labels)
        return {label: (truths[label] + _HALF) / total for label in labels}

"""What is to be expected of items on their way, learned from labelled data: how many pass, where they end. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import exp

import numpy as np

from cascade.items import Item
from cascade.probability import Array

DEFAULT_PASS_RATE = 0.5
"""Share of yes that is assumed of a stage of which nothing is known."""

DEFAULT_UNCERTAIN_RATE = 0.2
"""Likewise the share of what it is uncertain of, where it can be."""


_FORMS = ("kind:", "tier:")  # facts that every item has, whether or not anything ties it to the task


WITHOUT_SOURCE = "bodiless"
"""What evidence says of an item whose source is not known; see ``cascade.evidence.facts``."""


def features_of(item: Item) -> Iterator[str]:
    """What a prior may know of an item: its kind, tiers, evidence, and that of its group."""
    yield f"kind:{item.kind}"
    for tier in item.tiers:
        yield f"tier:{tier}"
    yield from item.evidence
    if item.group is not None:
        for fact in item.group.evidence:
            yield f"group:{fact}"


def is_evidence(fact: str) -> bool:
    """Whether a fact ties its item to the task; the item's kind and tiers do not."""
    return not fact.startswith(_FORMS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """A logistic model of an item's facts: how likely it matters, before any question is asked.

    Attributes:
        bias: Log odds of an item without known facts.
        weights: Fact, as ``features_of`` gives it, -> what it adds to the log odds.
    """

    bias: float
    weights: Mapping[str, float]

    def p_matters(self, item: Item) -> float:
        """Probability in (0, 1) that the cascade keeps the item."""
        odds = self.bias + sum(self.weights.get(fact, 0.0) for fact in features_of(item))
        return 1 / (1 + exp(-max(-30.0, min(30.0, odds))))

    def knows(self, item: Item) -> bool:
        """Whether any evidence of the item has a weight; without, its probability is that of any item of its kind.

        An item whose source is not known is known only to a prior that was learned from such items: its other evidence
        means something else.
        """
        if WITHOUT_SOURCE in item.evidence and WITHOUT_SOURCE not in self.weights:
            return False
        return any(fact in self.weights and is_evidence(fact) for fact in features_of(item))


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Statistics of a cascade's items, learned from labelled tasks by ``cascade depth``; everything may be absent.

    A budget uses them: they give the probability of labels that were not decided, and the order of items.

    Attributes:
        pass_rates: Stage -> share of the items it is asked of that it answers with yes.
        uncertain_rates: Stage -> share of them of which it is uncertain.
        label_shares: Stage -> label -> share of the items that reach the stage whose true label it is.
        prior: Model of the probability that an item matters, before it is asked anything; None for none.
        answer_rates: Stage with a choice or score -> answer -> its share among the items that it is sure of.
    """

    pass_rates: Mapping[str, float] = field(default_factory=dict)
    label_shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    prior: Prior | None = None
    uncertain_rates: Mapping[str, float] = field(default_factory=dict)
    answer_rates: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def answer_shares(self, stage: str, answers: Sequence[str]) -> dict[str, float]:
        """Answer of a choice or score -> its share among those it is sure of; all alike if nothing is known."""
        known = self.answer_rates.get(stage, {})
        found = {answer: known.get(answer, 0.0) for answer in answers}
        total = sum(found.values())
        return {answer: p / total for answer, p in found.items()} if total else dict.fromkeys(answers, 1 / len(answers))

    def pass_rate(self, stage: str) -> float:
        """The share of yes, or ``DEFAULT_PASS_RATE``."""
        return self.pass_rates.get(stage, DEFAULT_PASS_RATE)

    def uncertain_rate(self, stage: str) -> float:
        """The share of what is uncertain, at most what yes leaves; ``DEFAULT_UNCERTAIN_RATE`` if it is not known."""
        known = self.uncertain_rates.get(stage, DEFAULT_UNCERTAIN_RATE)
        return known if stage in self.answer_rates else min(known, 1 - self.pass_rate(stage))


Statistic = tuple[str, str, str]
"""What is measured of a task, and the stage and tier that it is about; both empty where it is about all items."""

ITEMS, MATTERS = ("items", "", ""), ("matters", "", "")
ASKED, MEAN, SPREAD = "asked", "mean", "spread"


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How the scores of a question are spread over rows.

    Attributes:
        bounds: Log odds that divide the bins, rising; deciles of the rows, each once.
        shares: Share of the rows in each bin; one more than bounds.
    """

    bounds: tuple[float, ...]
    shares: tuple[float, ...]

    def psi(self, log_odds: Array) -> float:
        """Population stability index of other rows against these, at least 0; half a row more in each bin."""
        counts = np.bincount(np.searchsorted(self.bounds, log_odds, side="right"), minlength=len(self.shares))
        now = (counts + 0.5) / (counts.sum() + 0.5 * counts.size)
        then = np.maximum(self.shares, 1e-4)
        return float(((now - then) * np.log(now / then)).sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What is kept of the tasks of a tuning.

    Attributes:
        n_tasks: How many there were.
        tasks: Statistic -> its values, rising, of up to 256 of them; those that it does not exist for are left
            out.
        scores: (stage, tier) -> how its scores are spread.
    """

    n_tasks: int
    tasks: Mapping[Statistic, tuple[float, ...]]
    scores: Mapping[tuple[str, str], Histogram]

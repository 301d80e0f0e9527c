"""Thresholds that tuning may move: which there are, where they are safe, and where a search begins. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import inf
from typing import NamedTuple

from cascade.config.figures import Metric
from cascade.evaluation.replay import Thresholds, deciding, ends_of_ways, own_thresholds, parting
from cascade.evaluation.scored import Key
from cascade.stages import ANY_TIER, Kind, Limits, ScoreLimits, Stage, Target, Threshold, cuts_of, limits_of
from cascade.tree import Cascade

LEAST = 1e-6
"""Thresholds of questions lie at least this far within (0, 1)."""

GAP = 1e-5
"""Cut points that are tuned lie at least this far apart, and from the ends of the scale."""


class End(StrEnum):
    """Which threshold of a question.

    ``both``: the one threshold of a question that is never uncertain; where there are two, both moved as one.
    ``no_below``, ``yes_from``: one of the two.
    ``cut``: a cut point of a score.
    """

    BOTH = "both"
    NO_BELOW = "no_below"
    YES_FROM = "yes_from"
    CUT = "cut"


class FreeKey(NamedTuple):
    """A threshold that may change.

    Attributes:
        stage: Name of its stage.
        tier: The tier of its question.
        end: Which of the question's thresholds.
        at: Which of a score's cut points, from 0 on.
    """

    stage: str
    tier: str = ANY_TIER
    end: End = End.BOTH
    at: int = 0

    @property
    def key(self) -> Key:
        """Its question."""
        return self.stage, self.tier


_OF_ALL_LABELS = frozenset({Metric.MACRO_F1, Metric.ACCURACY_AMONG_ANSWERED})


def free_keys(cascade: Cascade, metric: Metric) -> list[FreeKey]:
    """The thresholds that a metric depends on, those of the prior stage last; two where a question may be uncertain.

    Of a score also the cut points between parts whose ways differ for the metric.
    """
    stages = parting(cascade) if metric in _OF_ALL_LABELS else deciding(cascade)
    every = stages if cascade.prior_stage is None else [*stages, cascade.prior_stage]
    found: list[FreeKey] = []
    for stage in every:
        if not stage.has_values or stage.may_be_uncertain:
            found += [FreeKey(stage.name, tier, end) for tier in stage.limits for end in ends_of(stage)]
        found += _free_cuts(cascade, stage, metric)
    return found


def _free_cuts(cascade: Cascade, stage: Stage, metric: Metric) -> list[FreeKey]:
    """The cut points of a score that tell apart what a metric tells apart."""
    ends, ways = ends_of_ways(cascade), list(stage.sure_ways.values())
    return [
        FreeKey(stage.name, end=End.CUT, at=at)
        for at in range(len(stage.cuts))
        if ways[at] != ways[at + 1] and (metric in _OF_ALL_LABELS or len(ends[ways[at]] | ends[ways[at + 1]]) > 1)
    ]


def nothing_to_tune(cascade: Cascade, metric: Metric) -> str:
    """Why a metric depends on no threshold of a cascade, and what to do."""
    sure = [stage.name for stage in cascade.stages if stage.kind is Kind.CHOICE and not stage.may_be_uncertain]
    if not sure:
        return f"Cascade {cascade.name!r} drops nothing, so its recall is 1 at any thresholds. Nothing can be tuned."
    never = f"{', '.join(sure)} {'is' if len(sure) == 1 else 'are'} never uncertain"
    return (
        f"No threshold of cascade {cascade.name!r} changes its {metric.replace('_', ' ')}: {never}. Give a "
        "`least_confidence` above 0 and an `uncertain`, and it is tuned."
    )


def ends_of(stage: Stage) -> tuple[End, ...]:
    """The thresholds of each of a stage's questions: two where it may be uncertain; one of a choice."""
    return (End.BOTH,) if stage.uncertain is None or stage.has_values else (End.NO_BELOW, End.YES_FROM)


def keeps_on_yes(cascade: Cascade, stage: Stage) -> bool:
    """True if a larger share of the ways from yes than from no leads to labels that are kept; of a yes/no question."""
    return _lost(cascade, stage.yes, [cascade.dropped]) <= _lost(cascade, stage.no, [cascade.dropped])


def is_safe_if_low(cascade: Cascade, key: FreeKey, metric: Metric) -> bool:
    """True if the lowest value of a threshold loses least: that at which a yes/no question says yes to everything.

    Of a choice or score it is the least confidence at which it is sure of everything. Cut points leave the whole scale
    to the part that loses least. What is handed on is lost as well, but for a metric that counts it in.
    """
    stage = cascade.stage(key.stage)
    if not stage.has_values:
        return keeps_on_yes(cascade, stage)
    lost = [cascade.dropped, *(cascade.handed_on if metric is not Metric.RECALL_OR_HANDED_ON else ())]
    of_sure = [_lost(cascade, target, lost) for target in stage.sure_ways.values()]
    if key.end is End.CUT:
        return key.at < of_sure.index(min(of_sure))
    if stage.uncertain is None:
        return True
    return _lost(cascade, stage.uncertain, lost) > (min(of_sure) if stage.cuts else sum(of_sure) / len(of_sure))


def _lost(cascade: Cascade, target: Target, labels: Sequence[str]) -> float:
    """Share of the ways from a target that lead to some labels."""
    ways = {label: cascade.n_ways(label)[target] for label in cascade.labels}
    return sum(ways[label] for label in labels) / sum(ways.values())


def safest(cascade: Cascade, key: FreeKey, metric: Metric) -> float:
    """The value of a threshold at which its question drops nothing, and hands nothing on if it can do without.

    The prior stage leaves all to the questions.
    """
    if cascade.prior_stage is not None and key.stage == cascade.prior_stage.name:
        return 0.0 if key.end is End.NO_BELOW else 1.0
    low, high = bounds_of(cascade.stage(key.stage), key)
    return low if is_safe_if_low(cascade, key, metric) else high


def bounds_of(stage: Stage, key: FreeKey) -> tuple[float, float]:
    """The lowest and the highest value of a threshold; a least confidence of 0 is never missed.

    A cut point leaves room for those below and above it.
    """
    if key.end is End.CUT:
        return GAP * (key.at + 1), len(stage.columns) - 1 - GAP * (len(stage.cuts) - key.at)
    if stage.source is not None:
        return 0.0, 1.0
    return 0.0 if stage.has_values else LEAST, 1 - LEAST


def starts(cascade: Cascade, free: list[FreeKey], metric: Metric) -> list[dict[Key, Threshold]]:
    """Where a search begins: what drops nothing; the cascade's own; and, if questions may be uncertain, what always is.

    All thresholds that are not free are the cascade's own.
    """
    own = own_thresholds(cascade)
    safe = {key: safest(cascade, key, metric) for key in free}
    pairs = [key for key in free if key.end in {End.NO_BELOW, End.YES_FROM}]
    doubts = {key: LEAST if key.end is End.NO_BELOW else 1 - LEAST for key in pairs}
    prior = cascade.prior_stage.name if cascade.prior_stage is not None else None
    doubts = {key: value for key, value in doubts.items() if key.stage != prior}
    return [placed(own, safe), own, *([placed(own, safe | doubts)] if doubts else [])]


def placed(thresholds: Thresholds, values: Mapping[FreeKey, float]) -> dict[Key, Threshold]:
    """Thresholds with other values for some of the free ones; other cut points of a score stay in order with these."""
    found = dict(thresholds)
    moved: dict[Key, dict[int, float]] = {}
    for free, value in values.items():
        here = found[free.key]
        if free.end is End.CUT:
            moved.setdefault(free.key, {})[free.at] = value
        elif isinstance(here, ScoreLimits):
            found[free.key] = here._replace(least=value)
        elif free.end is End.BOTH:
            found[free.key] = value
        else:
            found[free.key] = limits_of(here)._replace(**{str(free.end): value})
    for key, cuts in moved.items():
        found[key] = ScoreLimits(limits_of(found[key]).yes_from, _pushed(cuts_of(found[key]), cuts))
    return found


def _pushed(cuts: Sequence[float], moved: Mapping[int, float]) -> tuple[float, ...]:
    """Cut points of which some are moved; the others stay, or lie just beyond one that would pass them."""
    found = []
    for place, cut in enumerate(cuts):
        low = max((value + (place - at) * LEAST for at, value in moved.items() if at <= place), default=cut)
        high = min((value - (at - place) * LEAST for at, value in moved.items() if at >= place), default=inf)
        found.append(min(max(cut, low), high))
    return tuple(found)


def value_of(thresholds: Thresholds, key: FreeKey) -> float:
    """The value of a free threshold; of both, yes from there on."""
    if key.end is End.CUT:
        return cuts_of(thresholds[key.key])[key.at]
    limits: Limits = limits_of(thresholds[key.key])
    return limits.no_below if key.end is End.NO_BELOW else limits.yes_from

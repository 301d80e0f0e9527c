"""Thresholds that tuning may move: which there are, where they are safe, and where a search begins. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

from cascade.config.figures import Metric
from cascade.evaluation.replay import Thresholds, deciding, own_thresholds, parting
from cascade.evaluation.scored import Key
from cascade.stages import ANY_TIER, Limits, Stage, Target, Threshold, limits_of
from cascade.tree import Cascade

LEAST = 1e-6
"""Thresholds of questions lie at least this far within (0, 1)."""


class End(StrEnum):
    """Which threshold of a question.

    ``both``: the one threshold of a question that is never uncertain; where there are two, both moved as one.
    ``no_below``, ``yes_from``: one of the two.
    """

    BOTH = "both"
    NO_BELOW = "no_below"
    YES_FROM = "yes_from"


class FreeKey(NamedTuple):
    """A threshold that may change.

    Attributes:
        stage: Name of its stage.
        tier: The tier of its question.
        end: Which of the question's thresholds.
    """

    stage: str
    tier: str = ANY_TIER
    end: End = End.BOTH

    @property
    def key(self) -> Key:
        """Its question."""
        return self.stage, self.tier


_OF_ALL_LABELS = frozenset({Metric.MACRO_F1, Metric.ACCURACY_AMONG_ANSWERED})


def free_keys(cascade: Cascade, metric: Metric) -> list[FreeKey]:
    """The thresholds that a metric depends on, those of the prior stage last; two where a question may be uncertain."""
    stages = parting(cascade) if metric in _OF_ALL_LABELS else deciding(cascade)
    may_move = [stage for stage in stages if not stage.has_values or stage.may_be_uncertain]
    every = may_move if cascade.prior_stage is None else [*may_move, cascade.prior_stage]
    return [FreeKey(stage.name, tier, end) for stage in every for tier in stage.limits for end in ends_of(stage)]


def nothing_to_tune(cascade: Cascade, metric: Metric) -> str:
    """Why a metric depends on no threshold of a cascade, and what to do."""
    sure = [stage.name for stage in cascade.stages if stage.has_values and not stage.may_be_uncertain]
    if not sure:
        return f"Cascade {cascade.name!r} drops nothing, so its recall is 1 at any thresholds. Nothing can be tuned."
    never = f"{', '.join(sure)} {'is' if len(sure) == 1 else 'are'} never uncertain"
    return (
        f"No threshold of cascade {cascade.name!r} changes its {metric.replace('_', ' ')}: {never}, and the cut points "
        "of scores are not tuned. Give a `least_confidence` above 0 and an `uncertain`, and it is tuned."
    )


def ends_of(stage: Stage) -> tuple[End, ...]:
    """The thresholds of each of a stage's questions: two where it may be uncertain; one of a choice."""
    return (End.BOTH,) if stage.uncertain is None or stage.has_values else (End.NO_BELOW, End.YES_FROM)


def keeps_on_yes(cascade: Cascade, stage: Stage) -> bool:
    """True if a larger share of the ways from yes than from no leads to labels that are kept; of a yes/no question."""
    return _lost(cascade, stage.yes, [cascade.dropped]) <= _lost(cascade, stage.no, [cascade.dropped])


def is_safe_if_low(cascade: Cascade, stage: Stage, metric: Metric) -> bool:
    """True if the lowest value of a threshold loses least: that at which a yes/no question says yes to everything.

    Of a choice or score it is the least confidence at which it is sure of everything. What is handed on is lost as
    well, but for a metric that counts it in.
    """
    if not stage.has_values:
        return keeps_on_yes(cascade, stage)
    if stage.uncertain is None:
        return True
    lost = [cascade.dropped, *(cascade.handed_on if metric is not Metric.RECALL_OR_HANDED_ON else ())]
    of_sure = [_lost(cascade, target, lost) for target in stage.sure_ways.values()]
    return _lost(cascade, stage.uncertain, lost) > sum(of_sure) / len(of_sure)


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
    stage = cascade.stage(key.stage)
    return least_of(stage) if is_safe_if_low(cascade, stage, metric) else 1 - LEAST


def least_of(stage: Stage) -> float:
    """The lowest value of a threshold of a question; a least confidence of 0 is never missed."""
    return 0.0 if stage.has_values else LEAST


def starts(cascade: Cascade, free: list[FreeKey], metric: Metric) -> list[dict[Key, Threshold]]:
    """Where a search begins: what drops nothing; the cascade's own; and, if questions may be uncertain, what always is.

    All thresholds that are not free are the cascade's own.
    """
    own = own_thresholds(cascade)
    safe = {key: safest(cascade, key, metric) for key in free}
    doubts = {key: LEAST if key.end is End.NO_BELOW else 1 - LEAST for key in free if key.end is not End.BOTH}
    prior = cascade.prior_stage.name if cascade.prior_stage is not None else None
    doubts = {key: value for key, value in doubts.items() if key.stage != prior}
    return [placed(own, safe), own, *([placed(own, safe | doubts)] if doubts else [])]


def placed(thresholds: Thresholds, values: Mapping[FreeKey, float]) -> dict[Key, Threshold]:
    """Thresholds with other values for some of the free ones."""
    found = dict(thresholds)
    for free, value in values.items():
        found[free.key] = (
            value if free.end is End.BOTH else limits_of(found[free.key])._replace(**{str(free.end): value})
        )
    return found


def value_of(thresholds: Thresholds, key: FreeKey) -> float:
    """The value of a free threshold; of both, yes from there on."""
    limits: Limits = limits_of(thresholds[key.key])
    return limits.no_below if key.end is End.NO_BELOW else limits.yes_from

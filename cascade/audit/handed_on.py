"""What a cascade hands on as uncertain, and how often it errs in what it answers. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cascade.audit.rates import Rate, rate
from cascade.evaluation.replay import Replay
from cascade.probability import Bools, Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class StageHandsOn:
    """A stage that may be uncertain.

    Attributes:
        stage: Its name.
        uncertain: Of the items that come to it, the share that it is uncertain of.
        of_mattering: Of those of them that matter, the share that it is uncertain of.
    """

    stage: str
    uncertain: Rate
    of_mattering: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOnAudit:
    """What the whole cascade hands on at its thresholds.

    Attributes:
        share: Of all items, the share that is handed on: its last answer is uncertain.
        of_mattering: Of what matters, the share that is handed on.
        error_among_answered: Of all other items, the share that has a wrong label.
        stages: Every stage that may be uncertain.
    """

    share: Rate
    of_mattering: Rate
    error_among_answered: Rate
    stages: tuple[StageHandsOn, ...]

    def __str__(self) -> str:
        """In words, with 95 % intervals."""
        return (
            f"Handed on as uncertain: {self.share} of the items, {self.of_mattering} of what matters. Of what is "
            f"answered {self.error_among_answered} has a wrong label."
        )


def handed_on_audit(replay: Replay) -> HandedOnAudit | None:
    """Audit of what a cascade hands on; None where no stage that asks may be uncertain."""
    unsure = [stage for stage in replay.cascade.stages if stage.may_be_uncertain]
    if not unsure and not replay.cascade.handed_on:
        return None
    walk, tasks, matters = replay.at_own_thresholds(), replay.scored.tasks, replay.matters
    handed_on = replay.is_handed_on[walk.labels]

    def of(hits: Bools, among: Bools) -> Rate:
        rows: Ints = np.flatnonzero(among)
        return rate(hits[rows], tasks[rows])

    every = np.ones(tasks.size, np.bool_)
    return HandedOnAudit(
        share=of(handed_on, every),
        of_mattering=of(handed_on, matters),
        error_among_answered=of(walk.labels != replay.scored.labels, ~handed_on),
        stages=tuple(
            StageHandsOn(
                stage=stage.name,
                uncertain=of(walk.answers[stage.name].uncertain, walk.reached[stage.name]),
                of_mattering=of(walk.answers[stage.name].uncertain, walk.reached[stage.name] & matters),
            )
            for stage in unsure
        ),
    )

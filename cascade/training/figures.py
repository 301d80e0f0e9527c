"""How good answers are on a validation part. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cascade.config.figures import Figure
from cascade.evaluation.distributions import Z_95
from cascade.evaluation.metrics import auc, auc_per_task, calibration_error
from cascade.probability import TINY, Array
from cascade.training.examples import Ask, Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Answers to the questions whose truth is known.

    Attributes:
        tasks: (n,) number of each question's task.
        losses: (n,) -log p of the true answer, in nats; of a part of a scale that is the sum of its levels.
        weights: (n,) what each weighs where classes are left as they are.
        rights: (n,) whether the likeliest answer is the true one.
        p_yes: (n,) p(yes); NaN where the question is not answered by yes or no.
        is_yes: (n,) whether yes is true.
    """

    tasks: Array
    losses: Array
    weights: Array
    rights: Array
    p_yes: Array
    is_yes: Array

    @classmethod
    def of(cls, examples: Sequence[Example], predicted: Sequence[Array], yes_no: Sequence[bool]) -> Scores:
        """Of tasks.

        Args:
            examples: The tasks.
            predicted: Of each the probabilities of its questions' label tokens; (asks, labels).
            yes_no: Of each question of the lesson, whether it is answered by yes or no.
        """
        rows = [
            (number, ask, p)
            for number, (example, found) in enumerate(zip(examples, predicted, strict=True))
            for ask, p in zip(example.asks, found, strict=True)
            if ask.true
        ]
        return cls(
            tasks=np.array([number for number, _, _ in rows], np.float64),
            losses=np.array([-math.log(max(_of_true(ask, p), TINY)) for _, ask, p in rows]),
            weights=np.array([ask.own_weight for _, ask, _ in rows]),
            rights=np.array([float(ask.true[int(p[: len(ask.true)].argmax())] > 0) for _, ask, p in rows]),
            p_yes=np.array([p[0] if yes_no[ask.question] else np.nan for _, ask, p in rows]),
            is_yes=np.array([float(ask.true[0] > 0) for _, ask, _ in rows]),
        )

    def as_lists(self) -> list[list[float]]:
        """All of it for a file, NaN as -1, which no probability is; see ``of_lists``."""
        columns = (self.tasks, self.losses, self.weights, self.rights, np.nan_to_num(self.p_yes, nan=-1.0), self.is_yes)
        return [column.tolist() for column in columns]

    @classmethod
    def of_lists(cls, columns: Sequence[Sequence[float]]) -> Scores:
        """What ``as_lists`` gave."""
        tasks, losses, weights, rights, p_yes, is_yes = (np.array(column, np.float64) for column in columns)
        p_yes = np.where(p_yes < 0, np.nan, p_yes)
        return cls(tasks=tasks, losses=losses, weights=weights, rights=rights, p_yes=p_yes, is_yes=is_yes)

    @property
    def loss(self) -> float:
        """Mean -log p of the true answer by weight, in nats."""
        return float(np.average(self.losses, weights=self.weights))

    def as_dict(self) -> dict[str, Any]:
        """Figures in JSON form; None where these questions do not define one."""
        is_known = ~np.isnan(self.p_yes)
        p, is_yes, tasks = self.p_yes[is_known], self.is_yes[is_known] > 0, self.tasks[is_known]
        return {
            "tasks": len(np.unique(self.tasks)),
            "n": int(self.losses.size),
            "log_loss": self.loss,
            "accuracy": float(self.rights.mean()),
            "base_rate": float(is_yes.mean()) if p.size else None,
            Figure.AUC_OVER_ROWS: _known(auc(p, is_yes)) if p.size else None,
            Figure.AUC_PER_TASK: _known(auc_per_task(p, is_yes, tasks)) if p.size else None,
            "ece": float(calibration_error(p, is_yes)) if p.size else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Gain:
    """By how much the second of two that answered the same is better.

    Attributes:
        log_loss: The mean of the tasks' fall in log loss, in nats; above 0 where the second is better.
        half_width: Half the width of its 95 % interval over tasks; infinite for a single task.
        discordant: Share of the questions of which one alone is right.
    """

    log_loss: float
    half_width: float
    discordant: float

    @classmethod
    def between(cls, before: Scores, after: Scores) -> Gain:
        """Of two whose rows and weights are the same; questions of one task depend on each other, tasks do not."""
        numbers, of = np.unique(before.tasks, return_inverse=True)
        by_task = np.bincount(of, before.weights * (before.losses - after.losses)) / np.bincount(of, before.weights)
        spread = float(by_task.std(ddof=1)) if numbers.size > 1 else math.inf
        return cls(
            log_loss=float(by_task.mean()),
            half_width=Z_95 * spread / math.sqrt(numbers.size),
            discordant=float((before.rights != after.rights).mean()),
        )

    @property
    def is_sure(self) -> bool:
        """Whether it is more than chance, be it a gain or a loss."""
        return abs(self.log_loss) > self.half_width

    def as_dict(self) -> dict[str, Any]:
        """JSON form; None for an infinite width."""
        width = self.half_width if math.isfinite(self.half_width) else None
        return {"log_loss": self.log_loss, "half_width": width, "discordant": self.discordant, "is_sure": self.is_sure}


def _of_true(ask: Ask, p: Array) -> float:
    return float(sum(own for own, share in zip(p, ask.true, strict=False) if share > 0))


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value

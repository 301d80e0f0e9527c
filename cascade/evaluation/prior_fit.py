"""Fits the prior of a cascade: a ridge-penalised logistic regression on features of items. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cascade.errors import InputError, counted
from cascade.evaluation.features import LEAST_SEEN, LEAST_SHARE, FeatureTable
from cascade.evaluation.logistic import fit_logistic
from cascade.evaluation.metrics import auc_per_task
from cascade.evaluation.replay import known_priors
from cascade.evaluation.scored import ScoredTasks
from cascade.items import Item
from cascade.probability import Array, Bools, Ints, p_yes
from cascade.profile import Prior
from cascade.stages import ANY_TIER, Source
from cascade.tree import Cascade

_RIDGE = 1.0  # L2 penalty on the weights, about as strong as one contrary example
_RIDGE_BIAS = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Items and whether a cascade keeps them.

    Attributes:
        features: Features of the items; (n, features).
        kept: Whether each is kept; (n,).
        tasks: Number of the task of each; (n,).
    """

    features: FeatureTable
    kept: Sequence[bool] | Bools
    tasks: Sequence[int] | Ints

    @property
    def has_both(self) -> bool:
        """True if some are kept and some are not; otherwise nothing can be fitted."""
        return np.unique(self.kept).size > 1


def fit_prior(examples: Examples) -> Prior | None:
    """The prior that fits the examples best; None where all are kept, or none."""
    if not examples.has_both:
        return None
    bias, *weights = _fit(examples.features.counts, np.asarray(examples.kept, dtype=float)).tolist()
    return Prior(bias=bias, weights=dict(zip(examples.features.names, weights, strict=True)))


def prior_auc(examples: Examples, n_folds: int = 5) -> float:
    """Mean per-task AUC of priors, each fitted to other tasks than those that it ranks.

    Args:
        examples: The examples.
        n_folds: Parts that the tasks are dealt into; each is ranked by a prior fitted to the rest.

    Returns:
        In [0, 1]; NaN with fewer than two tasks, or where no task has both kept and other items.
    """
    p = _cross_fitted(examples, n_folds)
    return float("nan") if p is None else auc_per_task(p, examples.kept, examples.tasks)


def cross_fitted(examples: Examples, n_folds: int = 5) -> Array:
    """P that each item matters, by a prior fitted to the other folds of tasks.

    Args:
        examples: The examples.
        n_folds: Parts that the tasks are dealt into, in turn.

    Returns:
        In (0, 1); NaN with fewer than two tasks, and where nothing is known of an item.
    """
    p = _cross_fitted(examples, n_folds)
    return np.where(examples.features.is_known, np.nan if p is None else p, np.nan)


def _cross_fitted(examples: Examples, n_folds: int) -> Array | None:
    kept, counts = np.asarray(examples.kept, dtype=float), examples.features.counts
    deal = np.unique(np.asarray(examples.tasks, dtype=int), return_inverse=True)[1].ravel() % n_folds
    if not examples.has_both or deal.max() == 0:
        return None
    odds = np.zeros(kept.size)
    for fold in range(deal.max() + 1):
        theta = _fit(counts[deal != fold], kept[deal != fold])
        odds[deal == fold] = theta[0] + counts[deal == fold] @ theta[1:]
    return p_yes(np.clip(odds, -30, 30))


def _fit(counts: NDArray[np.uint8], kept: Array) -> Array:
    """Bias and weights."""
    x = np.column_stack((counts, np.ones(len(kept), np.uint8)))
    penalty = np.append(np.full(counts.shape[1], _RIDGE), _RIDGE_BIAS)
    start, count = np.zeros(x.shape[1]), np.ones(len(kept))
    return np.roll(fit_logistic(x, kept, count, start=start, penalty=penalty), 1)


def priors_of(cascade: Cascade, items: Sequence[Item]) -> Array:
    """Prior probability of each item for the prior stage; NaN if the item has none, or there is no prior stage.

    A feature table holds only features that its own items share, so a prior that was fitted to other items is evaluated
    item by item.
    """
    stage = cascade.prior_stage
    found = [stage.known_p(item) if stage is not None else None for item in items]
    return np.array([np.nan if p is None else p for p in found], np.float64)


def with_prior_scores(cascade: Cascade, scored: ScoredTasks, priors: Array) -> ScoredTasks:
    """Scores with those of the prior stage beside the questions', under its name and ``ANY_TIER``, if there is one.

    Args:
        cascade: The cascade.
        scored: Its questions' scores.
        priors: Prior probability of each row for the prior stage.
    """
    stage = cascade.prior_stage
    return scored if stage is None else replace(scored, p={**scored.p, (stage.name, ANY_TIER): priors})


def with_prior(cascade: Cascade, scored: ScoredTasks) -> tuple[Cascade, Array]:
    """The cascade with a prior that is fitted to these tasks, and the prior probability of each row.

    The probabilities are cross-fitted: each comes from a prior that was fitted to other tasks, since one that has seen
    a row's label looks better than it is. A cascade without a prior stage, or with a prior given by the caller, is not
    changed.

    Raises:
        InputError: The evidence cannot be weighed: there is none that is common, or all items are kept, or none are.
    """
    stage = cascade.prior_stage
    if stage is None or stage.source is Source.CALLER:
        return cascade, known_priors(cascade, scored)
    examples = None
    if scored.features is not None:
        # The features with a weight are chosen on these tasks as well: tasks that are held out must not affect them.
        features = scored.features.common(scored.tasks)
        examples = Examples(features=features, kept=scored.is_positive(cascade), tasks=scored.tasks)
    prior = fit_prior(examples) if examples is not None and examples.features.is_known.any() else None
    if examples is None or prior is None:
        msg = (
            f"Stage {stage.name!r} goes by evidence; {counted(scored.n_tasks, 'task was', 'tasks were')} searched, and "
            "they show no way to weigh it: it takes items that matter and items that do not, and evidence that "
            f"{LEAST_SEEN} items and a share of {LEAST_SHARE:g} of the tasks have. Give more labelled tasks, or take "
            "the stage away."
        )
        raise InputError(msg)
    return replace(cascade, prior_stage=replace(stage, prior=prior)), cross_fitted(examples)

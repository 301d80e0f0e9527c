"""What a prior stage goes by: of items at hand, and by a model that tuning fits to labelled tasks. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cascade.errors import InputError
from cascade.fact_table import LEAST_SEEN, LEAST_SHARE
from cascade.items import Item
from cascade.metrics import counted
from cascade.prior_fit import Examples, cross_fitted, fit_prior
from cascade.prior_stage import Source
from cascade.stage import ANY_TIER
from cascade.tree import Cascade
from cascade.tuning.measure import Array
from cascade.tuning.outcome import known_priors
from cascade.tuning.scored import ScoredTasks


def priors_of(cascade: Cascade, items: Sequence[Item]) -> Array:
    """What an engine's prior stage goes by for each item; NaN where nothing is known, or where there is none.

    A table of facts holds those that its own items share, so a prior that was fitted to others is asked item by item.
    """
    stage = cascade.prior_stage
    found = [stage.p_matters(item) if stage is not None else None for item in items]
    return np.array([np.nan if p is None else p for p in found], np.float64)


def with_prior_scores(cascade: Cascade, scored: ScoredTasks, priors: Array) -> ScoredTasks:
    """Scores with those of the prior stage beside the questions', under its name and ``ANY_TIER``, if there is one.

    Args:
        cascade: The cascade.
        scored: Its questions' scores.
        priors: What its prior stage goes by for each row.
    """
    stage = cascade.prior_stage
    return scored if stage is None else replace(scored, p={**scored.p, (stage.name, ANY_TIER): priors})


def with_prior(cascade: Cascade, scored: ScoredTasks) -> tuple[Cascade, Array]:
    """The cascade with a prior that is fitted to these tasks, and what the prior stage goes by for each row.

    The latter comes from priors that were each fitted to other tasks, since one that has seen a row's label looks
    better than it is. A cascade without a prior stage, or with one that goes by the caller's number, stays as it is.

    Raises:
        InputError: The evidence cannot be weighed: there is none that is common, or all items are kept, or none are.
    """
    stage = cascade.prior_stage
    if stage is None or stage.source is Source.CALLER:
        return cascade, known_priors(cascade, scored)
    examples = None
    if scored.facts is not None:
        # Which facts have a weight is chosen on these tasks as well: those held out must have no say in it.
        facts = scored.facts.common(scored.tasks)
        examples = Examples(facts=facts, kept=scored.kept(cascade), tasks=scored.tasks)
    prior = fit_prior(examples) if examples is not None and examples.facts.is_known.any() else None
    if examples is None or prior is None:
        msg = (
            f"Stage {stage.name!r} goes by evidence; {counted(scored.n_tasks, 'task was', 'tasks were')} searched, and "
            "show no way to weigh it: they need items that matter and items that do not, and evidence that "
            f"{LEAST_SEEN} items and a share of {LEAST_SHARE:g} of the tasks have. Give more labelled tasks, or take "
            "the stage away."
        )
        raise InputError(msg)
    return replace(cascade, prior_stage=replace(stage, prior=prior)), cross_fitted(examples)

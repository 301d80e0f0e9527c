"""A prior stage's logistic model, fitted to labelled tasks for tuning. Pure numpy."""

from __future__ import annotations

from dataclasses import replace

from cascade.errors import InputError
from cascade.prior_fit import Examples, cross_fitted, fit_prior
from cascade.prior_stage import Source
from cascade.tree import Cascade
from cascade.tuning.measure import Array
from cascade.tuning.outcome import known_priors
from cascade.tuning.scored import ScoredTasks


def with_prior(cascade: Cascade, scored: ScoredTasks) -> tuple[Cascade, Array]:
    """The cascade with a prior that is fitted to these tasks, and what the prior stage goes by for each row.

    The latter comes from priors that were each fitted to other tasks, since one that has seen a row's label looks
    better than it is. A cascade without a prior stage, or with one that goes by the caller's number, stays as it is.

    Raises:
        InputError: The evidence cannot be weighed: there is none, or all items are kept, or none are.
    """
    stage = cascade.prior_stage
    if stage is None or stage.source is Source.CALLER:
        return cascade, known_priors(cascade, scored)
    examples = None
    if scored.facts is not None:
        examples = Examples(facts=scored.facts, kept=scored.kept(cascade), tasks=scored.tasks)
    prior = fit_prior(examples) if examples is not None else None
    if examples is None or prior is None:
        msg = (
            f"Stage {stage.name!r} goes by evidence, and these tasks do not show how to weigh it: they need items with "
            "facts, some that matter and some that do not. Give more labelled tasks, or take the stage away."
        )
        raise InputError(msg)
    return replace(cascade, prior_stage=replace(stage, prior=prior)), cross_fitted(examples)

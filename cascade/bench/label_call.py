"""Depth 0 of a cascade: one call per item that tells all labels apart, by the same model.

The engine reads two logits at a position; a call that told n labels apart would read n of the same
row, which costs nothing. So the items are asked once for each label beside the first, and the time
is that of one such round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from cascade.backends.llama.open import open_backend
from cascade.config.schema import Config
from cascade.engine.engine import Engine
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.depth import Tally
from cascade.evaluation.depth_choice import Level
from cascade.evaluation.single_call import one_stage
from cascade.models.model_set import load_model_set
from cascade.probability import logit
from cascade.prompt import prompt_format
from cascade.report import Report
from cascade.tree import Cascade


class LabelCall:
    """Asks the items of labelled tasks for their label in one call each.

    Args:
        config: What the engine runs.
        cascade: Whose labels are told apart, under its first stage's adapter.
        starts: Text of each label's first token, from ``label_starts``.
        advance: Told of each request that is done; a task makes one for each label beside the first.
    """

    def __init__(
        self,
        config: Config,
        cascade: Cascade,
        starts: Sequence[str],
        advance: Callable[[], object] = lambda: None,
    ) -> None:
        self._config = config
        self._cascade = cascade
        self._starts = starts
        self._advance = advance
        self._models = load_model_set(config)

    def level(self, tasks: Sequence[Labelled]) -> Level:
        """How one call does on tasks with items.

        Raises:
            ConfigError: The question does not fit the model or its adapter.
            BackendError: Scoring failed.
        """
        rounds = [self._reports(tasks, start) for start in self._starts[1:]]
        tally = Tally(self._cascade.labels, self._cascade.dropped)
        for labelled, *reports in zip(tasks, *rounds, strict=True):
            tally.add(labelled.labels, self._answers(reports), reports[0].stats)
        return tally.level(0)

    def _reports(self, tasks: Sequence[Labelled], start: str) -> list[Report]:
        """Every task's items asked for one label against the first."""
        form = replace(prompt_format(self._config.model.format), yes=start, no=self._starts[0])
        cascades = {self._cascade.name: one_stage(self._cascade)}
        backend = open_backend(self._config, cascades, models=self._models, form=form)
        found = []
        with Engine(backend, cascades, self._config.model.limits.limits()) as engine:
            for labelled in tasks:
                found.append(engine.classify(labelled.task, labelled.items, self._cascade.name))
                self._advance()
        return found

    def _answers(self, reports: Sequence[Report]) -> list[str]:
        """The label of the highest logit of each item; that of the first label is where the others start from."""
        p = [[decision.steps[0].p_yes for decision in report.decisions] for report in reports]
        odds = np.vstack((np.zeros(len(p[0])), logit(p)))
        return [self._cascade.labels[at] for at in odds.argmax(axis=0).tolist()]

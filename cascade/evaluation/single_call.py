"""Depth 0 of a cascade: one call per item that tells all labels apart, by the same model, in place of its stages.

The engine reads two logits at a position; a call that told n labels apart would read n of the same row, which costs
nothing. So the items are asked once for each label beside the first, and the time is that of one such round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cascade.config.schema import Config
from cascade.engine.engine import Engine
from cascade.errors import ConfigError
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.depth import Tally
from cascade.evaluation.depth_choice import Level
from cascade.probability import logit
from cascade.prompt import Tokenizer
from cascade.report import Report
from cascade.stages import ANY_TIER, Question, Stage, Target
from cascade.tree import Cascade

_MARKER = "label"


def one_stage(cascade: Cascade) -> Cascade:
    """A cascade of the same name that asks each item once, under the first stage's adapter.

    It reads as much of an item's text as any stage, for it stands in the place of all.
    Its two answers stand for all labels, since an answer leads to no second call.
    """
    names = ", ".join(cascade.answers)
    first = next(iter(cascade.first.questions.values()))
    question = Question(
        marker=_MARKER,
        wording=f"which is it: {names}?",
        adapter=first.adapter,
        threshold=0.5,
        max_text_tokens=max(cascade.text_limits(), default=0),
    )
    no, yes = cascade.answers[:2]
    stage = Stage(
        name=_MARKER,
        questions={ANY_TIER: question},
        yes=Target(yes, is_label=True),
        no=Target(no, is_label=True),
    )
    return Cascade(
        name=cascade.name,
        instructions=cascade.instructions,
        labels=(no, yes),
        stages=(stage,),
        items=cascade.items,
        makes_evidence=cascade.makes_evidence,
    )


def label_starts(labels: Sequence[str], tokenizer: Tokenizer) -> tuple[str, ...]:
    """The text of each label's first token, by which one position tells labels apart.

    Raises:
        ConfigError: Two labels start with the same token, or a label's first token is no text by itself.
    """
    first = {label: tokenizer.encode(label, special=False)[:1] for label in labels}
    starts = []
    for label in labels:
        twin = next((other for other in labels if other != label and first[other] == first[label]), None)
        if twin is not None:
            msg = f"Labels {label!r} and {twin!r} start with the same token in this model; rename one."
            raise ConfigError(msg)
        ends = range(1, len(label) + 1)
        start = next((label[:end] for end in ends if tokenizer.encode(label[:end], special=False) == first[label]), "")
        if not start:
            msg = f"Label {label!r} starts with a token that is no text by itself in this model; rename it."
            raise ConfigError(msg)
        starts.append(start)
    return tuple(starts)


class SingleCall:
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

    def level(self, tasks: Sequence[Labelled]) -> Level:
        """How one call does on tasks with items, without a budget.

        Raises:
            ConfigError: The question does not fit the model, its adapter or the server that has it.
            BackendError: Scoring failed.
        """
        rounds = [self._reports(tasks, start) for start in self._starts[1:]]
        tally = Tally.of(self._cascade)
        for labelled, *reports in zip(tasks, *rounds, strict=True):
            tally.add(labelled.labels, self._answers(reports), reports[0].stats)
        return tally.level(0)

    def _reports(self, tasks: Sequence[Labelled], start: str) -> list[Report]:
        """Every task's items asked for one label against the first."""
        asked = {self._cascade.name: one_stage(self._cascade)}
        found = []
        with Engine.open(self._config, cascades=asked, labels=(start, self._starts[0])) as engine:
            for labelled in tasks:
                found.append(engine.classify(labelled.task, labelled.items, self._cascade.name, budget=None))
                self._advance()
        return found

    def _answers(self, reports: Sequence[Report]) -> list[str]:
        """The label of the highest logit of each item; that of the first label is where the others start from.

        An item that a server did not answer for a label does not get it.
        """
        p = [
            [decision.steps[0].p_yes if decision.steps else 0.0 for decision in report.decisions] for report in reports
        ]
        odds = np.vstack((np.zeros(len(p[0])), logit(p)))
        return [self._cascade.answers[at] for at in odds.argmax(axis=0).tolist()]

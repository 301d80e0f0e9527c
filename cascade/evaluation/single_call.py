"""Depth 0 of a cascade: one call per item that chooses among all labels, in place of its stages.

A cascade of the same config that is one choice among the same labels is that call, with the adapter trained for it.
Without one, the model of the first stage's adapter is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from cascade.config.schema import Config
from cascade.engine.engine import Engine
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.depth import Tally
from cascade.evaluation.depth_choice import Level
from cascade.profile import Profile
from cascade.stages import ANY_TIER, Kind, Question, Stage, Target, Value
from cascade.tree import Cascade

_NAME = "label"


def one_stage(cascade: Cascade) -> Cascade:
    """A cascade of the same name that chooses each item's label in one call, under the first stage's adapter.

    It reads as much of an item's text as any stage, for it stands in the place of all.
    """
    first = next(iter(cascade.first.questions.values()))
    question = Question(
        marker=first.marker,  # which the adapter was trained under
        wording="which is it?",
        adapter=first.adapter,
        threshold=0.0,
        values=tuple(map(Value, cascade.answers)),
        max_text_tokens=max(cascade.text_limits(), default=0),
    )
    stage = Stage(
        name=_NAME,
        questions={ANY_TIER: question},
        next={label: Target(label, is_label=True) for label in cascade.answers},
    )
    return Cascade(
        name=cascade.name,
        instructions=cascade.instructions,
        labels=cascade.answers,
        stages=(stage,),
        dropped=cascade.dropped,
        items=cascade.items,
        makes_evidence=cascade.makes_evidence,
    )


def trained_for(cascade: Cascade, cascades: Mapping[str, Cascade]) -> Cascade | None:
    """A cascade that is one choice among the same labels; None if there is none."""
    for other in cascades.values():
        if is_single_call(other) and other.name != cascade.name and {*other.answers} == {*cascade.answers}:
            return other
    return None


def is_single_call(cascade: Cascade) -> bool:
    """True for a cascade that is one choice among its labels itself."""
    return len(cascade.stages) == 1 and cascade.first.kind is Kind.CHOICE


def _always_sure(cascade: Cascade) -> Cascade:
    """A choice that answers every item itself."""
    question = replace(cascade.first.question(ANY_TIER), threshold=0.0)
    stage = replace(cascade.first, questions={ANY_TIER: question}, uncertain=None)
    return replace(cascade, labels=cascade.answers, stages=(stage,), prior_stage=None, profile=Profile())


class SingleCall:
    """Asks the items of labelled tasks for their label in one call each.

    Args:
        config: What the engine runs.
        cascade: Whose labels are told apart.
        advance: Told of each request that is done.

    Attributes:
        name: Name of the cascade that is one choice among the labels; empty if the first stage's adapter is asked.
    """

    def __init__(self, config: Config, cascade: Cascade, advance: Callable[[], object] = lambda: None) -> None:
        self._config = config
        self._cascade = cascade
        self._advance = advance
        trained = trained_for(cascade, config.cascades())
        self.name = trained.name if trained is not None else ""
        self._asked = _always_sure(trained) if trained is not None else one_stage(cascade)

    def level(self, tasks: Sequence[Labelled]) -> Level:
        """How one call does on tasks with items, without a budget.

        Raises:
            ConfigError: The question does not fit the model, its adapter or the server that has it.
            BackendError: Scoring failed.
        """
        tally = Tally.of(self._cascade)
        with Engine.open(self._config, cascades={self._asked.name: self._asked}, log=None) as engine:
            for labelled in tasks:
                report = engine.classify(labelled.task, labelled.items, self._asked.name, budget=None)
                answers = [decision.label for decision in report.decisions]
                tally.add(labelled.labels, answers, report.stats)
                self._advance()
        return tally.level(0)

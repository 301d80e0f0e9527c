"""An oracle labels items in place of a person: any adapter, model or server of the config, or a cascade of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import groupby
from typing import Any

from cascade.config.base_models import base_adapter, own_name
from cascade.config.item_rows import ItemRow
from cascade.config.schema import Config
from cascade.dataset.known import ORACLE
from cascade.dataset.review import Shown
from cascade.engine.engine import Engine
from cascade.errors import InputError
from cascade.items import Item, Task
from cascade.log.entries import Body, BodyKind
from cascade.log.outcomes import Outcome
from cascade.profile import Profile
from cascade.report import Decision, Provenance
from cascade.stages import Question, Stage
from cascade.tree import Cascade

_HALF = 0.5
_SHOWN = 12  # hexadecimal digits of a hash in a source
_DIGITS = 4


@dataclass(slots=True, kw_only=True)
class Labels:
    """What an oracle has said.

    Attributes:
        given: Label -> items.
        unsure: Items of which it holds no label for likelier than not, so that none is recorded.
        causes: Why a server did not answer -> items.
        calls: Questions that it was asked.
        ms: Milliseconds that it took.
        checked: Items with a label of a person or a commit that it was asked about as well.
        agreed: Those of them that it gave the same label.
    """

    given: Counter[str] = field(default_factory=Counter)
    unsure: int = 0
    causes: Counter[str] = field(default_factory=Counter)
    calls: int = 0
    ms: float = 0.0
    checked: int = 0
    agreed: int = 0

    @property
    def failed(self) -> int:
        """Items that a server did not answer."""
        return self.causes.total()

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        return found | {"given": dict(self.given), "causes": dict(self.causes), "failed": self.failed}


def oracle_cascade(config: Config, cascade: Cascade, name: str) -> Cascade:
    """The cascade that an oracle answers: another one of the config, or the same questions put to another adapter.

    An adapter is taken at p(yes) of 0.5, with no prior before it and no way for uncertain answers.

    Args:
        config: The config.
        cascade: The cascade whose labels are wanted.
        name: Name of the oracle: a cascade, an adapter, or a base model as stages name it.

    Raises:
        InputError: The config has nothing of that name, or the other cascade has labels that this one lacks.
    """
    named, cascades = config.base_models, config.cascades()
    own = own_name("--oracle", name, named)
    known = [*config.adapters, *(base_adapter(model, named) for model in named)]
    if own in known:
        return _asking(cascade, own)
    if name not in cascades:
        others = ", ".join(dict.fromkeys([*known, *(other for other in cascades if other != cascade.name)]))
        msg = f"--oracle {name!r}: the config has no such adapter, model or cascade. It has {others}."
        raise InputError(msg)
    strange = sorted(set(cascades[name].answers) - set(cascade.answers))
    if strange or name == cascade.name:
        why = f"has the label {strange[0]!r}, which {cascade.name!r} lacks" if strange else "is the cascade itself"
        msg = f"--oracle {name!r}: it {why}. Name a cascade with the same labels, or an adapter."
        raise InputError(msg)
    return cascades[name]


def _asking(cascade: Cascade, adapter: str) -> Cascade:
    """The questions of a cascade that sure answers lead to, put to one adapter."""
    reached = cascade.sure_stages(cascade.first)
    stages = tuple(_stage(stage, adapter) for stage in cascade.stages if stage.name in reached)
    led = {target.name for stage in stages for target in stage.sure_ways.values() if target.is_label}
    labels = tuple(label for label in cascade.labels if label in led)
    dropped = cascade.dropped if cascade.dropped in labels else labels[0]
    return replace(cascade, stages=stages, labels=labels, dropped=dropped, prior_stage=None, profile=Profile())


def _stage(stage: Stage, adapter: str) -> Stage:
    def asked(question: Question) -> Question:
        threshold = 0.0 if question.values else _HALF
        return replace(question, adapter=adapter, threshold=threshold, no_below=None, curve=None)

    return replace(
        stage, questions={tier: asked(question) for tier, question in stage.questions.items()}, uncertain=None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """Who is asked, and how.

    Attributes:
        engine: One whose cascade of that name is ``cascade``.
        cascade: See ``oracle_cascade``.
        name: Name of the oracle.
        advance: Told how many items are done.
    """

    engine: Engine
    cascade: Cascade
    name: str
    advance: Callable[[int], object] = lambda _: None


def label(asking: Asking, items: Iterable[Shown], found: Labels) -> Iterator[list[Outcome]]:
    """Ask an oracle about items, one task after the other; the labels of which it is sure enough.

    Args:
        asking: Who is asked.
        items: The items; the texts of all of them are known.
        found: Counts what is said.

    Raises:
        BackendError: Scoring failed.
    """
    for _, group in groupby(sorted(items, key=_task_id), key=_task_id):
        own = list(group)
        report = asking.engine.classify(_task(own[0]), [_row(one) for one in own], asking.cascade.name)
        source = source_of(asking.name, report.provenance)
        said = (
            _outcome(one, decision, asking.cascade, source, found)
            for one, decision in zip(own, report.decisions, strict=True)
        )
        yield [one for one in said if one is not None]
        found.calls += report.stats.calls
        found.ms += report.stats.elapsed_ms
        asking.advance(len(own))


def _task_id(one: Shown) -> str:
    return one.pick.candidate.decision.task


def source_of(name: str, provenance: Provenance) -> str:
    """The source of an oracle's labels: its name and what it is, such as ``oracle:big@a2afd3ad9351``."""
    return f"{ORACLE}:{name}@{Body.of(BodyKind.PROVENANCE, provenance.as_dict()).hash[:_SHOWN]}"


def with_texts(items: Sequence[Shown]) -> list[Shown]:
    """Those items whose texts, and those of whose tasks, are known."""
    return [one for one in items if one.task.strip() and one.item]


def _outcome(one: Shown, decision: Decision, cascade: Cascade, source: str, found: Labels) -> Outcome | None:
    if decision.cause:
        found.causes[decision.cause] += 1
        return None
    p = p_of(decision, cascade)
    if p <= _HALF or decision.label not in cascade.answers:
        found.unsure += 1
        return None
    found.given[decision.label] += 1
    candidate = one.pick.candidate.decision
    value = round(min(p, 1.0), _DIGITS)
    return Outcome(task=candidate.task, item=candidate.item, label=decision.label, value=value, source=source)


def p_of(decision: Decision, cascade: Cascade) -> float:
    """How likely the label of a decision is: the product over its answers; of several tiers the surest counts."""
    p = 1.0
    for name, steps in groupby(decision.steps, key=lambda step: step.stage):
        own = list(steps)
        if own[-1].probabilities:
            values = own[-1].probabilities
            p *= max(values.values()) if own[-1].score is not None else values.get(str(own[-1].answer), 0.0)
        elif name in {stage.name for stage in cascade.stages}:
            yes = max(step.p_yes for step in own)
            p *= yes if any(step.answer for step in own) else 1 - yes
    return p


def _task(one: Shown) -> Task:
    return Task(text=one.task, seeds=one.seeds)


def _row(one: Shown) -> Item:
    return ItemRow.model_validate({**one.item, "id": one.pick.candidate.decision.item}).item()

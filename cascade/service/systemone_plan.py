"""What a System One request asks of which cascade or adapter, and what its answers are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from pydantic import ValidationError

from cascade.items import Item, Task
from cascade.prompt import one_line
from cascade.report import Step
from cascade.service.bodies import check_text, read_item
from cascade.service.problems import UNFIT, RefusedError, refusal
from cascade.service.settings import ServiceSettings
from cascade.service.systemone_bodies import ChoiceQuestion, NoulQuestion, QuestionRow, StateRow, SystemOneCall
from cascade.stage import ANY_TIER, BASE, Combine, Question, Stage, Target
from cascade.tree import Cascade

_BASE_MARKER = "answer"
_INSTRUCTIONS = "Answer each question about the candidate."
_FULL_STATE = {"task", "item"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request to the engine.

    Attributes:
        task: The task.
        item: What is asked about.
        cascade: Whose stages ask.
        stages: Names of those, each once.
        answers: Name of a question -> what answers it.
    """

    task: Task
    item: Item
    cascade: Cascade | str
    stages: tuple[str, ...]
    answers: Mapping[str, Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one question is answered.

    Attributes:
        cascade: The cascade that a choice is answered by; None for a noul question.
        stage: The stage that answers a noul question; None for a choice.
        tiers: The tiers that count.
    """

    cascade: Cascade | None = None
    stage: Stage | None = None
    tiers: tuple[str, ...] = ()

    def read(self, steps: Sequence[Step]) -> dict[str, Any]:
        """The answer in wire form, from the steps of everything that was asked."""
        if self.stage is not None:
            return {"type": "noul", "noul": _p_stage(self.stage, steps, self.tiers)}
        assert self.cascade is not None  # noqa: S101 - one of the two is there
        p = {stage.name: _p_stage(stage, steps, self.tiers) for stage in self.cascade.stages}
        found = dict.fromkeys(self.cascade.labels, 0.0)
        for label, path in self.cascade.paths():
            found[label] += prod(p[stage.name] if answer else 1 - p[stage.name] for stage, answer in path)
        best = max(found, key=lambda label: found[label])
        even = 1 / len(found)
        confidence = min(max((found[best] - even) / (1 - even), 0.0), 1.0)
        return {"type": "choice", "choice": best, "confidence": confidence, "probabilities": found}


def plan(call: SystemOneCall, cascades: Mapping[str, Cascade], settings: ServiceSettings) -> list[Ask]:
    """What to ask.

    Args:
        call: The request.
        cascades: Those that there are.
        settings: How long texts may be.

    Raises:
        RefusedError: A question cannot be answered; names the field.
    """
    name = call.model if call.model is not None else next(iter(cascades))
    if name in cascades:
        return [_of_cascade(call, cascades[name], settings)]
    markers = {question.adapter: question.marker for question in reversed(_questions(cascades))}
    markers[BASE] = _BASE_MARKER
    if name not in markers:
        known = ", ".join(dict.fromkeys((*cascades, *markers)))
        detail = f"model: there is no cascade and no adapter {name!r} that a cascade asks; there are {known}."
        raise RefusedError(UNFIT, detail, "model")
    return list(_of_adapter(call, name, markers[name], settings))


def _questions(cascades: Mapping[str, Cascade]) -> list[Question]:
    return [question for cascade in cascades.values() for question in cascade.questions()]


def _of_cascade(call: SystemOneCall, cascade: Cascade, settings: ServiceSettings) -> Ask:
    """All questions in one request, since a cascade's stages share their prompt."""
    task, item = _state(call.state, cascade.instructions, settings)
    answers = {name: _answer(name, question, cascade, item) for name, question in call.questions.items()}
    if any(answer.stage is None for answer in answers.values()):
        stages = tuple(stage.name for stage in cascade.stages)
    else:
        stages = tuple(dict.fromkeys(answer.stage.name for answer in answers.values() if answer.stage is not None))
    tiers = dict.fromkeys((*item.tiers, *(tier for answer in answers.values() for tier in answer.tiers)))
    item = replace(item, tiers=tuple(tier for tier in tiers if tier != ANY_TIER))
    return Ask(task=task, item=item, cascade=cascade.name, stages=stages, answers=answers)


def _answer(name: str, question: QuestionRow, cascade: Cascade, item: Item) -> Answer:
    field = f"questions.{name}"
    if isinstance(question, ChoiceQuestion):
        if set(question.criteria) != set(cascade.labels):
            detail = f"cascade {cascade.name!r} chooses among {', '.join(cascade.labels)}; give these as criteria."
            raise RefusedError(UNFIT, f"{field}.criteria: {detail}", f"{field}.criteria")
        _check_tiers(field, cascade.stages, item)
        return Answer(cascade=cascade, tiers=item.tiers)
    noul = _noul(field, question)
    if noul.criteria is not None:
        detail = f"{field}.criteria: a stage's question stands as it was tuned; leave its criteria out."
        raise RefusedError(UNFIT, detail, f"{field}.criteria")
    for stage in cascade.stages:
        if noul.instructions == stage.name:
            _check_tiers(field, [stage], item)
            return Answer(stage=stage, tiers=stage.tiers_of(item))
        for tier, asked in stage.questions.items():
            if noul.instructions == asked.wording:
                return Answer(stage=stage, tiers=(tier,))
    known = ", ".join(repr(asked.wording) for asked in cascade.questions())
    detail = f"cascade {cascade.name!r} asks {known}; give one of these or a stage's name, or name an adapter as model."
    raise RefusedError(UNFIT, f"{field}.instructions: {detail}", f"{field}.instructions")


def _check_tiers(field: str, stages: Sequence[Stage], item: Item) -> None:
    for stage in stages:
        if stage.is_tiered and not (item.tiers and set(item.tiers) <= set(stage.questions)):
            known = ", ".join(stage.questions)
            detail = f"stage {stage.name!r} asks by tier; give state.item.tiers, of {known}, or a tier's own question."
            raise RefusedError(UNFIT, f"{field}: {detail}", field)


def _of_adapter(call: SystemOneCall, adapter: str, marker: str, settings: ServiceSettings) -> Iterator[Ask]:
    """Each question in a request of its own, so that no answer depends on what else is asked."""
    for name, row in call.questions.items():
        field = f"questions.{name}"
        if isinstance(row, ChoiceQuestion):
            detail = f"{field}.type: an adapter answers noul questions; name a cascade as model for a choice."
            raise RefusedError(UNFIT, detail, f"{field}.type")
        noul = _noul(field, row)
        wording = f"{noul.instructions} {_text(noul.criteria, field)}" if noul.criteria else noul.instructions
        check_text(wording, f"{field}.instructions", settings)
        task, item = _state(call.state, noul.instructions, settings)
        question = Question(marker=marker, wording=one_line(wording), adapter=adapter, threshold=0.5)
        yes, no = Target("yes", is_label=True), Target("no", is_label=True)
        stage = Stage(name=adapter, questions={ANY_TIER: question}, yes=yes, no=no)
        cascade = Cascade(name="systemone", instructions=_INSTRUCTIONS, labels=("no", "yes"), stages=(stage,))
        answers = {name: Answer(stage=stage, tiers=(ANY_TIER,))}
        yield Ask(task=task, item=item, cascade=cascade, stages=(stage.name,), answers=answers)


def _noul(field: str, question: QuestionRow) -> NoulQuestion:
    if not isinstance(question, NoulQuestion):
        detail = f"{field}.type: {question.type!r} is not answered here; allowed are noul, and choice of a cascade."
        raise RefusedError(UNFIT, detail, f"{field}.type")
    if not question.instructions.strip():
        raise RefusedError(UNFIT, f"{field}.instructions: is blank. Ask a question.", f"{field}.instructions")
    return question


def _state(state: object, task: str, settings: ServiceSettings) -> tuple[Task, Item]:
    """The task and the item of a state; one in no full form is an item, and the question its task."""
    if isinstance(state, dict) and state.keys() >= _FULL_STATE and isinstance(state["item"], dict):
        try:
            full = StateRow.model_validate(state)
        except ValidationError as error:
            raise refusal(error, ("state",)) from error
        return full.read(settings, "state."), read_item(full.item, "state.item", settings)
    text = _text(state, "state")
    check_text(text, "state", settings)
    return Task(text=task), Item(id="state", kind="state", name=text)


def _text(value: object, field: str) -> str:
    """A text as it is, any other value as JSON."""
    try:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    except RecursionError as error:
        raise RefusedError(UNFIT, f"{field}: is nested too deep. Send plainer JSON.", field) from error


def _p_stage(stage: Stage, steps: Sequence[Step], tiers: Sequence[str]) -> float:
    """p(yes) of a stage: of several tiers the mean where the stage takes it, or else the highest."""
    p = [step.p_yes for step in steps if step.stage == stage.name and (not stage.is_tiered or step.tier in tiers)]
    return sum(p) / len(p) if stage.combine is Combine.MEAN else max(p)

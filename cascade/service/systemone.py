"""``/v1/systemone`` and ``/v1/models``: typed questions about a state, answered with probabilities."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from cascade.engine.engine import Engine
from cascade.items import Item, Task
from cascade.prompt import one_line
from cascade.report import Report, Step
from cascade.service.http_errors import UNFIT, RefusedError
from cascade.service.json_body import JsonRoute
from cascade.service.middleware import while_present
from cascade.service.schemas import check_text
from cascade.service.settings import ServiceSettings
from cascade.service.systemone_schemas import (
    ChoiceQuestion,
    ModelBody,
    ModelsBody,
    NoulQuestion,
    QuestionRow,
    SystemOneAnswer,
    SystemOneCall,
    as_text,
    read_state,
)
from cascade.stages import ANY_TIER, Question, Stage, Target
from cascade.stages import Answer as StageAnswer
from cascade.tree import Cascade

_ANY_MARKER = "answer"
_INSTRUCTIONS = "Answer each question about the candidate."


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The stage or cascade that answers one question.

    Attributes:
        cascade: The cascade that answers a choice; None for a noul question.
        stage: The stage that answers a noul question; None for a choice.
        tiers: The tiers that count.
    """

    cascade: Cascade | None = None
    stage: Stage | None = None
    tiers: tuple[str, ...] = ()

    def read(self, steps: Sequence[Step]) -> dict[str, Any]:
        """The answer as JSON, from the steps of everything that was asked."""
        if self.stage is not None:
            return {"type": "noul", "noul": _p_stage(self.stage, steps, self.tiers)}
        assert self.cascade is not None  # noqa: S101 - one of the two is there
        p = {stage.name: _p_answers(stage, steps, self.tiers) for stage in self.cascade.stages}
        p_labels = self.cascade.p_labels(p)
        found = {label: p_labels[label] for label in self.cascade.answers}
        best = max(found, key=lambda label: found[label])
        even = 1 / len(found)
        confidence = min(max((found[best] - even) / (1 - even), 0.0), 1.0)
        return {"type": "choice", "choice": best, "confidence": confidence, "probabilities": found}


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """One request to the engine.

    Attributes:
        task: The task.
        item: What is asked about.
        cascade: Whose stages ask: a name, or one made for a single question.
        stages: Names of those, each once.
        answers: Name of a question -> what answers it.
    """

    task: Task
    item: Item
    cascade: Cascade | str
    stages: tuple[str, ...]
    answers: Mapping[str, Answer]


class Menu:
    """The questions that can be asked.

    Args:
        cascades: The cascades, by name.
        adapters: What the backend has, ``base`` included.
        settings: How long texts may be.
        encoders: Those of them that read no question, and answer only what a cascade asks them.

    Attributes:
        models: Names that a request may give as its model: cascades, adapters, ``base``.
        default: The model of a request that names none: the first cascade.
    """

    def __init__(
        self,
        cascades: Mapping[str, Cascade],
        adapters: Collection[str],
        settings: ServiceSettings,
        encoders: Collection[str] = (),
    ) -> None:
        self._cascades = cascades
        self._settings = settings
        self._encoders = encoders
        asked = [question for cascade in cascades.values() for question in cascade.questions()]
        self._markers = {question.adapter: question.marker for question in reversed(asked)}
        self._markers = dict.fromkeys(adapters, _ANY_MARKER) | self._markers
        self.models = tuple(dict.fromkeys((*cascades, *(question.adapter for question in asked), *adapters)))
        self.default = self.models[0]

    def plan(self, call: SystemOneCall) -> list[EngineRequest]:
        """Plan the engine requests of a call.

        Raises:
            RefusedError: A question cannot be answered; names the field.
        """
        name = call.model if call.model is not None else self.default
        if name in self._cascades:
            return [self._of_cascade(call, self._cascades[name])]
        if name in self._markers:
            return [self._of_adapter(call, name, question) for question in call.questions]
        detail = f"model: there is no {name!r}; there are {', '.join(self.models)}."
        raise RefusedError(UNFIT, detail, "model")

    def _of_cascade(self, call: SystemOneCall, cascade: Cascade) -> EngineRequest:
        """All questions in one request, since a cascade's stages share their prompt."""
        task, item = read_state(call.state, cascade.instructions, self._settings)
        answers = {name: _answer(f"questions.{name}", row, cascade, item) for name, row in call.questions.items()}
        asked = {answer.stage.name for answer in answers.values() if answer.stage is not None}
        if any(answer.cascade is not None for answer in answers.values()):
            asked = {stage.name for stage in cascade.stages}
        tiers = dict.fromkeys((*item.tiers, *(tier for answer in answers.values() for tier in answer.tiers)))
        return EngineRequest(
            task=task,
            item=replace(item, tiers=tuple(tier for tier in tiers if tier != ANY_TIER)),
            cascade=cascade.name,
            stages=tuple(stage.name for stage in cascade.stages if stage.name in asked),
            answers=answers,
        )

    def _of_adapter(self, call: SystemOneCall, adapter: str, name: str) -> EngineRequest:
        """One question in a request of its own, so that no answer depends on what else is asked."""
        field, row = f"questions.{name}", call.questions[name]
        if isinstance(row, ChoiceQuestion):
            detail = f"{field}.type: an adapter answers noul questions; name a cascade as model for a choice."
            raise RefusedError(UNFIT, detail, f"{field}.type")
        noul = _noul(field, row)
        for cascade, stage, tier, question in self._questions():
            is_it = question.adapter == adapter and question.wording == noul.instructions and not question.values
            if is_it and noul.criteria is None:
                task, item = read_state(call.state, cascade.instructions, self._settings)
                item = replace(item, tiers=(tier,) if stage.is_tiered else ())
                answers = {name: Answer(stage=stage, tiers=(tier,))}
                return EngineRequest(task=task, item=item, cascade=cascade.name, stages=(stage.name,), answers=answers)
        if adapter in self._encoders:
            raise self._unread(field, adapter)
        wording = f"{noul.instructions} {as_text(noul.criteria)}" if noul.criteria else noul.instructions
        check_text(wording, f"{field}.instructions", self._settings)
        asked = Question(marker=self._markers[adapter], wording=one_line(wording), adapter=adapter, threshold=0.5)
        yes, no = Target("yes", is_label=True), Target("no", is_label=True)
        alone = Stage(name=adapter, questions={ANY_TIER: asked}, yes=yes, no=no)
        made = Cascade(name="systemone", instructions=_INSTRUCTIONS, labels=("no", "yes"), stages=(alone,))
        task, item = read_state(call.state, noul.instructions, self._settings)
        return EngineRequest(task=task, item=item, cascade=made, stages=(adapter,), answers={name: Answer(stage=alone)})

    def _unread(self, field: str, adapter: str) -> RefusedError:
        """A question of one's own to an encoder, which would answer another one."""
        known = [repr(question.wording) for _, _, _, question in self._questions() if question.adapter == adapter]
        remedy = f"ask what it was trained for, without criteria: {', '.join(known)}" if known else "name a decoder"
        detail = f"{field}.instructions: {adapter!r} is an encoder, which does not read the question; {remedy}."
        return RefusedError(UNFIT, detail, f"{field}.instructions")

    def _questions(self) -> Iterator[tuple[Cascade, Stage, str, Question]]:
        for cascade in self._cascades.values():
            for stage in cascade.stages:
                for tier, question in stage.questions.items():
                    yield cascade, stage, tier, question


def _answer(field: str, row: QuestionRow, cascade: Cascade, item: Item) -> Answer:
    """The stage, or the whole cascade, that answers a question."""
    if isinstance(row, ChoiceQuestion):
        if set(row.criteria) != set(cascade.answers):
            detail = f"cascade {cascade.name!r} chooses among {', '.join(cascade.answers)}; give these as criteria."
            raise RefusedError(UNFIT, f"{field}.criteria: {detail}", f"{field}.criteria")
        _check_tiers(field, cascade.stages, item)
        return Answer(cascade=cascade, tiers=item.tiers)
    noul = _noul(field, row)
    if noul.criteria is not None:
        detail = f"{field}.criteria: a stage's question stands as it was tuned; leave its criteria out."
        raise RefusedError(UNFIT, detail, f"{field}.criteria")
    for stage in cascade.stages:
        if stage.has_values and noul.instructions in {stage.name, stage.question(ANY_TIER).wording}:
            detail = f"{field}.type: stage {stage.name!r} is a {stage.kind}, and no yes/no question."
            raise RefusedError(UNFIT, detail, f"{field}.type")
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


def _noul(field: str, row: QuestionRow) -> NoulQuestion:
    if not isinstance(row, NoulQuestion):
        detail = f"{field}.type: {row.type!r} is not answered here; allowed are noul, and choice of a cascade."
        raise RefusedError(UNFIT, detail, f"{field}.type")
    if not row.instructions.strip():
        raise RefusedError(UNFIT, f"{field}.instructions: is blank. Ask a question.", f"{field}.instructions")
    return row


def _p_answers(stage: Stage, steps: Sequence[Step], tiers: Sequence[str]) -> float | Mapping[StageAnswer, float]:
    """p(yes) of a stage, or the probability of each answer of a choice or score."""
    if not stage.has_values:
        return _p_stage(stage, steps, tiers)
    (step,) = (step for step in steps if step.stage == stage.name)
    p = stage.p_of_answers(np.array([list(step.probabilities.values())]))
    return {answer: float(own[0]) for answer, own in p.items()}


def _p_stage(stage: Stage, steps: Sequence[Step], tiers: Sequence[str]) -> float:
    """p(yes) of a stage; of several tiers it is the p that the stage's rule goes by, see ``joined_p``."""
    of_stage = [step for step in steps if step.stage == stage.name and (not stage.is_tiered or step.tier in tiers)]
    return stage.joined_p({step.tier: step.p_yes for step in of_stage})[0]


def make_router(engine: Engine, settings: ServiceSettings) -> APIRouter:
    """The endpoints.

    Args:
        engine: What answers.
        settings: How long texts may be.
    """
    router = APIRouter(prefix="/v1", route_class=JsonRoute, tags=["systemone"])
    menus = _Menus(engine, settings)

    @router.get("/models", response_model=ModelsBody)
    async def models() -> Response:
        """What may be given as `model`: cascades, adapters, and `base` where a model is in this process."""
        body = ModelsBody(data=[ModelBody(id=name) for name in menus.now.models])
        return JSONResponse(body.model_dump())

    @router.post("/systemone", response_model=SystemOneAnswer)
    async def systemone(call: SystemOneCall, request: Request) -> Response:
        """Answer questions about a state."""
        started = time.perf_counter()
        menu = menus.now
        planned = menu.plan(call)
        reports = await while_present(request, _answered(engine, planned))
        found = {
            name: answer.read(report.decisions[0].steps)
            for each, report in zip(planned, reports, strict=True)
            for name, answer in each.answers.items()
        }
        tokens = sum(report.stats.tokens_decoded + report.stats.tokens_reused for report in reports)
        return JSONResponse(
            {
                "model": menu.default if call.model is None else call.model,
                "answers": {name: found[name] for name in call.questions},
                "usage": {"input_tokens": tokens, "output_tokens": 0},
                "latency_ms": round(1_000 * (time.perf_counter() - started), 3),
            }
        )

    return router


class _Menus:
    """The menu of what an engine asks now; it is written again where the engine has taken over other cascades."""

    def __init__(self, engine: Engine, settings: ServiceSettings) -> None:
        self._engine, self._settings = engine, settings
        self._of: Mapping[str, Cascade] = {}
        self._menu: Menu | None = None

    @property
    def now(self) -> Menu:
        """The menu."""
        cascades, info = self._engine.cascades, self._engine.info
        if self._menu is None or self._of is not cascades:
            self._of, self._menu = cascades, Menu(cascades, info.prefix_adapters, self._settings, info.encoders)
        return self._menu


async def _answered(engine: Engine, planned: Sequence[EngineRequest]) -> list[Report]:
    """All of them at once; if one fails, so do the others."""
    work = [
        asyncio.ensure_future(engine.ascore(each.task, [each.item], each.cascade, *each.stages)) for each in planned
    ]
    try:
        return await asyncio.gather(*work)
    finally:
        for each in work:
            each.cancel()

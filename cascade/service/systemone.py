"""``/v1/systemone``: typed questions about a state, by name."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from cascade.service.answering import Answering
from cascade.service.http_errors import UNFIT, RefusedError
from cascade.service.json_body import JsonRoute
from cascade.service.typed import Answered, Asked, Option
from cascade.stages import Kind
from cascade.wire.systemone import (
    PATH,
    Answer,
    ChoiceQuestion,
    NoulCriteria,
    NoulQuestion,
    Question,
    SystemOneRequest,
    SystemOneResponse,
    Usage,
    choice_answer,
    noul_answer,
    score_answer,
)
from cascade.wire.texts import as_text


def make_router(answering: Answering) -> APIRouter:
    """The endpoint.

    Args:
        answering: Answers requests.
    """
    router = APIRouter(route_class=JsonRoute, tags=["systemone"])

    @router.post(PATH, response_model=SystemOneResponse)
    async def systemone(call: SystemOneRequest, request: Request) -> Response:
        """Answer questions about a state: yes/no, choices and scores."""
        asked = [asked_of(name, question) for name, question in call.questions.items()]
        answers = await answering.answers(request, call.model, call.state, asked)
        if answers.refused:
            first, *others = answers.refused.values()
            raise RefusedError(UNFIT, first.detail, place=first.place, kind=first.kind, others=others)
        found = {
            name: _answer(question, answers.found[at]) for at, (name, question) in enumerate(call.questions.items())
        }
        response = SystemOneResponse(
            model=answers.model,
            answers=found,
            usage=Usage(input_tokens=answers.n_tokens, output_tokens=0),
            **answers.more,
        )
        return JSONResponse(response.model_dump())

    return router


def asked_of(name: str, question: Question) -> Asked:
    """A question of this format."""
    place, wording = ("questions", name), as_text(question.instructions)
    if isinstance(question, NoulQuestion):
        return Asked(place=place, kind=Kind.YES_NO, wording=wording, criteria=_criteria(question.criteria))
    if isinstance(question, ChoiceQuestion):
        options = tuple(Option(option, as_text(description)) for option, description in question.criteria.items())
        return Asked(place=place, kind=Kind.CHOICE, wording=wording, options=options)
    levels = tuple(Option(as_text(level)) for level in question.criteria)
    return Asked(place=place, kind=Kind.SCORE, wording=wording, options=levels)


def _criteria(given: NoulCriteria | str | None) -> str:
    """What counts as yes, and as no, in words."""
    if not isinstance(given, NoulCriteria):
        return given or ""
    sides = (("Yes", as_text(given.true)), ("No", as_text(given.false)))
    return " ".join(f"{side}: {words}." for side, words in sides if words)


def _answer(question: Question, found: Answered) -> Answer:
    if isinstance(question, NoulQuestion):
        answer: Answer = noul_answer(found.p_yes)
    elif isinstance(question, ChoiceQuestion):
        answer = choice_answer(list(question.criteria), found.shares, found.chosen)
    else:
        answer = score_answer(question.criteria, found.shares)
    return answer.model_copy(update=dict(found.more))

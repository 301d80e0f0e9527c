"""``/v1/decisions``: typed questions about an input, in order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from cascade.service.answering import Answering, Answers
from cascade.service.http_errors import UNFIT, RefusedError
from cascade.service.json_body import JsonRoute
from cascade.service.typed import Asked, Option
from cascade.stages import Kind
from cascade.wire.decisions import (
    PATH,
    Answer,
    AssistantMessage,
    ChoiceQuestion,
    CustomToolCall,
    CustomToolCallOutput,
    DecisionsRequest,
    DecisionsResponse,
    Entry,
    FunctionCall,
    FunctionCallOutput,
    ImagePart,
    InputDetails,
    Message,
    OutputRefusal,
    OutputText,
    Part,
    PredicateQuestion,
    Question,
    RefusalAnswer,
    TextPart,
    Usage,
    choice_answer,
    predicate_answer,
    score_answer,
)
from cascade.wire.texts import as_text


def make_router(answering: Answering) -> APIRouter:
    """The endpoint.

    Args:
        answering: Answers requests.
    """
    router = APIRouter(route_class=JsonRoute, tags=["decisions"])

    @router.post(PATH, response_model=DecisionsResponse)
    async def decisions(call: DecisionsRequest, request: Request) -> Response:
        """Answer questions about an input: predicates, choices and scores."""
        state = text_of_input(call.input)
        asked = [asked_of(at, question) for at, question in enumerate(call.questions)]
        try:
            answers = await answering.answers(request, call.model, state, asked)
        except RefusedError as error:
            raise _of_input(error) from error
        if len(answers.refused) == len(asked):
            raise next(iter(answers.refused.values()))
        response = DecisionsResponse(
            model=answers.model,
            answers=[_answer(at, question, answers) for at, question in enumerate(call.questions)],
            usage=Usage(
                input_tokens=answers.n_tokens,
                input_tokens_details=InputDetails(
                    cached_tokens=answers.n_cached, cache_write_tokens=answers.n_tokens - answers.n_cached
                ),
                output_tokens=0,
                total_tokens=answers.n_tokens,
            ),
            **answers.more,
        )
        return JSONResponse(response.model_dump())

    return router


def _of_input(error: RefusedError) -> RefusedError:
    """An error about the state, by the name that the state has in this format."""
    if error.place[:1] != ("state",):
        return error
    detail = f"input{error.detail.removeprefix('state')}"
    return RefusedError(error.status, detail, place=("input", *error.place[1:]), kind=error.kind, headers=error.headers)


def asked_of(at: int, question: Question) -> Asked:
    """A question of this format.

    Raises:
        RefusedError: It has an image, or an option twice.
    """
    place = ("questions", at)
    wording = _text(question.instructions, (*place, "instructions"))
    if isinstance(question, PredicateQuestion):
        return Asked(place=place, kind=Kind.YES_NO, wording=wording)
    if isinstance(question, ChoiceQuestion):
        values = [(type(choice.value), choice.value) for choice in question.choices]
        twice = next((n for n, value in enumerate(values) if value in values[:n]), None)
        if twice is not None:
            detail = f"questions.{at}.choices.{twice}.value: {values[twice][1]!r} is given twice. Give it once."
            raise RefusedError(UNFIT, detail, place=(*place, "choices", twice, "value"))
        options = tuple(Option(_name(choice.value), choice.description or "") for choice in question.choices)
        return Asked(place=place, kind=Kind.CHOICE, wording=wording, options=options)
    levels = tuple(Option(level.label, level.description or "") for level in question.levels)
    return Asked(place=place, kind=Kind.SCORE, wording=wording, options=levels)


def _name(value: str | bool) -> str:  # noqa: FBT001 - an option's value
    return value if isinstance(value, str) else str(value).lower()


def _answer(at: int, question: Question, answers: Answers) -> Answer:
    refused = answers.refused.get(at)
    if refused is not None:
        return RefusalAnswer(name=question.name).model_copy(update={"x_reason": refused.detail})
    found = answers.found[at]
    if isinstance(question, PredicateQuestion):
        answer: Answer = predicate_answer(found.p_yes, question.name)
    elif isinstance(question, ChoiceQuestion):
        options = [choice.value for choice in question.choices]
        answer = choice_answer(options, found.shares, question.name, found.chosen)
    else:
        answer = score_answer([level.label for level in question.levels], found.shares, question.name)
    return answer.model_copy(update=dict(found.more))


def text_of_input(given: str | Sequence[Entry]) -> str:
    """An input as one text: one message of a user as it is, a conversation with who says what.

    Raises:
        RefusedError: It has an image, or the output of a call that is not there; names the place.
    """
    if isinstance(given, str):
        return given
    if len(given) == 1 and isinstance(given[0], Message) and given[0].role == "user":
        return _text(given[0].content, ("input", 0, "content"))
    return "\n".join(_lines(given))


def _lines(entries: Sequence[Entry]) -> Iterator[str]:
    calls: dict[tuple[str, str], str] = {}
    for at, entry in enumerate(entries):
        match entry:
            case Message():
                yield f"{entry.role}: {_text(entry.content, ('input', at, 'content'))}"
            case AssistantMessage():
                yield f"assistant: {_said(entry.content)}"
            case FunctionCall():
                calls["function", entry.call_id] = entry.name
                yield f"call of {entry.name}: {entry.arguments}"
            case CustomToolCall():
                calls["custom", entry.call_id] = entry.name
                yield f"call of {entry.name}: {entry.input}"
            case FunctionCallOutput() | CustomToolCallOutput():
                kind = "function" if isinstance(entry, FunctionCallOutput) else "custom"
                name = calls.get((kind, entry.call_id))
                if name is None:
                    detail = f"input.{at}.call_id: no call before it has the id {entry.call_id!r}. Send the call first."
                    raise RefusedError(UNFIT, detail, place=("input", at, "call_id"))
                yield f"output of {name}: {_text(entry.output, ('input', at, 'output'))}"


def _said(content: str | Sequence[OutputText | OutputRefusal]) -> str:
    if isinstance(content, str):
        return content
    return " ".join(part.text if isinstance(part, OutputText) else part.refusal for part in content)


def _text(content: str | Sequence[Part], place: tuple[int | str, ...]) -> str:
    """Text and JSON of parts.

    Raises:
        RefusedError: One is an image.
    """
    if isinstance(content, str):
        return content
    for at, part in enumerate(content):
        if isinstance(part, ImagePart):
            where = (*place, at)
            detail = f"{'.'.join(map(str, where))}: images are not read here. Send text or JSON."
            raise RefusedError(UNFIT, detail, place=where, kind="unsupported_content")
    return " ".join(part.text if isinstance(part, TextPart) else as_text(part.data) for part in content)  # type: ignore[union-attr]

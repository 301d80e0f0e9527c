"""``POST /v1/decisions``: an input, a list of questions (``predicate``, ``choice``, ``score``), answers in order. Pure.

Source: ``openai/types/decision*.py`` of openai 3.57.0 on PyPI.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictStr
from typing_extensions import TypeAliasType

from cascade.probability import confidence_of_choice, confidence_of_score, expected_score
from cascade.stages import MOST_LEVELS, MOST_VALUES
from cascade.wire.texts import MOST_ENTRIES, MOST_QUESTIONS, Form

PATH = "/v1/decisions"

_T = TypeVar("_T")
_Few = Annotated[tuple[_T, ...], Field(max_length=MOST_ENTRIES, fail_fast=True)]
"""A list that is read no further than its first fault, for each costs a message."""


class TextPart(Form):
    """Text within a message or a question."""

    type: Literal["input_text"] = "input_text"
    text: str


class ImagePart(Form):
    """An image within a message or a question."""

    type: Literal["input_image"] = "input_image"
    image_url: str


class JsonPart(Form):
    """JSON within a message or a question."""

    type: Literal["input_json"] = "input_json"
    data: dict[str, Any] | Annotated[list[dict[str, Any]], Field(fail_fast=True)]


Part = Annotated[TextPart | ImagePart | JsonPart, Field(discriminator="type")]
Instructions = str | _Few[Part]


class OutputText(Form):
    """What an assistant said."""

    type: Literal["output_text"] = "output_text"
    text: str


class OutputRefusal(Form):
    """What an assistant refused."""

    type: Literal["refusal"] = "refusal"
    refusal: str


class Message(Form):
    """A message of somebody who asks or instructs."""

    type: Literal["message"] = "message"
    role: Literal["user", "developer", "system"]
    content: Instructions


class AssistantMessage(Form):
    """A message of an assistant."""

    type: Literal["message"] = "message"
    role: Literal["assistant"] = "assistant"
    content: str | _Few[Annotated[OutputText | OutputRefusal, Field(discriminator="type")]]


class FunctionCall(Form):
    """A call of a function."""

    type: Literal["function_call"] = "function_call"
    call_id: str
    name: str
    arguments: str


class CustomToolCall(Form):
    """A call of a tool that takes text."""

    type: Literal["custom_tool_call"] = "custom_tool_call"
    call_id: str
    name: str
    input: str


class FunctionCallOutput(Form):
    """What a function gave back."""

    type: Literal["function_call_output"] = "function_call_output"
    call_id: str
    output: Instructions


class CustomToolCallOutput(Form):
    """What such a tool gave back."""

    type: Literal["custom_tool_call_output"] = "custom_tool_call_output"
    call_id: str
    output: Instructions


def _with_type(given: Any) -> Any:
    """An entry that says what it is; a message need not."""
    return {**given, "type": "message"} if isinstance(given, dict) and given.get("type") is None else given


# A name of its own, so that OpenAPI's mapping of types can refer to it.
AnyMessage = TypeAliasType("AnyMessage", Annotated[Message | AssistantMessage, Field(discriminator="role")])

Entry = Annotated[
    AnyMessage | FunctionCall | FunctionCallOutput | CustomToolCall | CustomToolCallOutput,
    Field(discriminator="type"),
    BeforeValidator(_with_type),
]


class _Question(Form):
    name: str | None = Field(None, description="Comes back with the answer; the model does not see it.")
    instructions: Instructions


class PredicateQuestion(_Question):
    """A statement that is true or not."""

    type: Literal["predicate"] = "predicate"


class Option(Form):
    """An option of a choice; a text and a truth value that are written alike are two."""

    value: StrictStr | StrictBool
    description: str | None = None


class ChoiceQuestion(_Question):
    """A choice of one option."""

    type: Literal["choice"] = "choice"
    choices: tuple[Option, ...] = Field(min_length=2, max_length=MOST_VALUES, fail_fast=True)


class Level(Form):
    """A level of a scale."""

    label: str
    description: str | None = None


class ScoreQuestion(_Question):
    """A level of a scale, the lowest first; it counts 0, the next 1."""

    type: Literal["score"] = "score"
    levels: tuple[Level, ...] = Field(min_length=2, max_length=MOST_LEVELS, fail_fast=True)


Question = Annotated[PredicateQuestion | ChoiceQuestion | ScoreQuestion, Field(discriminator="type")]


class DecisionsRequest(Form):
    """An input, and the questions about it."""

    model: str = Field(description="Who answers; one of `GET /v1/models`.")
    input: str | _Few[Entry] = Field(description="A text, or messages, and calls of tools with their outputs.")
    questions: tuple[Question, ...] = Field(min_length=1, max_length=MOST_QUESTIONS, fail_fast=True)


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")

    name: str | None = None


class PredicateAnswer(_Answer):
    """The answer to a predicate."""

    type: Literal["predicate"] = "predicate"
    probability: float = Field(ge=0, le=1)


class OptionProbability(BaseModel):
    """An option of a choice, and how likely it is."""

    value: StrictStr | StrictBool
    probability: float


class ChoiceAnswer(_Answer):
    """The answer to a choice."""

    type: Literal["choice"] = "choice"
    choice: StrictStr | StrictBool
    probabilities: Sequence[OptionProbability]
    confidence: float = Field(ge=0, le=1, description="0 where all options are as likely, 1 where one is certain.")


class LevelProbability(BaseModel):
    """A level of a scale, and how likely it is."""

    value: int
    label: str
    probability: float


class ScoreAnswer(_Answer):
    """The answer to a score."""

    type: Literal["score"] = "score"
    score: float = Field(description="The expected level; the lowest counts 0.")
    probabilities: Sequence[LevelProbability]
    confidence: float = Field(ge=0, le=1, description="1 where one level is certain.")


class RefusalAnswer(_Answer):
    """One question was not answered."""

    type: Literal["refusal"] = "refusal"


Answer = Annotated[PredicateAnswer | ChoiceAnswer | ScoreAnswer | RefusalAnswer, Field(discriminator="type")]


class InputDetails(BaseModel):
    """Tokens of the input that were in a cache, and that went into one."""

    cached_tokens: int = 0
    cache_write_tokens: int = 0


class OutputDetails(BaseModel):
    """Tokens that were thought."""

    reasoning_tokens: int = 0


class Usage(BaseModel):
    """Tokens."""

    input_tokens: int
    input_tokens_details: InputDetails = InputDetails()
    output_tokens: int
    output_tokens_details: OutputDetails = OutputDetails()
    total_tokens: int


class DecisionsResponse(BaseModel):
    """The answers, in the order of the questions."""

    model_config = ConfigDict(frozen=True, extra="allow")

    model: str
    answers: Sequence[Answer]
    usage: Usage


class Failing(BaseModel):
    """Why a request was not answered."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class Failure(BaseModel):
    """The answer to a request that was not answered.

    Source: the guide to errors of OpenAI's API.
    """

    error: Failing


def predicate_answer(p: float, name: str | None = None) -> PredicateAnswer:
    """The answer to a predicate from how likely it is true, in [0, 1]."""
    return PredicateAnswer(name=name, probability=p)


def choice_answer(
    options: Sequence[str | bool], p: Sequence[float], name: str | None = None, chosen: int | None = None
) -> ChoiceAnswer:
    """The answer to a choice from the probabilities of its options.

    Args:
        options: The options.
        p: Their probabilities, in their order.
        name: Name of the question.
        chosen: Place of the one that is the answer, of several likeliest; None for the first of these.
    """
    found = np.asarray(p, np.float64)
    each = [OptionProbability(value=value, probability=own) for value, own in zip(options, found.tolist(), strict=True)]
    return ChoiceAnswer(
        name=name,
        choice=options[int(found.argmax()) if chosen is None else chosen],
        probabilities=each,
        confidence=float(confidence_of_choice(found)),
    )


def score_answer(labels: Sequence[str], p: Sequence[float], name: str | None = None) -> ScoreAnswer:
    """The answer to a score from the probabilities of its levels, the lowest first."""
    found = np.asarray(p, np.float64)
    each = [
        LevelProbability(value=at, label=label, probability=own)
        for at, (label, own) in enumerate(zip(labels, found.tolist(), strict=True))
    ]
    return ScoreAnswer(
        name=name,
        score=float(expected_score(found)),
        probabilities=each,
        confidence=float(confidence_of_score(found)),
    )

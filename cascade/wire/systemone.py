"""``POST /v1/systemone``: a state, questions by name (``noul``, ``choice``, ``score``), and an answer to each. Pure.

Source: the specification 0.1 of jevcompat 0.1.1, and the models of typesafe-sdk 0.7.5, both on PyPI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from cascade.probability import confidence_of_choice, confidence_of_score, expected_score
from cascade.stages import MOST_LEVELS, MOST_VALUES
from cascade.wire.texts import MOST_QUESTIONS, Form, Text

PATH = "/v1/systemone"

ALIAS = "jev-latest"
"""The model that clients of this format name unless they are told another."""


class NoulCriteria(Form):
    """What counts as yes, and what as no; either or both."""

    true: Text | None = None
    false: Text | None = None


class NoulQuestion(Form):
    """A yes/no question."""

    type: Literal["noul"] = "noul"
    instructions: Text | None = Field(None, description="The question; may be absent where criteria say what counts.")
    criteria: NoulCriteria | str | None = Field(None, description="A text, which some clients send, is both sides.")


class ChoiceQuestion(Form):
    """A choice of one option."""

    type: Literal["choice"] = "choice"
    instructions: Text | None = None
    criteria: dict[str, Text | None] = Field(
        min_length=2, max_length=MOST_VALUES, fail_fast=True, description="Option -> description or null."
    )


class ScoreQuestion(Form):
    """A level of a scale."""

    type: Literal["score"] = "score"
    instructions: Text | None = None
    criteria: tuple[Text, ...] = Field(
        min_length=2,
        max_length=MOST_LEVELS,
        fail_fast=True,
        description="The levels, the lowest first; it counts 0, the next 1.",
    )


Question = Annotated[NoulQuestion | ChoiceQuestion | ScoreQuestion, Field(discriminator="type")]


class SystemOneRequest(Form):
    """A state, and the questions about it."""

    model: str | None = Field(None, description="Who answers; one of `GET /v1/models`.")
    state: Text = Field(description="What the questions are about: a text, or any JSON object or array.")
    questions: dict[str, Question] = Field(
        min_length=1,
        max_length=MOST_QUESTIONS,
        fail_fast=True,
        description="Name -> question; answers have the same names, which the model does not see.",
    )


class _Answer(BaseModel):
    """An answer; fields of a server's own begin with ``x_``."""

    model_config = ConfigDict(frozen=True, extra="allow")


class NoulAnswer(_Answer):
    """The answer to a yes/no question."""

    type: Literal["noul"] = "noul"
    noul: float = Field(ge=0, le=1, description="Probability of yes.")


class ChoiceAnswer(_Answer):
    """The answer to a choice."""

    type: Literal["choice"] = "choice"
    choice: str = Field(description="The likeliest option.")
    probabilities: Mapping[str, float]
    confidence: float = Field(ge=0, le=1, description="0 where all options are as likely, 1 where one is certain.")


class ScoreAnswer(_Answer):
    """The answer to a score."""

    type: Literal["score"] = "score"
    score: float = Field(description="The expected level; the lowest counts 0.")
    legend: Mapping[str, Any] = Field(description='Number of a level, from "0" on -> the level.')
    probabilities: Mapping[str, float] = Field(description="The same numbers -> probability.")
    confidence: float = Field(ge=0, le=1, description="1 where one level is certain.")


Answer = Annotated[NoulAnswer | ChoiceAnswer | ScoreAnswer, Field(discriminator="type")]


class Usage(_Answer):
    """Tokens."""

    input_tokens: int = Field(ge=0)
    output_tokens: int = Field(ge=0)


class SystemOneResponse(_Answer):
    """The answers, by the names of their questions."""

    model: str
    answers: Mapping[str, Answer]
    usage: Usage


class ModelCard(_Answer):
    """A name that may be given as ``model``."""

    name: str
    description: str
    release_date: str = Field(description="YYYY-MM-DD.")


class ModelCards(_Answer):
    """All of those."""

    models: Sequence[ModelCard]


class Fault(BaseModel):
    """What is wrong with a request, and where."""

    loc: Sequence[str | int] = Field(description='Keys and numbers that lead to it, from "body" on.')
    msg: str = Field(description="What was given, what is allowed, and what to do.")
    type: str


class ValidationFailure(BaseModel):
    """The answer to a request that cannot be used: 422."""

    detail: Sequence[Fault]


class Failing(BaseModel):
    """Why a request was not answered."""

    error_type: str
    message: str


class Failure(BaseModel):
    """The answer to a request that was not answered for another reason."""

    detail: Failing


def noul_answer(p_yes: float) -> NoulAnswer:
    """The answer to a yes/no question from its p(yes), in [0, 1]."""
    return NoulAnswer(noul=p_yes)


def choice_answer(options: Sequence[str], p: Sequence[float], chosen: int | None = None) -> ChoiceAnswer:
    """The answer to a choice from the probabilities of its options.

    Args:
        options: The options.
        p: Their probabilities, in their order.
        chosen: Place of the one that is the answer, of several likeliest; None for the first of these.
    """
    found = np.asarray(p, np.float64)
    return ChoiceAnswer(
        choice=options[int(found.argmax()) if chosen is None else chosen],
        probabilities=dict(zip(options, found.tolist(), strict=True)),
        confidence=float(confidence_of_choice(found)),
    )


def score_answer(levels: Sequence[Text], p: Sequence[float]) -> ScoreAnswer:
    """The answer to a score from the probabilities of its levels, the lowest first."""
    found = np.asarray(p, np.float64)
    return ScoreAnswer(
        score=float(expected_score(found)),
        legend={str(at): level for at, level in enumerate(levels)},
        probabilities={str(at): each for at, each in enumerate(found.tolist())},
        confidence=float(confidence_of_score(found)),
    )

"""The forms of System One, judged by jevcompat's own checks and read by the official client's own models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jevcompat import validate
from pydantic import ValidationError
from typesafe_sdk._schemas import models as official

from cascade.probability import softmax
from cascade.wire.systemone import SystemOneRequest, choice_answer, noul_answer, score_answer

LOGITS = st.lists(st.floats(-20, 20), min_size=2, max_size=10)


@given(LOGITS)
def test_a_choice_is_what_the_format_says(logits: Sequence[float]) -> None:
    """Whatever the probabilities: the likeliest option, the keys, the sum and the confidence are right."""
    options = {f"option {at}": None for at in range(len(logits))}
    found = choice_answer(list(options), softmax(logits).tolist()).model_dump()
    assert not validate.validate_answer({"type": "choice", "criteria": options}, found, "")
    assert official.ChoiceAnswer.model_validate(found).choice == found["choice"]


@given(LOGITS)
def test_a_score_is_what_the_format_says(logits: Sequence[float]) -> None:
    """Whatever the probabilities: the expected level, the legend, the sum and the confidence are right."""
    levels: list[Any] = ["lowest", {"label": "next"}, *(f"level {at}" for at in range(2, len(logits)))]
    found = score_answer(levels, softmax(logits).tolist()).model_dump()
    assert not validate.validate_answer({"type": "score", "criteria": levels}, found, "")
    assert official.ScoreAnswer.model_validate(found).score == found["score"]


def test_a_noul_is_what_the_format_says() -> None:
    """It has a probability, and nothing else."""
    found = noul_answer(0.25).model_dump()
    assert not validate.validate_answer({"type": "noul"}, found, "")
    assert official.NoulAnswer.model_validate(found).noul == found["noul"] == 0.25


def test_a_request_ignores_what_it_does_not_know() -> None:
    """Fields of other clients are no fault; JSON may stand for any text."""
    asked = SystemOneRequest.model_validate(
        {
            "state": [1, {"a": None}],
            "questions": {
                "": {"type": "noul", "criteria": {"true": ["refund me"], "x": 1}, "x_more": 1},
                "q.2": {"type": "choice", "instructions": {"do": "route"}, "criteria": {"a": {"b": 1}, "": None}},
                "🎯": {"type": "score", "criteria": ["low", {"label": "high"}]},
            },
            "assets": None,
            "seed": 7,
        }
    )
    assert list(asked.questions) == ["", "q.2", "🎯"]
    assert "seed" not in asked.model_dump()


@pytest.mark.parametrize(
    "question",
    [
        {"instructions": "?"},
        {"type": "boolean", "instructions": "?"},
        {"type": "choice", "criteria": {"one": None}},
        {"type": "choice", "criteria": {str(at): None for at in range(256)}},
        {"type": "score", "criteria": {"0": "low", "1": "high"}},
        {"type": "score", "criteria": ["low", None]},
        {"type": "score", "criteria": [str(at) for at in range(11)]},
        {"type": "noul", "instructions": 5},
    ],
)
def test_what_the_format_has_not_is_refused(question: dict[str, Any]) -> None:
    """A map of levels, too many options and the like."""
    with pytest.raises(ValidationError):
        SystemOneRequest.model_validate({"state": "s", "questions": {"q": question}})


@pytest.mark.parametrize(
    "questions",
    [
        {str(at): None for at in range(5_000)},
        {"q": {"type": "choice", "criteria": {str(at): 1 for at in range(5_000)}}},
        {"q": {"type": "score", "criteria": [1] * 5_000}},
    ],
)
def test_many_faults_are_one(questions: dict[str, Any]) -> None:
    """Each fault costs a message: lists and objects are read up to the first one."""
    with pytest.raises(ValidationError) as caught:
        SystemOneRequest.model_validate({"state": "s", "questions": questions})
    assert caught.value.error_count() < 10

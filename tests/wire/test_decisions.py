"""The forms of decisions, read by the models of OpenAI's own client."""

from __future__ import annotations

from typing import Any

import pytest
from openai.types.decision import Decision
from pydantic import ValidationError

from cascade.wire.decisions import (
    AssistantMessage,
    DecisionsRequest,
    DecisionsResponse,
    Message,
    RefusalAnswer,
    Usage,
    choice_answer,
    predicate_answer,
    score_answer,
)

ASKED: dict[str, Any] = {"model": "base", "input": "hello", "questions": [{"type": "predicate", "instructions": "?"}]}


def test_answers_are_what_the_client_reads() -> None:
    """Every kind of answer comes through the client's models unchanged; true and "true" are two options."""
    given = DecisionsResponse(
        model="base",
        answers=[
            predicate_answer(0.25, "urgent"),
            choice_answer([True, "true", "no"], [0.2, 0.7, 0.1]),
            score_answer(["calm", "angry"], [0.25, 0.75]),
            RefusalAnswer(name="strange"),
        ],
        usage=Usage(input_tokens=12, output_tokens=0, total_tokens=12),
    ).model_dump()
    read = Decision.model_validate(given, strict=True)
    assert read.model_dump(mode="json") == given
    _, choice, score, _ = given["answers"]
    assert (choice["choice"], choice["confidence"]) == ("true", pytest.approx(0.55))
    assert (score["score"], score["confidence"]) == (0.75, pytest.approx(0.5))


def test_an_input_may_be_a_conversation() -> None:
    """A message need not say that it is one; parts, calls and outputs are kept."""
    asked = DecisionsRequest.model_validate(
        ASKED
        | {
            "input": [
                {"role": "user", "content": "hello"},
                {"role": "assistant", "type": "message", "content": [{"type": "refusal", "refusal": "no"}]},
                {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "42"}]},
                {"type": "custom_tool_call", "call_id": "2", "name": "g", "input": "x"},
                {"type": "custom_tool_call_output", "call_id": "2", "output": "y"},
                {"role": "system", "content": [{"type": "input_json", "data": {"a": [1, None]}}]},
            ],
            "safety_identifier": "x",
        }
    )
    assert isinstance(asked.input[0], Message)
    assert isinstance(asked.input[1], AssistantMessage)
    kinds = [entry.type for entry in asked.input if not isinstance(entry, str)]
    assert kinds[2:4] == ["function_call", "function_call_output"]


@pytest.mark.parametrize(
    "question",
    [
        {"type": "predicate"},
        {"type": "noul", "instructions": "?"},
        {"type": "choice", "instructions": "?", "choices": [{"value": "one"}]},
        {"type": "choice", "instructions": "?", "choices": [{"value": 1}, {"value": 2}]},
        {"type": "score", "instructions": "?", "levels": ["low", "high"]},
        {"type": "score", "instructions": "?", "levels": [{"label": str(at)} for at in range(11)]},
    ],
)
def test_what_the_format_has_not_is_refused(question: dict[str, Any]) -> None:
    """A number as an option, a level without a label, another format's question."""
    with pytest.raises(ValidationError):
        DecisionsRequest.model_validate(ASKED | {"questions": [question]})


@pytest.mark.parametrize(
    "broken",
    [
        {"input": [{}] * 5_000},
        {"input": [{"role": "user", "content": "x"}] * 5_000},
        {"input": [{"role": "user", "content": [{}] * 5_000}]},
        {"input": [{"role": "user", "content": [{"type": "input_json", "data": [1] * 5_000}]}]},
        {"questions": [None] * 5_000},
        {"questions": [{"type": "predicate", "instructions": [{"type": "input_text", "text": "x"}] * 5_000}]},
        {"questions": [{"type": "choice", "instructions": "?", "choices": [{}] * 5_000}]},
        {"questions": [{"type": "score", "instructions": "?", "levels": [{}] * 5_000}]},
    ],
)
def test_a_long_list_of_faults_has_one(broken: dict[str, Any]) -> None:
    """Each fault costs a message: no list is read beyond its first one, or beyond its limit."""
    with pytest.raises(ValidationError) as caught:
        DecisionsRequest.model_validate(ASKED | broken)
    assert caught.value.error_count() < 10

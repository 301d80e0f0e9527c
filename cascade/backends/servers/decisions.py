"""Decisions servers: ``POST /v1/decisions``, an input with a list of questions: predicate, choice and score.

The state goes as a text of JSON, for that is what all who speak the format take.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cascade.backends.servers.api import number
from cascade.backends.servers.typed import Found, Refused, TypedQuestion, check_type
from cascade.wire.decisions import (
    PATH,
    ChoiceQuestion,
    DecisionsRequest,
    Level,
    Option,
    PredicateQuestion,
    Question,
    ScoreQuestion,
)


class DecisionsForm:
    """See ``WireForm``."""

    path = PATH
    alias = ""

    def body(self, model: str, state: Mapping[str, Any], questions: Sequence[TypedQuestion]) -> dict[str, Any]:
        """See ``WireForm.body``."""
        text = json.dumps(state, ensure_ascii=False)
        request = DecisionsRequest(model=model, input=text, questions=tuple(map(_form, questions)))
        return request.model_dump(mode="json", exclude_none=True)

    def read(self, body: Mapping[str, Any], answer: Any) -> Sequence[Found]:
        """See ``WireForm.read``; answers are in the order of the questions.

        Where their number is another one, or they have names, they are found by name, so that none is taken for that of
        another question.
        """
        asked, answers = body["questions"], list(answer["answers"])
        names = [each.get("name") for each in answers]
        if len(set(names) - {None}) < sum(name is not None for name in names):
            msg = "a name stands twice"
            raise ValueError(msg)
        by_name = {name: each for name, each in zip(names, answers, strict=True) if name is not None}
        is_in_order = len(answers) == len(asked)
        found: list[Found] = []
        for at, question in enumerate(asked):
            own = by_name.get(question["name"])
            if own is None and is_in_order and names[at] is None:
                own = answers[at]
            found.append(None if own is None else _read(own, question))
        return found

    def tokens(self, usage: Mapping[str, Any]) -> tuple[int, int]:
        """See ``WireForm.tokens``."""
        cached = int((usage.get("input_tokens_details") or {}).get("cached_tokens") or 0)
        return max(0, int(usage.get("input_tokens") or 0) - cached), cached


def _form(asked: TypedQuestion) -> Question:
    if not asked.values:
        return PredicateQuestion(name=asked.name, instructions=asked.wording)
    if asked.is_scale:
        levels = tuple(Level(label=value.name, description=value.description or None) for value in asked.values)
        return ScoreQuestion(name=asked.name, instructions=asked.wording, levels=levels)
    options = tuple(Option(value=value.name, description=value.description or None) for value in asked.values)
    return ChoiceQuestion(name=asked.name, instructions=asked.wording, choices=options)


def _read(answer: Any, asked: Mapping[str, Any]) -> Found:
    """See ``Found``; the probabilities decide, and neither ``choice`` nor ``confidence``."""
    if answer.get("type") == "refusal":
        return Refused(str(answer.get("x_reason") or answer.get("refusal") or "it gives no reason"))
    check_type(answer, asked)
    if asked["type"] == "predicate":
        return [number(answer["probability"])]
    shares = {entry["value"]: number(entry["probability"]) for entry in answer["probabilities"]}
    if len(shares) < len(answer["probabilities"]):
        msg = "a value stands twice"
        raise ValueError(msg)
    values = range(len(asked["levels"])) if asked["type"] == "score" else [each["value"] for each in asked["choices"]]
    return [shares[value] for value in values]

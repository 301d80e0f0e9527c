"""System One servers: ``POST /v1/systemone``, a state with typed questions: yes/no (``noul``), choice and score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cascade.backends.servers.api import number
from cascade.backends.servers.typed import Found, TypedQuestion, check_type
from cascade.stages import as_system_one
from cascade.wire.systemone import ALIAS, PATH


class SystemOneForm:
    """See ``WireForm``."""

    path = PATH
    alias = ALIAS

    def body(self, model: str, state: Mapping[str, Any], questions: Sequence[TypedQuestion]) -> dict[str, Any]:
        """See ``WireForm.body``."""
        asked = {each.name: as_system_one(each.wording, each.values, is_scale=each.is_scale) for each in questions}
        return {"state": dict(state), "questions": asked, "model": model}

    def read(self, body: Mapping[str, Any], answer: Any) -> Sequence[Found]:
        """See ``WireForm.read``; answers are found by name."""
        answers = dict(answer["answers"])
        return [
            _read(answers[name], asked) if answers.get(name) is not None else None
            for name, asked in body["questions"].items()
        ]

    def tokens(self, usage: Mapping[str, Any]) -> tuple[int, int]:
        """See ``WireForm.tokens``; the format does not tell what was in a cache, but some servers do."""
        cached = int(usage.get("cached_tokens") or 0)
        return max(0, int(usage.get("input_tokens") or 0) - cached), cached


def _read(answer: Any, asked: Mapping[str, Any]) -> list[float]:
    """p(yes), or the probability of each option or level in the order in which they were given.

    The probabilities decide, and neither ``choice`` nor ``confidence``, of which servers have several meanings.
    """
    check_type(answer, asked)
    if asked["type"] == "noul":
        return [number(answer["noul"])]
    names = map(str, range(len(asked["criteria"]))) if asked["type"] == "score" else asked["criteria"]
    return [number(answer["probabilities"][name]) for name in names]

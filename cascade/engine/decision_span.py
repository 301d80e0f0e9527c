"""The attributes of a request's span: those of OpenInference's DECISION spans, GenAI names, and our own. Pure.

Sources: ``spec/decision_spans.md`` of Arize-ai/openinference, and the attributes ``gen_ai.*`` of OpenTelemetry's
semantic conventions. Own attributes begin with ``cascade.``. No attribute begins with ``llm.``, for readers count such
spans as calls of language models; some derive such attributes from the GenAI names, which may therefore be left out.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

from openinference.semconv.trace import (
    OpenInferenceDecisionSystemValues,
    OpenInferenceMimeTypeValues,
    OpenInferenceSpanKindValues,
    SpanAttributes,
)

from cascade.engine.item_state import ItemState
from cascade.engine.request import Request
from cascade.report import Step

Attributes = dict[str, str | int | float | bool | Sequence[str] | Sequence[int] | Sequence[float]]

KIND = SpanAttributes.OPENINFERENCE_SPAN_KIND
DECISION = OpenInferenceSpanKindValues.DECISION.value
CHAIN = OpenInferenceSpanKindValues.CHAIN.value

OPERATION = "decision"
"""Value of ``gen_ai.operation.name``. The conventions have none for decisions; Strands uses this one."""

OWN = "binary_cascade"
"""Who computes: the value of ``decision.provider``, and of ``decision.system`` for calls that no known format made."""

SYSTEMS = {
    "/v1/systemone": OpenInferenceDecisionSystemValues.TYPESAFE.value,
    "/v1/decisions": OpenInferenceDecisionSystemValues.OPENAI.value,
}
"""Path of an HTTP call -> the format that its caller speaks."""

_GEN_AI = "gen_ai."
_JSON = OpenInferenceMimeTypeValues.JSON.value


def begun(request: Request, path: str, *, texts: bool) -> Attributes:
    """What is known of a request before anything is asked.

    Args:
        request: The request.
        path: Path of the HTTP call that it came with; empty without one.
        texts: Whether texts of the caller may be told.
    """
    model = _model(request)
    found: Attributes = {
        KIND: DECISION,
        SpanAttributes.DECISION_SYSTEM: SYSTEMS.get(path, OWN),
        SpanAttributes.DECISION_PROVIDER: OWN,
        SpanAttributes.DECISION_MODEL_NAME: model,
        f"{_GEN_AI}operation.name": OPERATION,
        f"{_GEN_AI}provider.name": OWN,
        f"{_GEN_AI}request.model": model,
        "cascade.name": request.cascade.name,
        "cascade.model": request.provenance.model,
        "cascade.task_id": request.task.id,
        "cascade.items": len(request.items),
    }
    if isfinite(request.ends):
        found["cascade.budget_ms"] = round(1_000 * (request.ends - request.called), 3)
    if texts:
        found |= {SpanAttributes.INPUT_MIME_TYPE: _JSON, SpanAttributes.INPUT_VALUE: _input(request)}
    return found


def spent(request: Request) -> Attributes:
    """What a request cost, which is known of one that failed as well."""
    stats = request.stats
    n_input = stats.tokens_decoded + stats.tokens_reused
    return {
        SpanAttributes.DECISION_TOKEN_COUNT_INPUT: n_input,
        SpanAttributes.DECISION_TOKEN_COUNT_OUTPUT: 0,  # no text is generated
        f"{_GEN_AI}usage.input_tokens": n_input,
        f"{_GEN_AI}usage.cache_read.input_tokens": stats.tokens_reused,
        f"{_GEN_AI}usage.output_tokens": 0,
        "cascade.tokens_decoded": stats.tokens_decoded,
        "cascade.tokens_reused": stats.tokens_reused,
        "cascade.calls": stats.calls,
        "cascade.calls_ahead": stats.calls_ahead,
        "cascade.calls_reused": stats.calls_reused,
        "cascade.decode_calls": stats.decode_calls,
        "cascade.adapter_swaps": stats.adapter_swaps,
    }


def answered(request: Request, items: Sequence[ItemState], *, texts: bool) -> Attributes:
    """What a request came to: how many items got each label, and what each question was answered.

    Labels, stages and wordings of a cascade that came with the call are texts of the caller; those of the config are
    not.

    Args:
        request: The request.
        items: Its items, walked to their end.
        texts: Whether texts of the caller may be told.
    """
    is_told = texts or not request.is_callers
    found = _questions(request, items, is_told=is_told)
    if not request.is_scoring:
        found |= {f"cascade.status.{status}": n for status, n in _counted(str(item.status) for item in items)}
        if is_told:
            found |= {f"cascade.outcome.{label}": n for label, n in _counted(item.label for item in items)}
    if texts:
        output = json.dumps(request.report(items).as_dict())
        found |= {SpanAttributes.OUTPUT_MIME_TYPE: _JSON, SpanAttributes.OUTPUT_VALUE: output}
    return found


def without_genai(attributes: Attributes) -> Attributes:
    """The attributes whose names are not those of GenAI."""
    return {name: value for name, value in attributes.items() if not name.startswith(_GEN_AI)}


@dataclass(slots=True)
class _Asked:
    """One question, and what came of it.

    Attributes:
        first: Its first answer, which says who answered and by which thresholds.
        n: Number of answers.
        n_yes: How many are yes; of a choice or score none is.
        n_uncertain: How many are uncertain.
        p: Sum of p(yes), or of the confidence of a choice or score.
    """

    first: Step
    n: int = 0
    n_yes: int = 0
    n_uncertain: int = 0
    p: float = 0.0

    def add(self, step: Step) -> None:
        """Count an answer."""
        self.n += 1
        self.n_yes += step.answer is True
        self.n_uncertain += step.answer is None
        self.p += step.p_yes if step.confidence is None else step.confidence


def _questions(request: Request, items: Iterable[ItemState], *, is_told: bool) -> Attributes:
    """Parallel lists with an entry for each question, in the order in which they were first answered."""
    by_question: dict[tuple[str, str], _Asked] = {}
    for step in (step for item in items for step in item.steps):
        by_question.setdefault((step.stage, step.tier), _Asked(step)).add(step)
    asked = list(by_question.values())
    found: Attributes = {
        "adapters": [each.first.adapter for each in asked],
        "thresholds": [float(each.first.threshold) for each in asked],
        "no_below": [float(each.first.limits[0]) for each in asked],
        "asked": [each.n for each in asked],
        "yes": [each.n_yes for each in asked],
        "uncertain": [each.n_uncertain for each in asked],
        "p_mean": [each.p / each.n for each in asked],
    }
    if is_told:
        found["stages"] = [each.first.stage for each in asked]
        found["tiers"] = [each.first.tier for each in asked]
        found["wordings"] = [_wording(request, each.first) for each in asked]
    if request.provenance.models:
        found["models"] = [each.first.model for each in asked]
    return {f"cascade.questions.{name}": values for name, values in found.items()}


def _wording(request: Request, step: Step) -> str:
    """What was asked; empty for a prior stage, which asks nothing."""
    return request.cascade.stage(step.stage).question(step.tier).wording if step.adapter else ""


def _model(request: Request) -> str:
    """What the caller chose: a cascade, or the adapters that answer a question of the caller's own."""
    if not request.is_callers:
        return request.cascade.name
    return ", ".join(dict.fromkeys(question.adapter for question in request.cascade.questions()))


def _counted(values: Iterable[str]) -> Iterable[tuple[str, int]]:
    return Counter(values).items()


def _input(request: Request) -> str:
    """The request as JSON: its task, its items without what is empty, and the questions that came with it."""
    value: dict[str, Any] = {
        "cascade": request.cascade.name,
        "task": _full(asdict(request.task)),
        "items": [_full(asdict(item.item)) for item in request.items],
    }
    if request.is_callers:
        value["questions"] = [question.wording for question in request.cascade.questions()]
    return json.dumps(value)


def _full(value: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in value.items() if part not in ("", (), None)}

"""A request that an engine has worked on, as the log keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

from cascade.engine.item_state import ItemState
from cascade.engine.observer import SeenBatch
from cascade.engine.query import Query
from cascade.engine.request import Request
from cascade.items import Item, Task
from cascade.log.entries import Body, BodyKind, LoggedCall, LoggedDecision, LoggedRequest
from cascade.log.redact import Redactor, SecretRedactor, is_suspect
from cascade.report import Decision, Provenance, Step
from cascade.stages import as_system_one

_Place = tuple[int, str, str]  # of a question: identity of the item's state, stage, tier


@dataclass(frozen=True, slots=True)
class Ended:
    """A request that is over.

    Attributes:
        request: The request.
        seen: The batches that it took part in.
        at: When it ended, in seconds since the epoch.
        id: What the log knows it by.
    """

    request: Request
    seen: Sequence[SeenBatch]
    at: float
    id: str


@dataclass(frozen=True, slots=True)
class Keeping:
    """What of texts is kept.

    Attributes:
        texts: Whether texts of tasks and items are kept; their hashes always are.
        redact: What takes secrets out of them.
    """

    texts: bool
    redact: Redactor


def logged(ended: Ended, keeping: Keeping) -> LoggedRequest:
    """What the log has of a request."""
    request = ended.request
    error = request.done.exception()
    states: list[ItemState] = [] if error is not None else request.done.result()
    costs, words = _costs(ended.seen, request), _Words(request, keeping)
    questions, report = _Questions(request, words), request.report(states)
    decisions = tuple(
        _decision(place, state, decision, words, questions, costs)
        for place, (state, decision) in enumerate(zip(states, report.decisions, strict=True))
    )
    return LoggedRequest(
        id=ended.id,
        at=ended.at,
        cascade=request.cascade.name,
        tree=words.asked(BodyKind.TREE, request.cascade.as_dict()),
        task=request.task.id,
        task_body=words.given(BodyKind.TASK, _task_value(request.task)),
        provenance=Body.of(BodyKind.PROVENANCE, request.provenance.as_dict()),
        is_scoring=request.is_scoring,
        error="" if error is None else words.told(f"{type(error).__name__}: {error}", type(error).__name__),
        stats=report.stats.as_dict(),
        decisions=decisions,
    )


def _decision(
    place: int,
    state: ItemState,
    decision: Decision,
    words: _Words,
    questions: _Questions,
    costs: Mapping[_Place, tuple[float, float]],
) -> LoggedDecision:
    is_scoring = state.fixed is not None
    return LoggedDecision(
        place=place,
        item=decision.id,
        body=words.given(BodyKind.ITEM, _item_value(state.item)),
        label="" if is_scoring else decision.label,
        status="" if is_scoring else str(decision.status),
        p_label=decision.p_label,
        cause=words.told(decision.cause, "a server could not answer") if decision.cause else "",
        calls=tuple(
            questions.call(step, costs.get((id(state), step.stage, step.tier), (None, None))) for step in decision.steps
        ),
    )


class _Words:
    """What of the words of one request is kept: those of its config always, those from outside as the log is set.

    Args:
        request: The request.
        keeping: How the log is set.
    """

    def __init__(self, request: Request, keeping: Keeping) -> None:
        self._keeping, self._is_callers = keeping, request.is_callers

    def given(self, kind: BodyKind, value: Mapping[str, Any]) -> Body:
        """A task or an item."""
        if not self._keeping.texts:
            return Body.of(kind, value, is_kept=False)
        redact, body = self._keeping.redact, Body.of(kind, value)
        if isinstance(redact, SecretRedactor) and not is_suspect(body.json or ""):
            return body  # one look at all of its texts
        return Body.of(kind, _redacted(value, redact))

    def asked(self, kind: BodyKind, value: Mapping[str, Any]) -> Body:
        """A tree or a question; one that came with the call is treated as its task is."""
        return self.given(kind, value) if self._is_callers else Body.of(kind, value)

    def value(self, name: str, place: int) -> str:
        """Name of a value of a choice, or of a level of a score; its place where no words are kept."""
        if not self._is_callers:
            return name
        return self._keeping.redact(name) if self._keeping.texts else str(place)

    def told(self, text: str, short: str) -> str:
        """What went wrong, which may quote a text from outside.

        Args:
            text: All of it.
            short: What is kept where no texts are.
        """
        return self._keeping.redact(text) if self._keeping.texts else short


class _Questions:
    """Turns steps of one request into calls; what they have in common is made once."""

    def __init__(self, request: Request, words: _Words) -> None:
        self._cascade, self._provenance, self._words = request.cascade, request.provenance, words
        self._known: dict[tuple[str, str], tuple[Body, str]] = {}

    def call(self, step: Step, cost: tuple[float | None, float | None]) -> LoggedCall:
        """A step as a call."""
        key = step.stage, step.tier
        if key not in self._known:
            self._known[key] = self._asked(step)
        question, made_by = self._known[key]
        names = {name: self._words.value(name, place) for place, name in enumerate(step.probabilities)}
        return LoggedCall(
            stage=step.stage,
            tier=step.tier,
            question=question,
            adapter=step.adapter,
            made_by=made_by,
            model=step.model,
            threshold=step.threshold,
            no_below=step.no_below,
            p_yes=step.p_yes if isfinite(step.p_yes) else None,
            p_calibrated=step.p_calibrated,
            probabilities={names[name]: p for name, p in step.probabilities.items()} or None,
            answer=names.get(step.answer, step.answer) if isinstance(step.answer, str) else step.answer,
            ms=cost[0],
            tokens=cost[1],
        )

    def _asked(self, step: Step) -> tuple[Body, str]:
        prior = self._cascade.prior_stage
        if not step.adapter or (prior is not None and step.stage == prior.name):
            return Body.of(BodyKind.QUESTION, {}), ""
        stage = self._cascade.stage(step.stage)
        made_by = _maker(self._provenance, step)
        question = stage.question(step.tier)
        asked = as_system_one(question.wording, question.values, is_scale=question.is_scale)
        return self._words.asked(BodyKind.QUESTION, asked), made_by


def _maker(provenance: Provenance, step: Step) -> str:
    own = provenance.models.get(step.model, provenance)
    return own.adapters.get(step.adapter, own.model)


def _costs(seen: Sequence[SeenBatch], request: Request) -> dict[_Place, tuple[float, float]]:
    """Question -> its share of the milliseconds and of the computed tokens of its batch; reused answers have none."""
    found: dict[_Place, tuple[float, float]] = {}
    for each in seen:
        computed = [query for place, query in enumerate(each.batch.queries) if place not in each.reused]
        if each.cost is None or not computed:
            continue
        share = round(each.cost.elapsed_ms / len(computed), 4), round(each.cost.tokens_decoded / len(computed), 3)
        for query in computed:
            if isinstance(query, Query) and query.request is request:
                found[id(query.item), query.stage.name, query.tier] = share
    return found


def _redacted(value: Any, redact: Redactor) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: each if key == "id" else _redacted(each, redact) for key, each in value.items()}
    return [_redacted(each, redact) for each in value] if isinstance(value, list | tuple) else value


def _task_value(task: Task) -> dict[str, Any]:
    return {"text": task.text, **({"seeds": list(task.seeds)} if task.seeds else {})}


_OPTIONAL = {
    each.name: each.default for each in fields(Item) if each.name not in {"id", "name", "group"}
}  # field of an item -> its default


def _item_value(item: Item) -> dict[str, Any]:
    """An item as a row of JSON lines has it, without what is left at its default."""
    found: dict[str, Any] = {"id": item.id, "name": item.name}
    for name, default in _OPTIONAL.items():
        value = getattr(item, name)
        if value != default:
            found[name] = list(value) if isinstance(value, tuple) else value
    if item.group is not None:
        found["group"] = {"name": item.group.name, "evidence": list(item.group.evidence)}
    return found

"""System One servers: ``POST /v1/systemone``, a state with typed questions: yes/no (``noul``), choice and score.

No prompt is sent: the state is the task, the file, the item and perhaps its text in words, and a question is its full
wording. The questions of one item go into one request, those asked ahead included.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cascade.backends.base import Query
from cascade.backends.servers.api import (
    UNLIKE,
    Answer,
    Call,
    HttpRequest,
    MalformedError,
    NoNumberError,
    ServerInfo,
    ServerSetup,
    number,
)
from cascade.errors import ServerError
from cascade.probability import odds_of_likeliest, sure_log, sure_logit
from cascade.prompt import Node, Segment
from cascade.stages import BASE, as_system_one

PATH = "/v1/systemone"

_KEYS = {Segment.TASK: "task", Segment.GROUP: "file", Segment.ITEM: "candidate", Segment.TEXT: "text"}


class SystemOneApi:
    """See ``ServerApi``; the adapter's name is the ``model`` that is asked."""

    is_together = True

    def __init__(self, setup: ServerSetup) -> None:
        self._peer = setup

    def fetch_info(self, call: Call) -> ServerInfo:
        """See ``ServerApi.fetch_info``; a server that lists no models is believed to have what the config names."""
        try:
            known = [str(card["id"]) for card in call("/v1/models")["data"]]
        except (ServerError, *UNLIKE):
            return ServerInfo(model=self._peer.config.model or "unknown")
        self._peer.check_model(known)
        for adapter, entry in self._peer.adapters.items():
            if entry.name not in {BASE, *known}:
                raise self._peer.lacks(adapter, known)
        return ServerInfo(model=self._peer.config.model or ", ".join(known))

    def asks(self, queries: Sequence[Query]) -> Iterator[HttpRequest]:
        """See ``ServerApi.asks``; one request for each item."""
        places: dict[Node | None, list[int]] = {}
        for place, query in enumerate(queries):
            places.setdefault(query.node.parent, []).append(place)
        for own in places.values():
            yield self._ask([queries[place] for place in own], own)

    def read(self, ask: HttpRequest, answer: Any) -> Answer:
        """See ``ServerApi.read``."""
        try:
            answers = answer["answers"]
            read = [_read(answers[name], asked) for name, asked in ask.body["questions"].items()]
            usage = answer.get("usage") or {}
            computed = int(usage.get("input_tokens", 0))
        except UNLIKE as error:
            msg = f"lacks answers to its questions: {str(answer)[:500]}"
            raise MalformedError(msg) from error
        every = [p for own in read for p in own]
        if not all(0 <= p <= 1 for p in every) or not all(sum(own) for own in read if len(own) > 1):
            msg = f"gives probabilities outside [0, 1], or all 0: {every}"
            raise NoNumberError(msg)
        values = {at: sure_log(own).tolist() for at, own in enumerate(read) if len(own) > 1}
        logits = [
            odds_of_likeliest(values[at]) if at in values else float(sure_logit(own[0])) for at, own in enumerate(read)
        ]
        return Answer(logits=tuple(logits), values=values, computed=computed)

    def _ask(self, queries: Sequence[Query], places: Sequence[int]) -> HttpRequest:
        path = queries[0].node.path[:-1]
        seeds = {"seeds": [path[0].seeds]} if path[0].seeds else {}
        body: dict[str, Any] = {
            "state": seeds | {_KEYS[node.segment]: node.text for node in path},
            "questions": {f"q{number}": _question(query) for number, query in enumerate(queries)},
        }
        name = self._peer.adapters[queries[0].adapter].name
        model = self._peer.config.model if name == BASE else name
        return HttpRequest(path=PATH, body=body | ({"model": model} if model else {}), places=tuple(places))


def _question(query: Query) -> dict[str, Any]:
    """A query's question as System One has it."""
    labels = query.labels
    if labels is None:
        return as_system_one(query.wording)
    return as_system_one(query.wording, labels.values, is_scale=labels.is_scale)


def _read(answer: Any, asked: Mapping[str, Any]) -> list[float]:
    """p(yes), or the probability of each option or level in the order in which they were given."""
    if asked["type"] == "noul":
        return [number(answer["noul"])]
    names = map(str, range(len(asked["criteria"]))) if asked["type"] == "score" else asked["criteria"]
    return [number(answer["probabilities"][name]) for name in names]

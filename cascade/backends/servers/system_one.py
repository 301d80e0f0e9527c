"""System One servers: ``POST /v1/systemone``, a state with typed questions; ours are yes/no questions (``noul``).

No prompt is sent: the state is the task, the file, the item and perhaps its text in words, and a question is its full
wording. The questions of one item go into one request, those asked ahead included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from cascade.probability import sure_logit
from cascade.prompt import Node, Segment
from cascade.stages import BASE

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
            found = [number(answers[question]["noul"]) for question in ask.body["questions"]]
            usage = answer.get("usage") or {}
            computed = int(usage.get("input_tokens", 0))
        except UNLIKE as error:
            msg = f"lacks answers to questions of type noul: {str(answer)[:500]}"
            raise MalformedError(msg) from error
        if not all(0 <= p <= 1 for p in found):
            msg = f"gives probabilities outside [0, 1]: {found}"
            raise NoNumberError(msg)
        return Answer(logits=tuple(sure_logit(found).tolist()), computed=computed)

    def _ask(self, queries: Sequence[Query], places: Sequence[int]) -> HttpRequest:
        path = queries[0].node.path[:-1]
        seeds = {"seeds": [path[0].seeds]} if path[0].seeds else {}
        body: dict[str, Any] = {
            "state": seeds | {_KEYS[node.segment]: node.text for node in path},
            "questions": {
                f"q{number}": {"type": "noul", "instructions": query.wording} for number, query in enumerate(queries)
            },
        }
        name = self._peer.adapters[queries[0].adapter].name
        model = self._peer.config.model if name == BASE else name
        return HttpRequest(path=PATH, body=body | ({"model": model} if model else {}), places=tuple(places))

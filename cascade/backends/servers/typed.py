"""Servers that are asked typed questions in words: ``/v1/systemone`` and ``/v1/decisions`` alike.

No prompt is sent. What is judged is a state: the task, the file, the item and perhaps its text in words. A question is
its full wording, with its values. Its name comes of what it asks and not of its place, so that a server that shows
names to its model answers alike whatever else is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol
from zlib import crc32

from cascade.backends.base import Query
from cascade.backends.servers.api import (
    UNLIKE,
    Answer,
    Call,
    HttpRequest,
    MalformedError,
    NoNumberError,
    NoPageError,
    ServerInfo,
    ServerSetup,
)
from cascade.machine import get_logger
from cascade.probability import odds_of_likeliest, sure_log, sure_logit
from cascade.prompt import Node, Segment
from cascade.stages import BASE, Value

log = get_logger("cascade.servers")

_KEYS = {Segment.TASK: "task", Segment.GROUP: "file", Segment.ITEM: "candidate", Segment.TEXT: "text"}

_TYPES = ("noul", "predicate", "choice", "score")
"""Types of questions that either format has."""

_ROUNDED, _EACH = 0.02, 5e-4
"""How far from 1 the probabilities of a question may add up: in all, or for each of them, as rounding leaves them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedQuestion:
    """A question in words.

    Attributes:
        name: By which its answer is known.
        wording: The question.
        values: What a choice chooses from, or the levels of a score from the lowest on; none for yes/no.
        is_scale: Whether the values are levels.
    """

    name: str
    wording: str
    values: tuple[Value, ...] = ()
    is_scale: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """A question that the server will not answer.

    Attributes:
        why: What it says of it.
    """

    why: str


Found = Sequence[float] | Refused | None
"""p(yes), or the probability of each value in their order; or a refusal; None where the answer is missing."""


class WireForm(Protocol):
    """One of the two formats."""

    path: str
    alias: str
    """The model that is asked where none is named; empty if one must be."""

    def body(self, model: str, state: Mapping[str, Any], questions: Sequence[TypedQuestion]) -> dict[str, Any]:
        """What is sent."""

    def read(self, body: Mapping[str, Any], answer: Any) -> Sequence[Found]:
        """What is known of each question of a body, in their order.

        Raises:
            LookupError, TypeError, ValueError, AttributeError, ArithmeticError: The answer is not what it should be.
        """

    def tokens(self, usage: Mapping[str, Any]) -> tuple[int, int]:
        """Tokens of the input that were computed, and those that were in a cache."""


class TypedApi:
    """See ``ServerApi``; the adapter's name is the ``model`` that is asked.

    Args:
        setup: The server.
        form: The format.
    """

    def __init__(self, setup: ServerSetup, form: WireForm) -> None:
        self._peer, self._form = setup, form
        self._most, self._is_by_task = setup.config.most_questions, setup.config.together == "task"
        self._own_name = ""  # what the server calls its model alone, as far as its list tells

    @property
    def is_together(self) -> bool:
        """See ``ServerApi.is_together``."""
        return self._most > 1 and not self._is_by_task

    @property
    def n_shared(self) -> int:
        """See ``ServerApi.n_shared``."""
        return self._most if self._is_by_task else 1

    def fetch_info(self, call: Call) -> ServerInfo:
        """See ``ServerApi.fetch_info``; one that is up and has no list is believed to have what the config names."""
        try:
            known = _listed(call("/v1/models"))
        except (NoPageError, *UNLIKE) as error:
            self._check_named()
            log.warning(
                "models not checked, the server lists none that can be read", server=self._peer.name, why=str(error)
            )
            return ServerInfo(model=self._peer.config.model or "unknown")
        self._peer.check_model(known)
        for adapter, entry in self._peer.adapters.items():
            if entry.name not in {BASE, *known}:
                raise self._peer.lacks(adapter, known)
        self._own_name = BASE if BASE in known else known[0] if len(known) == 1 else ""
        self._check_named()
        return ServerInfo(model=self._peer.config.model or ", ".join(known) or "unknown")

    def asks(self, queries: Sequence[Query]) -> Iterator[HttpRequest]:
        """See ``ServerApi.asks``; a request holds questions of one item, or of one task."""
        places: dict[Node | None, list[int]] = {}
        for place, query in enumerate(queries):
            path = query.node.path
            places.setdefault(path[0] if self._is_by_task else query.node.parent, []).append(place)
        for own in places.values():
            for part in (own[at : at + self._most] for at in range(0, len(own), self._most)):
                yield self._ask([queries[place] for place in part], part)

    def read(self, ask: HttpRequest, answer: Any) -> Answer:
        """See ``ServerApi.read``."""
        try:
            found = self._form.read(ask.body, answer)
        except UNLIKE as error:
            msg = f"lacks answers to its questions: {str(answer)[:500]}"
            raise MalformedError(msg) from error
        missing = tuple(at for at, own in enumerate(found) if own is None)
        if len(missing) == len(found):
            msg = f"answers none of its questions: {str(answer)[:500]}"
            raise MalformedError(msg)
        known = {at: own for at, own in enumerate(found) if isinstance(own, Sequence)}
        _check(known.values())
        values = {at: sure_log(own).tolist() for at, own in known.items() if len(own) > 1}
        logits = {
            at: odds_of_likeliest(values[at]) if at in values else float(sure_logit(known[at][0])) for at in known
        }
        computed, reused = self._tokens(answer)
        return Answer(
            logits=tuple(logits.get(at, float("nan")) for at in range(len(found))),
            values=values,
            computed=computed,
            reused=reused,
            refused={at: f"refuses a question: {own.why}" for at, own in enumerate(found) if isinstance(own, Refused)},
            missing=missing,
        )

    def _tokens(self, answer: Any) -> tuple[int, int]:
        """What it counts of tokens; nothing where that cannot be read, which spoils no answer."""
        try:
            return self._form.tokens(answer.get("usage") or {})
        except UNLIKE:
            return 0, 0

    def _ask(self, queries: Sequence[Query], places: Sequence[int]) -> HttpRequest:
        path = queries[0].node.path[:-1]
        shared = path[:1] if self._is_by_task else path
        seeds = {"seeds": [path[0].seeds]} if path[0].seeds else {}
        state = seeds | {_KEYS[node.segment]: node.text for node in shared}
        asked = _named([_question(query, query.node.path[len(shared) : -1]) for query in queries])
        body = self._form.body(self._model(queries[0]), state, asked)
        return HttpRequest(path=self._form.path, body=body, places=tuple(places))

    def _model(self, query: Query) -> str:
        name = self._peer.adapters[query.adapter].name
        return name if name != BASE else self._base

    @property
    def _base(self) -> str:
        """Who is asked without an adapter."""
        return self._peer.config.model or self._own_name or self._form.alias

    def _check_named(self) -> None:
        """Refuse adapters that are the model alone where nobody says what it is called."""
        for adapter, entry in self._peer.adapters.items():
            if entry.name == BASE and not self._base:
                problem = (
                    f"is asked for its model alone by adapters.{adapter}, and must be told which that is. Name it as "
                    f"servers.{self._peer.name}.model"
                )
                raise self._peer.refusal(problem)


def check_type(answer: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse the answer to a question of another type.

    One that names no type may be read, or one that no format has: some servers say "boolean" for "noul".

    Raises:
        ValueError: It is one.
    """
    found = answer.get("type")
    if found in _TYPES and found != asked["type"]:
        msg = f"the question is a {asked['type']}, and its answer a {found!r}"
        raise ValueError(msg)


def _listed(models: Any) -> list[str]:
    """The names of models, as OpenAI lists them or as System One does; both may be there.

    Raises:
        LookupError, TypeError, ValueError, AttributeError: It is no such list; an empty one is.
    """
    cards = [*(str(card["id"]) for card in models.get("data") or ())]
    cards += [str(card["name"]) for card in models.get("models") or () if "name" in card]
    if not cards and not any(models.get(key) == [] for key in ("data", "models")):
        msg = "neither data nor models has names"
        raise ValueError(msg)
    return list(dict.fromkeys(cards))


def _question(query: Query, about: Iterable[Node]) -> TypedQuestion:
    """A query's question, with what of its item is not in the state; its name is still to be given."""
    words = [query.wording, *(f"{_KEYS[node.segment]}: {node.text}" for node in about)]
    labels = query.labels
    return TypedQuestion(
        name="",
        wording="\n".join(words),
        values=labels.values if labels is not None else (),
        is_scale=labels is not None and labels.is_scale,
    )


def _named(questions: Sequence[TypedQuestion]) -> list[TypedQuestion]:
    """The questions with names that no two share."""
    found: dict[str, TypedQuestion] = {}
    for question in questions:
        stem = f"q{crc32(question.wording.encode('utf-8', 'surrogatepass')):08x}"
        name = next(name for n in range(len(questions) + 1) if (name := f"{stem}_{n}" if n else stem) not in found)
        found[name] = replace(question, name=name)
    return list(found.values())


def _check(found: Iterable[Sequence[float]]) -> None:
    """Refuse what are no probabilities, or none of all the values.

    Raises:
        NoNumberError: Says which.
    """
    for own in found:
        if not all(0 <= p <= 1 for p in own):
            msg = f"gives probabilities outside [0, 1]: {list(own)}"
            raise NoNumberError(msg)
        if len(own) > 1 and abs(sum(own) - 1) > max(_ROUNDED, _EACH * len(own)):
            msg = f"gives probabilities that add up to {sum(own):.4g} and not to 1: {list(own)}"
            raise NoNumberError(msg)

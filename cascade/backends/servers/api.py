"""What a server is asked and what its answer says, whatever carries the two."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from cascade.backends.base import Query
from cascade.config.servers import ServedConfig, ServerConfig
from cascade.errors import ServerError
from cascade.models.base_model import ModelInfo
from cascade.prompt import Labels

Call = Callable[..., Any]
"""``call(path, body=None)``: the JSON that a server answers to a GET, or to a POST of a body."""


class MalformedError(Exception):
    """An answer is not what this kind of server sends; the question may be asked again."""


class NoPageError(ServerError):
    """A server has nothing at a path, or nothing for this client, and is up."""


class NoNumberError(MalformedError):
    """An answer has null, NaN or the like in a probability's place: what answers is broken, and the server is not."""


UNLIKE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
"""What reading an answer that is not what it should be may raise; a number may be too large for a float."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request.

    Attributes:
        path: Where it goes.
        body: JSON.
        places: The queries that it asks, by their place in the batch.
        labels: The labels of a single query that has some.
    """

    path: str
    body: Mapping[str, Any]
    places: tuple[int, ...]
    labels: Labels | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a request was answered.

    Attributes:
        logits: One for each of its queries, as in ``Scores``.
        values: Logits of the labels of a query with labels, by its place among them; see ``Scores``.
        computed: Tokens that the server computed, as far as it says.
        reused: Tokens of its prompts that the server had in its cache, as far as it says.
        refused: Places of queries that the server will not answer, each with what it says of it.
        missing: Places of queries that it left out; they may be asked again. Their logits are NaN, as of those refused.
    """

    logits: tuple[float, ...]
    values: Mapping[int, Sequence[float]] = field(default_factory=dict)
    computed: int = 0
    reused: int = 0
    refused: Mapping[int, str] = field(default_factory=dict)
    missing: tuple[int, ...] = ()

    def completed(self, more: Answer) -> Answer:
        """With what another request has answered of what is missing here."""
        logits = list(self.logits)
        for at, found in zip(self.missing, more.logits, strict=True):
            logits[at] = found
        return Answer(
            logits=tuple(logits),
            values={**self.values, **{self.missing[at]: found for at, found in more.values.items()}},
            computed=self.computed + more.computed,
            reused=self.reused + more.reused,
            refused={**self.refused, **{self.missing[at]: why for at, why in more.refused.items()}},
            missing=tuple(self.missing[at] for at in more.missing),
        )

    def given_up(self, why: str) -> Answer:
        """Without hope for what is missing."""
        return replace(self, refused={**self.refused, **dict.fromkeys(self.missing, why)}, missing=())


def only(ask: HttpRequest, kept: Sequence[int]) -> HttpRequest:
    """A request with some of its questions alone.

    Args:
        ask: A request whose body has ``questions``, by name or in order.
        kept: Places of those among its queries.
    """
    asked = ask.body["questions"]
    if isinstance(asked, Mapping):
        names = list(asked)
        questions: Any = {names[at]: asked[names[at]] for at in kept}
    else:
        questions = [asked[at] for at in kept]
    return replace(ask, body={**ask.body, "questions": questions}, places=tuple(ask.places[at] for at in kept))


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """What a server says of itself.

    Attributes:
        model: Its base model, by the name that it reports.
        max_prompt: Most tokens of a prompt; None where it does not say.
        one_at_a_time: Whether it answers right only while nothing else is in flight.
        invocations: Activated adapter of the map -> token ids that switch it on, as far as it says.
    """

    model: str
    max_prompt: int | None = None
    one_at_a_time: bool = False
    invocations: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """How prompts and labels are written for servers.

    Attributes:
        text: Token ids -> text of a prompt.
        labels: Token ids of yes and no; None where no model file is at hand.
        yes: Text of the label for yes.
        no: Text of the label for no.
        model: What the model file says; None without one.
    """

    text: Callable[[Sequence[int]], str]
    labels: tuple[int, int] | None
    yes: str
    no: str
    model: ModelInfo | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSetup:
    """A server as the config has it.

    Attributes:
        name: What the config calls it.
        config: How it is asked.
        adapters: The adapters of the map that it answers for.
        prompts: How prompts are written.
    """

    name: str
    config: ServerConfig
    adapters: Mapping[str, ServedConfig]
    prompts: Prompts

    @property
    def sends_tokens(self) -> bool:
        """Whether prompts go as token ids, which come out the same whatever tokenizer the server has."""
        return (self.config.prompt or ("tokens" if self.prompts.labels else "text")) == "tokens"

    def prompt(self, query: Query) -> str | list[int]:
        """The prompt of a query, as it is sent."""
        tokens = query.node.prompt
        return list(tokens) if self.sends_tokens else self.prompts.text(tokens)

    def check_model(self, names: Sequence[str]) -> None:
        """Refuse a server whose base model goes by none of the names that the config allows.

        Raises:
            ServerError: Has the name.
        """
        if self.config.model is not None and self.config.model not in names:
            problem = (
                f"serves the base model {' = '.join(dict.fromkeys(names)) or 'of no name'}, and "
                f"servers.{self.name}.model is {self.config.model!r}. Start it with that model, or name the one it has"
            )
            raise self.refusal(problem)

    def check_labels(self, found: Sequence[Sequence[int]]) -> tuple[int, int]:
        """The token ids of yes and no, from what a server finds in their texts.

        Raises:
            ServerError: One is not a single token, or the model file at hand has other ones.
        """
        yes, no = ([*tokens] for tokens in found)
        ours = self.prompts.labels
        if len(yes) != 1 or len(no) != 1 or (ours is not None and ours != (yes[0], no[0])):
            due = f"{list(ours)} in that of [model]" if ours is not None else "one each"
            problem = f"has the tokens {yes} and {no} for the labels, which are {due}. Serve a model of that vocabulary"
            raise self.refusal(problem)
        return yes[0], no[0]

    def lacks(self, adapter: str, known: Sequence[str]) -> ServerError:
        """The error for an adapter of the map that the server does not have."""
        name = self.adapters[adapter].name
        return self.refusal(
            f"has no adapter {name!r}, which adapters.{adapter} names; it has {', '.join(known) or 'none'}. "
            "Load it there, or name another"
        )

    def refusal(self, problem: str) -> ServerError:
        """The error for a server that cannot be used."""
        return ServerError(f"Server {self.name!r} at {self.config.url} {problem}.")


def number(value: Any) -> float:
    """A number of an answer; NaN for null, which stands for it in JSON, and infinity for what is too large.

    Raises:
        TypeError: It is something else. ``true`` and "0.7" are: a server that sends these means something of its own.
    """
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"{value!r} is no number"
        raise TypeError(msg)
    try:
        return float(value)
    except OverflowError:
        return math.inf


class ServerApi(Protocol):
    """One kind of server: its paths, bodies and answers."""

    @property
    def is_together(self) -> bool:
        """Whether the questions of an item go into one request."""

    @property
    def n_shared(self) -> int:
        """Most questions of one request that may be of any items of a task; 1 where each item has its own."""

    def fetch_info(self, call: Call) -> ServerInfo:
        """See what the server has, before it is asked anything.

        Raises:
            ServerError: It serves another base model, or lacks an adapter.
            MalformedError: It answers something else than this kind of server does.
        """

    def asks(self, queries: Sequence[Query]) -> Iterator[HttpRequest]:
        """The requests that put a batch's queries, each made when it is wanted."""

    def read(self, ask: HttpRequest, answer: Any) -> Answer:
        """What an answer says.

        Raises:
            MalformedError: It is not what this kind of server sends.
            NoNumberError: It has no number where a probability is due.
            ServerError: It does not tell how likely the labels are.
        """

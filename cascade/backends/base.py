"""The seam between deciding and computing: a batch goes in, scores come out. Pure types."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import inf
from threading import Lock
from typing import Protocol

from cascade.backends.costs import CallSizes, Costs, Work
from cascade.errors import ConfigError, counted
from cascade.prompt import Labels, Node, PromptBuilder, PromptFormat, Tokenizer, last_place
from cascade.report import Provenance
from cascade.stages import Question, is_base
from cascade.tree import Cascade

_ABOVE_TEXT = 3  # nodes of a prompt: task, group, item


class Stop:
    """Asks a running batch to end: after the current decode call, or at once.

    The engine holds one end of it and a backend the other, each in a thread of its own.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._interrupt: Callable[[], None] | None = None
        self._is_asked = self._is_aborted = False

    @property
    def is_asked(self) -> bool:
        """Whether no further decode call may begin."""
        return self._is_asked

    def ask(self) -> None:
        """End after the current decode call."""
        self._is_asked = True

    def abort(self) -> None:
        """End at once; the work of the current decode call is lost."""
        with self._lock:
            self._is_asked = self._is_aborted = True
            if self._interrupt is not None:
                self._interrupt()

    @contextmanager
    def interrupting(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Within it, ``abort`` calls a function, at once if it was called before; afterwards it never does."""
        with self._lock:
            self._interrupt = interrupt
            if self._is_aborted:
                interrupt()
        try:
            yield
        finally:
            with self._lock:
                self._interrupt = None


@dataclass(slots=True, eq=False)
class Query:
    """One question put to one item. The engine's own queries know their item and request as well.

    Attributes:
        node: The question's node; its path is the prompt.
        adapter: Name of the adapter that answers; ``base`` for none.
        wording: The question in full, for servers that are asked in words; empty if nobody needs it.
        labels: The labels of a choice or score, whose logits are the answer; None for yes or no.
    """

    node: Node
    adapter: str
    wording: str = ""
    labels: Labels | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Queries that are scored together under one adapter.

    Attributes:
        queries: Never empty.
        predicted_ms: Predicted time of the batch, in milliseconds.
        left_ms: Milliseconds until the last deadline of its requests; infinity if there is none.
    """

    queries: tuple[Query, ...]
    predicted_ms: float = 0.0
    left_ms: float = inf

    @property
    def adapter(self) -> str:
        """The adapter that all queries share."""
        return self.queries[0].adapter


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """A change of the active adapter set within a batch.

    Attributes:
        adapter: The adapter that became active; ``base`` for none.
        at_ms: Milliseconds from the batch's beginning on.
        ms: How long it took.
    """

    adapter: str
    at_ms: float
    ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchCost:
    """The cost of a batch.

    Attributes:
        decode_calls: Calls of the model.
        adapter_swaps: Changes of the active adapter set.
        tokens_decoded: Tokens computed.
        tokens_reused: Tokens of the queries' prompts that were not computed for this query.
        elapsed_ms: Wall time inside the backend.
        model_ms: Of that, inside calls of the model.
        decodes: What each call had to do, and the milliseconds that it took.
        swaps: The changes of the active adapter set one by one, where the backend times them.
    """

    decode_calls: int
    adapter_swaps: int
    tokens_decoded: int
    tokens_reused: int
    elapsed_ms: float
    model_ms: float = 0.0
    decodes: tuple[tuple[Work, float], ...] = ()
    swaps: tuple[Swap, ...] = ()


@dataclass(frozen=True, slots=True)
class Scores:
    """A batch's answers.

    Attributes:
        logits: One per query, in order: natural-log odds of yes against no, ``logit_yes - logit_no``, finite; for a
            query with labels the log odds of the likeliest against all others (``odds_of_likeliest``);
            NaN for a query that was not scored because the batch was stopped, or for a reason below. Any other
            NaN, and an infinite number, is an error for the requests that asked.
        cost: The cost of the batch.
        lost: Nodes with their prefix adapter that the backend no longer keeps, or whose computation was cut short.
        values: Index of a scored query with labels -> the logit of each label, in their order and up to a constant; log
            probabilities are such. All are finite.
        unanswered: Index of a query that a server could not answer -> why; its logit is NaN.
        spoilt: Index of a query whose answer is no finite number -> what came instead; its logit is NaN.
        under_way: Index of a query that is still in flight at a server -> whether it still is. Its logit is NaN; score
            the query again to wait for the answer.
        reused: Indices of queries whose answers were there before, so that nothing was computed for them.
    """

    logits: Sequence[float]
    cost: BatchCost
    lost: tuple[tuple[Node, str], ...] = ()
    values: Mapping[int, Sequence[float]] = field(default_factory=dict)
    unanswered: Mapping[int, str] = field(default_factory=dict)
    spoilt: Mapping[int, str] = field(default_factory=dict)
    under_way: Mapping[int, Callable[[], bool]] = field(default_factory=dict)
    reused: Collection[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendInfo:
    """What the engine needs to know of a backend.

    Where adapters were loaded while it worked, each stands under the key that it was loaded under.

    Attributes:
        provenance: Hashes, prompt format and label tokens.
        prefix_adapters: Adapter that a query may ask for -> the adapter whose weights fill its prefix KV: itself for
            plain LoRA, ``base`` for ``base`` and for activated LoRA, ``SERVED`` for an adapter on a server.
        invocations: Activated adapter -> token ids that switch it on, where they are known.
        scales: Adapter -> factor on its alpha / rank; 1 for those that are left out.
        form: The prompt format that the backend's model reads.
        tokenizer: Its tokenizer.
        max_prompt: Most tokens of one prompt.
        max_tokens: Tokens that may be kept at once, those of questions being answered included.
        max_nodes: Prompt nodes that may be kept at once.
        costs: Times of the parts of a batch; only their proportions decide a plan.
        slowdown: Factor on these times for this machine.
        sizes: How the backend splits work into calls.
        is_encoder: Whether the model reads each prompt as a whole, so that nothing is kept between batches, and answers
            yes or no by its own head, whatever the question's words are.
        n_threads: Threads of this process that compute a batch; 0 if others do, as servers.
    """

    provenance: Provenance
    prefix_adapters: Mapping[str, str]
    form: PromptFormat
    tokenizer: Tokenizer
    max_prompt: int
    max_tokens: int
    max_nodes: int
    costs: Costs = field(default_factory=Costs)
    slowdown: float = 1.0
    sizes: CallSizes = field(default_factory=CallSizes)
    invocations: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    scales: Mapping[str, float] = field(default_factory=dict)
    is_encoder: bool = False
    n_threads: int = 0

    @property
    def adapters(self) -> frozenset[str]:
        """Names that a query may ask for, base models aside."""
        return frozenset(name for name in self.prefix_adapters if not is_base(name))

    def under(self, keys: Mapping[str, str]) -> BackendInfo:
        """The same with some of its adapters alone, each under the name that cascades ask.

        Args:
            keys: Name -> the key that the backend has it under. Those of other backends are left out.
        """
        own = {name: key for name, key in keys.items() if key in self.prefix_adapters and not is_base(key)}
        prefixes = {key: of for key, of in self.prefix_adapters.items() if is_base(key)}
        known = self.provenance.adapters
        return replace(
            self,
            provenance=replace(
                self.provenance, adapters={name: known[key] for name, key in own.items() if key in known}
            ),
            prefix_adapters=prefixes
            | {name: name if (of := self.prefix_adapters[key]) == key else of for name, key in own.items()},
            invocations={name: self.invocations[key] for name, key in own.items() if key in self.invocations},
            scales={name: self.scales[key] for name, key in own.items() if key in self.scales},
        )

    def check(self, cascade: Cascade, others: Collection[str] = ()) -> None:
        """Refuse a cascade that the backend cannot answer.

        Args:
            cascade: The cascade.
            others: Adapters of other models; what they are asked is not checked.

        Raises:
            ConfigError: Names the adapter that is missing, or that a question's marker would leave off, or the question
                whose values the model cannot tell apart, or that an encoder would not read; or prompts have more nodes
                than can be kept.
        """
        self._check_texts(cascade)
        builder = PromptBuilder(self.form, self.tokenizer)
        questions = [question for question in cascade.questions() if question.adapter not in others]
        for question in questions:
            if self.is_encoder:
                check_read(cascade, question)
            self._check_labels(cascade, question, builder)
            sought = self.invocations.get(question.adapter)
            if sought and last_place(sought, builder.marker_tokens(question.marker)) is None:
                msg = (
                    f"cascade.{cascade.name}: marker {question.marker!r} does not hold the tokens {list(sought)} that "
                    f"switch the activated adapter {question.adapter!r} on, so that it would stay off unnoticed. Give "
                    "the stage the marker that it was trained with."
                )
                raise ConfigError(msg)
        for name in dict.fromkeys(question.adapter for question in questions):
            if name not in self.prefix_adapters:
                msg = (
                    f"cascade.{cascade.name} asks adapter {name!r}, which the backend does not have; it has "
                    f"{', '.join(sorted(self.prefix_adapters)) or 'none'}. Add it to [adapters], or ask one of these."
                )
                raise ConfigError(msg)

    @staticmethod
    def _check_labels(cascade: Cascade, question: Question, builder: PromptBuilder) -> None:
        """Refuse a question whose values no labels of the model tell apart.

        Raises:
            ConfigError: Names the cascade and the question.
        """
        try:
            builder.labels(question)
        except ConfigError as error:
            msg = f"cascade.{cascade.name}: {error}"
            raise ConfigError(msg) from None

    def _check_texts(self, cascade: Cascade) -> None:
        """Refuse texts of more lengths than there is room for: each makes a prompt deeper by a node."""
        lengths = cascade.text_limits()
        most = self.max_nodes - _ABOVE_TEXT
        if lengths and len(lengths) > most:
            msg = (
                f"cascade.{cascade.name} has stages that read {counted(len(lengths), 'length')} of an item's text, "
                f"{', '.join(map(str, lengths))} tokens; the backend has room for {most}. Let stages share a "
                "max_text_tokens, or raise model.n_seq_max in the config."
            )
            raise ConfigError(msg)


def check_read(cascade: Cascade, question: Question) -> None:
    """Refuse what an encoder, which reads the task and the item alone, cannot answer.

    Raises:
        ConfigError: Names the cascade and the question.
    """
    what = "values" if question.values else "negated" if question.negated else ""
    if what:
        msg = (
            f"cascade.{cascade.name}: question {question.marker!r} has {what}, and adapter {question.adapter!r} is an "
            "encoder, which answers yes or no and does not read the question. Leave them out, or ask a decoder."
        )
        raise ConfigError(msg)


class Backend(Protocol):
    """Turns batches into scores.

    A backend keeps the prompt nodes that it computed for later batches while it has room; with ``release`` the engine
    says which nodes no later batch will need.
    """

    @property
    def info(self) -> BackendInfo:
        """What it is; only the adapters of one that can load others change."""

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        """Score every query of a batch, or those that are done when it is stopped.

        Args:
            batch: A batch of any size; the engine scores one at a time, beside those of other models.
            stop: With it the engine ends the batch early; a backend that ends a batch by itself calls ``stop.ask``.

        Raises:
            BackendError: Scoring failed; nothing of the batch was scored.
        """

    def release(self, nodes: Iterable[Node], prefix_adapter: str | None = None) -> None:
        """Forget nodes at or below which no later batch will ask; returns at once.

        Args:
            nodes: The nodes.
            prefix_adapter: Forget only what this adapter computed of them; None for all of it.
        """

    async def close(self) -> None:
        """Free model and cache; a second call does nothing."""

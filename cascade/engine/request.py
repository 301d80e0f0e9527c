"""A call that is being worked on: its items, its costs, and what its caller waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from math import inf
from threading import Event

from cascade.arguments import given, one_of, refuse, texts
from cascade.backends.base import BatchCost
from cascade.budget import NO_LIMIT, Budget
from cascade.engine.item_state import ItemState
from cascade.engine.online_profile import OnlineProfile
from cascade.engine.prompts import Prompts
from cascade.errors import InputError, ItemError, ServerError
from cascade.evidence.own import own_evidence
from cascade.items import Item, Task
from cascade.report import Decision, Provenance, Report, Statistics
from cascade.stages import Stage
from cascade.tree import Cascade

OnDecision = Callable[[Decision], None]


@dataclass(slots=True, weakref_slot=True, eq=False, kw_only=True)
class Request:
    """One call.

    Attributes:
        task: The task.
        items: Where its items stand, in the caller's order.
        expected: The online profile of its cascade.
        provenance: The model and adapters that answer.
        called: When it was made, by the engine's clock, in seconds.
        ends: When its time is up; infinity for never.
        on_decision: Told of every decision as it settles; None if nobody asked.
        is_callers: Whether its cascade came with the call, and is none of the engine's own.
        done: Completed with the items, in the order of the items, or with what went wrong.
        told: Set once whoever watches it has been told that it is over.
        is_short: True if the budget cannot cover all items; the most valuable items are then scored first.
        served: When it last took part in a batch.
        forecast: Milliseconds that it is expected to take to each depth; None before it was forecast.
        forecast_at: What ``served`` was then.
        stats: What it has cost so far.
        prompts: What of its prompts is built.
    """

    task: Task
    items: list[ItemState]
    expected: OnlineProfile
    provenance: Provenance
    called: float
    ends: float = inf
    on_decision: OnDecision | None = None
    is_callers: bool = False
    done: Future[list[ItemState]] = field(default_factory=Future)
    told: Event = field(default_factory=Event)
    is_short: bool = False
    served: float = 0.0
    forecast: list[float] | None = None
    forecast_at: float = 0.0
    stats: Statistics = field(default_factory=Statistics)
    prompts: Prompts = field(init=False)
    _in_turn: list[ItemState] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stats.items = len(self.items)
        self.served = self.called
        self._in_turn = list(self.items)
        if self.ends < inf:
            for state in self.items:
                state.p_matters = self.expected.p_matters(state.item)
            self._in_turn.sort(key=lambda state: (-state.item.priority, -(state.p_matters or 0.0)))
        self.prompts = Prompts(self.task, self._in_turn, self.expected, self.stats)

    @property
    def cascade(self) -> Cascade:
        """Its cascade."""
        return self.expected.cascade

    @property
    def is_scoring(self) -> bool:
        """Whether certain stages are put to all items, so that there will be no labels."""
        return any(state.fixed is not None for state in self.items)

    @property
    def open_items(self) -> list[ItemState]:
        """The items that are on their way, those of most value first where time is short."""
        return [state for state in (self._in_turn if self.is_short else self.items) if state.stage is not None]

    @property
    def askable(self) -> list[ItemState]:
        """Of the open items those that no server owes an answer; all of them where none is left."""
        return [state for state in self.open_items if state.is_owed is None or not state.is_owed()] or self.open_items

    @property
    def only_waits(self) -> bool:
        """Whether servers owe all of its open items an answer."""
        return all(state.is_owed is not None and state.is_owed() for state in self.open_items)

    def begin(self, only: Sequence[str] | Mapping[str, Sequence[str]] = ()) -> None:
        """Let the items pass the cascade's prior stage, or put certain stages to them.

        Args:
            only: Names of those stages, for all items alike or by the item's id; empty for the cascade.

        Raises:
            InputError: The cascade has no such stage.
        """
        if isinstance(only, Mapping):
            own = [self._stages(only[state.item.id]) for state in self.items]
        else:
            own = [self._stages(only)] * len(self.items)
        for state, fixed in zip(self.items, own, strict=True):
            if fixed:
                state.stage, state.fixed = fixed[0], fixed
            else:
                state.enter()

    def _stages(self, names: Sequence[str]) -> tuple[Stage, ...]:
        known = {stage.name: stage for stage in self.cascade.stages}
        unknown = [name for name in texts("stages", names) if name not in known]
        if unknown:
            msg = f"Cascade {self.cascade.name!r} has no stage {unknown[0]!r}; it has {', '.join(known)}."
            raise InputError(msg)
        return tuple(known[name] for name in names)

    def check(self) -> None:
        """Refuse items that cannot be told apart or cannot be asked.

        Raises:
            ItemError: Names the item.
        """
        seen: set[str] = set()
        for item in (state.item for state in self.items):
            if item.id in seen:
                msg = f"Item id {item.id!r} stands twice in one request; ids must be unique."
                raise ItemError(msg)
            seen.add(item.id)
            for stage in self.cascade.stages:
                stage.tiers_of(item)

    def cut(self) -> list[ItemState]:
        """End every item that is still on its way where it stands; returns those."""
        open_ = self.open_items
        for state in open_:
            state.give_up()
        return open_

    def charge(self, cost: BatchCost, predicted_ms: float, n_own: int, n_all: int, n_owed: int = 0) -> None:
        """Book a batch; tokens and prediction of a shared one are split by the share of its queries.

        Those whose answers are still owed count as calls once they are there, for they will be asked for again.
        """
        stats = self.stats
        stats.calls += n_own - n_owed
        stats.decode_calls += cost.decode_calls
        stats.adapter_swaps += cost.adapter_swaps
        stats.tokens_decoded += round(cost.tokens_decoded * n_own / n_all)
        stats.tokens_reused += round(cost.tokens_reused * n_own / n_all)
        stats.decode_ms += cost.elapsed_ms
        stats.predicted_ms += predicted_ms * n_own / n_all

    def tell(self, settled: Sequence[ItemState]) -> BaseException | None:
        """Tell the caller of decisions that have settled; what its function raises comes back.

        Where certain stages were to be put to all items, one that a server could not answer is an error.
        """
        causes = [state.cause for state in settled if state.fixed is not None and state.cause]
        if causes:
            return ServerError(causes[0])
        if self.on_decision is not None:
            try:
                for state in settled:
                    self.on_decision(self._decision(state))
            except StopIteration as error:  # a future that is awaited cannot hold one
                failure = RuntimeError(f"on_decision raised {error!r}")
                failure.__cause__ = error
                return failure
            except BaseException as error:  # noqa: BLE001 - the caller's own fault, which may not hurt other requests
                return error
        return None

    def complete(self, now: float, error: BaseException | None = None) -> None:
        """Complete the call, unless its caller has left."""
        if self.done.done() or not self.done.set_running_or_notify_cancel():
            return
        if error is None:
            self.stats.elapsed_ms = 1_000 * (now - self.called)
            self.done.set_result(self.items)
        else:
            self.done.set_exception(error)

    def report(self, items: Sequence[ItemState]) -> Report:
        """What the caller gets."""
        return Report(
            cascade=self.cascade.name,
            decisions=tuple(self._decision(state) for state in items),
            stats=self.stats,
            provenance=self.provenance,
            task_id=self.task.id,
        )

    def _decision(self, state: ItemState) -> Decision:
        return Decision(
            id=state.item.id,
            label=state.label,
            status=state.status,
            steps=tuple(state.steps),
            provenance=self.provenance,
            p_label=state.p_label,
            cause=state.cause,
        )


def _checked(items: object) -> Iterator[Item]:
    allowed = "a list of Item objects is needed"
    if isinstance(items, str | bytes | Mapping) or not isinstance(items, Iterable):
        refuse("items", items, allowed)
    for at, item in enumerate(items):
        if not isinstance(item, Item):
            msg = f"items[{at}] is {given(item)}; an Item is needed."
            raise ItemError(msg)
        yield item


def with_evidence(cascade: Cascade, task: Task, items: list[Item]) -> list[Item]:
    """The items as a cascade asks them: where it makes evidence, those that bring none get it."""
    return own_evidence(task, items) if needs_evidence(cascade, items) else items


def needs_evidence(cascade: Cascade, items: object) -> bool:
    """Whether a cascade makes evidence for any of these; of what is no list, which is refused later, for none."""
    if not cascade.makes_evidence or not isinstance(items, Sequence):
        return False
    return any(isinstance(item, Item) and not item.evidence for item in items)


def new_request(
    task: Task | str,
    items: Sequence[Item],
    expected: OnlineProfile,
    provenance: Provenance,
    *,
    called: float = 0.0,
    budget: Budget = NO_LIMIT,
) -> Request:
    """A request from what a caller gave; it still has to begin.

    Raises:
        InputError: The task is empty, or something of another type.
        ItemError: An id stands twice, or an item cannot be asked.
    """
    if isinstance(task, str):
        task = Task(text=task)
    one_of("The task", task, Task, "a text or a Task is needed")
    if not task.text.strip():
        msg = "The task is empty; say in a sentence what is to be done."
        raise InputError(msg)
    cascade = expected.cascade
    asked = set(map(expected.model_of, cascade.questions()))
    request = Request(
        task=task,
        items=[
            ItemState(item, expected, cascade.first, most=budget.depth)
            for item in with_evidence(cascade, task, list(_checked(items)))
        ],
        expected=expected,
        provenance=provenance.of(cascade.adapters(), asked),
        called=called,
        ends=budget.ends(called),
    )
    request.check()
    return request

"""A batch in the making: its queries, what it would compute, and the work that is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, isnan

from cascade.backends.base import Query, Scores
from cascade.backends.costs import CallSizes, Work
from cascade.engine.item_state import ItemState
from cascade.engine.prefix_index import CachedNode
from cascade.errors import BackendError, ServerError, counted
from cascade.probability import p_yes
from cascade.prompt import Node, PromptBuilder
from cascade.stages import BASE, SERVED, Question, Stage


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A query that could be asked now.

    Attributes:
        state: The item's way.
        stage: The stage that asks.
        tier: The tier under which it asks.
        question: What is asked.
    """

    state: ItemState
    stage: Stage
    tier: str
    question: Question

    @property
    def is_ahead(self) -> bool:
        """Whether this question is asked ahead: the item has not reached the stage yet."""
        return self.state.stage is not self.stage

    def query(self, build: PromptBuilder) -> Query:
        """The query, as a backend takes it."""
        node = build.question(self.state.path[-1], self.question.marker)
        return Query(node, self.question.adapter, self.question.wording)


@dataclass(frozen=True, slots=True)
class Plan:
    """The next batch.

    Attributes:
        jobs: Its queries, all under one adapter; empty when nothing is open, or fits into the time.
        evicted: What must be forgotten first to make room, although it is wanted again.
        predicted_ms: How long it will take.
    """

    jobs: tuple[Job, ...]
    evicted: tuple[CachedNode, ...] = ()
    predicted_ms: float = 0.0

    @property
    def adapter(self) -> str:
        """The adapter that all jobs share."""
        return self.jobs[0].question.adapter


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchContext:
    """What the cost of a batch depends on besides its questions.

    Attributes:
        prefix_adapters: Adapter -> adapter whose weights fill its prefix KV: itself, or ``base`` for activated LoRA.
        sizes: How the backend cuts work into calls.
        active: The adapter of the batch before.
        cells: Cells that are in use before.
    """

    prefix_adapters: Mapping[str, str]
    sizes: CallSizes
    active: str
    cells: int


@dataclass(slots=True)
class BatchBuilder:
    """A batch in the making, and what it adds to what is kept.

    Attributes:
        adapter: What answers.
        jobs: Its queries.
        new: Nodes that it computes.
        tokens: Tokens of those.
        asked: Tokens of its questions.
        is_whole: Whether no job was left behind.
        is_hurried: Whether one was left behind for want of time.
    """

    adapter: str
    jobs: list[Job] = field(default_factory=list)
    new: dict[Node, None] = field(default_factory=dict)
    tokens: int = 0
    asked: int = 0
    is_whole: bool = True
    is_hurried: bool = False

    def add(self, job: Job, new: Iterable[Node], asked: int) -> None:
        """Take a job in."""
        self.jobs.append(job)
        self.asked += asked
        for node in new:
            self.new[node] = None
            self.tokens += len(node.tokens)

    def work(self, context: BatchContext, more_tokens: int = 0, more_asked: int = 0, more_jobs: int = 0) -> Work:
        """What it has to do, with so much more."""
        prefix_adapter = context.prefix_adapters[self.adapter]
        tokens, asked = self.tokens + more_tokens, self.asked + more_asked
        n_jobs = len(self.jobs) + more_jobs
        batch = Work(batches=1.0)
        if prefix_adapter == SERVED:
            is_together = self.adapter in context.sizes.together
            n_requests = len({job.state for job in self.jobs}) or 1 if is_together else n_jobs
            return batch.plus(Work(requests=n_requests, questions=n_jobs))
        if prefix_adapter == self.adapter:
            is_swap = context.active != self.adapter
            n_batch = context.sizes.n_batch
            along = Work.of(tokens=tokens + asked, cells=context.cells, most=n_batch, outputs=n_jobs, swaps=is_swap)
            return batch.plus(along)
        along = Work.of(
            tokens=tokens,
            cells=context.cells,
            most=context.sizes.n_batch,
            swaps=bool(tokens) and context.active != prefix_adapter,
        )
        is_swap = bool(tokens) or context.active != self.adapter
        cells = context.cells + tokens
        asks = Work.of(tokens=asked, cells=cells, most=context.sizes.n_batch_questions, outputs=n_jobs, swaps=is_swap)
        return batch.plus(along).plus(asks)


def jobs(items: Iterable[ItemState]) -> Iterator[Job]:
    """Everything that could be asked now."""
    for state in items:
        if state.stage is not None:
            for tier, question in state.pending():
                yield Job(state, state.stage, tier, question)


def spoilt_places(jobs: Sequence[Job], scores: Scores, *, is_stopped: bool, is_limited: bool) -> Mapping[int, str]:
    """Places of a batch whose answer is no finite number -> what came instead.

    Args:
        jobs: The batch's, which have not walked on yet.
        scores: What came of them.
        is_stopped: Whether the batch was stopped, so that some may have no answer yet.
        is_limited: Whether it had a limit of time, so that all may still be owed.

    Raises:
        BackendError: There are not as many answers as questions.
    """
    if len(scores.logits) != len(jobs):
        msg = (
            f"The backend gave {counted(len(scores.logits), 'answer')} to {counted(len(jobs), 'question')} for the "
            f"adapter {jobs[0].question.adapter!r}. That is a fault of the backend; it must give one for each."
        )
        raise BackendError(msg)
    # Asked again, what is owed is waited for: a batch of which nothing comes would be asked for ever.
    may_owe = is_limited or any(
        place not in scores.under_way or (job.stage.name, job.tier) not in job.state.owed
        for place, job in enumerate(jobs)
    )
    spoilt = dict(scores.spoilt)
    for place, logit in enumerate(scores.logits):
        is_known = place in scores.spoilt or place in scores.unanswered
        is_to_come = is_stopped or (may_owe and place in scores.under_way)
        if not (isfinite(logit) or is_known or (isnan(logit) and is_to_come)):
            spoilt[place] = f"its log odds are {logit}"
    return spoilt


def faults_of(jobs: Sequence[Job], spoilt: Mapping[int, str], *, is_served: bool) -> dict[ItemState, BackendError]:
    """Items that were answered with no number, each with its error; one that was asked ahead may not need the answer.

    Args:
        jobs: The batch's, which have not walked on yet.
        spoilt: From ``spoilt_places``.
        is_served: Whether a server answers.
    """
    asked = [(jobs[place], cause) for place, cause in spoilt.items()]
    return {job.state: _error(job, cause, is_served=is_served) for job, cause in asked if not job.is_ahead}


def walk_on(jobs: Sequence[Job], scores: Scores) -> None:
    """Walk the items of a batch on, and let what is expected of a cascade learn from their answers.

    An item whose question nobody can answer ends where it stands, unless the question was asked ahead and its
    turn has not come.

    Args:
        jobs: The batch's.
        scores: What came of them.
    """
    before = {job.state: job.state.depth for job in jobs}
    for state in before:
        state.is_owed = None
    for job, logit, p in zip(jobs, scores.logits, p_yes(scores.logits).tolist(), strict=True):
        if isfinite(logit):
            job.state.take(job.stage, job.tier, p)
    for place, job in enumerate(jobs):
        key = job.stage.name, job.tier
        if place in scores.under_way:
            job.state.is_owed = scores.under_way[place]
            job.state.owed.add(key)
        else:
            job.state.owed.discard(key)
    for place, cause in scores.unanswered.items():
        job = jobs[place]
        if not job.is_ahead:
            job.state.give_up(cause)
    for state, depth in before.items():
        for stage, answer in state.passed[depth:] if state.fixed is None else ():
            state.expected.learn(stage, answer=answer)


def _error(job: Job, cause: str, *, is_served: bool) -> BackendError:
    adapter, stage, cascade = job.question.adapter, job.stage.name, job.state.cascade.name
    who, where = f"Adapter {adapter!r}", f"the file of adapters.{adapter}"
    if adapter == BASE:
        who, where = "The base model", "the file of [model]"
    if is_served:
        where += " on its server"
    msg = (
        f"{who} gives no number for stage {stage!r} of cascade {cascade!r} and item {job.state.item.id!r}: {cause}. "
        f"Weights that hold NaN, or overflow, do so, as after a training that diverged; check {where}, or replace it."
    )
    return ServerError(msg) if is_served else BackendError(msg)

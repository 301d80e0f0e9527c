"""A wave in the making: its probes, what it would compute, and the work that is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from cascade.backends.base import Probe
from cascade.costs import CallSizes, Work
from cascade.kept import Kept
from cascade.prompt import Node, PromptBuilder
from cascade.stage import SERVED, Question, Stage
from cascade.walk import Walk


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A probe that could be asked now.

    Attributes:
        walk: The item's way.
        stage: The stage that asks.
        tier: The tier under which it asks.
        question: What is asked.
    """

    walk: Walk
    stage: Stage
    tier: str
    question: Question

    @property
    def is_ahead(self) -> bool:
        """Whether the way has not led to the stage yet."""
        return self.walk.stage is not self.stage

    def probe(self, build: PromptBuilder) -> Probe:
        """The probe, as a backend takes it."""
        node = build.question(self.walk.path[-1], self.question.marker)
        return Probe(node, self.question.adapter, self.question.wording)


@dataclass(frozen=True, slots=True)
class Plan:
    """The next wave.

    Attributes:
        jobs: Its probes, all under one adapter; empty when nothing is open, or fits into the time.
        evicted: What must be forgotten first to make room, although it is wanted again.
        predicted_ms: How long it will take.
    """

    jobs: tuple[Job, ...]
    evicted: tuple[Kept, ...] = ()
    predicted_ms: float = 0.0

    @property
    def adapter(self) -> str:
        """The adapter that all jobs share."""
        return self.jobs[0].question.adapter


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Under what a wave is computed.

    Attributes:
        lineages: Adapter -> adapter that computes what stands before its questions.
        sizes: How the backend cuts work into calls.
        active: The adapter of the wave before.
        cells: Cells that are in use before.
    """

    lineages: Mapping[str, str]
    sizes: CallSizes
    active: str
    cells: int


@dataclass(slots=True)
class Draft:
    """A wave in the making, and what it adds to what is kept.

    Attributes:
        adapter: What answers.
        jobs: Its probes.
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

    def work(self, setting: Setting, more_tokens: int = 0, more_asked: int = 0, more_jobs: int = 0) -> Work:
        """What it has to do, with so much more."""
        lineage = setting.lineages[self.adapter]
        tokens, asked = self.tokens + more_tokens, self.asked + more_asked
        n_jobs = len(self.jobs) + more_jobs
        wave = Work(waves=1.0)
        if lineage == SERVED:
            is_together = self.adapter in setting.sizes.together
            n_requests = len({job.walk for job in self.jobs}) or 1 if is_together else n_jobs
            return wave.plus(Work(requests=n_requests, questions=n_jobs))
        if lineage == self.adapter:
            is_swap = setting.active != self.adapter
            n_batch = setting.sizes.n_batch
            along = Work.of(tokens=tokens + asked, cells=setting.cells, most=n_batch, outputs=n_jobs, swaps=is_swap)
            return wave.plus(along)
        along = Work.of(
            tokens=tokens,
            cells=setting.cells,
            most=setting.sizes.n_batch,
            swaps=bool(tokens) and setting.active != lineage,
        )
        is_swap = bool(tokens) or setting.active != self.adapter
        cells = setting.cells + tokens
        asks = Work.of(tokens=asked, cells=cells, most=setting.sizes.n_ask, outputs=n_jobs, swaps=is_swap)
        return wave.plus(along).plus(asks)


def jobs(walks: Iterable[Walk]) -> Iterator[Job]:
    """Everything that could be asked now."""
    for walk in walks:
        if walk.stage is not None:
            for tier, question in walk.pending():
                yield Job(walk, walk.stage, tier, question)

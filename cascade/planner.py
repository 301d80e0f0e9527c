"""Which probes go together next. Pure: no clock, no cells, no model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cascade.prompt import Node
from cascade.tree import Question
from cascade.walk import Walk


@dataclass(frozen=True, slots=True)
class Job:
    """A probe that could be asked now.

    Attributes:
        walk: The item's way.
        tier: The tier under which its stage asks.
        question: What is asked.
    """

    walk: Walk
    tier: str
    question: Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What one wave may hold, so that all of it can be kept for the next stage.

    Attributes:
        nodes: Distinct prompt nodes.
        tokens: Tokens of those nodes with their questions.
    """

    nodes: int
    tokens: int


def jobs(walks: Iterable[Walk]) -> Iterator[Job]:
    """Everything that could be asked now."""
    for walk in walks:
        for tier, question in walk.pending():
            yield Job(walk, tier, question)


def next_wave(requests: Sequence[Iterable[Walk]], room: Room) -> list[Job]:
    """The jobs of the next wave, all under one adapter; empty when nothing is open.

    The oldest request decides the adapter, so no request waits for ever: it is that of its deepest
    open job, because the items that have come furthest hold cache that later items need. Jobs of
    other requests under the same adapter fill what room is left.

    Args:
        requests: The walks of each open request, oldest first.
        room: What a wave may hold; one job always fits.
    """
    open_jobs = [found for walks in requests if (found := list(jobs(walks)))]
    if not open_jobs:
        return []
    adapter = max(open_jobs[0], key=lambda job: job.walk.depth).question.adapter
    same = [job for found in open_jobs for job in found if job.question.adapter == adapter]
    deepest = sorted(same, key=lambda job: -job.walk.depth) if len(open_jobs) == 1 else same
    return _fill(deepest, room)


def _fill(found: Sequence[Job], room: Room) -> list[Job]:
    """As many jobs, in order, as the room takes; at least one."""
    nodes: set[Node] = set()
    tokens = 0
    taken: list[Job] = []
    for job in found:
        new = [node for node in job.walk.node.path if node not in nodes]
        needed = sum(len(node.tokens) for node in new) + _MARKER
        if taken and (len(nodes) + len(new) > room.nodes or tokens + needed > room.tokens):
            break
        nodes.update(new)
        tokens += needed
        taken.append(job)
    return taken


_MARKER = 16  # tokens that a question may take, with what closes a chat prompt

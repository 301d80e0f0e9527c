"""Training: the base model on all questions at once, then one LoRA adapter a question."""

from __future__ import annotations

import functools
import math
import random
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from adapters.recipe.data import VALUES, Ask, Packer, Row, Tree, Views, sample
from adapters.recipe.model import Judge, Packed
from cascade.evaluation.metrics import auc, auc_per_task

MAX_NORM = 1.0
SHARES = {"none": 0.4, "right": 0.25, "wrong": 0.15, "own": 0.1, "source": 0.1}
"""View -> how often a task is asked so."""
CHANGES = ("primary", "supporting")
"""Questions that the ranker's second output comes nearest to."""

Draw = list[tuple[Tree, list[tuple[Row, float]]]]
"""What a batch takes of one task: some weighted rows of each of its tries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: Optimiser steps.
        tasks: Tasks of a batch.
        keep: Share of the rows without a yes that a batch draws, by cascade.
        muon: Peak learning rate of the matrices (Muon); 0 trains them with AdamW.
        adam: Peak learning rate of everything else (AdamW).
        keep_quiet: Share of the tries without any yes that are drawn.
        warmup: Steps of linear warm-up; a cosine to a twentieth follows.
        save_every: Steps between checkpoints.
        look_every: Steps between looks at the development tasks.
        trust: Weight of what the ranker says, which has not seen the task, in a target; the truth has the rest.
        thin: Share of the text of items and groups that is left out.
        weights: Factor on the loss of a cascade's rows; 1 for one not named. A rare yes makes a
            small loss, which the other cascade's would drown.
        shares: View -> how often a task is asked so; never in a view that is not named.
    """

    steps: int
    tasks: int = 8
    keep: dict[str, float]
    muon: float = 0.0
    adam: float
    keep_quiet: float = 1.0
    warmup: int = 50
    save_every: int = 50
    look_every: int = 100
    trust: float = 0.0
    thin: float = 0.0
    weights: dict[str, float] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=lambda: SHARES)

    def factor(self, step: int) -> float:
        """Share of the peak rate at a step."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What is trained: all questions (None) or some, and whether the adapter is activated."""

    questions: tuple[str, ...] | None = None
    activated: bool = False

    def asks(self, row: Row) -> bool:
        """Whether a row is asked anything."""
        return any(map(self.wants, row.asks))

    def wants(self, ask: Ask) -> bool:
        """Whether a question is trained."""
        return self.questions is None or ask.question in self.questions


def batches(
    tasks: Sequence[Views], schedule: Schedule, goal: Goal, first: int, seed: int, n_shards: int = 1
) -> Iterator[list[Packed]]:
    """Batches from step ``first`` on, each in shards; the same seed gives the same batches."""
    order: list[int] = []
    for step in range(schedule.steps):
        rng = random.Random(f"{seed}:{step}")
        chosen: list[Draw] = []
        while len(chosen) < schedule.tasks:
            if not order:
                order = list(range(len(tasks)))
                random.Random(f"{seed}:{step}:order").shuffle(order)
            found = _choose(tasks[order.pop()], schedule, goal, rng)
            if found:
                chosen.append(found)
        if step >= first:
            yield [_packed(part, schedule, goal, rng) for part in _shared(chosen, n_shards)]


def _shared(chosen: list[Draw], n_shards: int) -> list[list[Draw]]:
    """Tasks dealt out, the largest first, to whoever has the fewest rows."""
    shards: list[list[Draw]] = [[] for _ in range(min(n_shards, len(chosen)))]
    loads = [0] * len(shards)
    for task in sorted(chosen, key=_n_rows, reverse=True):
        least = loads.index(min(loads))
        shards[least].append(task)
        loads[least] += _n_rows(task)
    return shards


def _n_rows(task: Draw) -> int:
    return sum(len(rows) for _, rows in task)


def _packed(tasks: list[Draw], schedule: Schedule, goal: Goal, rng: random.Random) -> Packed:
    packer = Packer(schedule.trust, schedule.thin, rng)
    for tree, rows in (pair for task in tasks for pair in task):
        packer.add(tree, rows, goal.questions)
    return packer.pack()


def _choose(views: Views, schedule: Schedule, goal: Goal, rng: random.Random) -> Draw:
    """The rows that a batch takes of one view of a task, weighted to stand for all."""
    fit = [
        name
        for name, trees in views.items()
        if schedule.shares.get(name) and any(goal.asks(row) for tree in trees for row in tree.rows)
    ]
    if not fit:
        return []
    found = []
    for tree in views[rng.choices(fit, [schedule.shares[name] for name in fit])[0]]:
        asked = [row for row in tree.rows if goal.asks(row)]
        is_quiet = not any(row.is_hit for row in asked)
        if not asked or (is_quiet and rng.random() >= schedule.keep_quiet):
            continue
        factor = schedule.weights.get(tree.cascade, 1.0) / (schedule.keep_quiet if is_quiet else 1.0)
        rows = [(row, factor * weight) for row, weight in sample(asked, schedule.keep[tree.cascade], rng)]
        if rows:
            found.append((tree, rows))
    return found


class Crew:
    """Computes the gradient of a batch in shards, a thread each.

    Rows this short leave a team of OpenMP threads waiting for each other; one thread a shard runs
    1.8 times as fast on two cores.
    """

    def __init__(self, model: Judge, *, activated: bool) -> None:
        self.model, self.activated = model, activated
        self.trained = [p for p in model.parameters() if p.requires_grad]
        self.size = torch.get_num_threads()
        self._pool = ThreadPoolExecutor(self.size, initializer=torch.set_num_threads, initargs=(1,))

    def backward(self, shards: Sequence[Packed]) -> float:
        """Leave the gradient of the mean loss in the parameters; returns the loss."""
        total = float(sum(shard.weights.sum() for shard in shards))
        found = list(self._pool.map(lambda shard: self._gradient(shard, total), shards))
        for parameter, *parts in zip(self.trained, *(gradient for _, gradient in found), strict=True):
            parameter.grad = functools.reduce(torch.add, parts)
        return sum(loss for loss, _ in found)

    def _gradient(self, shard: Packed, total: float) -> tuple[float, Sequence[torch.Tensor]]:
        each = F.cross_entropy(self.model(shard, activated=self.activated), shard.truths, reduction="none")
        loss = (each * shard.weights).sum() / total
        return loss.item(), torch.autograd.grad(loss, self.trained)


def optimisers(model: Judge, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the rest."""
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in model.model.layers.parameters() if p.requires_grad and p.ndim == 2 and schedule.muon]
    taken = {id(p) for p in matrices}
    rest = [p for p in trained if id(p) not in taken]
    found: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(rest, lr=schedule.adam, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    ]
    if matrices:
        found.append(torch.optim.Muon(matrices, lr=schedule.muon, weight_decay=0.1, momentum=0.95))
    return found


def train(
    model: Judge,
    tasks: Sequence[Views],
    dev: Sequence[Views],
    schedule: Schedule,
    goal: Goal,
    checkpoint: Path,
    seed: int = 7,
) -> None:
    """Train in place; resumes from the checkpoint if it is there, and leaves one at the end."""
    optims = optimisers(model, schedule)
    peaks = [[group["lr"] for group in optim.param_groups] for optim in optims]
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optim, saved in zip(optims, state["optims"], strict=True):
            optim.load_state_dict(saved)
        first = state["step"]
    crew = Crew(model, activated=goal.activated)
    started, seen, running = time.monotonic(), 0, 0.0
    for step, shards in enumerate(batches(tasks, schedule, goal, first, seed, crew.size), first):
        for optim, rates in zip(optims, peaks, strict=True):
            for group, rate in zip(optim.param_groups, rates, strict=True):
                group["lr"] = rate * schedule.factor(step)
        loss = crew.backward(shards)
        torch.nn.utils.clip_grad_norm_(crew.trained, MAX_NORM)
        for optim in optims:
            optim.step()
            optim.zero_grad(set_to_none=True)
        seen += sum(len(shard.tokens) for shard in shards)
        running = loss if step == first else 0.98 * running + 0.02 * loss
        if step % 10 == 0:
            rate = seen / (time.monotonic() - started)
            print(f"step {step}/{schedule.steps} loss {running:.4f} {rate:.0f} tokens/s", flush=True)
        if (step + 1) % schedule.save_every == 0 or step + 1 == schedule.steps:
            saved = {"model": model.state_dict(), "optims": [o.state_dict() for o in optims], "step": step + 1}
            partial = checkpoint.with_suffix(".partial")
            torch.save(saved, partial)
            partial.replace(checkpoint)
        if (step + 1) % schedule.look_every == 0 or step + 1 == schedule.steps:
            print(f"step {step + 1} dev", flush=True)
            look(model, dev, goal)


def look(model: Judge, dev: Sequence[Views], goal: Goal) -> None:
    """Print how a model does on tasks, and beside it how the ranker alone does on the same rows."""
    for (view, question), figures in sorted(evaluate(model, dev, goal).items()):
        print(f"  {view:6} {question:18} {figures}", flush=True)


@torch.no_grad()
def evaluate(model: Judge, tasks: Sequence[Views], goal: Goal) -> dict[tuple[str, str], str]:
    """(view, question) -> AUC per task and over all rows, of the model and of the ranker, on rows that were read."""
    found: dict[tuple[str, str], list[tuple[int, float, float, int]]] = defaultdict(list)
    for number, views in enumerate(tasks):
        for view, trees in views.items():
            packer = Packer()
            asked: list[tuple[Row, Ask]] = []
            for tree in trees:
                rows = [row for row in tree.rows if row.is_labelled and goal.asks(row)]
                if rows:
                    packer.add(tree, [(row, 1.0) for row in rows], goal.questions)
                asked += [(row, ask) for row in rows for ask in row.asks if goal.wants(ask)]
            if not asked:
                continue
            logits = model(packer.pack(), activated=goal.activated)
            for (row, ask), own in zip(asked, logits.tolist(), strict=True):
                for part, margin, odds, truth in _parts(row, ask, own):
                    found[view, part].append((number, margin, odds, truth))
    return {key: _figures(rows) for key, rows in found.items()}


def _parts(row: Row, ask: Ask, logits: Sequence[float]) -> Iterator[tuple[str, float, float, int]]:
    """What is judged of an answer: log odds of yes, those of the ranker, the truth; of a choice by value."""
    if ask.question not in VALUES:
        yield ask.question, logits[0] - logits[1], row.odds[ask.question in CHANGES], ask.truth
        return
    for place, value in enumerate(VALUES[ask.question]):
        odds = -row.odds[0] if value == "excluded" else row.odds[value in CHANGES]
        yield f"{ask.question}={value}", _odds(logits, place), odds, int(ask.truth == place)


def _odds(logits: Sequence[float], place: int) -> float:
    """Log odds of one label against all others."""
    others = [logit for at, logit in enumerate(logits) if at != place]
    return logits[place] - math.log(sum(math.exp(other - max(others)) for other in others)) - max(others)


def _figures(rows: Sequence[tuple[int, float, float, int]]) -> str:
    tasks, margins, odds, truths = (np.array(column) for column in zip(*rows, strict=True))
    shown = [f"{auc_per_task(one, truths, tasks):.4f}/{auc(one, truths):.4f}" for one in (margins, odds)]
    return f"{shown[0]} ranker {shown[1]} ({len(rows)} rows, {truths.mean():.3f} yes)"

"""Training of the encoder: of a task's symbols, which did its commit change?"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from adapters.recipe.encoder import Encoder
from adapters.recipe.pairs import Candidate, PairTask

HARD = 30
"""The noes of a task are drawn from so many of the ranker's first symbols."""

FIRST = (1, 5, 10)
_PARTS = 3  # of a batch, each of pairs of like length
_WARMUP = 0.08
_LAST = 0.05  # of the peak rate
_MAX_NORM = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSchedule:
    """How long and how fast to train.

    Attributes:
        steps: Optimiser steps.
        tasks: Tasks of a batch.
        noes: Symbols beside the changed one of each task.
        rate: Peak learning rate (AdamW).
        told: Share of the tasks whose symbols carry the ranker's words of evidence.
        each: Weight of whether each answer is right by itself, beside which symbol of a task comes first; it keeps
            p(yes) calibrated.
        save_every: Steps between checkpoints.
    """

    steps: int
    tasks: int = 8
    noes: int = 5
    rate: float = 1.5e-4
    told: float = 0.75
    each: float = 0.5
    save_every: int = 20


@dataclass(frozen=True, slots=True)
class Drawn:
    """Pairs of one task, the changed symbol first."""

    pairs: Sequence[Sequence[int]]
    weight: float


def pair(task: PairTask, candidate: Candidate, end: int, *, is_told: bool) -> list[int]:
    """Token ids of a pair."""
    head = candidate.told if is_told else candidate.plain
    return [*task.task, *head, *candidate.text, end]


def train_encoder(
    model: Encoder, tasks: Sequence[PairTask], schedule: EncoderSchedule, end: int, path: Path, seed: int
) -> None:
    """Train, or go on where the checkpoint stopped.

    Args:
        model: The encoder.
        tasks: What it learns from.
        schedule: How long and how fast.
        end: Token id that closes a pair.
        path: The checkpoint.
        seed: Of the draws.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr=schedule.rate, weight_decay=0.01)
    first = 0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
    tasks = [task for task in tasks if task.changed.any() and (~task.changed[:HARD]).sum() >= schedule.noes]
    model.train()
    shown, started = 0.0, time.monotonic()
    for step in range(first, schedule.steps):
        torch.manual_seed(seed + step)
        rng = random.Random(seed + step)
        drawn = [_drawn(task, schedule, end, rng) for task in _tasks_of(tasks, step, schedule.tasks, seed)]
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate * _pace(step / schedule.steps)
        loss = _loss(model, drawn, schedule)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), _MAX_NORM)
        optimiser.step()
        shown = loss.item() if step == first else 0.9 * shown + 0.1 * loss.item()
        if (step + 1) % schedule.save_every == 0 or step + 1 == schedule.steps:
            _save(path, {"model": model.state_dict(), "optimiser": optimiser.state_dict(), "step": step + 1})
            print(f"encoder: step {step + 1} of {schedule.steps}, loss {shown:.3f}, {time.monotonic() - started:.0f} s",
                  flush=True)  # fmt: skip
    model.eval()


def _save(path: Path, state: Mapping[str, object]) -> None:
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def _tasks_of(tasks: Sequence[PairTask], step: int, n: int, seed: int) -> Iterator[PairTask]:
    """The tasks of a step: all in turn, in an order drawn anew each time round."""
    for place in range(step * n, (step + 1) * n):
        around, at = divmod(place, len(tasks))
        order = np.random.default_rng(seed + around).permutation(len(tasks))
        yield tasks[order[at]]


def _drawn(task: PairTask, schedule: EncoderSchedule, end: int, rng: random.Random) -> Drawn:
    yes = rng.choice(np.flatnonzero(task.changed).tolist())
    hard = np.flatnonzero(~task.changed[:HARD]).tolist()
    chosen = [yes, *rng.sample(hard, schedule.noes)]
    is_told = rng.random() < schedule.told
    pairs = [pair(task, task.candidates[at], end, is_told=is_told) for at in chosen]
    return Drawn(pairs, weight=len(hard) / schedule.noes / max(1, int(task.changed[:HARD].sum())))


def _pace(done: float) -> float:
    if done < _WARMUP:
        return (done + 1e-3) / _WARMUP
    return _LAST + (1 - _LAST) * 0.5 * (1 + math.cos(math.pi * (done - _WARMUP) / (1 - _WARMUP)))


def _loss(model: Encoder, drawn: Sequence[Drawn], schedule: EncoderSchedule) -> Tensor:
    odds = scores(model, [pair for one in drawn for pair in one.pairs]).view(len(drawn), -1)
    listed = -F.log_softmax(odds, 1)[:, 0]
    noes = torch.tensor([one.weight for one in drawn])
    own = F.softplus(-odds[:, 0]) + noes * F.softplus(odds[:, 1:]).sum(1)
    return (listed + schedule.each * own / (1 + schedule.noes)).mean()


def scores(model: Encoder, pairs: Sequence[Sequence[int]], parts: int = _PARTS) -> Tensor:
    """Log odds of pairs, in order; pairs of like length are computed together."""
    order = sorted(range(len(pairs)), key=lambda at: len(pairs[at]))
    found: list[Tensor] = []
    for places in np.array_split(np.array(order), min(parts, len(pairs))):
        length = max(len(pairs[at]) for at in places)
        tokens = torch.zeros(len(places), length, dtype=torch.long)
        mask = torch.zeros(len(places), length, dtype=torch.bool)
        for row, at in enumerate(places):
            tokens[row, : len(pairs[at])] = torch.tensor(pairs[at])
            mask[row, : len(pairs[at])] = True
        with torch.autocast("cpu", torch.bfloat16, enabled=model.training):
            found.append(model(tokens, mask).float())
    back = np.empty(len(pairs), np.int64)
    back[order] = np.arange(len(pairs))
    return torch.cat(found)[torch.from_numpy(back)]


@torch.no_grad()
def read(model: Encoder, task: PairTask, end: int, most: int, *, is_told: bool = True) -> NDArray[np.float64]:
    """Log odds of a task's first candidates."""
    pairs = [pair(task, one, end, is_told=is_told) for one in task.candidates[:most]]
    return scores(model, pairs, parts=6).double().numpy()


def first_shares(tasks: Sequence[PairTask], odds: Sequence[NDArray[np.float64]]) -> dict[int, float]:
    """Percent of tasks with all changed functions among the first so many, by these scores of the first candidates."""
    hits = dict.fromkeys(FIRST, 0)
    for task, own in zip(tasks, odds, strict=True):
        functions = np.flatnonzero(~task.is_class[: len(own)])
        order = functions[np.argsort(-own[functions], kind="stable")]
        for most in FIRST:
            hits[most] += int(task.changed[order[:most]].sum()) == task.n_gold
    return {most: 100 * n / len(tasks) for most, n in hits.items()}

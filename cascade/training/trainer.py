"""The loop of a training: draws, steps, looks at the validation part, checkpoints.

It needs the extra ``train``; ``cascade.training.train`` loads it where it is used.
"""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from cascade.errors import InputError, MachineError, counted
from cascade.files import is_file, sha256_of_json, whole_file
from cascade.training.adapter_file import Lora
from cascade.training.draws import Draws
from cascade.training.examples import Example
from cascade.training.figures import Scores
from cascade.training.plan import Plan
from cascade.training.student import Student

_MAX_NORM = 1.0
_SAVE_SECONDS = 60.0
_LEAST_GAIN = 1e-4  # nats of validation loss
_MOST_LOOKED_AT = 800  # questions of the validation part that a look asks

_UNUSABLE = (
    OSError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    pickle.UnpicklingError,
)
"""What a file that is no such checkpoint may raise while it is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What a look at the validation part saw.

    Attributes:
        step: Steps that were done.
        train_loss: Mean loss of the steps since the look before; None before the first step.
        valid_loss: Mean -log p of the true answers, in nats.
    """

    step: int
    train_loss: float | None
    valid_loss: float


Tell = Callable[[int, int, Look | None], object]
"""Told after each step how many are done of how many, and what a look saw where there was one."""


@dataclass(slots=True)
class Progress:
    """How far a training is; all of it is in a checkpoint.

    Attributes:
        step: Steps that were done.
        looks: The looks so far.
        best: The adapter with the lowest validation loss so far.
        best_loss: That loss.
        n_worse: Looks since then.
        running: Sum of the losses since the last look.
    """

    step: int = 0
    looks: list[Look] = field(default_factory=list)
    best: Lora = field(default_factory=dict)
    best_loss: float = float("inf")
    n_worse: int = 0
    running: float = 0.0


class Trainer:
    """Trains a student.

    Args:
        student: The student, with the adapter that it starts from.
        plan: How it is trained.
        yes_no: Of each question of the lesson, whether it is answered by yes or no.
        train: What is learned.
        valid: What tells when to stop.
        checkpoint: Where to go on from, and to save; None to save nothing.
    """

    def __init__(
        self,
        student: Student,
        plan: Plan,
        yes_no: Sequence[bool],
        train: Sequence[Example],
        valid: Sequence[Example],
        checkpoint: Path | None,
    ) -> None:
        self._student, self._plan, self._yes_no, self._checkpoint = student, plan, yes_no, checkpoint
        self._draws = Draws(train, min(plan.n_tasks, len(train)), plan.n_asks, plan.seed)
        self._watched = _first(valid, _MOST_LOOKED_AT)
        self._optimiser = torch.optim.AdamW(student.trained, lr=plan.rate, betas=(0.9, 0.98), weight_decay=0.01)
        self._progress = Progress()
        self._trained = sha256_of_json([plan.as_dict(), [example.task for example in train]])
        self._saved_at = time.monotonic()

    def run(self, tell: Tell) -> Progress:
        """Train until the steps are done or the validation loss rises; the student keeps the best adapter.

        Raises:
            InputError: The checkpoint cannot be read, or is another training's.
            MachineError: It cannot be written, or a loss is no number.
        """
        progress, plan = self._progress, self._plan
        if self._checkpoint is not None and is_file(self._checkpoint):
            self._resume(self._checkpoint)
        if not progress.looks:
            look = self._look()
            self._save()
            tell(0, plan.steps, look)
        while progress.step < plan.steps and not self._is_over:
            progress.running += self._step(progress.step)
            progress.step += 1
            is_look = progress.step % plan.look_every == 0 or progress.step == plan.steps
            seen = self._look() if is_look else None
            if is_look or time.monotonic() - self._saved_at > _SAVE_SECONDS:
                self._save()
            tell(progress.step, plan.steps, seen)
        self._student.put(progress.best)
        return progress

    @property
    def _is_over(self) -> bool:
        """Whether enough looks saw no gain; near the peak of the rate the validation loss may rise before it falls."""
        return self._progress.n_worse >= self._plan.patience and 2 * self._progress.step >= self._plan.steps

    def _step(self, step: int) -> float:
        """One step of the optimiser; returns its mean loss."""
        for group in self._optimiser.param_groups:
            group["lr"] = self._plan.rate_at(step)
        draw = self._draws.at(step)
        total = sum(weight for _, asks in draw for _, weight in asks)
        sum_ = 0.0
        for part in self._student.losses(draw):
            loss = part / total
            loss.backward()
            sum_ += float(loss.detach())
        _check_finite(sum_, step)
        torch.nn.utils.clip_grad_norm_(self._student.trained, _MAX_NORM)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        return sum_

    def _look(self) -> Look:
        progress = self._progress
        predicted = list(self._student.predict(self._watched))
        loss = _check_finite(Scores.of(self._watched, predicted, self._yes_no).loss, progress.step)
        since = progress.step - (progress.looks[-1].step if progress.looks else 0)
        look = Look(step=progress.step, train_loss=progress.running / since if since else None, valid_loss=loss)
        progress.running = 0.0
        progress.looks.append(look)
        if loss < progress.best_loss - _LEAST_GAIN:
            progress.best, progress.best_loss, progress.n_worse = self._student.lora(), loss, 0
        else:
            progress.n_worse += 1
        return look

    def _save(self) -> None:
        self._saved_at = time.monotonic()
        if self._checkpoint is None:
            return
        progress = self._progress
        state = {
            "trained": self._trained,
            "step": progress.step,
            "looks": [(look.step, look.train_loss, look.valid_loss) for look in progress.looks],
            "best": _tensors(progress.best),
            "best_loss": progress.best_loss,
            "n_worse": progress.n_worse,
            "running": progress.running,
            "lora": _tensors(self._student.lora()),
            "optimiser": self._optimiser.state_dict(),
        }
        with whole_file(self._checkpoint) as part:
            torch.save(state, part)

    def _resume(self, path: Path) -> None:
        try:
            state: Mapping[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
            is_own = state["trained"] == self._trained
            if is_own:
                self._take_up(state)
        except _UNUSABLE as error:
            msg = f"{path}: is no checkpoint of a training, or damaged. Remove it, and the training begins anew."
            raise InputError(msg) from error
        if not is_own:
            msg = (
                f"{path}: is a checkpoint of another training, or of other tasks. Remove it, and this one begins anew."
            )
            raise InputError(msg)

    def _take_up(self, state: Mapping[str, Any]) -> None:
        progress = self._progress
        progress.step, progress.best_loss, progress.n_worse = state["step"], state["best_loss"], state["n_worse"]
        progress.looks = [Look(step=step, train_loss=train, valid_loss=valid) for step, train, valid in state["looks"]]
        progress.best, progress.running = _arrays(state["best"]), state["running"]
        self._student.put(_arrays(state["lora"]))
        self._optimiser.load_state_dict(state["optimiser"])


def _check_finite(loss: float, step: int) -> float:
    """A loss, which is a number: from NaN on every weight would be NaN.

    Raises:
        MachineError: It is none.
    """
    if math.isfinite(loss):
        return loss
    msg = (
        f"After {counted(step, 'step')} the loss is {loss}, of which nothing is learned. Begin anew with --force and a "
        "lower --rate; or, if the base model's weights hold NaN or infinity, get or convert it again."
    )
    raise MachineError(msg)


def _first(examples: Sequence[Example], most: int) -> list[Example]:
    """The first tasks, with about so many questions, at least one."""
    found: list[Example] = []
    n = 0
    for example in examples:
        if found and n + len(example.asks) > most:
            break
        found.append(example)
        n += len(example.asks)
    return found


def _tensors(lora: Lora) -> dict[str, list[torch.Tensor]]:
    return {name: [torch.from_numpy(half) for half in halves] for name, halves in lora.items()}


def _arrays(state: Mapping[str, Sequence[torch.Tensor]]) -> Lora:
    return {name: (down.numpy(), up.numpy()) for name, (down, up) in state.items()}

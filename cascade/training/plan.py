"""How an adapter is trained: all that decides the result, in one value. Pure."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from cascade.files import sha256_of_json

RANK = 16
BATCH = 8
"""Tasks of a step where nothing else is said."""

LEAST_RATE = 1e-9
"""Least peak learning rate that can be asked for."""

_FASTEST = 1e-3  # of a model as wide as the shipped one
_WIDTH = 256
_WARMUP = 0.05
_FLOOR = 0.05  # of the peak, at the end
_ROUNDS = 4
_LEAST_STEPS, _MOST_STEPS = 60, 3_000
_LOOKS = 12
_PATIENCE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A training, as far as it hangs on nothing but numbers and hashes.

    Attributes:
        adapter: The adapter.
        cascade: The cascade that asks it.
        base_sha256: SHA-256 of the base model's very file.
        data_sha256: SHA-256 of the data's manifest.
        questions: Fingerprint of what is asked and how prompts are written.
        start_sha256: SHA-256 of the adapter that it starts from; empty for a fresh one.
        weights: Fingerprint of the folder that the base's weights are read from; empty for its GGUF file.
        teacher: What else is learned from; empty for the truth alone.
        trust: Weight of the teacher in a target, in [0, 1]; the truth has the rest.
        unlabelled: Fingerprint of the tasks that the teacher alone makes targets for; empty for none.
        invocation: The tokens that switch the adapter on; empty for a plain LoRA.
        rank: LoRA's rank.
        alpha: LoRA's alpha.
        rate: Peak learning rate.
        steps: Most optimiser steps.
        n_tasks: Tasks of a step.
        n_asks: Most questions that a step takes of a task.
        look_every: Steps between looks at the validation part.
        patience: Looks without a gain after which it stops, in the second half of the steps.
        seed: Of the order of tasks and of the first weights.
    """

    adapter: str
    cascade: str
    base_sha256: str
    data_sha256: str
    questions: str
    start_sha256: str = ""
    weights: str = ""
    teacher: str = ""
    trust: float = 0.0
    unlabelled: str = ""
    invocation: tuple[int, ...] = ()
    rank: int = RANK
    alpha: float = 2.0 * RANK
    rate: float = _FASTEST
    steps: int = _LEAST_STEPS
    n_tasks: int = BATCH
    n_asks: int = 32
    look_every: int = 5
    patience: int = _PATIENCE
    seed: int = 7

    @property
    def warmup(self) -> int:
        """Steps in which the learning rate rises."""
        return max(1, round(_WARMUP * self.steps))

    def rate_at(self, step: int) -> float:
        """The learning rate of step 0, 1, ...: it rises in a line, then falls as a cosine."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.rate * (_FLOOR + (1 - _FLOOR) * 0.5 * (1 + math.cos(math.pi * done)))

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self) | {"invocation": list(self.invocation)}

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all of it, in hex: two runs of one fingerprint learn the same."""
        return sha256_of_json(self.as_dict())


def default_steps(n_examples: int, n_tasks: int) -> int:
    """Steps in which every task is seen four times, from 60 to 3,000."""
    return min(max(math.ceil(_ROUNDS * n_examples / n_tasks), _LEAST_STEPS), _MOST_STEPS)


def default_rate(width: int) -> float:
    """The peak learning rate for a model of this width: 1e-3 at 256, falling with the root."""
    return _FASTEST * math.sqrt(_WIDTH / max(width, _WIDTH))


def default_look(steps: int) -> int:
    """Steps between looks: twelve looks in a training, but five steps at least."""
    return max(5, math.ceil(steps / _LOOKS))

"""How many examples an adapter needs: the same training on ever more of the tasks, judged by one validation part."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cascade.evaluation.score_file import Note
from cascade.files import write_whole
from cascade.training.examples import Example, amount
from cascade.training.figures import Gain, Scores
from cascade.training.plan import default_look, default_steps
from cascade.training.prepare import Prepared
from cascade.training.train import Maker

if TYPE_CHECKING:
    from cascade.training.trainer import Look

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Shares of the training tasks, each twice the one before; each part holds the one before."""

LEAST_TASKS = 4
"""Parts with fewer tasks are left out."""

Told = Callable[[int, int, "Look | None"], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What a part of the training tasks taught.

    Attributes:
        tasks: Training tasks; 0 for what is there before.
        items: Questions to their items with a known answer.
        scores: The answers on the validation part.
        gain: By how much it is better than the point before; None for the first.
    """

    tasks: int
    items: int
    scores: Scores
    gain: Gain | None

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        found = self.scores.as_dict()
        shown = {key: value for key, value in found.items() if key not in {"tasks", "n", "base_rate"}}
        return {
            "tasks": self.tasks,
            "items": self.items,
            **shown,
            "gain": None if self.gain is None else self.gain.as_dict(),
        }


def sizes(n: int) -> list[int]:
    """Numbers of tasks of the parts, from few to all."""
    return sorted({size for share in SHARES if (size := round(share * n)) >= LEAST_TASKS or share == 1.0})


def nested(train: Sequence[Example], size: int, seed: int) -> list[Example]:
    """The first so many tasks in an order that hangs on the seed alone."""
    order = list(train)
    random.Random(f"curve {seed}").shuffle(order)  # noqa: S311 - a repeatable order, no secret
    return order[:size]


def learning_curve(prepared: Prepared, note: Note, tell: Told) -> dict[str, Any]:
    """Train on ever more tasks; what is measured is kept, so that a run that was killed goes on.

    Args:
        prepared: The training; its folder was made ready for a curve.
        note: Told of each point, in a line.
        tell: Told of every step of every training.

    Returns:
        The curve in JSON form.

    Raises:
        CascadeError: A training cannot go on.
    """
    run = prepared.run
    known = run.made() if prepared.is_done else None
    if known is not None:
        note(f"{run.result} is there already, of these very data and options")
        return known
    with run.locked():
        return _measured(prepared, note, tell)


def _measured(prepared: Prepared, note: Note, tell: Told) -> dict[str, Any]:
    """Train and measure what is not measured yet, and write the curve."""
    run = prepared.run
    maker = Maker.of(prepared, note)
    first = maker.student.lora()
    settled = dict(prepared.settled) | {"dtype": maker.dtype}
    kept: dict[str, list[list[float]]] = settled.get("points", {})
    points: list[Point] = []
    for size in (0, *sizes(len(prepared.train))):
        some = nested(prepared.train, size, prepared.plan.seed)
        if str(size) not in kept:
            maker.student.put(first)
            if some:
                steps = prepared.plan.steps if prepared.wishes.steps else default_steps(size, prepared.plan.n_tasks)
                plan = replace(prepared.plan, steps=steps, look_every=default_look(steps))
                maker.taught(plan, some, run.checkpoint, tell)
            kept = kept | {str(size): maker.scores(prepared.valid).as_lists()}
            run.checkpoint.unlink(missing_ok=True)  # first, so that the next part never goes on from this one
            run.settle(settled | {"points": kept})
        scores = Scores.of_lists(kept[str(size)])
        gain = Gain.between(points[-1].scores, scores) if points else None
        points.append(Point(tasks=len(some), items=amount(some).items, scores=scores, gain=gain))
        note(f"{points[-1].tasks:,} tasks: log loss {scores.loss:.4f}")
    found = {
        "adapter": prepared.plan.adapter,
        "cascade": prepared.plan.cascade,
        "valid": amount(prepared.valid).as_dict(),
        "points": [point.as_dict() for point in points],
        "enough_from": enough_from(points),
        "plan": prepared.plan.as_dict(),
    }
    write_whole(run.result, json.dumps(found, indent=2).encode())
    run.end()
    return found


def enough_from(points: Sequence[Point]) -> int | None:
    """The fewest tasks from which on no doubling brought more than chance; None where the last one still did."""
    learned = points[1:]
    for at, point in enumerate(learned):
        later = [other.gain for other in learned[at + 1 :] if other.gain is not None]
        if later and not any(gain.is_sure and gain.log_loss > 0 for gain in later):
            return point.tasks
    return None

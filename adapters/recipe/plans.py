"""How long and how fast the base model and the adapters are trained."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.recipe.train import Schedule

RANK, ALPHA = 16, 32.0
BASE = Schedule(
    steps=500,
    tasks=12,
    keep={"precision": 0.35, "scope": 0.35},
    muon=0.015,
    adam=2e-3,
    warmup=25,
    save_every=25,
    look_every=100,
    weights={"scope": 2.0},
)
KEEP = {"precision": 0.4, "scope": 0.4}
SCOPE = ("dependency", "co_change", "metadata")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one adapter is trained.

    Attributes:
        questions: What it answers.
        activated: Whether it is activated LoRA, acting on the question's tokens alone.
        schedule: How long and how fast.
        start: Name of the plan whose adapter it starts from; None for a fresh one.
        ships: Whether it becomes a file.
    """

    questions: tuple[str, ...]
    activated: bool
    schedule: Schedule
    start: str | None = None
    ships: bool = True


def _schedule(steps: int, tasks: int, keep_quiet: float = 1.0, adam: float = 2e-3) -> Schedule:
    return Schedule(steps=steps, tasks=tasks, keep=KEEP, keep_quiet=keep_quiet, adam=adam, warmup=10, look_every=steps)


# Questions with few rows a task take more tasks a batch. The precision questions are activated
# LoRA, so that all three share the base model's KV. The scope questions are plain LoRA; a yes is
# so rare there that the three first learn together, where a row asks up to three questions at once.
PLANS = {
    "relevant": Plan(questions=("relevant",), activated=True, schedule=_schedule(120, 8)),
    "primary": Plan(questions=("primary",), activated=True, schedule=_schedule(90, 24)),
    "supporting": Plan(questions=("supporting",), activated=True, schedule=_schedule(40, 24)),
    "scope": Plan(questions=SCOPE, activated=False, schedule=_schedule(220, 14, 0.25), ships=False),
    **{
        name: Plan(questions=(name,), activated=False, schedule=_schedule(40, 20, 0.25, 5e-4), start="scope")
        for name in SCOPE
    },
}

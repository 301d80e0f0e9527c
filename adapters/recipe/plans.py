"""How long and how fast the base model and the adapters are trained."""

from __future__ import annotations

from dataclasses import dataclass, replace

from adapters.recipe.train import Schedule

RANK, ALPHA = 16, 32.0
# First fast, on the truth alone, until the new words are known; then slowly, and with what the ranker says: a yes is
# rare and the labels are noisy, and from here on the model would learn the tasks by heart.
FIRST = Schedule(
    steps=250,
    tasks=12,
    keep={"precision": 0.35, "scope": 0.35},
    muon=0.015,
    adam=2e-3,
    warmup=25,
    save_every=25,
    look_every=125,
    weights={"scope": 2.0},
)
SECOND = Schedule(
    steps=220,
    tasks=20,
    keep={"precision": 0.5, "scope": 0.5},
    muon=0.008,
    adam=1e-3,
    warmup=10,
    save_every=20,
    look_every=70,
    trust=0.6,
    thin=0.25,
    weights={"scope": 2.0},
)
KEEP = {"precision": 0.4, "one_call": 0.4, "scope": 0.4, "routing": 1.0, "refilter": 0.6, "module": 0.6, "edge": 0.8}
FURTHER = ("routing", "refilter", "module", "edge")
"""The cascades of the further tasks, which the base model never sees."""
BY_YES_AND_NO = ("precision", "scope")
"""The cascades that the base model is trained on; it never sees the choice."""
SCOPE = ("dependency", "co_change", "metadata")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How one adapter is trained.

    Attributes:
        questions: What it answers.
        cascade: The cascade that asks this.
        activated: Whether it is activated LoRA, acting on the question's tokens alone.
        schedule: How long and how fast.
        start: Name of the plan whose adapter it starts from; None for a fresh one.
        ships: Whether it becomes a file.
        met_from: Where the question is asked of items too that do not matter and came so far all the same: the least
            log odds, by the ranker, that one matters; None where only what the truth leads there is asked.
    """

    questions: tuple[str, ...]
    cascade: str = "precision"
    activated: bool
    schedule: Schedule
    start: str | None = None
    ships: bool = True
    met_from: float | None = None


CLAIMED_SHARES = {"none": 0.15, "right": 0.09, "wrong": 0.06, "own": 0.03, "said": 0.64, "source": 0.03}
"""How often a task is asked in which view where docstrings are learned to claim nothing."""
FURTHER_SHARES = {"none": 0.35, "right": 0.2, "wrong": 0.15, "own": 0.3}


def _schedule(
    steps: int,
    tasks: int,
    keep_quiet: float = 1.0,
    adam: float = 1e-3,
    trust: float = 0.6,
) -> Schedule:
    return Schedule(
        steps=steps,
        tasks=tasks,
        keep=KEEP,
        keep_quiet=keep_quiet,
        adam=adam,
        warmup=10,
        look_every=steps,
        trust=trust,
        thin=0.25,
    )


def _further(cascade: str, question: str, schedule: Schedule, start: str | None = None) -> Plan:
    schedule = replace(schedule, shares=FURTHER_SHARES)
    return Plan(questions=(question,), cascade=cascade, activated=False, schedule=schedule, start=start)


# Questions with few rows a task take more tasks a batch. The precision questions are activated
# LoRA, so that all three share the base model's KV. The scope questions are plain LoRA; a yes is
# so rare there that the three first learn together, where a row asks up to three questions at once.
PLANS = {
    "first_relevant": Plan(questions=("relevant",), activated=True, schedule=_schedule(80, 12), ships=False),
    "first_primary": Plan(questions=("primary",), activated=True, schedule=_schedule(50, 24), ships=False),
    # Then longer, and mostly with what the ranker says: that is no noise, and there is more of it than yeses.
    "relevant": Plan(
        questions=("relevant",),
        activated=True,
        schedule=replace(_schedule(230, 16, trust=0.8), shares=CLAIMED_SHARES),
        start="first_relevant",
    ),
    "primary": Plan(
        questions=("primary",),
        activated=True,
        schedule=_schedule(110, 20, trust=0.75),
        start="first_primary",
        met_from=-3.0,
    ),
    "supporting": Plan(questions=("supporting",), activated=True, schedule=_schedule(30, 24)),
    # As many draws of a task as the three have together, for one question that asks what they ask.
    "one_call": Plan(
        questions=("label",), cascade="one_call", activated=True, schedule=_schedule(487, 18, trust=0.75), ships=False
    ),
    "scope": Plan(questions=SCOPE, cascade="scope", activated=False, schedule=_schedule(100, 16, 0.25), ships=False),
    **{
        name: Plan(
            questions=(name,), cascade="scope", activated=False, schedule=_schedule(25, 20, 0.25, 5e-4), start="scope"
        )
        for name in SCOPE
    },
    # What the base model does not know takes longer. A file that stays is one of scope, asked otherwise.
    "routing": _further("routing", "found", _schedule(70, 40, trust=0.3)),
    "refilter": _further("refilter", "kept", _schedule(300, 16, trust=0.85), start="scope"),
    "module": _further("module", "touched", _schedule(320, 20, trust=0.8)),
    "edge": _further("edge", "depends", _schedule(150, 20, adam=2e-3, trust=0.0)),
}

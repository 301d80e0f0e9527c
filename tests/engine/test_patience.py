"""Under overload a request without a deadline gets its turn, though not every one."""

from __future__ import annotations

from math import inf

from cascade.backends.scripted import ByteTokenizer
from cascade.budget import NO_LIMIT, Budget
from cascade.engine.online_profile import OnlineProfile
from cascade.engine.planner import BackendLimits, Capacity, Planner
from cascade.engine.request import Request, new_request
from cascade.engine.turns import PATIENCE_S, Turns
from cascade.prompt import FORMATS, PromptBuilder
from cascade.report import Provenance
from tests.helpers.requests import plain_items
from tests.helpers.shipped import CASCADES

CASCADE = CASCADES["precision"]
PROVENANCE = Provenance(
    model="m", adapters=dict.fromkeys(CASCADE.adapters(), "a"), prompt_format="embedded", label_tokens=(256, 257)
)


def request(budget: Budget) -> Request:
    """Twenty items, prompts built, called at time 0."""
    made = new_request("a task", plain_items(20), OnlineProfile(CASCADE), PROVENANCE, budget=budget)
    for _ in made.prompts.grow(PromptBuilder(FORMATS["embedded"], ByteTokenizer()), 10_000):
        pass
    return made


def test_patience_runs_out_under_overload_too() -> None:
    """Deadlines that cannot be kept go first; after a while every other turn is for who has waited longest."""
    limits = BackendLimits(
        capacity=Capacity(nodes=100, tokens=10_000), prefix_adapters={name: name for name in CASCADE.adapters()}
    )
    turns = Turns(Planner(limits, lambda _: 2))
    hopeless = request(Budget(ms=1_000 * PATIENCE_S + 100))
    early, late = request(NO_LIMIT), request(NO_LIMIT)
    late.served = 0.5
    leaders = [
        turns.next([hopeless, late, early], now).request
        for now in (0.9 * PATIENCE_S, PATIENCE_S, PATIENCE_S, PATIENCE_S)
    ]
    assert leaders == [hopeless, early, hopeless, early]
    assert turns.next([hopeless, early], PATIENCE_S).left_ms < inf

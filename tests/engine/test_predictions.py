"""Predictions are pinned to the last bit: what a batch takes, what each depth takes, and what is asked ahead."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from math import inf
from pathlib import Path

import pytest

from cascade.backends.costs import CallSizes, Costs
from cascade.backends.scripted import ByteTokenizer
from cascade.engine.forecast import by_depth
from cascade.engine.online_profile import OnlineProfile
from cascade.engine.planner import BackendLimits, Capacity, Planner
from cascade.engine.request import Request, new_request
from cascade.profile import Profile
from cascade.prompt import FORMATS, Limits, PromptBuilder
from cascade.report import Provenance
from cascade.stages import BASE, SERVED
from tests.helpers.requests import plain_items
from tests.helpers.shipped import CASCADES

GOLDEN = Path(__file__).parents[1] / "golden" / "predictions.json"
ADAPTERS = ("relevant", "primary")
SHIPPED = CASCADES["precision"]
CASCADE = replace(  # the last two stages share an adapter, so that one may be asked ahead
    SHIPPED,
    profile=Profile(pass_rates={"relevant": 0.35, "primary": 0.45, "supporting": 0.5}),
    stages=(
        *SHIPPED.stages[:2],
        replace(SHIPPED.stages[2], questions={"": replace(SHIPPED.stages[2].question(""), adapter="primary")}),
    ),
)
PROVENANCE = Provenance(model="", adapters=dict.fromkeys(ADAPTERS, ""), prompt_format="", label_tokens=(0, 1))
BUILDER = PromptBuilder(FORMATS["embedded"], ByteTokenizer(), Limits(task=60, seed=10, group=20, item=40))
NAMES = (BASE, *ADAPTERS)
WAYS = {
    "plain": {name: name for name in NAMES},
    "activated": dict.fromkeys(NAMES, BASE),
    "served": dict.fromkeys(NAMES, SERVED),
    "plain first": {BASE: BASE, "relevant": "relevant", "primary": BASE},
    "served last": {BASE: BASE, "relevant": BASE, "primary": SERVED},
}
DEAR_CALLS = Costs(per_call_ms=400.0, per_token_ms=0.7, per_request_ms=90.0)


def _request(n: int) -> Request:
    request = new_request("a task", plain_items(n), OnlineProfile(CASCADE), PROVENANCE)
    deque(request.prompts.grow(BUILDER, 1_000_000), maxlen=0)
    return request


def _followed(prefix_adapters: Mapping[str, str], n: int, costs: Costs, left_ms: float) -> list[list[float]]:
    """Of each batch of two requests until nothing fits: predicted time, queries, queries ahead, and times by depth."""
    requests = [_request(n), _request(n // 2 + 1)]
    sizes = CallSizes(n_batch=256, n_batch_questions=30, n_served=17, together=frozenset({"primary"}))
    limits = BackendLimits(
        capacity=Capacity(nodes=60, tokens=3_000), prefix_adapters=prefix_adapters, costs=costs, sizes=sizes
    )
    planner = Planner(limits, lambda question: len(BUILDER.marker_tokens(question.marker)), asks_ahead=True)
    for request in requests:
        planner.prefix_index.admit(request.items)
    found: list[list[float]] = []
    for number in range(40):
        forecasts = [ms for request in requests for ms in by_depth(planner, request)]
        batch = planner.next_batch({request: request.open_items for request in requests}, left_ms)
        if batch is None:
            found.append([0.0, 0, 0, *forecasts])
            break
        queries = batch.queries
        found.append([batch.predicted_ms, len(queries), sum(query.is_ahead for query in queries), *forecasts])
        for at, query in enumerate(queries):
            query.item.take(query.stage, query.tier, 0.99 if (at + number) % 3 else 0.01)
        planner.prefix_index.advance(dict.fromkeys(query.item for query in queries))
    return found


def _found(way: str) -> dict[str, list[list[float]]]:
    worlds = product((1, 9, 60), {"usual": Costs(), "dear": DEAR_CALLS}.items(), (inf, 2_500.0))
    return {
        f"{way}, {n} items, {name} costs, {left_ms} ms": _followed(WAYS[way], n, costs, left_ms)
        for n, (name, costs), left_ms in worlds
    }


@pytest.mark.parametrize("way", WAYS)
def test_predictions_stay_the_same_to_the_last_bit(way: str) -> None:
    """Of plain, activated and served adapters, alone and mixed, with and without a limit of time."""
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert _found(way) == {key: rows for key, rows in golden.items() if key.startswith(f"{way},")}


if __name__ == "__main__":  # writes the golden file anew
    every = {key: rows for way in WAYS for key, rows in _found(way).items()}
    GOLDEN.write_text(json.dumps(every, separators=(",", ":")).replace("]],", "]],\n") + "\n", "utf-8")

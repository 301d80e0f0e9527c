"""Cascades that were read from an input, put to work: what is accepted must also answer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from cascade import Engine, Group, Item, ScriptedBackend, Task
from cascade.budget import Budget, BudgetLike
from cascade.tree import Cascade

TASK = Task(text="fix the parser", seeds=("src/parser.py",))
ITEMS = (
    Item(id="1", kind="function", name="parse", signature="def parse(text: str)", evidence=("imports the seed",)),
    Item(id="2", kind="class", name="Cache", group=Group(name="src/cache.py", evidence=("changes with it",))),
    Item(id="3", kind="file", name="src/a.py", tiers=("dependency",), priority=2.0, prior=0.9),
)
BUDGETS: tuple[BudgetLike, ...] = ("config", Budget(depth=1), Budget(ms=1e-9))


def check_answers(
    cascades: Mapping[str, Cascade], items: Sequence[Item] = ITEMS, task: Task = TASK, budget: BudgetLike = "config"
) -> None:
    """Classify by every cascade, answered from a script: half a coin for each adapter.

    Raises:
        CascadeError: An engine refuses it.
        AssertionError: An item has no label of its cascade.
    """
    adapters = frozenset(name for cascade in cascades.values() for name in cascade.adapters())
    scores = {name: 0.1 + 0.8 * (place % 2) for place, name in enumerate(sorted({*adapters, "base"}))}
    with Engine(ScriptedBackend(scores, adapters - {"base"}, records=False), cascades) as engine:
        for name, cascade in cascades.items():
            json.dumps(cascade.as_dict(), allow_nan=False)
            tiers = [tier for stage in cascade.stages for tier in stage.questions if tier]
            fit = [item for item in items if not tiers or item.tiers] if items is ITEMS else items
            report = engine.classify(task, fit, name, budget=budget)
            json.dumps(report.as_dict(), allow_nan=False)
            assert [decision.id for decision in report.decisions] == [item.id for item in fit]
            assert {decision.label for decision in report.decisions} <= set(cascade.labels)

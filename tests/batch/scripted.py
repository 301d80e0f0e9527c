"""An engine without a model for tests of batches, and rows for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from cascade import Cascade, Engine, Question, ScriptedBackend, Stage
from cascade.backends.scripted import Says
from cascade.batch.rows import Row, rows_of
from cascade.engine.settings import EngineSettings
from cascade.stages import Target

LATER = Target("later", is_label=True)


def tickets(**changes: Any) -> Cascade:
    """A cascade of two questions, which asks items as they are; ``threshold`` is that of the second."""
    threshold = changes.pop("threshold", 0.5)
    waiting = Question(marker="waiting", wording="does somebody wait?", adapter="waiting", threshold=0.5)
    broken = Question(marker="broken", wording="is it broken?", adapter="broken", threshold=threshold)
    stages = (
        Stage(name="waiting", questions={"": waiting}, yes=Target("broken", is_label=False), no=LATER),
        Stage(name="broken", questions={"": broken}, yes=Target("now", is_label=True), no=LATER),
    )
    return Cascade(
        **{"name": "tickets", "instructions": "Which are urgent?", "labels": ("later", "now"), "stages": stages}
        | changes
    )


def says(adapter: str, prompt: str) -> float:
    """p(yes) of a prompt: names with "now" are urgent, those with "half" wait and are not broken."""
    item = prompt.split("<|item|>")[1]
    return 0.9 if "now" in item or ("half" in item and adapter == "waiting") else 0.1


def scripted(
    script: Callable[[str, str], Says] = says, cascade: Cascade | None = None, settings: EngineSettings | None = None
) -> Engine:
    """An engine that answers from a script and keeps no record of it."""
    cascade = cascade or tickets()
    backend = ScriptedBackend(script, frozenset({"waiting", "broken"}), records=False)
    return Engine(backend, {cascade.name: cascade}, settings=settings)


def lines_of(*values: dict[str, Any]) -> Iterator[list[Row]]:
    """The rows of lines, read one after another."""
    for number, value in enumerate(values, 1):
        yield rows_of(value, f"line {number}")


def task(name: str, *names: str) -> dict[str, Any]:
    """A line: a task with items of these names, which are their ids as well."""
    return {"task": name, "items": [{"id": each, "name": each} for each in names]}

"""The shipped cascades and one of a choice and a score, in this process and with every adapter on a server."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from cascade import Engine, Item, Report, Task
from tests.helpers.requests import files, symbols
from tests.helpers.shipped import ADAPTERS, shipped_text

_TICKETS = """
[cascade.tickets]
instructions = "Sort tickets."
labels = ["none", "docs", "later", "now"]
[[cascade.tickets.stages]]
name = "kind"
question = "what is it?"
adapter = "BASE"
values = { bug = "it is broken", docs = "", none = "of no use" }
next = { bug = { stage = "urgency" } }
[[cascade.tickets.stages]]
name = "urgency"
question = "how urgent is it?"
adapter = "BASE"
levels = { "can wait" = "for a month", "this week" = "", today = "" }
cuts = [0.9]
next = [{ label = "later" }, { label = "now" }]
"""

TOLERANCE = 1e-3
"""Of probabilities, for batches of another make-up."""


def local_config(folder: Path) -> Path:
    """A config whose adapters are all in this process."""
    path = folder / "local.toml"
    path.write_text(shipped_text() + _TICKETS.replace("BASE", "base"), encoding="utf-8")
    return path


def remote_config(folder: Path, keys: str, name_of: Callable[[str], str] = str) -> Path:
    """The same with every adapter, and the base model as ``far``, on one server.

    Args:
        folder: Where it is written.
        keys: Of the server.
        name_of: What the server calls an adapter.
    """
    text = shipped_text()
    for name in ADAPTERS:
        there = f'{name} = {{ server = "own", name = "{name_of(name)}" }}'
        text = re.sub(rf'^{name} = ".*{name}\.gguf"', there, text, flags=re.MULTILINE)
    text = text.replace("[adapters]\n", f'[adapters]\nfar = {{ server = "own", name = "{name_of("base")}" }}\n')
    path = folder / "remote.toml"
    path.write_text(f"{text}\n[servers.own]\n{keys}\n{_TICKETS.replace('BASE', 'far')}", encoding="utf-8")
    return path


def requests() -> dict[str, tuple[Task, list[Item]]]:
    """Cascade -> a task with items for it."""
    tickets = [Item(id=str(at), kind="ticket", name=name) for at, name in enumerate(("crash", "typo", "a café's wish"))]
    return {"precision": symbols(1, 8), "scope": files(1, 8), "tickets": (Task(text="sort them"), tickets)}


def reports(engine: Engine) -> dict[str, Report]:
    """What each cascade decides."""
    return {name: engine.classify(task, items, name) for name, (task, items) in requests().items()}


def scores(engine: Engine) -> dict[str, list[float]]:
    """What every question of each cascade is answered, whatever the tree would skip."""
    return {
        name: [p for steps in engine.score(task, items, name) for step in steps for p in step.scores.values()]
        for name, (task, items) in requests().items()
    }

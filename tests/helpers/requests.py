"""Requests that tests share: written for them, like real ones, and seeded where random."""

from __future__ import annotations

import random
from dataclasses import replace

from cascade import Group, Item, Task
from cascade.evidence.of_records import file_items, symbol_items
from cascade.evidence.records import FileRecord, SymbolRecord
from cascade.profile import WITHOUT_SOURCE

_VERBS = ("read", "write", "parse", "load", "retry", "close", "open", "check", "merge", "render", "split", "send")
_NOUNS = ("config", "upload", "template", "request", "cache", "header", "socket", "token", "route", "session", "error")


def symbols(seed: int, n: int, n_files: int = 5) -> tuple[Task, list[Item]]:
    """A task with ``n`` symbol items in ``n_files`` files."""
    rng = random.Random(seed)
    paths = [f"src/{rng.choice(_NOUNS)}_{at}.py" for at in range(n_files)]
    task = Task(
        text=f"{rng.choice(_VERBS)} the {rng.choice(_NOUNS)} before the {rng.choice(_NOUNS)}", seeds=(paths[0],)
    )
    records = []
    for at in range(n):
        verb, noun = rng.choice(_VERBS), rng.choice(_NOUNS)
        kind = rng.choice(("function", "method", "class"))
        name = noun.title() + str(at) if kind == "class" else f"{verb}_{noun}_{at}"
        owner = f"{rng.choice(_NOUNS).title()}." if kind == "method" else ""
        records.append(
            SymbolRecord(
                path=rng.choice(paths),
                qualname=owner + name,
                kind=kind,
                signature=f"class {name}(Base)" if kind == "class" else f"def {name}(self, {noun}: str) -> None",
                doc=f"{verb.title()} a {noun}." if rng.random() < 0.6 else "",
                lines=rng.randint(1, 200),
            )
        )
    return task, symbol_items(task, records, [_file(rng, path) for path in paths[1:]])


def files(seed: int, n: int) -> tuple[Task, list[Item]]:
    """A task with ``n`` file items, each found by one to three tiers."""
    rng = random.Random(seed)
    task = Task(text=f"{rng.choice(_VERBS)} the {rng.choice(_NOUNS)} twice", seeds=("src/seed.py",))
    return task, file_items(
        task, [_file(rng, f"src/{rng.choice(_NOUNS)}/{rng.choice(_VERBS)}_{at}.py") for at in range(n)]
    )


def with_source(items: list[Item]) -> list[Item]:
    """The items as if their source had been read, so that a prior that was learned from checkouts knows them."""
    return [replace(item, evidence=tuple(fact for fact in item.evidence if fact != WITHOUT_SOURCE)) for item in items]


def plain_items(n: int) -> list[Item]:
    """Items without evidence, four to a group."""
    groups = [Group(name=f"file_{number}.py") for number in range((n + 3) // 4)]
    return [Item(id=f"item-{at}", kind="function", name=f"name_{at}", group=groups[at // 4]) for at in range(n)]


def _file(rng: random.Random, path: str) -> FileRecord:
    tiers = rng.sample(("dependency", "co_change", "metadata"), rng.randint(1, 3))
    return FileRecord(
        path=path,
        doc="Does things." if rng.random() < 0.5 else "",
        symbols=tuple(f"{rng.choice(_VERBS)}_{rng.choice(_NOUNS)}" for _ in range(rng.randint(0, 6))),
        tiers=tuple(tiers),
        imports_seed="dependency" in tiers,
        imported_by_seed=rng.random() < 0.2,
        co_changes=rng.randint(1, 40) if "co_change" in tiers else 0,
        seed_changes=60,
    )

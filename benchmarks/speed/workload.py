"""What is measured: seeded tasks whose items have known labels and known lengths, and the queries that follow. Pure.

Lengths are in tokens of the model at hand, so a workload is as long under one model as under
another. Labels are part of the workload: speed is measured on the queries that they cause, whatever
a model would answer.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from cascade.config.toml import meant
from cascade.errors import InputError
from cascade.items import Group, Item, Task
from cascade.prompt import Limits, Node, PromptBuilder
from cascade.tree import Cascade

_WORDS = (
    "read write parse load retry close open check merge render split send config upload template request cache "
    "header socket token route session error path value name key index buffer limit state reader writer result "
    "option handler stream field record column queue worker signal plugin schema policy"
).split()
_LAST = {"supporting", "type_context"}  # labels that the last of the three stages gives
NO_LIMITS = Limits(task=4_096, seed=256, group=256, item=4_096)
"""How long texts of workloads may be: nothing is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request: a task with items, and the label that each item shall get."""

    task: Task
    items: tuple[Item, ...]
    labels: tuple[str, ...]
    cascade: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Requests that are made at the same time.

    Attributes:
        name: What the command line calls it.
        calls: The requests.
        limits: How long texts may be; wide enough that nothing is cut.
    """

    name: str
    calls: tuple[Call, ...]
    limits: Limits = NO_LIMITS

    @property
    def is_deep(self) -> bool:
        """Whether every item passes all stages, so that all stages can be set against the first alone."""
        return all(label in _LAST for call in self.calls for label in call.labels)

    @property
    def n_items(self) -> int:
        """Items of all requests."""
        return sum(len(call.items) for call in self.calls)


class _Writer:
    """Writes seeded tasks and items of given lengths, in tokens of one model."""

    def __init__(self, builder: PromptBuilder, cascades: Mapping[str, Cascade], seed: int) -> None:
        self._builder = replace(builder, limits=NO_LIMITS)
        self._cascades = cascades
        self._rng = random.Random(seed)

    def precision(self, n_items: int, n_files: int, n_tokens: int = 40) -> Call:
        """Symbols in files: 35 % pass the first stage, 45 % of those the second, half of the rest the third."""
        n_relevant = max(1, round(0.35 * n_items))
        n_primary = round(0.45 * n_relevant)
        n_supporting = (n_relevant - n_primary) // 2
        labels = ["primary"] * n_primary + ["supporting"] * n_supporting
        labels += ["type_context"] * (n_relevant - len(labels)) + ["excluded"] * (n_items - n_relevant)
        return self._symbols(labels, n_files, n_tokens)

    def deep(self, n_items: int, n_files: int, n_tokens: int = 40) -> Call:
        """Symbols that all pass all three stages."""
        return self._symbols(["supporting", "type_context"] * (n_items // 2), n_files, n_tokens)

    def _symbols(self, labels: list[str], n_files: int, n_tokens: int) -> Call:
        n_items = len(labels)
        self._rng.shuffle(labels)
        groups = [Group(name=f"src/{self._name()}_{at}.py", evidence=("match3", "together2")) for at in range(n_files)]
        items = [self._symbol(at, groups[at * n_files // n_items], n_tokens) for at in range(n_items)]
        return self._call("precision", items, labels)

    def scope(self, n_items: int, n_tokens: int = 40) -> Call:
        """Files of one to three tiers; a tenth is relevant."""
        tiers = tuple(next(iter(self._cascades["scope"].stages)).questions)
        labels = ["relevant"] * max(1, n_items // 10)
        labels += ["irrelevant"] * (n_items - len(labels))
        self._rng.shuffle(labels)
        items = []
        for at in range(n_items):
            found = tuple(self._rng.sample(tiers, 1 + at % len(tiers)))
            bare = Item(
                id=str(at), kind="file", name=f"src/{self._name()}_{at}.py", evidence=("together3",), tiers=found
            )
            items.append(self._filled(bare, n_tokens))
        return self._call("scope", items, labels)

    def _symbol(self, at: int, group: Group, n_tokens: int) -> Item:
        name = f"{self._name()}_{at}"
        evidence = ("size3", "match5", "covers4")
        bare = Item(id=str(at), kind="function", name=name, signature="(self, value)", evidence=evidence, group=group)
        return self._filled(bare, n_tokens)

    def _filled(self, item: Item, n_tokens: int) -> Item:
        """The item with a documentation line that brings it to a length."""
        root = self._builder.task("", (), Task(text="task"))
        while (missing := n_tokens - len(self._builder.item(root, item).tokens)) > 0:
            item = replace(item, doc=f"{item.doc} {self._words(-(-missing // 2))}".strip())
        return item

    def _call(self, cascade: str, items: list[Item], labels: list[str]) -> Call:
        tree = self._cascades[cascade]
        task = Task(text=self._words(4), seeds=(f"src/{self._name()}_0.py",))
        while (missing := 120 - len(self._builder.task(tree.instructions, tree.questions(), task).tokens)) > 0:
            task = replace(task, text=f"{task.text} {self._words(-(-missing // 2))}")
        return Call(task=task, items=tuple(items), labels=tuple(labels), cascade=cascade)

    def _name(self) -> str:
        return "_".join(self._rng.sample(_WORDS, 2))

    def _words(self, n: int) -> str:
        return " ".join(self._rng.choice(_WORDS) for _ in range(n))


def _mixed(writer: _Writer) -> tuple[Call, ...]:
    return tuple(writer.precision(40, 6) if at % 2 else writer.scope(30) for at in range(8))


_MAKERS: dict[str, Callable[[_Writer], tuple[Call, ...]]] = {
    "precision-100": lambda writer: (writer.precision(100, 12),),
    "scope-60": lambda writer: (writer.scope(60),),
    "mixed-8": _mixed,
    "long": lambda writer: (writer.precision(12, 4, n_tokens=1_000),),
    "deep": lambda writer: (writer.deep(60, 8),),
    "deep-long": lambda writer: (writer.deep(12, 4, n_tokens=1_000),),
    "single": lambda writer: (writer.precision(1, 1),),
}
WORKLOADS = tuple(_MAKERS)
SIZES = (8, 20, 50, 120)
"""Items of the requests that ``sizes`` writes, for each of the two cascades."""


def workload(name: str, builder: PromptBuilder, cascades: Mapping[str, Cascade], seed: int = 0) -> Workload:
    """A workload by name.

    Args:
        name: One of ``WORKLOADS``.
        builder: The prompts of the model at hand, which say how long a text is.
        cascades: Must hold ``precision`` and ``scope`` with the labels of the shipped ones.
        seed: Another seed writes other words of the same lengths.

    Raises:
        InputError: The name is unknown, or a cascade is missing.
    """
    if name not in _MAKERS:
        msg = f"Unknown workload {name!r}. {meant(name, WORKLOADS)}Allowed are {', '.join(WORKLOADS)}."
        raise InputError(msg)
    return Workload(name=name, calls=_MAKERS[name](_writer(builder, cascades, seed)))


def sizes(builder: PromptBuilder, cascades: Mapping[str, Cascade], seed: int = 0) -> Workload:
    """Requests of ``SIZES`` items of either cascade, small and large in turns; see ``workload``.

    Raises:
        InputError: A cascade is missing.
    """
    writer = _writer(builder, cascades, seed)
    calls = ((writer.precision(n, -(-n // 8)), writer.scope(n)) for n in SIZES)
    return Workload(name="sizes", calls=tuple(call for pair in calls for call in pair))


def _writer(builder: PromptBuilder, cascades: Mapping[str, Cascade], seed: int) -> _Writer:
    missing = [needed for needed in ("precision", "scope") if needed not in cascades]
    if missing:
        msg = f"Workloads run the cascades precision and scope; the config lacks {', '.join(missing)}."
        raise InputError(msg)
    return _Writer(builder, cascades, seed)


TokenPath = tuple[tuple[int, ...], ...]
"""The tokens of a question's nodes from the task down: what tells one query from another."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledQuery:
    """One query that the labels cause, with its true answer.

    Attributes:
        adapter: What answers.
        node: The question's node; nodes are shared as prompts share beginnings.
        truth: The answer that leads to the item's label.
        depth: Stages passed before.
    """

    adapter: str
    node: Node
    truth: bool
    depth: int

    @property
    def path(self) -> TokenPath:
        """The tokens of its nodes."""
        return tuple(node.tokens for node in self.node.path)


def labelled_queries(
    workload: Workload, builder: PromptBuilder, cascades: Mapping[str, Cascade]
) -> list[LabelledQuery]:
    """Every query of a workload, in the order in which a loop over its items would ask them."""
    wide = replace(builder, limits=workload.limits)
    return [query for call in workload.calls for query in _queries_of(call, wide, cascades[call.cascade])]


def _queries_of(call: Call, builder: PromptBuilder, cascade: Cascade) -> Iterator[LabelledQuery]:
    root = builder.task(cascade.instructions, cascade.questions(), call.task)
    truths = {label: cascade.truths(label) for label in cascade.labels}
    groups = {item.group: builder.group(root, item.group) for item in call.items if item.group}
    for item, label in zip(call.items, call.labels, strict=True):
        node = builder.item(groups[item.group] if item.group else root, item)
        for depth, (stage, truth) in enumerate(pair for pair in truths[label] if not pair[0].has_values):
            for tier in stage.tiers_of(item):
                question = stage.question(tier)
                yield LabelledQuery(
                    adapter=question.adapter,
                    node=builder.question(node, question.marker),
                    truth=truth is True,
                    depth=depth,
                )


def by_stage(queries: Sequence[LabelledQuery]) -> list[list[int]]:
    """Places of the queries, those of one depth and adapter together: the order with the fewest changes of adapter."""
    found: dict[tuple[int, str], list[int]] = {}
    for at, query in enumerate(queries):
        found.setdefault((query.depth, query.adapter), []).append(at)
    return [found[key] for key in sorted(found, key=lambda key: key[0])]


def by_item(queries: Sequence[LabelledQuery]) -> list[list[int]]:
    """Places of the queries, those of one item together, in the order in which its answers lead to them."""
    found: dict[Node | None, list[int]] = {}
    for at, query in enumerate(queries):
        found.setdefault(query.node.parent, []).append(at)
    return list(found.values())

"""Lines of the parts: labelled tasks as ``cascade tune --data`` reads them, and what they come to. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cascade.dataset.examples import Example, Gathered, key_of
from cascade.dataset.from_log import iso
from cascade.items import Task
from cascade.stages import Answer, in_words
from cascade.tree import Cascade


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question that one adapter answers.

    Attributes:
        adapter: Its name.
        stage: The stage that asks.
        tier: The tier under which it asks; empty if it does not ask by tier.
        truths: Label -> the true answer, where it decides one.
    """

    adapter: str
    stage: str
    tier: str
    truths: Mapping[str, Answer]

    def truth(self, label: str, tiers: Sequence[str]) -> Answer:
        """The true answer for an item; None where it has none."""
        return self.truths.get(label) if not self.tier or self.tier in tiers else None


def asked_of(cascade: Cascade) -> list[Asked]:
    """All questions of a cascade with their true answers."""
    truths = cascade.true_answers()
    return [
        Asked(
            adapter=question.adapter,
            stage=stage.name,
            tier=tier,
            truths={label: own[stage.name] for label, own in truths.items() if stage.name in own},
        )
        for stage in cascade.stages
        for tier, question in stage.questions.items()
    ]


@dataclass(slots=True, kw_only=True)
class Counts:
    """What the lines of a part come to.

    Attributes:
        asked: The questions of the cascade.
        dropped: The label of items that do not matter.
        adapter: The adapter that the dataset is for; empty for the whole cascade.
        tasks: Tasks.
        items: Items.
        positives: Items that matter, or that the adapter truly says yes to.
        labels: Label -> items.
        answers: Adapter -> true answer in words -> items.
        times: When tasks came, as ISO 8601 writes it.
    """

    asked: Sequence[Asked]
    dropped: str
    adapter: str = ""
    tasks: int = 0
    items: int = 0
    positives: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    answers: dict[str, Counter[str]] = field(default_factory=dict)
    times: list[str] = field(default_factory=list)

    def add(self, date: str, rows: Sequence[tuple[str, Sequence[str]]]) -> None:
        """Count a task.

        Args:
            date: When it came; empty where nobody says.
            rows: Label and tiers of each of its items.
        """
        self.tasks += 1
        self.times += [date] if date else []
        for label, tiers in rows:
            self.items += 1
            self.labels[label] += 1
            truths = {(one.adapter, answer) for one in self.asked if (answer := one.truth(label, tiers)) is not None}
            for adapter, answer in truths:
                self.answers.setdefault(adapter, Counter())[in_words(answer)] += 1
            if self.adapter:
                self.positives += (self.adapter, True) in truths
            else:
                self.positives += label != self.dropped

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        times = {"first": min(self.times), "last": max(self.times)} if self.times else {}
        answers = {adapter: dict(sorted(found.items())) for adapter, found in sorted(self.answers.items())}
        counts = {"tasks": self.tasks, "items": self.items, "positives": self.positives}
        return counts | {"labels": dict(self.labels.most_common()), "answers": answers} | times


def line_of(task: Gathered, examples: Sequence[Example], weights: Sequence[float]) -> bytes:
    """A task with its items as a line."""
    head: dict[str, Any] = {"id": task.id}
    head |= {"repository": task.repository} if task.repository else {}
    head |= {"date": iso(task.at)} if task.at is not None else {}
    head["task"] = task.task.text
    head |= {"seeds": list(task.task.seeds)} if task.task.seeds else {}
    items = ", ".join(
        f'{one.item[:-1]}, "label": {json.dumps(one.label)}, "weight": {weight:g}}}'
        for one, weight in zip(examples, weights, strict=True)
    )
    return f'{json.dumps(head)[:-1]}, "items": [{items}]}}\n'.encode("ascii")


@dataclass(frozen=True, slots=True)
class OldLine:
    """A line of a test part that is there.

    Attributes:
        line: It.
        value: The task in it.
    """

    line: bytes
    value: Mapping[str, Any]

    @property
    def task(self) -> Task:
        """The task itself."""
        return Task(text=self.value["task"], seeds=tuple(self.value.get("seeds", ())))

    @property
    def names(self) -> set[str]:
        """Its key, and the ids that it goes by."""
        return {key_of(self.task.text), self.value["id"], self.task.id}

    @property
    def rows(self) -> list[tuple[str, Sequence[str]]]:
        """Label and tiers of each of its items."""
        return [(item["label"], item.get("tiers", ())) for item in self.value["items"]]

    @property
    def labels(self) -> dict[str, str]:
        """Id of each of its items -> its label."""
        return {item["id"]: item["label"] for item in self.value["items"]}


def old_lines(content: bytes) -> list[OldLine]:
    """The lines of a part that is there, whose SHA-256 was checked."""
    return [OldLine(line, json.loads(line)) for line in content.splitlines(keepends=True) if line.strip()]

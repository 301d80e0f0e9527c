"""A cascade: a tree of yes/no stages whose leaves are labels. Immutable, pure, checked when made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NoReturn

from cascade.errors import ConfigError, ItemError
from cascade.items import Item
from cascade.outlook import Outlook

BASE = "base"
"""Adapter name that means none: the base model answers."""

ANY_TIER = ""
"""Tier of a question that is asked of every item alike."""

_ROUNDING = 0.01  # how far shares that sum to 1 may be off


class Combine(StrEnum):
    """How the answers of several tiers make one.

    ``any``: yes if one tier's p reaches that tier's threshold.
    ``mean``: yes if the mean p reaches the mean threshold.
    ``max``: yes if the highest p reaches the threshold of the tier that gave it.
    """

    ANY = "any"
    MEAN = "mean"
    MAX = "max"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a stage asks of one tier.

    Attributes:
        marker: A word or two that follows the item and names the question.
        wording: The question in full, listed in the task's prefix.
        adapter: Name of the LoRA adapter that answers; ``base`` for none.
        threshold: The answer is yes when p(yes) is at least this; in (0, 1).
    """

    marker: str
    wording: str
    adapter: str
    threshold: float


@dataclass(frozen=True, slots=True)
class Target:
    """Where an answer leads: to another stage, or to a label."""

    name: str
    is_label: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One yes/no question of a cascade.

    Attributes:
        name: Unique in its cascade.
        questions: By tier; a stage that does not ask by tier has one, under ``ANY_TIER``.
        yes: Where yes leads.
        no: Where no leads.
        combine: How an item found by several tiers is answered.
    """

    name: str
    questions: Mapping[str, Question]
    yes: Target
    no: Target
    combine: Combine = Combine.ANY

    @property
    def is_tiered(self) -> bool:
        """Whether each tier has a question of its own."""
        return ANY_TIER not in self.questions

    def question(self, tier: str) -> Question:
        """The question put to an item of a tier."""
        return self.questions[tier]

    def tiers_of(self, item: Item) -> tuple[str, ...]:
        """The tiers under which an item is asked.

        Raises:
            ItemError: The stage asks by tier and the item has none, or one that it does not know.
        """
        if not self.is_tiered:
            return (ANY_TIER,)
        unknown = [tier for tier in item.tiers if tier not in self.questions]
        if unknown or not item.tiers:
            msg = (
                f"Item {item.id!r} has tiers {list(item.tiers)}; stage {self.name!r} asks by tier and knows "
                f"{', '.join(self.questions)}. Give the item one or more of these."
            )
            raise ItemError(msg)
        return item.tiers

    def is_yes(self, scores: Mapping[str, float]) -> bool:
        """The stage's answer from p(yes) by tier, never empty; see ``Combine``."""
        if self.combine is Combine.MEAN:
            threshold = sum(self.questions[tier].threshold for tier in scores) / len(scores)
            return sum(scores.values()) / len(scores) >= threshold
        if self.combine is Combine.MAX:
            tier = max(scores, key=lambda name: scores[name])
            return scores[tier] >= self.questions[tier].threshold
        return any(p_yes >= self.questions[tier].threshold for tier, p_yes in scores.items())

    def target(self, *, answer: bool) -> Target:
        """Where an answer leads."""
        return self.yes if answer else self.no


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade:
    """A tree of stages.

    Attributes:
        name: What callers and configs call it.
        instructions: What the model is told before the questions.
        labels: Every label, in the order in which reports show them.
        stages: The first is asked first.
        dropped: The label of items that do not matter; recall counts all others. The first label
            when not given.
        outlook: What labelled data say of its items.

    Raises:
        ConfigError: The stages do not form a cascade; the message names key and remedy.
    """

    name: str
    instructions: str
    labels: tuple[str, ...]
    stages: tuple[Stage, ...]
    dropped: str = ""
    outlook: Outlook = field(default_factory=Outlook)

    def __post_init__(self) -> None:
        if not self.stages:
            self._refuse("stages", "there is none", "Add at least one stage")
        if not self.dropped and self.labels:
            object.__setattr__(self, "dropped", self.labels[0])
        self._check_names()
        for stage in self.stages:
            self._check_stage(stage)
        self._check_cycles(self.first, (), set())
        self._check_reach()
        self._check_outlook()

    @property
    def first(self) -> Stage:
        """The stage asked first."""
        return self.stages[0]

    def stage(self, name: str) -> Stage:
        """The stage of that name; KeyError if there is none."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)

    def questions(self) -> list[Question]:
        """All questions in order of stages and tiers."""
        return [question for stage in self.stages for question in stage.questions.values()]

    def adapters(self) -> list[str]:
        """Names of the adapters that answer, each once, ``base`` left out."""
        names = dict.fromkeys(question.adapter for question in self.questions())
        return [name for name in names if name != BASE]

    def after(self, stage: Stage) -> tuple[Stage, ...]:
        """The stages that an answer of this one may lead to, at once or later, in the cascade's order."""
        found: set[str] = set()
        open_ = [stage]
        while open_:
            here = open_.pop()
            new = {target.name for target in (here.yes, here.no) if not target.is_label} - found
            found |= new
            open_ += map(self.stage, new)
        return tuple(other for other in self.stages if other.name in found)

    def paths(self, start: Stage | None = None) -> Iterator[tuple[str, tuple[tuple[Stage, bool], ...]]]:
        """Every leaf: its label and the (stage, answer) steps that lead there."""
        stage = start or self.first
        for answer in (True, False):
            target = stage.target(answer=answer)
            if target.is_label:
                yield target.name, ((stage, answer),)
            else:
                for label, steps in self.paths(self.stage(target.name)):
                    yield label, ((stage, answer), *steps)

    def truths(self, label: str) -> list[tuple[Stage, bool]]:
        """The stages for which a true label decides the answer, with that answer.

        A stage has no truth for a label whose path does not pass it.
        """
        paths = [{stage.name: answer for stage, answer in steps} for name, steps in self.paths() if name == label]
        found = []
        for stage in self.stages:
            answers = {path.get(stage.name) for path in paths}
            if len(answers) == 1 and (answer := answers.pop()) is not None:
                found.append((stage, answer))
        return found

    def _refuse(self, key: str, problem: str, remedy: str) -> NoReturn:
        msg = f"cascade.{self.name}.{key}: {problem}. {remedy}."
        raise ConfigError(msg)

    def _check_names(self) -> None:
        for key, names in (("labels", self.labels), ("stages", [stage.name for stage in self.stages])):
            twice = sorted({name for name in names if list(names).count(name) > 1})
            if twice:
                self._refuse(key, f"{twice[0]!r} stands there twice", "Name each once")
        if len(self.labels) < len(("yes", "no")):
            problem = f"{list(self.labels)} are fewer than two labels"
            self._refuse("labels", problem, "List every label that a stage leads to")
        if self.dropped not in self.labels:
            self._refuse("dropped", f"{self.dropped!r} is not a label", f"Choose one of {', '.join(self.labels)}")
        markers = [question.marker for question in self.questions()]
        again = sorted({marker for marker in markers if markers.count(marker) > 1})
        if again:
            self._refuse("stages", f"two questions have the marker {again[0]!r}", "Give each a marker of its own")

    def _check_stage(self, stage: Stage) -> None:
        key = f"stages.{stage.name}"
        names = [other.name for other in self.stages]
        for answer, target in (("yes", stage.yes), ("no", stage.no)):
            known: Sequence[str] = self.labels if target.is_label else names
            if target.name not in known:
                kind = "label" if target.is_label else "stage"
                self._refuse(
                    f"{key}.{answer}", f"leads to unknown {kind} {target.name!r}", f"Known are {', '.join(known)}"
                )
        if not stage.questions:
            self._refuse(f"{key}.question", "there is none", "Give a wording, or a table from tier to wording")
        if ANY_TIER in stage.questions and len(stage.questions) > 1:
            self._refuse(f"{key}.question", "a tier has an empty name", "Name every tier")
        for tier, question in stage.questions.items():
            of_tier = f".{tier}" if tier else ""
            if not 0 < question.threshold < 1:
                problem = f"{question.threshold} is outside (0, 1)"
                self._refuse(f"{key}.threshold{of_tier}", problem, "Give a number between the two")
            if not question.adapter:
                self._refuse(f"{key}.adapter{of_tier}", "there is none", f'Name one, or "{BASE}" for the base model')

    def _check_outlook(self) -> None:
        names = [stage.name for stage in self.stages]
        for key, table in (("pass_rates", self.outlook.pass_rates), ("leaves", self.outlook.leaves)):
            for name in table:
                if name not in names:
                    self._refuse(f"outlook.{key}", f"there is no stage {name!r}", f"Known are {', '.join(names)}")
        for name, leaves in self.outlook.leaves.items():
            unknown = [label for label in leaves if label not in self.labels]
            if unknown:
                problem = f"there is no label {unknown[0]!r}"
                self._refuse(f"outlook.leaves.{name}", problem, f"Known are {', '.join(self.labels)}")
            if abs(sum(leaves.values()) - 1) > _ROUNDING:
                problem = f"the shares sum to {sum(leaves.values()):.3f}"
                self._refuse(f"outlook.leaves.{name}", problem, "Let them sum to 1")

    def _check_cycles(self, stage: Stage, above: tuple[str, ...], done: set[str]) -> None:
        if stage.name in above:
            ring = " -> ".join((*above[above.index(stage.name) :], stage.name))
            self._refuse(f"stages.{above[-1]}", f"goes round in a cycle: {ring}", "Lead one of them to a label")
        if stage.name in done:
            return
        for target in (stage.yes, stage.no):
            if not target.is_label:
                self._check_cycles(self.stage(target.name), (*above, stage.name), done)
        done.add(stage.name)

    def _check_reach(self) -> None:
        reached = {Target(self.first.name, is_label=False)}
        open_ = [self.first]
        while open_:
            stage = open_.pop()
            new = {stage.yes, stage.no} - reached
            reached |= new
            open_ += [self.stage(target.name) for target in new if not target.is_label]
        for stage in self.stages:
            if Target(stage.name, is_label=False) not in reached:
                self._refuse(f"stages.{stage.name}", "no answer leads to it", "Lead one to it or remove it")
        for label in self.labels:
            if Target(label, is_label=True) not in reached:
                self._refuse("labels", f"no answer leads to {label!r}", "Lead one to it or remove the label")

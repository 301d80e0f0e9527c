"""What must be true of an answer, told apart from the engine's own code: the scores, and the way through the tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cascade import Cascade, CascadeError, Decision, Item, Report, Status, Task
from cascade.prompt import Node, PromptBuilder
from cascade.report import Step
from cascade.stages import Combine, Question, Stage, Target
from tests.fuzz.request_worlds import REVIEW, Asked, Kind, World

Cold = Callable[[Node, Question], float]
"""(item, question) -> p(yes) where nothing was computed before."""


class WrongError(AssertionError):
    """An answer is not as it must be."""


@dataclass(slots=True)
class Truth:
    """p(yes) of every question on an empty cache, each computed once.

    Attributes:
        world: What is asked.
        builder: Builds prompts of its own.
        cold: What they are answered.
        tolerance: How far an answer may be off.
    """

    world: World
    builder: PromptBuilder
    cold: Cold
    tolerance: float
    _tasks: dict[tuple[str, Task], Node] = field(default_factory=dict)
    _items: dict[tuple[str, Task, str], Node] = field(default_factory=dict)
    _known: dict[tuple[str, Task, str, str], float] = field(default_factory=dict)

    def p(self, cascade: Cascade, task: Task, item: Item, question: Question) -> float:
        """The right answer."""
        key = cascade.name, task, item.id, question.marker
        if key not in self._known:
            above, most = self._item(cascade, task, item), question.max_text_tokens
            above = self.builder.text(above, item, [most])[0] if most else above
            self._known[key] = self.cold(above, question)
        return self._known[key]

    def _item(self, cascade: Cascade, task: Task, item: Item) -> Node:
        key = cascade.name, task, item.id
        if key not in self._items:
            root = self._tasks.get(key[:2]) or self.builder.task(cascade.instructions, cascade.questions(), task)
            self._tasks[key[:2]] = root
            parent = self.builder.group(root, item.group) if item.group is not None else root
            self._items[key] = self.builder.item(parent, item)
        return self._items[key]


@dataclass(frozen=True, slots=True, kw_only=True)
class Excuses:
    """What may have kept an answer from being whole.

    Attributes:
        time: It was limited in time, or settled.
        server: A server could not answer.
    """

    time: bool = False
    server: bool = False


class Checker:
    """Holds answers against the truth.

    Args:
        truth: The scores.

    Attributes:
        n_items: Decisions that were checked.
        n_steps: Scores that were checked.
    """

    def __init__(self, truth: Truth) -> None:
        self._truth = truth
        self.n_items = self.n_steps = 0

    def check_report(self, asked: Asked, report: Report, excuses: Excuses) -> None:
        """Check a whole answer.

        Raises:
            WrongError: Says what is wrong.
        """
        _require(
            [entry.id for entry in report.decisions] == [item.id for item in asked.items], "items are out of order"
        )
        for item, decision in zip(asked.items, report.decisions, strict=True):
            self.check(asked, item, decision, excuses)
        n_steps = sum(bool(step.adapter) for decision in report.decisions for step in decision.steps)
        _require(report.stats.calls >= n_steps, f"{report.stats.calls} calls for {n_steps} steps")
        _require(report.stats.items == len(asked.items), "items are not counted right")

    def check(self, asked: Asked, item: Item, decision: Decision, excuses: Excuses) -> None:
        """Check one decision.

        Raises:
            WrongError: Says what is wrong.
        """
        cascade = self._truth.world.cascades[asked.cascade]
        self.n_items += 1
        if asked.kind is Kind.SCORE:
            self._check_scored(cascade, asked, item, decision)
            return
        way = _Way(cascade, item, list(decision.steps))
        may_be_cut = excuses.time or excuses.server
        while way.stage is not None and way.left:
            self._check_steps(cascade, asked.task, item, way.pass_stage(may_be_partial=may_be_cut))
        _require(not way.left, f"there are steps after the end: {way.left}")
        depth = asked.budget.depth
        _require(depth is None or way.depth <= depth, f"{way.depth} stages were passed, of {depth} at most")
        if way.stage is None:
            _require(decision.label == way.label, f"the steps lead to {way.label!r}, the label is {decision.label!r}")
            due = Status.UNCERTAIN if way.label == REVIEW else Status.DECIDED
            _require(decision.status is due and decision.p_label is None, f"it is {decision.status}")
            return
        _require(may_be_cut or way.depth == depth, f"cut at depth {way.depth} without a reason: {decision.status}")
        _require(bool(decision.cause) <= excuses.server, f"a cause without a server that fails: {decision.cause}")
        due = Status.DEPTH_CAP if way.depth else Status.DEADLINE
        _require(decision.status is due, f"it is {decision.status}, cut at depth {way.depth}")
        _require(
            decision.label in _leaves(cascade, way.stage) - {REVIEW},
            f"{way.stage.name!r} does not lead to {decision.label!r}",
        )
        p = decision.p_label
        _require(p is not None and -1e-9 <= p <= 1 + 1e-9, f"p_label is {p}")

    def _check_scored(self, cascade: Cascade, asked: Asked, item: Item, decision: Decision) -> None:
        stages = [cascade.stage(name) for name in asked.stages] or list(cascade.stages)
        due = [(stage.name, tier) for stage in stages for tier in _tiers(stage, item)]
        found = [(step.stage, step.tier) for step in decision.steps]
        _require(found == due, f"the steps are {found}, where {due} are due")
        _require(decision.label == "", f"a call of score has the label {decision.label!r}")
        self._check_steps(cascade, asked.task, item, decision.steps)

    def _check_steps(self, cascade: Cascade, task: Task, item: Item, steps: Sequence[Step]) -> None:
        for step in steps:
            if not step.adapter:
                continue
            self.n_steps += 1
            question = cascade.stage(step.stage).question(step.tier)
            _require(step.adapter == question.adapter, f"{step.adapter!r} answered for {question.adapter!r}")
            _require(step.threshold == question.threshold, f"the threshold is {step.threshold}")
            due_answer = _answer(step.p_yes, question.no_below or question.threshold, question.threshold)
            _require(step.answer is due_answer, f"{step.p_yes} is answered {step.answer}")
            due = self._truth.p(cascade, task, item, question)
            is_right = abs(step.p_yes - due) <= self._truth.tolerance
            _require(
                is_right, f"{item.id} {step.stage} {step.tier} {step.adapter}: p is {step.p_yes}, cold it is {due}"
            )


def check_error(error: BaseException) -> None:
    """Check that what a caller gets is an error of this library that says what to do.

    Raises:
        WrongError: It is another one.
    """
    if not isinstance(error, CascadeError):
        msg = f"a {type(error).__name__}, which is no CascadeError: {error}"
        raise WrongError(msg) from error
    said = str(error)
    _require(". " in said and said.endswith((".", "?")), f"an error without a remedy: {said}")


class _Way:
    """An item's way as its steps tell it."""

    def __init__(self, cascade: Cascade, item: Item, steps: list[Step]) -> None:
        self._cascade, self._item = cascade, item
        self.left = steps
        self.stage: Stage | None = cascade.first
        self.label = ""
        self.depth = 0
        self._enter()

    def pass_stage(self, *, may_be_partial: bool) -> list[Step]:
        """Go on by the steps of the stage at hand, and return them."""
        stage = self.stage
        assert stage is not None
        tiers = _tiers(stage, self._item)
        own = [step for step in self.left[: len(tiers)] if step.stage == stage.name]
        found = [step.tier for step in own]
        is_whole = found == tiers
        is_sure = may_be_partial and stage.combine is Combine.ANY and any(step.answer for step in own)
        is_partial = is_sure and found == [tier for tier in tiers if tier in found]
        _require(is_whole or is_partial, f"stage {stage.name!r} has the steps {found}, where {tiers} are due")
        del self.left[: len(own)]
        self.depth += 1
        target = _target(stage, own)
        self._go(target.name, is_label=target.is_label)
        return own

    def _enter(self) -> None:
        prior = self._cascade.prior_stage
        p = prior.known_p(self._item) if prior is not None else None
        if prior is None or p is None or prior.no_below <= p < prior.yes_from:
            return
        first = self.left.pop(0) if self.left else None
        _require(first is not None and first.stage == prior.name and not first.adapter, "the prior stage left no step")
        target = prior.yes if p >= prior.yes_from else prior.no
        self._go(target.name, is_label=target.is_label)

    def _go(self, name: str, *, is_label: bool) -> None:
        if is_label:
            self.stage, self.label = None, name
        else:
            self.stage = next(stage for stage in self._cascade.stages if stage.name == name)


def _tiers(stage: Stage, item: Item) -> list[str]:
    return [tier for tier in item.tiers if tier in stage.questions] if len(stage.questions) > 1 else [""]


def _answer(p: float, no_below: float, yes_from: float) -> bool | None:
    return True if p >= yes_from else False if p < no_below else None


def _target(stage: Stage, steps: Sequence[Step]) -> Target:
    """Where the answers of its tiers lead together."""
    if _reaches(stage.combine, [(step.p_yes, step.threshold) for step in steps]):
        return stage.yes
    if _reaches(stage.combine, [(step.p_yes, step.no_below or step.threshold) for step in steps]):
        assert stage.uncertain is not None
        return stage.uncertain
    return stage.no


def _reaches(rule: Combine, pairs: Sequence[tuple[float, float]]) -> bool:
    """Whether the p of several tiers reach their thresholds together."""
    match rule:
        case Combine.ANY:
            return any(p >= threshold for p, threshold in pairs)
        case Combine.MEAN:
            n = len(pairs)
            return sum(p for p, _ in pairs) / n >= sum(threshold for _, threshold in pairs) / n
        case Combine.MAX:
            p, threshold = max(pairs, key=lambda pair: (pair[0], -pair[1]))
            return p >= threshold


def _leaves(cascade: Cascade, stage: Stage) -> set[str]:
    """The labels that a stage leads to, without those of uncertain answers."""
    found: set[str] = set()
    for target in (stage.yes, stage.no, *([stage.uncertain] if stage.uncertain else [])):
        found |= {target.name} if target.is_label else _leaves(cascade, cascade.stage(target.name))
    return found


def _require(is_so: bool, problem: str) -> None:  # noqa: FBT001 - what is demanded comes first
    if not is_so:
        raise WrongError(problem)

"""A stage: one question, perhaps worded for each tier, and where its answers lead. Immutable, pure.

An answer to a yes/no question is True for yes, False for no and None for uncertain: p(yes) lies between the stage's two
thresholds. That to a choice is a value, and that to a score a part of the scale between cut points; None for uncertain
means that the confidence is too low.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import NoneType
from typing import Any, NamedTuple, Self

import numpy as np

from cascade.arguments import is_real, one_of, readable_name, refuse, text, whole
from cascade.errors import ItemError
from cascade.items import Item
from cascade.probability import (
    Array,
    Bools,
    Curve,
    Ints,
    confidence_of_choice,
    confidence_of_score,
    expected_score,
    logit,
)
from cascade.profile import Prior

BASE = "base"
"""Adapter name that means none: the base model answers."""

_SUFFIX = f"/{BASE}"

SERVED = ""
"""Prefix adapter of adapters on servers: the server keeps the KV cache of what stands before their questions."""

ANY_TIER = ""
"""Tier of a question that is asked of every item alike."""

Answer = bool | str | None
"""What a stage says of an item: True for yes, False for no, the value of a choice, the number of a part of a scale from
"0" on, None where it is uncertain."""

MOST_VALUES, MOST_LEVELS = 255, 10
"""Most values of a choice, and levels of a score."""


def in_words(answer: Answer) -> str:
    """An answer as keys and tables have it: yes, no, uncertain, or what it says itself."""
    return "uncertain" if answer is None else answer if isinstance(answer, str) else "yes" if answer else "no"


class Kind(StrEnum):
    """Kinds of questions.

    ``yes_no``: p(yes) against thresholds. ``choice``: one of several values. ``score``: a level of a scale.
    """

    YES_NO = "yes_no"
    CHOICE = "choice"
    SCORE = "score"


class Limits(NamedTuple):
    """The two thresholds of a question; where they are equal it is never uncertain.

    Attributes:
        no_below: The answer is no if p(yes) is less than this.
        yes_from: The answer is yes if p(yes) is at least this.
    """

    no_below: float
    yes_from: float


class ScoreLimits(NamedTuple):
    """The thresholds of a score.

    Attributes:
        least: Confidence below which it is uncertain.
        cuts: Its cut points, rising.
    """

    least: float
    cuts: tuple[float, ...]


Threshold = float | Limits | ScoreLimits
"""The thresholds of a question: one number where both are the same."""


def limits_of(threshold: Threshold) -> Limits:
    """Both thresholds; of a score the least confidence as both."""
    least = threshold.least if isinstance(threshold, ScoreLimits) else threshold
    return least if isinstance(least, Limits) else Limits(least, least)


def cuts_of(threshold: Threshold) -> tuple[float, ...]:
    """The cut points of a score; empty for every other question."""
    return threshold.cuts if isinstance(threshold, ScoreLimits) else ()


def shortest(limits: Limits) -> Threshold:
    """One number where both thresholds are the same."""
    return limits.yes_from if limits.no_below == limits.yes_from else limits


class Answers(NamedTuple):
    """A stage's answers for rows; rows that are in neither are uncertain.

    Attributes:
        yes: Whether each row is answered yes; (n,).
        no: Whether each row is answered no; (n,).
    """

    yes: Bools
    no: Bools

    @classmethod
    def sure(cls, yes: Bools) -> Self:
        """Every row is answered: yes, or else no."""
        return cls(yes, ~yes)

    @classmethod
    def none(cls, n: int) -> Self:
        """No row is answered; all are uncertain."""
        return cls(np.zeros(n, np.bool_), np.zeros(n, np.bool_))

    @property
    def uncertain(self) -> Bools:
        """Whether each row is uncertain; (n,)."""
        return np.asarray(~(self.yes | self.no))

    def of(self, answer: Answer) -> Bools:
        """The rows that are given an answer; (n,)."""
        return self.uncertain if answer is None else self.yes if answer else self.no

    @property
    def places(self) -> Ints:
        """1 for a row that is answered yes, 0 for no, -1 for an uncertain one; (n,)."""
        return np.where(self.yes, 1, np.where(self.no, 0, -1))


class ValueAnswers(NamedTuple):
    """The same of a choice or score.

    Attributes:
        names: The answers that there are, as in ``Answer``.
        places: Place of each row's answer among them; -1 where it is uncertain; (n,).
    """

    names: tuple[str, ...]
    places: Ints

    @property
    def uncertain(self) -> Bools:
        """Whether each row is uncertain; (n,)."""
        return np.asarray(self.places < 0)

    def of(self, answer: Answer) -> Bools:
        """The rows that are given an answer; (n,)."""
        return self.uncertain if answer is None else np.asarray(self.places == self.names.index(str(answer)))


StageAnswers = Answers | ValueAnswers
"""A stage's answers for rows, whatever its kind."""


_FAR = 1e3  # log odds; stands for infinite ones
_NEAR = 1e-9  # log odds; the least that a p below its threshold is below it


def base_of(model: str) -> str:
    """The adapter name that means a named base model alone, where an engine has several."""
    return model + _SUFFIX


def is_base(adapter: str) -> bool:
    """Whether an adapter's name means a base model alone: "base", or "NAME/base" where an engine has several."""
    return adapter == BASE or adapter.endswith(_SUFFIX)


class Combine(StrEnum):
    """How a stage combines the answers of several tiers.

    ``any``: yes if one tier's p reaches that tier's threshold.
    ``mean``: yes if the mean p reaches the mean threshold.
    ``max``: yes if the highest p reaches the threshold of the tier that gave it; of several tiers the lowest threshold.
    """

    ANY = "any"
    MEAN = "mean"
    MAX = "max"


def combine(rule: Combine, p: Array, thresholds: Array) -> Bools:
    """A stage's answer for each row.

    Args:
        rule: How the answers of several tiers make one.
        p: p(yes) by tier, NaN where the row is not asked in that tier; (n, tiers). A row without tiers is answered no.
        thresholds: Threshold of each tier; (tiers,).

    Returns:
        True for yes; (n,).
    """
    if p.shape[1] == 1:  # one tier decides alone under every rule
        return np.asarray(p[:, 0] >= thresholds[0])
    if rule is Combine.ANY:
        return np.asarray((p >= thresholds).any(axis=1))
    joined, limits = joined_p(rule, p, thresholds)
    return np.asarray(joined >= limits)


def joined_p(rule: Combine, p: Array, thresholds: Array) -> tuple[Array, Array]:
    """One p(yes) for each row and the threshold that it is compared with; ``combine`` says yes where p reaches it.

    ``mean`` gives the mean p and the mean threshold. ``max`` gives the tier with the highest p. ``any`` gives the tier
    whose p is farthest above its own threshold in log odds, or least below; where all tiers have the same threshold,
    that is the highest p.

    Args:
        rule: As in ``combine``.
        p: As in ``combine``; (n, tiers).
        thresholds: As in ``combine``; (tiers,).

    Returns:
        p and threshold; (n,) each. NaN where the row is asked in no tier.
    """
    asked = ~np.isnan(p)
    if rule is Combine.MEAN:
        n_asked = asked.sum(axis=1)
        sums = (np.where(asked, values, 0.0).sum(axis=1) for values in (p, thresholds))
        mean, limit = (np.divide(each, n_asked, out=np.full(len(p), np.nan), where=n_asked > 0) for each in sums)
        return mean, limit
    rank = p if rule is Combine.MAX or np.ptp(thresholds) == 0 else _margins(p, thresholds)
    by_threshold = np.argsort(thresholds, kind="stable")  # of equals the first is taken
    best = by_threshold[np.where(asked, rank, -np.inf)[:, by_threshold].argmax(axis=1)]
    is_asked = asked.any(axis=1)
    return p[np.arange(len(p)), best], np.where(is_asked, thresholds[best], np.nan)


def _margins(p: Array, thresholds: Array) -> Array:
    """Log odds of p over those of the threshold; at least 0 just where p reaches it, whatever the logarithm rounds."""
    margins = np.clip(logit(p) - logit(thresholds), -_FAR, _FAR)
    return np.where(p >= thresholds, np.maximum(margins, 0.0), np.minimum(margins, -_NEAR))


def highest_threshold(rule: Combine, p: Array, thresholds: Array, tier: int) -> Array:
    """The highest threshold of one tier at which the stage says yes, all other thresholds held.

    Args:
        rule: As in ``combine``.
        p: As in ``combine``; (n, tiers).
        thresholds: As in ``combine``; (tiers,).
        tier: Index of the tier whose threshold is looked for; its entry in ``thresholds`` does not count.

    Returns:
        (n,); infinite where the stage says yes at any threshold of that tier, minus infinite where it never does.
    """
    highest, lowest = thresholds.copy(), thresholds.copy()
    highest[tier], lowest[tier] = np.inf, -np.inf
    own = p[:, tier]
    if rule is Combine.MEAN:
        others = thresholds.copy()
        others[tier] = 0.0
        own = np.where(np.isnan(p), 0.0, p - others).sum(axis=1)
    return np.where(combine(rule, p, highest), np.inf, np.where(combine(rule, p, lowest), own, -np.inf))


@dataclass(frozen=True, slots=True)
class Value:
    """One of the values among which a choice chooses, or a level of a score.

    Attributes:
        name: The value; one line of printable characters without white space around it.
        description: What it means, for the model; empty for nothing.

    Raises:
        InputError: The name is not such a line, or a value has another type.
    """

    name: str
    description: str = ""

    def __post_init__(self) -> None:
        text("The description of a value", self.description)
        readable_name("The name of a value", self.name)


def as_system_one(wording: str, values: Iterable[Value] = (), *, is_scale: bool = False) -> dict[str, Any]:
    """A question as System One has it: yes/no is ``noul``, a choice has a table of its options, a score its levels.

    Args:
        wording: The question in words.
        values: What a choice chooses from, or the levels of a score from the lowest on; none for yes/no.
        is_scale: Whether the values are levels.
    """
    asked: dict[str, Any] = {"type": "noul", "instructions": wording}
    if is_scale:
        return asked | {"type": "score", "criteria": [": ".join(filter(None, each)) for each in _pairs(values)]}
    options = {name: description or None for name, description in _pairs(values)}
    return asked | {"type": "choice", "criteria": options} if options else asked


def _pairs(values: Iterable[Value]) -> list[tuple[str, str]]:
    return [(value.name, value.description) for value in values]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question, as a stage asks it of the items of one tier: yes or no, or one of several values.

    Attributes:
        marker: A word or two that follows the item and names the question.
        wording: The question in full, listed in the task's prefix.
        adapter: Name of the LoRA adapter that answers; ``base`` for none.
        threshold: The answer is yes if p(yes) is at least this; in (0, 1). Of a choice or score it is the least
            confidence, below which the answer is uncertain; in [0, 1), and 0 means: never.
        max_text_tokens: Most tokens of the item's text that it reads; 0 if it does not read the text.
        no_below: The answer is no if p(yes) is less than this, and uncertain from there to ``threshold``; in
            (0, threshold]. None for the same as ``threshold``: the answer is never uncertain.
        negated: The opposite question in full, which ``cascade audit`` asks as well; empty for none.
        values: The values of a choice, 2 to 255, or the levels of a score, 2 to 10, the lowest first; empty for yes/no.
        is_scale: Whether the values are the levels of a score.
        is_open: Whether it is in the items' own words: each item is a question about the task, both read in full, and
            this is only the form of its answer. Then all questions of the cascade are.
        curve: Curve from raw to calibrated p(yes); None if it was not measured. Answers do not depend on it.

    Raises:
        InputError: A value has another type. The cascade refuses a threshold outside (0, 1).
    """

    marker: str
    wording: str
    adapter: str
    threshold: float
    max_text_tokens: int = 0
    negated: str = ""
    no_below: float | None = None
    values: tuple[Value, ...] = ()
    is_scale: bool = False
    is_open: bool = False
    curve: Curve | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("marker", "wording", "adapter", "negated"):
            text(f"The {name} of a question", getattr(self, name))
        if not is_real(self.threshold):
            refuse(f"The threshold of question {self.marker!r}", self.threshold, "a number between 0 and 1 is needed")
        if whole(self.max_text_tokens, 0) is None:
            refuse(f"max_text_tokens of question {self.marker!r}", self.max_text_tokens, "a whole number is needed")
        if self.no_below is not None and not is_real(self.no_below):
            refuse(
                f"no_below of question {self.marker!r}", self.no_below, "a number between 0 and 1 is needed, or None"
            )
        given = one_of(f"The values of question {self.marker!r}", self.values, Iterable, "a tuple of Values is needed")
        object.__setattr__(self, "values", tuple(given))
        for at, value in enumerate(self.values):
            one_of(f"values[{at}] of question {self.marker!r}", value, Value, "a Value is needed")
        for name in ("is_scale", "is_open"):
            one_of(f"{name} of question {self.marker!r}", getattr(self, name), bool, "True or False is needed")

    @property
    def kind(self) -> Kind:
        """What is asked."""
        return Kind.YES_NO if not self.values else Kind.SCORE if self.is_scale else Kind.CHOICE

    def confidence(self, p: Array) -> Array:
        """How sure a distribution over the values is, in [0, 1]; (n, values) to (n,)."""
        return confidence_of_score(p) if self.is_scale else confidence_of_choice(p)

    @property
    def limits(self) -> Limits:
        """Both thresholds."""
        return Limits(self.threshold if self.no_below is None else self.no_below, self.threshold)

    def with_limits(self, limits: Limits) -> Question:
        """The same question with other thresholds."""
        return replace(self, threshold=limits.yes_from, no_below=None if len({*limits}) == 1 else limits.no_below)


@dataclass(frozen=True, slots=True)
class Target:
    """Where an answer leads: to another stage, or to a label.

    Raises:
        InputError: The name is no text.
    """

    name: str
    is_label: bool

    def __post_init__(self) -> None:
        text("The name of a target", self.name)


NOWHERE = Target("", is_label=False)
"""Where the answers lead that a stage of another kind does not have."""


class Source(StrEnum):
    """Source of the p of a stage that asks no model.

    ``evidence``: a logistic model of the item's facts; an item without evidence that it weighs is uncertain.
    ``caller``: the item's own ``prior``; an item without one is uncertain.
    """

    EVIDENCE = "evidence"
    CALLER = "caller"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A node of a cascade: a question, and where each answer leads.

    A stage with a ``source`` asks no model: its p is known before anything is asked. It may stand before the first
    question, as the cascade's ``prior_stage``.

    Attributes:
        name: Unique in its cascade; one line of printable characters without white space around it, as tiers are.
        questions: Tier -> question; a stage that does not ask by tier has one question, under ``""``. A stage with a
            source has none.
        yes: Stage or label that yes leads to; of a yes/no question.
        no: Stage or label that no leads to; of a yes/no question.
        next: Value of a choice, or number of a part of a scale from "0" on -> stage or label that it leads to.
        cuts: Cut points of a score, rising; an expected score of at least a cut point lies in the part above it.
        uncertain: Stage or label that a p between the two thresholds leads to, or too low a confidence; needed where
            there can be such. None for a stage with a source: the cascade's first question.
        combine: How the answers for an item that several tiers found are combined.
        source: Where p comes from, if no model is asked; None for a stage that asks.
        no_below: With a source, the answer is no if p is less than this; in [0, 1], and 0 means: never.
        yes_from: With a source, the answer is yes if p is at least this; in [no_below, 1], and 1 means: only if p = 1.
        prior: The logistic model that weighs evidence; None where p comes from the caller or nothing is fitted yet.

    Raises:
        InputError: A name is not such a line, or a value has another type.
    """

    name: str
    questions: Mapping[str, Question] = field(default_factory=dict)
    yes: Target = NOWHERE
    no: Target = NOWHERE
    next: Mapping[str, Target] = field(default_factory=dict)
    cuts: tuple[float, ...] = ()
    uncertain: Target | None = None
    combine: Combine = Combine.ANY
    source: Source | None = None
    no_below: float = 0.0
    yes_from: float = 1.0
    prior: Prior | None = None

    def __post_init__(self) -> None:
        of = f"of stage {readable_name('The name of a stage', self.name)!r}"
        one_of(f"questions {of}", self.questions, Mapping, "a dict from tier to Question is needed")
        for tier, question in self.questions.items():
            if tier != ANY_TIER:
                readable_name(f"The name of a tier {of}", tier)
            one_of(f"questions {of}, tier {tier!r},", question, Question, "a Question is needed")
        for name in ("yes", "no"):
            one_of(f"{name} {of}", getattr(self, name), Target, "a Target is needed")
        one_of(f"next {of}", self.next, Mapping, "a dict from value to Target is needed")
        for value, target in self.next.items():
            text(f"A value in next {of}", value)
            one_of(f"next {of}, value {value!r},", target, Target, "a Target is needed")
        object.__setattr__(self, "cuts", tuple(one_of(f"cuts {of}", self.cuts, Iterable, "a tuple is needed")))
        for cut in self.cuts:
            if not is_real(cut):
                refuse(f"A cut point {of}", cut, "a number is needed")
        one_of(f"uncertain {of}", self.uncertain, (Target, NoneType), "a Target is needed, or None")
        one_of(f"combine {of}", self.combine, Combine, f"a Combine is needed: {', '.join(Combine)}")
        one_of(f"source {of}", self.source, (Source, NoneType), f"a Source is needed: {', '.join(Source)}, or None")
        one_of(f"prior {of}", self.prior, (Prior, NoneType), "a Prior is needed, or None")
        for name in ("no_below", "yes_from"):
            if not is_real(getattr(self, name)):
                refuse(f"{name} {of}", getattr(self, name), "a number from 0 to 1 is needed")

    @property
    def kind(self) -> Kind:
        """What is asked; a stage with a source is like a yes/no question."""
        return self.questions[ANY_TIER].kind if ANY_TIER in self.questions else Kind.YES_NO

    @property
    def has_values(self) -> bool:
        """True for a choice or score."""
        return self.kind is not Kind.YES_NO

    @property
    def columns(self) -> tuple[str, ...]:
        """What the probabilities are of from which its answer comes: its tiers, or the values of a choice or score."""
        if self.has_values:
            return tuple(value.name for value in self.questions[ANY_TIER].values)
        return (ANY_TIER,) if self.source is not None else tuple(self.questions)

    @property
    def is_tiered(self) -> bool:
        """True if each tier has a question of its own."""
        return self.source is None and ANY_TIER not in self.questions

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

    @property
    def limits(self) -> dict[str, Limits]:
        """Tier -> both thresholds; a stage with a source has them under ``""``."""
        if self.source is not None:
            return {ANY_TIER: Limits(self.no_below, self.yes_from)}
        return {tier: question.limits for tier, question in self.questions.items()}

    def with_limits(self, limits: Mapping[str, Threshold]) -> Stage:
        """The same stage with other thresholds, given for each tier as ``thresholds`` has them."""
        if self.source is not None:
            return replace(self, **limits_of(limits[ANY_TIER])._asdict())
        questions = {tier: each.with_limits(limits_of(limits[tier])) for tier, each in self.questions.items()}
        return replace(self, questions=questions, cuts=cuts_of(limits.get(ANY_TIER, 0.0)) or self.cuts)

    @property
    def thresholds(self) -> dict[str, Threshold]:
        """Tier -> everything that a tuning may move, in its shortest form; the cut points of a score among it."""
        if self.kind is Kind.SCORE:
            return {ANY_TIER: ScoreLimits(self.limits[ANY_TIER].yes_from, self.cuts)}
        return {tier: shortest(limits) for tier, limits in self.limits.items()}

    @property
    def may_be_uncertain(self) -> bool:
        """Whether some answer is uncertain."""
        if self.has_values:
            return self.questions[ANY_TIER].threshold > 0
        return self.source is not None or any(no_below < yes_from for no_below, yes_from in self.limits.values())

    def answers(self, p: Array, limits: Mapping[str, Threshold] | None = None) -> StageAnswers:
        """The stage's answers for rows; see ``combine``. It is yes by the upper thresholds, and no by the lower ones.

        Of a choice it is the likeliest value, and of a score the part in which the expected score lies.

        Args:
            p: By ``columns``: p(yes) by tier, NaN where the row is not asked in that tier; (n, tiers). A row without
                tiers is answered no; without a p of a source it is uncertain. Of a choice or score the probabilities of
                its values; (n, values).
            limits: Tier -> thresholds; None for the stage's own, as are cut points where none are given.
        """
        if self.has_values:
            given = (limits or self.limits)[ANY_TIER]
            return self._value_answers(p, limits_of(given).yes_from, cuts_of(given) or self.cuts)
        if limits is None:
            return self._answers(p, self.limits)
        return self._answers(p, {tier: limits_of(threshold) for tier, threshold in limits.items()})

    def _value_answers(self, p: Array, least: float, cuts: tuple[float, ...]) -> ValueAnswers:
        question = self.questions[ANY_TIER]
        places = np.searchsorted(cuts, expected_score(p), side="right") if question.is_scale else p.argmax(axis=1)
        is_sure = question.confidence(p) >= least  # and not where p is NaN
        return ValueAnswers(tuple(map(str, self.sure_ways)), np.where(is_sure, places, -1))

    def _answers(self, p: Array, limits: Mapping[str, Limits]) -> Answers:
        every = limits.values()
        no_below, yes_from = (np.array([each[at] for each in every]) for at in range(len(Limits._fields)))
        yes = combine(self.combine, p, yes_from)
        if self.source is not None:
            return Answers(yes, (p[:, 0] < no_below[0]) & ~yes)
        return Answers.sure(yes) if (no_below == yes_from).all() else Answers(yes, ~combine(self.combine, p, no_below))

    def answer(self, scores: Mapping[str, float]) -> Answer:
        """The stage's answer from probabilities by ``columns``; see ``answers``."""
        answers = self.answers(self._row(scores))
        if isinstance(answers, ValueAnswers):
            return answers.names[answers.places[0]] if answers.places[0] >= 0 else None
        return True if answers.yes[0] else False if answers.no[0] else None

    def always(self, answer: Answer, n: int) -> StageAnswers:
        """The same sure answer for each of n rows."""
        if not self.has_values:
            return Answers.sure(np.full(n, answer is True))
        names = tuple(map(str, self.sure_ways))
        return ValueAnswers(names, np.full(n, names.index(str(answer))))

    def p_of_answers(self, p: Array) -> dict[Answer, Array]:
        """Sure answer of a choice or score -> its probability for rows; that of a part is the sum of its levels.

        Args:
            p: Probabilities of the values; (n, values).

        Returns:
            (n,) each.
        """
        if self.kind is Kind.CHOICE:
            return dict(zip(self.sure_ways, p.T, strict=True))
        parts = np.searchsorted(self.cuts, np.arange(p.shape[1]), side="right")
        return {answer: p[:, parts == part].sum(axis=1) for part, answer in enumerate(self.sure_ways)}

    def by_answer(self, p: Array) -> Array:
        """The same as columns; (n, sure answers)."""
        return np.stack(list(self.p_of_answers(p).values()), axis=1)

    def is_surely_yes(self, scores: Mapping[str, float]) -> bool:
        """True if the answer is yes whatever the tiers that are not in ``scores`` say.

        Only ``any`` can know: one tier that says yes decides. That no tier has said yes yet, or that one is uncertain,
        decides nothing.
        """
        return self.combine is Combine.ANY and not self.has_values and self.answer(scores) is True

    def joined_p(self, scores: Mapping[str, float]) -> tuple[float, float]:
        """One p(yes) from those by tier, and the threshold from which on it is yes; see ``joined_p``."""
        yes_from = np.array([limits.yes_from for limits in self.limits.values()])
        p, threshold = joined_p(self.combine, self._row(scores), yes_from)
        return float(p[0]), float(threshold[0])

    def _row(self, scores: Mapping[str, float]) -> Array:
        return np.array([[scores.get(column, np.nan) for column in self.columns]])

    @property
    def sure_ways(self) -> dict[Answer, Target]:
        """Answer -> where it leads, for all but uncertain; those of a choice or score in the order of the values."""
        if self.kind is Kind.SCORE:
            return {str(part): self.next.get(str(part), NOWHERE) for part in range(len(self.cuts) + 1)}
        if self.kind is Kind.CHOICE:
            return {value: self.next.get(value, NOWHERE) for value in self.columns}
        return {True: self.yes, False: self.no}

    @property
    def ways(self) -> dict[Answer, Target]:
        """Answer -> where it leads; without uncertain where nothing is said of it."""
        return self.sure_ways if self.uncertain is None else self.sure_ways | {None: self.uncertain}

    def in_words(self, answer: Answer) -> str:
        """An answer as people read it; the part of a scale by its cut points."""
        if self.kind is not Kind.SCORE or answer is None:
            return in_words(answer)
        part = int(str(answer))
        low, high = (self.cuts[at] if 0 <= at < len(self.cuts) else None for at in (part - 1, part))
        words = (f"from {low:g}" if low is not None else "", f"below {high:g}" if high is not None else "")
        return " ".join(filter(None, words)) or "any score"

    def target(self, *, answer: Answer) -> Target:
        """Where an answer leads; KeyError for uncertain where nothing is said of it."""
        return self.ways[answer]

    def known_p(self, item: Item) -> float | None:
        """P of an item by the stage's source, in [0, 1]; None where nothing is known, or a model is to be asked."""
        if self.source is Source.CALLER:
            return item.prior
        return self.prior.p_matters(item) if self.prior is not None and self.prior.knows(item) else None

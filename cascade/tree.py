"""A cascade: a tree of stages whose leaves are labels. Immutable, pure, checked when made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fractions import Fraction
from types import NoneType
from typing import Any, NoReturn, TypeVar

from cascade.arguments import NAME_NEEDED, is_name, one_of, readable_name, text, texts
from cascade.errors import ConfigError
from cascade.probability import Array
from cascade.profile import Profile
from cascade.stages import (
    ANY_TIER,
    BASE,
    MOST_LEVELS,
    MOST_VALUES,
    NOWHERE,
    Answer,
    Kind,
    Question,
    Source,
    Stage,
    Target,
    in_words,
    is_base,
)

_P = TypeVar("_P", float, Array)

_ROUNDING = 0.01  # how far shares that sum to 1 may be off


class ItemKind(StrEnum):
    """Kinds of items that a repository yields; a commit task yields files and symbols alone."""

    FILES = "files"
    SYMBOLS = "symbols"
    FOLDERS = "folders"
    STAGES = "stages"
    PAIRS = "pairs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cascade:
    """A tree of stages whose leaves are labels. Most cascades come from a config file; see ``read_config``.

    Attributes:
        name: Its name in calls and configs; one line of printable characters without white space around it.
        instructions: Text that the model reads before the questions.
        labels: Every label, in the order in which reports show them; each such a line as well.
        stages: The stages; the first is asked first.
        dropped: The label of items that do not matter; recall counts all others. The first label by default.
        profile: What labelled data say of its items.
        prior_stage: A stage with a source, which stands before the first and asks no model; None for none. One that
            uses evidence and has no prior of its own takes the profile's; if there is none either, it must be tuned
            first. Where it is uncertain the first stage is asked, unless it says otherwise.
        items: What of a repository its items are. If it is absent: files if a stage asks by tier, because retrieval
            tiers find files; symbols otherwise.
        makes_evidence: Whether items that bring no evidence get it before they are asked, from their own texts against
            the task; otherwise they are asked as they are.
        handed_on: The labels that only uncertain answers lead to, such as ``review``; they are never a true label.
        answers: All other labels.

    Raises:
        ConfigError: The stages do not form a tree in which every stage and label is reached; the message names the key
            and the remedy.
        InputError: The name is not such a line, or a value has another type.

    Examples:
        >>> from cascade import Cascade, Question, Stage
        >>> from cascade.stages import Target
        >>> tests = Stage(
        ...     name="tests",
        ...     questions={"": Question(marker="tests", wording="is it a test?", adapter="base", threshold=0.5)},
        ...     yes=Target("test", is_label=True),
        ...     no=Target("code", is_label=True),
        ... )
        >>> cascade = Cascade(name="kinds", instructions="What is it?", labels=("code", "test"), stages=(tests,))
        >>> cascade.dropped
        'code'
    """

    name: str
    instructions: str
    labels: tuple[str, ...]
    stages: tuple[Stage, ...]
    dropped: str = ""
    profile: Profile = field(default_factory=Profile)
    prior_stage: Stage | None = None
    items: ItemKind | None = None
    makes_evidence: bool = False
    handed_on: tuple[str, ...] = field(init=False, compare=False, repr=False)
    answers: tuple[str, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        self._check_types()
        if not self.stages:
            self._refuse("stages", "there is none", "Add at least one stage")
        if not self.dropped and self.labels:
            object.__setattr__(self, "dropped", self.labels[0])
        if self.items is None:
            is_tiered = any(stage.is_tiered for stage in self.stages)
            object.__setattr__(self, "items", ItemKind.FILES if is_tiered else ItemKind.SYMBOLS)
        self._check_names()
        for stage in self.stages:
            self._check_stage(stage)
        if self.prior_stage is not None:
            self._check_prior_stage(self.prior_stage)
        self._check_cycles(self.first, (), set())
        self._tell_answers()
        self._check_handed_on()
        self._check_reach()
        self._check_profile()

    @property
    def first(self) -> Stage:
        """The stage asked first."""
        return self.stages[0]

    @property
    def _all_stages(self) -> tuple[Stage, ...]:
        return self.stages if self.prior_stage is None else (self.prior_stage, *self.stages)

    def without_prior_stage(self) -> Cascade:
        """The same questions, with every item put to the first one."""
        return replace(self, prior_stage=None)

    def stage(self, name: str) -> Stage:
        """The stage of that name; KeyError if there is none."""
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise KeyError(name)

    def questions(self) -> list[Question]:
        """All questions in order of stages and tiers."""
        return [question for stage in self.stages for question in stage.questions.values()]

    def text_limits(self) -> list[int]:
        """Most tokens of an item's text that its questions read, ascending, each once; empty if none reads it."""
        return text_limits(self.questions())

    def adapters(self) -> list[str]:
        """Names of the adapters that answer, each once, base models left out."""
        names = dict.fromkeys(question.adapter for question in self.questions())
        return [name for name in names if not is_base(name)]

    def after(self, stage: Stage) -> tuple[Stage, ...]:
        """The stages that an answer of this one may lead to, at once or later, in the cascade's order."""
        found: set[str] = set()
        open_ = [stage]
        while open_:
            here = open_.pop()
            new = {target.name for target in here.ways.values() if not target.is_label} - found
            found |= new
            open_ += map(self.stage, new)
        return tuple(other for other in self.stages if other.name in found)

    def in_order(self) -> list[Stage]:
        """The stages, each after all that may lead to it; the prior stage is left out."""
        by_name = {stage.name: stage for stage in self.stages}
        done: dict[str, Stage] = {}

        def finish(stage: Stage) -> None:
            for target in reversed(stage.ways.values()):
                if not target.is_label and target.name not in done:
                    finish(by_name[target.name])
            done[stage.name] = stage

        finish(self.first)
        return list(done.values())[::-1]

    def answer_rates(self, stage: Stage) -> dict[Answer, float]:
        """Answer of a stage -> its share among the items that are asked, by the profile; they sum to 1."""
        profile = self.profile
        unsure = profile.uncertain_rate(stage.name) if stage.may_be_uncertain else 0.0
        if stage.has_values:
            shares = profile.answer_shares(stage.name, [in_words(answer) for answer in stage.sure_ways])
            rates = {answer: (1 - unsure) * shares[in_words(answer)] for answer in stage.sure_ways}
        else:
            yes = profile.pass_rate(stage.name)
            rates = {True: yes, False: max(0.0, 1 - yes - unsure)}  # rounding may leave less than nothing
        return rates if stage.uncertain is None else rates | {None: unsure}

    def ends(self) -> Iterator[tuple[Stage, Answer, str]]:
        """Every sure answer that ends at a label, with its stage and that label, in the order of a walk, yes before no.

        Only stages count that sure answers lead to.
        """
        by_name = {stage.name: stage for stage in self.stages}
        open_, seen = _on_walk(self.first), {self.first.name}
        while open_:
            stage, answer = open_.pop()
            target = stage.target(answer=answer)
            if target.is_label:
                yield stage, answer, target.name
            elif target.name not in seen:
                seen.add(target.name)
                open_ += _on_walk(by_name[target.name])

    def n_ways(self, label: str) -> dict[Target, int]:
        """Stage or label -> how many ways of sure answers lead from it to a label."""
        found = {Target(name, is_label=True): int(name == label) for name in self.labels}
        for stage in reversed(self.in_order()):
            found[Target(stage.name, is_label=False)] = sum(found[target] for target in stage.sure_ways.values())
        return found

    def shares(self, label: str, start: Stage | None = None) -> dict[tuple[str, Answer], Fraction]:
        """(stage, answer) -> share of the ways to a label on which the stage gives that answer; in [0, 1].

        Args:
            label: The label.
            start: Where the ways begin; None for the first stage.
        """
        onward = self.n_ways(label)
        first = Target((start or self.first).name, is_label=False)
        found: dict[tuple[str, Answer], Fraction] = {}
        ways_here = dict.fromkeys(onward, 0) | {first: 1}
        for stage in self.in_order():
            here = ways_here[Target(stage.name, is_label=False)]
            for answer, target in stage.sure_ways.items():
                ways_here[target] += here
                found[stage.name, answer] = Fraction(here * onward[target], onward[first] or 1)
        return found

    def truths(self, label: str) -> list[tuple[Stage, Answer]]:
        """The stages for which a true label decides the answer, with that answer; uncertain is never true.

        A stage has no truth for a label whose path does not pass it. The path begins at the first stage; for stages
        that only uncertain answers lead to, at the stage that such an answer leads to, because any item may come there.
        """
        found = {
            key
            for start, own in self._starts()
            for key, share in self.shares(label, start).items()
            if share == 1 and key[0] in own
        }
        return [(stage, answer) for stage in self.stages for answer in stage.sure_ways if (stage.name, answer) in found]

    def _starts(self) -> list[tuple[Stage, set[str]]]:
        """Where the paths of true labels begin, each with the names of the stages that sure answers lead to from there.

        That is the first stage, and then the stages that uncertain answers lead to; a stage counts to the earliest.
        """
        found = [(self.first, self.sure_stages(self.first))]
        reached = set(found[0][1])
        for stage in self.in_order():
            target = stage.uncertain
            if target is not None and not target.is_label and target.name not in reached:
                start = self.stage(target.name)
                found.append((start, self.sure_stages(start) - reached))
                reached |= found[-1][1]
        return found

    def sure_stages(self, stage: Stage) -> set[str]:
        """Names of the stages that sure answers lead to from a stage, its own with them."""
        found: set[str] = set()
        open_ = [stage]
        while open_:
            here = open_.pop()
            found.add(here.name)
            names = {target.name for target in here.sure_ways.values() if not target.is_label} - found
            open_ += map(self.stage, names)
        return found

    def true_answers(self) -> dict[str, dict[str, Answer]]:
        """Label -> the stages that it decides -> the true answer; see ``truths``. Nothing of labels handed on."""
        return {label: {stage.name: answer for stage, answer in self.truths(label)} for label in self.labels}

    def p_answers(self, p_sure: Mapping[str, _P | Mapping[Answer, _P]]) -> dict[tuple[str, Answer], _P]:
        """(stage, answer) -> P that the stage is reached by sure answers alone and gives that answer.

        Args:
            p_sure: Stage -> P that it says yes, in [0, 1], or of a choice or score answer -> its P: a number each, or
                an array with one entry for each item.
        """
        reached: dict[str, Any] = {stage.name: float(stage is self.first) for stage in self.stages}
        found: dict[tuple[str, Answer], _P] = {}
        for stage in self.in_order():
            p = p_sure[stage.name]
            p_own: Mapping[Answer, _P] = p if isinstance(p, Mapping) else {True: p, False: 1 - p}
            for answer, target in stage.sure_ways.items():
                found[stage.name, answer] = reached[stage.name] * p_own[answer]
                if not target.is_label:
                    reached[target.name] = reached[target.name] + found[stage.name, answer]
        return found

    def p_labels(self, p_sure: Mapping[str, _P | Mapping[Answer, _P]]) -> dict[str, _P]:
        """Label -> its P, summed over the ways that lead to it; see ``p_answers``."""
        along = self.p_answers(p_sure)
        found: dict[str, Any] = dict.fromkeys(self.labels, 0.0)
        for stage, answer, label in self.ends():
            found[label] = found[label] + along[stage.name, answer]
        return found

    def as_dict(self) -> dict[str, Any]:
        """JSON form: what is asked, of whom, and where answers lead."""
        return {
            "name": self.name,
            "instructions": self.instructions,
            "labels": list(self.labels),
            "dropped": self.dropped,
            **({"handed_on": list(self.handed_on)} if self.handed_on else {}),
            "items": str(self.items),
            "evidence": "made" if self.makes_evidence else "given",
            "prior_stage": _prior_dict(self.prior_stage) if self.prior_stage else None,
            "stages": [
                {
                    "name": stage.name,
                    "kind": str(stage.kind),
                    "combine": str(stage.combine),
                    "questions": [_question_dict(tier, question) for tier, question in stage.questions.items()],
                    **_ways_dict(stage),
                }
                for stage in self.stages
            ],
        }

    def _refuse(self, key: str, problem: str, remedy: str) -> NoReturn:
        msg = f"cascade.{self.name}.{key}: {problem}. {remedy}."
        raise ConfigError(msg)

    def _check_types(self) -> None:
        of = f"of cascade {readable_name('The name of a cascade', self.name)!r}"
        for name in ("instructions", "dropped"):
            text(f"{name} {of}", getattr(self, name))
        object.__setattr__(self, "labels", texts(f"labels {of}", self.labels))
        object.__setattr__(self, "stages", tuple(one_of(f"stages {of}", self.stages, Iterable, "a tuple is needed")))
        for at, stage in enumerate(self.stages):
            one_of(f"stages[{at}] {of}", stage, Stage, "a Stage is needed")
        one_of(f"profile {of}", self.profile, Profile, "a Profile is needed")
        one_of(f"prior_stage {of}", self.prior_stage, (Stage, NoneType), "a Stage with a source is needed, or None")
        one_of(
            f"items {of}", self.items, (ItemKind, NoneType), f"an ItemKind is needed: {', '.join(ItemKind)}, or None"
        )
        one_of(f"makes_evidence {of}", self.makes_evidence, bool, "True or False is needed")

    def _check_names(self) -> None:
        for label in self.labels:
            if not is_name(label):
                self._refuse("labels", f"{label!r} was given", NAME_NEEDED[0].upper() + NAME_NEEDED[1:])
        for key, names in (("labels", self.labels), ("stages", [stage.name for stage in self.stages])):
            twice = sorted({name for name in names if list(names).count(name) > 1})
            if twice:
                self._refuse(key, f"{twice[0]!r} stands there twice", "Name each once")
        if len(self.labels) < len(("yes", "no")):
            problem = f"{list(self.labels)} are fewer than two labels"
            self._refuse("labels", problem, "List every label that a stage leads to")
        if self.dropped not in self.labels:
            self._refuse("dropped", f"{self.dropped!r} is not a label", f"Choose one of {', '.join(self.labels)}")
        markers = [question.marker for question in self.questions() if not question.is_open]
        again = sorted({marker for marker in markers if markers.count(marker) > 1})
        if again:
            self._refuse("stages", f"two questions have the marker {again[0]!r}", "Give each a marker of its own")
        if 0 < len(markers) < len(self.questions()):
            self._refuse("stages", "some questions are open and others are not", "Ask them in two cascades")

    def _check_stage(self, stage: Stage) -> None:
        key = f"stages.{stage.name}"
        if stage.source is not None:
            problem = f"goes by {stage.source}, which is known before anything is asked"
            self._refuse(key, problem, "Let it stand first, and alone, as the prior stage")
        if not stage.questions:
            self._refuse(f"{key}.question", "there is none", "Give a wording, or a table from tier to wording")
        if ANY_TIER in stage.questions and len(stage.questions) > 1:
            self._refuse(f"{key}.question", "a tier has an empty name", "Name every tier")
        for tier, question in stage.questions.items():
            of_tier = f".{tier}" if tier else ""
            self._check_values(key, stage, question) if question.values else self._check_limits(key, of_tier, question)
            if not question.adapter:
                self._refuse(f"{key}.adapter{of_tier}", "there is none", f'Name one, or "{BASE}" for the base model')
        self._check_targets(key, stage)
        if stage.may_be_uncertain and stage.uncertain is None:
            problem = "there is none, and a p(yes) from no_below up to yes_from is answered neither yes nor no"
            if stage.has_values:
                problem = "there is none, and an answer whose confidence is below least_confidence is uncertain"
            remedy = 'Say where such items go, such as { label = "review" } or { stage = "..." }'
            self._refuse(f"{key}.uncertain", problem, remedy)

    def _check_limits(self, key: str, of_tier: str, question: Question) -> None:
        no_below, yes_from = question.limits
        if not 0 < yes_from < 1:
            name = "threshold" if question.no_below is None else "yes_from"
            self._refuse(f"{key}.{name}{of_tier}", f"{yes_from} is outside (0, 1)", "Give a number between the two")
        if not 0 < no_below <= yes_from:
            problem = f"{no_below} is outside (0, yes_from], and yes_from is {yes_from}"
            self._refuse(
                f"{key}.no_below{of_tier}", problem, "Give a number between 0 and yes_from, or yes_from itself"
            )

    def _check_values(self, key: str, stage: Stage, question: Question) -> None:
        """A choice or score: how many values there are, and that each leads on."""
        most = MOST_LEVELS if question.is_scale else MOST_VALUES
        word = "levels" if question.is_scale else "values"
        names = [value.name for value in question.values]
        if not 2 <= len(names) <= most:  # noqa: PLR2004 - fewer than two are no choice
            problem = f"{len(names)} were given, and a {question.kind} has 2 to {most}"
            self._refuse(f"{key}.{word}", problem, "Give so many, or ask in two stages")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            self._refuse(f"{key}.{word}", f"{twice[0]!r} stands there twice", "Name each once")
        if not 0 <= question.threshold < 1 or question.no_below is not None:
            problem = f"{question.threshold} is outside [0, 1)"
            self._refuse(f"{key}.least_confidence", problem, "Give a number from 0 on and below 1, and no no_below")
        if question.negated:
            self._refuse(f"{key}.negated", f"a {question.kind} has no opposite", "Leave it away")
        if stage.is_tiered or stage.yes != NOWHERE or stage.no != NOWHERE:
            problem = f"a {question.kind} has neither tiers nor yes nor no"
            self._refuse(key, problem, 'Say with "next" where its answers lead')
        self._check_next(key, stage, len(names) - 1)

    def _check_next(self, key: str, stage: Stage, highest: int) -> None:
        cuts = stage.cuts
        if stage.kind is Kind.SCORE and not (list(cuts) == sorted({*cuts}) and all(0 < cut < highest for cut in cuts)):
            problem = f"{list(cuts)} do not rise between 0 and {highest}, the lowest and highest score"
            self._refuse(f"{key}.cuts", problem, "Give them in order, each once")
        if stage.kind is Kind.CHOICE and cuts:
            self._refuse(f"{key}.cuts", "only a score has cut points", "Leave them away")
        open_ = [in_words(answer) for answer in stage.sure_ways if in_words(answer) not in stage.next]
        strange = [value for value in stage.next if value not in stage.sure_ways]
        parts = "; n cut points part a scale into n + 1" if stage.kind is Kind.SCORE else ""
        if strange:
            known = ", ".join(map(in_words, stage.sure_ways))
            self._refuse(f"{key}.next", f"there is no {strange[0]!r}{parts}", f"Known are {known}")
        if open_:
            self._refuse(f"{key}.next", f"{open_[0]!r} leads nowhere{parts}", "Lead it to a stage or a label")

    def _check_targets(self, key: str, stage: Stage) -> None:
        names = [stage.name for stage in self.stages]
        for answer, target in ((in_words(answer), target) for answer, target in stage.ways.items()):
            known: Sequence[str] = self.labels if target.is_label else names
            if target.name not in known:
                kind = "label" if target.is_label else "stage"
                self._refuse(
                    f"{key}.{answer}", f"leads to unknown {kind} {target.name!r}", f"Known are {', '.join(known)}"
                )

    def _check_profile(self) -> None:
        names = [stage.name for stage in self.stages]
        profile = self.profile
        tables = {
            "pass_rates": profile.pass_rates,
            "uncertain_rates": profile.uncertain_rates,
            "answer_rates": profile.answer_rates,
            "label_shares": profile.label_shares,
        }
        for key, table in tables.items():
            for name in table:
                if name not in names:
                    self._refuse(f"profile.{key}", f"there is no stage {name!r}", f"Known are {', '.join(names)}")
        for name, label_shares in self.profile.label_shares.items():
            unknown = [label for label in label_shares if label not in self.labels]
            if unknown:
                problem = f"there is no label {unknown[0]!r}"
                self._refuse(f"profile.label_shares.{name}", problem, f"Known are {', '.join(self.labels)}")
            if abs(sum(label_shares.values()) - 1) > _ROUNDING:
                problem = f"the shares sum to {sum(label_shares.values()):.3f}"
                self._refuse(f"profile.label_shares.{name}", problem, "Let them sum to 1")

    def _check_prior_stage(self, stage: Stage) -> None:
        key = f"stages.{stage.name}"
        if stage.name in [other.name for other in self.stages]:
            self._refuse("stages", f"{stage.name!r} stands there twice", "Name each once")
        if stage.source is None or stage.questions:
            problem = "stands before the first question, and has questions or no source"
            self._refuse(key, problem, f"Give it a source, one of {', '.join(Source)}, and no questions")
        if not 0 <= stage.no_below <= stage.yes_from <= 1:
            problem = f"no_below {stage.no_below} and yes_from {stage.yes_from} are not 0 <= no_below <= yes_from <= 1"
            self._refuse(key, problem, "Between the two the item is uncertain, and the first question is asked")
        prior = self.profile.prior if stage.source is Source.EVIDENCE and stage.prior is None else stage.prior
        uncertain = stage.uncertain or Target(self.first.name, is_label=False)
        stage = replace(stage, prior=prior, uncertain=uncertain)
        object.__setattr__(self, "prior_stage", stage)
        self._check_targets(key, stage)

    def check_is_tuned(self) -> None:
        """Refuse a prior stage that goes by evidence and has nothing that weighs it; it can be tuned, but not run.

        Raises:
            ConfigError: Names the stage and the remedy.
        """
        stage = self.prior_stage
        if stage is not None and stage.source is Source.EVIDENCE and stage.prior is None:
            problem = "goes by evidence, and neither thresholds nor a profile has a prior that weighs it"
            remedy = (
                "Name thresholds that `cascade tune --out` wrote or a profile that `cascade depth --out` wrote, or "
                f'set prior_source = "caller" under [cascade.{self.name}]'
            )
            self._refuse(f"stages.{stage.name}", problem, remedy)

    def _check_cycles(self, stage: Stage, above: tuple[str, ...], done: set[str]) -> None:
        if stage.name in above:
            ring = " -> ".join((*above[above.index(stage.name) :], stage.name))
            self._refuse(f"stages.{above[-1]}", f"goes round in a cycle: {ring}", "Lead one of them to a label")
        if stage.name in done:
            return
        for target in stage.ways.values():
            if not target.is_label:
                self._check_cycles(self.stage(target.name), (*above, stage.name), done)
        done.add(stage.name)

    def _check_reach(self) -> None:
        first = Target(self.first.name, is_label=False)
        reached, open_ = {first}, [self.first]
        while open_:
            stage = open_.pop()
            new = {*stage.ways.values()} - reached
            reached |= new
            open_ += [self.stage(target.name) for target in new if not target.is_label]
        for stage in self.stages:
            if Target(stage.name, is_label=False) not in reached:
                self._refuse(f"stages.{stage.name}", "no answer leads to it", "Lead one to it or remove it")
        prior = self.prior_stage
        if prior is not None and first not in prior.ways.values():
            self._refuse(f"stages.{self.first.name}", "no answer leads to it", f"Lead one of {prior.name!r} to it")
        reached |= {prior.uncertain} if prior is not None and prior.uncertain is not None else set()
        for label in self.labels:
            if Target(label, is_label=True) not in reached:
                self._refuse("labels", f"no answer leads to {label!r}", "Lead one to it or remove the label")
        if self.dropped in self.handed_on:
            problem = f"only uncertain answers lead to {self.dropped!r}, and what is handed on is not dropped"
            self._refuse("dropped", problem, f"Choose one of {', '.join(self.answers)}")

    def _tell_answers(self) -> None:
        reached = {target.name for stage in self._all_stages for target in stage.sure_ways.values() if target.is_label}
        object.__setattr__(self, "answers", tuple(label for label in self.labels if label in reached))
        object.__setattr__(self, "handed_on", tuple(label for label in self.labels if label not in reached))

    def _check_handed_on(self) -> None:
        for stage in self._all_stages:
            target = stage.uncertain
            if target is not None and target.is_label and target.name in self.answers:
                problem = f"leads to {target.name!r}, which yes or no leads to as well, so nobody could tell them apart"
                remedy = 'Lead it to a label of its own, such as "review", or to a stage; or move a threshold'
                self._refuse(f"stages.{stage.name}.uncertain", problem, remedy)


def text_limits(questions: Iterable[Question]) -> list[int]:
    """Most tokens of an item's text that some questions read, ascending, each once; empty if none reads it."""
    return sorted({question.max_text_tokens for question in questions} - {0})


def _prior_dict(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "source": str(stage.source),
        "no_below": stage.no_below,
        "yes_from": stage.yes_from,
        **_ways_dict(stage),
    }


def _on_walk(stage: Stage) -> list[tuple[Stage, Answer]]:
    """A stage's sure answers, the first one last, for a walk that takes from the end."""
    return [(stage, answer) for answer in reversed(stage.sure_ways)]


def _question_dict(tier: str, question: Question) -> dict[str, Any]:
    if question.values:
        return {
            "marker": question.marker,
            "wording": question.wording,
            "adapter": question.adapter,
            "levels" if question.is_scale else "values": [
                {"name": value.name, **({"description": value.description} if value.description else {})}
                for value in question.values
            ],
            "least_confidence": question.threshold,
            **({"reads": "text", "max_text_tokens": question.max_text_tokens} if question.max_text_tokens else {}),
        }
    return {
        **({"tier": tier} if tier else {}),
        "marker": question.marker,
        "wording": question.wording,
        "adapter": question.adapter,
        "threshold": question.threshold,
        **({"reads": "text", "max_text_tokens": question.max_text_tokens} if question.max_text_tokens else {}),
        **({"no_below": question.no_below} if question.no_below is not None else {}),
        **({"negated": question.negated} if question.negated else {}),
    }


def _ways_dict(stage: Stage) -> dict[str, Any]:
    ways = {in_words(answer): _target_dict(target) for answer, target in stage.ways.items() if answer is not None}
    found: dict[str, Any] = {"next": ways} if stage.has_values else ways
    found |= {"cuts": list(stage.cuts)} if stage.kind is Kind.SCORE else {}
    return found | ({"uncertain": _target_dict(stage.uncertain)} if stage.uncertain is not None else {})


def _target_dict(target: Target) -> dict[str, str]:
    return {"label" if target.is_label else "stage": target.name}

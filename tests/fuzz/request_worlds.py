"""What fuzzed requests ask: random cascades over a small pool of tasks and items, so that prompts share beginnings.

Pure: everything follows from a generator's seed.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import nextafter

from cascade import Budget, Cascade, Group, Item, Profile, Task
from cascade.budget import NO_LIMIT
from cascade.profile import Prior
from cascade.stages import ANY_TIER, Combine, Question, Source, Stage, Target

TIERS = ("near", "far", "old")
MARKERS = ("relevant", "primary", "used", "test", "type", "file", "read", "name", "call", "list", "set", "key", "new")
LABELS = ("out", "low", "mid", "high")
REVIEW = "review"
LEAST, MOST = nextafter(0.0, 1.0), nextafter(1.0, 0.0)
"""The most extreme thresholds that a cascade may have."""

TEXT_TOKENS = (0, 0, 0, 4, 20, 50)
"""Most tokens of an item's text that a question may read."""

_WORDS = ("parse", "config", "cache", "token", "route", "error", "merge", "retry", "close", "render", "split", "header")
_EVIDENCE = ("imports", "matches", "changed")


class Kind(StrEnum):
    """How a request is made."""

    CLASSIFY = "classify"
    STREAM = "stream"
    SCORE = "score"
    THREAD = "call from a thread"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """A request.

    Attributes:
        kind: How it is made.
        cascade: The cascade's name.
        task: The task.
        items: The items, perhaps none.
        budget: What it may spend.
        stages: Of a call of score, the stages; empty for all.
        leaves_after: Seconds after which its caller leaves; None for never.
        takes: Of a stream, the decisions after which its caller leaves; None for all.
    """

    kind: Kind
    cascade: str
    task: Task
    items: tuple[Item, ...]
    budget: Budget = NO_LIMIT
    stages: tuple[str, ...] = ()
    leaves_after: float | None = None
    takes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What requests choose from."""

    cascades: Mapping[str, Cascade]
    tasks: Sequence[Task]
    items: Sequence[Item]

    def asked(self, rng: random.Random, kinds: Mapping[Kind, int], most_items: int, mean_s: float) -> Asked:
        """A request.

        Args:
            rng: Where chance comes from.
            kinds: How often requests are made in which way.
            most_items: Most items of a request.
            mean_s: About what a request takes; budgets and patience are near it.
        """
        cascade = rng.choice(list(self.cascades.values()))
        (kind,) = rng.choices(list(kinds), list(kinds.values()))
        n = rng.randint(1, most_items) if rng.random() < 0.97 else 0
        names = [stage.name for stage in cascade.stages]
        return Asked(
            kind=kind,
            cascade=cascade.name,
            task=rng.choice(self.tasks),
            items=tuple(rng.sample(self.items, n)),
            budget=_budget(rng, mean_s) if kind is not Kind.SCORE else NO_LIMIT,
            stages=tuple(rng.sample(names, rng.randint(0, len(names)))) if kind is Kind.SCORE else (),
            leaves_after=rng.expovariate(1 / mean_s) if kind is not Kind.THREAD and rng.random() < 0.1 else None,
            takes=rng.randint(1, n) if n and kind is Kind.STREAM and rng.random() < 0.3 else None,
        )


def random_world(rng: random.Random, adapters: Sequence[str], n_cascades: int = 4, n_items: int = 16) -> World:
    """A world whose questions any of these adapters may answer."""
    cascades = [random_cascade(rng, f"c{number}", adapters) for number in range(n_cascades)]
    tasks = [Task(text=f"{_words(rng, 4)} {at}", seeds=("a.py",) if at % 2 else ()) for at in range(3)]
    of_texts = random.Random(tasks[0].text)
    groups = [Group(name=f"{_words(rng, 1)}_{at}.py", evidence=_evidence(rng)) for at in range(4)]
    items = [
        Item(
            id=f"i{at}",
            kind=rng.choice(("function", "class")),
            name=f"{_words(rng, 2)}_{at}".replace(" ", "_"),
            signature="(self, path)" if rng.random() < 0.3 else "",
            doc=_words(rng, 6) if rng.random() < 0.3 else "",
            text=_words(of_texts, of_texts.choice((0, 3, 15, 80))),
            evidence=_evidence(rng),
            group=rng.choice(groups) if rng.random() < 0.8 else None,
            tiers=tuple(rng.sample(TIERS, rng.randint(1, len(TIERS)))),
            priority=rng.choice((0.0, 0.0, 1.0, -1.0)),
            prior=rng.choice((None, None, 0.0, 0.3, 0.7, 1.0)),
        )
        for at in range(n_items)
    ]
    return World(cascades={cascade.name: cascade for cascade in cascades}, tasks=tasks, items=items)


def random_cascade(rng: random.Random, name: str, adapters: Sequence[str]) -> Cascade:
    """A tree of one to five stages, whose branches may meet again, with everything that a cascade may have."""
    n = rng.choice((1, 2, 3, 3, 4, 5))
    targets = _targets(rng, n)
    doubts = random.Random(repr(targets))  # of its own, so that all else stays as it was drawn
    unsure = {at: _uncertain(doubts, at, n) for at in range(n) if doubts.random() < 0.3}
    named = {*targets.values(), *unsure.values()}
    labels = tuple(label for label in (*LABELS, REVIEW) if Target(label, is_label=True) in named)
    markers = iter(rng.sample(MARKERS, len(MARKERS)))
    own = rng.sample(adapters, min(rng.choice((1, 2, 3, 4)), len(adapters)))
    stages = tuple(
        _stage(rng, f"s{at}", own, markers, (targets[at, True], targets[at, False], unsure.get(at))) for at in range(n)
    )
    return Cascade(
        name=name,
        instructions=f"Which {_words(rng, 2)} matter?",
        labels=labels,
        stages=stages,
        dropped=rng.choice([label for label in labels if label != REVIEW]),
        profile=_profile(rng, [stage.name for stage in stages], [label for label in labels if label != REVIEW]),
        prior_stage=_prior_stage(rng, list(targets.values())) if rng.random() < 0.3 else None,
    )


def _targets(rng: random.Random, n: int) -> dict[tuple[int, bool], Target]:
    """(stage, answer) -> where it leads: a tree first, then some branches to a later stage, the others to labels."""
    found: dict[tuple[int, bool], Target] = {}
    open_ = [(0, True), (0, False)]
    for at in range(1, n):
        found[open_.pop(rng.randrange(len(open_)))] = Target(f"s{at}", is_label=False)
        open_ += [(at, True), (at, False)]
    rng.shuffle(open_)
    for number, (at, answer) in enumerate(open_):
        if number > 1 and at + 1 < n and rng.random() < 0.2:
            found[at, answer] = Target(f"s{rng.randrange(at + 1, n)}", is_label=False)
        else:  # the first two lead to two labels, since fewer are refused
            label = LABELS[number] if number < 2 else rng.choice(LABELS)
            found[at, answer] = Target(label, is_label=True)
    return found


def _uncertain(rng: random.Random, at: int, n: int) -> Target:
    """Where an uncertain answer leads: to a later stage, or to a label that no other answer leads to."""
    if at + 1 < n and rng.random() < 0.7:
        return Target(f"s{rng.randrange(at + 1, n)}", is_label=False)
    return Target(REVIEW, is_label=True)


def _stage(
    rng: random.Random,
    name: str,
    adapters: Sequence[str],
    markers: Iterator[str],
    targets: tuple[Target, Target, Target | None],
) -> Stage:
    yes, no, uncertain = targets
    tiers = TIERS if rng.random() < 0.3 else (ANY_TIER,)
    own = [rng.choice(adapters)] * len(tiers) if rng.random() < 0.3 else [rng.choice(adapters) for _ in tiers]
    questions = {}
    for tier, adapter in zip(tiers, own, strict=True):
        marker = next(markers, None) or f"{name} {tier}"
        threshold = rng.choice((LEAST, MOST, 0.5, 0.25, rng.uniform(0.01, 0.99), rng.uniform(0.01, 0.99)))
        doubts = random.Random(f"{name} {marker} {adapter} {threshold}")
        no_below = doubts.choice((LEAST, threshold / 2, threshold)) if uncertain is not None else None
        questions[tier] = Question(
            marker=marker,
            wording=f"is it {marker}?",
            adapter=adapter,
            threshold=threshold,
            max_text_tokens=random.Random(f"{name} {marker} {adapter}").choice(TEXT_TOKENS),
            no_below=no_below or LEAST if uncertain is not None else None,
        )
    return Stage(name=name, questions=questions, yes=yes, no=no, uncertain=uncertain, combine=rng.choice(list(Combine)))


def _prior_stage(rng: random.Random, targets: Sequence[Target]) -> Stage:
    lower, upper = sorted(rng.choice((0.0, 0.2, 0.5, 0.8, 1.0)) for _ in range(2))
    is_own = rng.random() < 0.5
    weights = {name: rng.uniform(-3, 3) for name in _EVIDENCE}
    return Stage(
        name="prior",
        no_below=lower,
        yes_from=upper,
        yes=rng.choice(targets),
        no=rng.choice(targets),
        source=Source.CALLER if is_own else Source.EVIDENCE,
        prior=None if is_own else Prior(bias=rng.uniform(-1, 1), weights=weights),
    )


def _profile(rng: random.Random, stages: Sequence[str], labels: Sequence[str]) -> Profile:
    rates = (0.0, 0.1, 0.5, 0.9, 1.0)
    label_shares = {
        name: [rng.choice((0.0, 1.0, rng.random())) for _ in labels] for name in stages if rng.random() < 0.3
    }
    return Profile(
        pass_rates={name: rng.choice(rates) for name in stages if rng.random() < 0.5},
        label_shares={
            name: {label: share / sum(own) for label, share in zip(labels, own, strict=True)}
            for name, own in label_shares.items()
            if sum(own)
        },
        prior=Prior(bias=0.0, weights={name: rng.uniform(-3, 3) for name in _EVIDENCE}) if rng.random() < 0.3 else None,
    )


def _budget(rng: random.Random, mean_s: float) -> Budget:
    ms = 1_000 * mean_s * rng.choice((1e-3, 0.1, 0.5, 1.0, 3.0, 30.0)) if rng.random() < 0.4 else None
    return Budget(ms=ms, depth=rng.randint(1, 4) if rng.random() < 0.15 else None)


def _words(rng: random.Random, n: int) -> str:
    return " ".join(rng.choice(_WORDS) for _ in range(n))


def _evidence(rng: random.Random) -> tuple[str, ...]:
    return tuple(name for name in _EVIDENCE if rng.random() < 0.3)

"""What outcomes say of an item's true label, and which of them counts where they differ. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cascade.log.outcomes import LABEL, LoggedOutcome, latest

WRONG = "wrong"
"""Kind of an outcome that says whether the label that an item got is wrong."""

SAMPLED = "sampled"
"""Kind of an outcome that says that an item was drawn at random, and with which probability; it tells no label."""

ORACLE, REST, REVIEW = "oracle", "rest", "review"
"""Sources of labels: a model that was asked for them, items without an outcome, and a person who looked."""

TRUST: Mapping[str, float] = {ORACLE: 0.5}
"""How much sources are trusted unless somebody says otherwise; others 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How outcomes are read.

    Attributes:
        labels: The labels that may be true.
        kinds: Kind of an outcome -> the label where it says yes, and where it says no; an empty one tells nothing. The
            first kind that applies counts.
        renamed: Former label -> the one that it is called now.
        trust: Source -> how much it is trusted, in [0, 1]; 0 leaves it out. A source such as ``oracle:big`` is looked
            up under its whole name first and then under what stands before the colon.
        rest: The label of items without an outcome, of tasks in which some item has one; empty leaves them out.
    """

    labels: tuple[str, ...]
    kinds: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    renamed: Mapping[str, str] = field(default_factory=dict)
    trust: Mapping[str, float] = field(default_factory=dict)
    rest: str = ""

    def trusted(self, source: str) -> float:
        """How much a source is trusted."""
        for table in (self.trust, TRUST):
            for name in (source, family(source)):
                if name in table:
                    return table[name]
        return 1.0

    def now(self, label: str) -> str:
        """What a label is called now."""
        return self.renamed.get(label, label)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What somebody says of an item.

    Attributes:
        label: The label; it may be none of those that can be true.
        weight: How true it is times how much the source is trusted, in (0, 1].
        source: Who says so.
        at: When, in seconds since the epoch.
        trust: How much the source is trusted.
        rank: 0 for an outcome that names the label; others count where there is none such.
    """

    label: str
    weight: float
    source: str
    at: float
    trust: float
    rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of an item.

    Attributes:
        claim: What counts; None where nothing does.
        against: Claims of other sources that say something else.
        strange: Labels that cannot be true.
        corrected: Earlier outcomes that later ones of the same source and kind took the place of.
    """

    claim: Claim | None
    against: tuple[Claim, ...] = ()
    strange: tuple[str, ...] = ()
    corrected: int = 0


def family(source: str) -> str:
    """What stands before the colon of a source."""
    return source.partition(":")[0]


def is_oracles(source: str) -> bool:
    """Whether a label comes from a model that was asked for it."""
    return family(source) == ORACLE


def known(outcomes: Sequence[LoggedOutcome], given: str, reading: Reading) -> Known:
    """What the outcomes of one item come to.

    The source that is trusted most counts, then an outcome that names the label before one of another kind, then the
    latest.

    Args:
        outcomes: All of them, in the order in which they came.
        given: The label that the item got; empty where it is not known.
        reading: How they are read.
    """
    by_source: dict[str, list[LoggedOutcome]] = {}
    for one in outcomes:
        by_source.setdefault(one.source, []).append(one)
    counted = sorted((one for own in by_source.values() for one in latest(own)), key=lambda one: (one.at, one.id))
    claims = [claim for one in counted if (claim := _claim(one, given, reading)) is not None]
    strange = tuple(claim.label for claim in claims if claim.label not in reading.labels)
    claims = [claim for claim in claims if claim.label in reading.labels and claim.trust > 0]
    corrected = len(outcomes) - len(counted)
    if not claims:
        return Known(claim=None, strange=strange, corrected=corrected)
    first = max(reversed(claims), key=lambda claim: (claim.trust, -claim.rank))
    against = tuple(one for one in claims if one.rank == first.rank and one.label != first.label)
    return Known(claim=first, against=against, strange=strange, corrected=corrected)


def _claim(one: LoggedOutcome, given: str, reading: Reading) -> Claim | None:
    """An outcome as a claim; None where it tells no label."""
    if one.what == LABEL:
        label, rank, value = (reading.now(one.label) if one.value > 1 / 2 else ""), 0, one.value
    else:
        yes, no, rank = _meant(one.what, given, reading)
        label = yes if one.value > 1 / 2 else no if one.value < 1 / 2 else ""
        value = max(one.value, 1 - one.value)
    if not label:
        return None
    trust = reading.trusted(one.source)
    return Claim(label=label, weight=trust * value, source=one.source, at=one.at, trust=trust, rank=rank)


def _meant(what: str, given: str, reading: Reading) -> tuple[str, str, int]:
    """The labels that yes and no of a kind mean, and its rank."""
    if what in reading.kinds:
        yes, no = reading.kinds[what]
        return yes, no, 2 + list(reading.kinds).index(what)
    if what == WRONG and given in reading.labels:
        others = [label for label in reading.labels if label != given]
        return (others[0] if len(others) == 1 else ""), given, 1
    return "", "", 0

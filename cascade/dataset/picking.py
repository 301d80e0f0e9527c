"""Which items are worth a look: a random share, sure and wrong answers, and answers near a threshold. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from cascade.dataset.candidates import Candidate

_MOST_DRAWN = 20  # times the items that are to be looked at
_OF_A_TASK = 3  # of its items before another task's come


class Why(StrEnum):
    """Why an item is worth a look."""

    RANDOM = "random"
    WRONG = "wrong"
    UNCERTAIN = "uncertain"


@dataclass(frozen=True, slots=True)
class Pick:
    """An item that is worth a look.

    Attributes:
        candidate: The item.
        why: Why.
    """

    candidate: Candidate
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Picked:
    """Items that are worth a look.

    Attributes:
        picks: The items: those drawn at random first, then those that are wrong, then uncertain ones.
        drawn: (task, item) of all that were drawn at random, those whose label is known already included.
        p: The probability with which each of these was drawn; 0 where none was.
    """

    picks: tuple[Pick, ...]
    drawn: frozenset[tuple[str, str]] = field(default_factory=frozenset)
    p: float = 0.0


def pick(found: Sequence[Candidate], n: int, share: float, *, with_wrong: bool = True) -> Picked:
    """The items that are worth a look.

    The random share is drawn from all items, whatever is known of them, in an order that a hash of task and item
    decides: so a later draw holds all of an earlier one, and each item has the same chance. Items of which a label is
    known need no look, so more are drawn until there are enough others.

    Args:
        found: All items.
        n: How many are to be looked at.
        share: Share of them that is drawn at random, in [0, 1].
        with_wrong: Whether items with a known label may be among them.
    """
    n_random = round(n * share)
    drawn, asked = _draw(found, n_random)
    picks = [Pick(one, Why.RANDOM) for one in asked]
    taken = {one.name for one in asked}
    if with_wrong:
        wrong = [one for one in found if one.is_wrong and not one.is_reviewed and one.name not in taken]
        wrong.sort(key=lambda one: (-one.sureness, one.name))
        picks += [Pick(one, Why.WRONG) for one in wrong[: (n - len(picks)) // 2]]
        taken |= {one.candidate.name for one in picks}
    open_ = [one for one in found if _is_open(one) and one.name not in taken]
    picks += [Pick(one, Why.UNCERTAIN) for one in _spread(open_)[: n - len(picks)]]
    p = len(drawn) / len(found) if drawn else 0.0
    return Picked(picks=tuple(picks), drawn=frozenset(one.name for one in drawn), p=p)


def _draw(found: Sequence[Candidate], n: int) -> tuple[list[Candidate], list[Candidate]]:
    """All that are drawn, and those of them that are to be looked at."""
    most = sum(one.p > 0 for one in found) + _MOST_DRAWN * n
    drawn: list[Candidate] = []
    asked: list[Candidate] = []
    for one in sorted(found, key=place_of) if n else []:
        if len(asked) == n or len(drawn) == most:
            break
        drawn.append(one)
        if _is_open(one):
            asked.append(one)
    return drawn, asked


def _is_open(one: Candidate) -> bool:
    """Whether nobody says what the label is."""
    return not one.label and not one.is_reviewed


def place_of(one: Candidate) -> bytes:
    """Where an item stands in an order that is as good as random, and the same every time."""
    return hashlib.sha256("\n".join(one.name).encode("utf-8", "replace")).digest()


def _spread(found: Sequence[Candidate]) -> list[Candidate]:
    """The least sure first, but few of one task before others have had their turn."""
    of_task = Counter[str]()
    places: list[tuple[int, int]] = []
    ordered = sorted(found, key=lambda one: (one.sureness, one.name))
    for at, one in enumerate(ordered):
        places.append((of_task[one.decision.task] // _OF_A_TASK, at))
        of_task[one.decision.task] += 1
    return [ordered[at] for _, at in sorted(places)]

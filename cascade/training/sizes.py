"""How many examples a training needs, and what a held-out part of a given size can tell. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count

from cascade.errors import InputError, counted
from cascade.evaluation.distributions import Z_95

_Z_POWER = 0.841621  # 80 %: four of five real differences are found
ORDER = 0.75
"""AUC of the order that a validation part must at least tell from chance."""

VALID_SHARE = 0.2
"""Share of the tasks that validate where the data bring no validation part of their own."""

LEAST_TASKS = 5
"""Least tasks of the validation part: its errors are told apart by task."""

DISCORDANT = 0.1
"""Share of the items on which two adapters are taken to answer differently, before either has answered."""

DIFFERENCE = 0.02
"""The difference in accuracy that a comparison should show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """How much there is of something.

    Attributes:
        tasks: Tasks with an item that is asked.
        items: Questions with a known answer, one for each item that is asked.
        rare: Those of them whose answer is not the commonest one; yes, where most answers are no.
    """

    tasks: int
    items: int
    rare: int

    @property
    def rate(self) -> float:
        """Share of the rare answers; 0 without items."""
        return self.rare / self.items if self.items else 0.0

    def as_dict(self) -> dict[str, int]:
        """JSON form."""
        return {"tasks": self.tasks, "items": self.items, "rare": self.rare}


def least_items(rate: float, auc: float = ORDER) -> int:
    """Fewest items on which an order with this AUC is told from chance, four times of five.

    Args:
        rate: Share of the rarer answer, in (0, 1).
        auc: The AUC, in (0.5, 1).

    Source: Hanley and McNeil (1982), The meaning and use of the area under a ROC curve, for the variance of an AUC;
    95 % sure (two-sided) with a power of 80 %.
    """
    for n in count(4):
        rare = max(1, round(n * min(rate, 1 - rate)))
        often = n - rare
        if often < 1:
            continue
        by_chance = math.sqrt((n + 1) / (12 * rare * often))
        if Z_95 * by_chance + _Z_POWER * math.sqrt(_variance(auc, rare, often)) <= auc - 0.5:
            return n
    raise AssertionError  # the variance falls to 0


def _variance(auc: float, rare: int, often: int) -> float:
    two_rare, two_often = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (rare - 1) * (two_rare - auc**2) + (often - 1) * (two_often - auc**2)
    return spread / (rare * often)


def least_to_compare(difference: float = DIFFERENCE, discordant: float = DISCORDANT) -> int:
    """Fewest items on which two adapters, both asked all of them, are told apart four times of five.

    Args:
        difference: By how much the share of right answers differs; in (0, 1).
        discordant: Share of the items of which one alone is right; it is at least the difference.

    Source: Connor (1987), Sample size for testing differences in proportions for the paired-sample design; 95 % sure
    (two-sided) with a power of 80 %. Items are taken to be independent, so that of tasks with many items it takes more.
    """
    share = max(discordant, difference)
    needed = Z_95 * math.sqrt(share) + _Z_POWER * math.sqrt(share - difference**2)
    return math.ceil((needed / difference) ** 2)


def least_difference(items: int, discordant: float = DISCORDANT) -> float:
    """The least difference in accuracy that so many items show four times of five; 1 where they are too few.

    It is the inverse of ``least_to_compare``, found by halving.
    """
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if least_to_compare(middle, discordant) <= items else (middle, high)
    return high


def check_enough(name: str, train: Amount, valid: Amount, *, is_share: bool = True) -> None:
    """Refuse a training on so few examples that nobody could tell whether it learned anything.

    Args:
        name: The adapter.
        train: What it would be trained on.
        valid: What it would be judged by.
        is_share: Whether what validates is a fifth of all; else its size was chosen, by ``--valid`` or a dataset.

    Raises:
        InputError: Says how many there are and how many are needed.
    """
    if not train.items:
        msg = f"{name}: no item of the training part has a known answer to its questions. Give tasks with such labels."
        raise InputError(msg)
    both = Amount(tasks=0, items=train.items + valid.items, rare=train.rare + valid.rare)
    if not both.rare:
        msg = (
            f"{name}: all {counted(both.items, 'item')} have the same answer, so there is nothing to learn. Give items "
            "with other answers too."
        )
        raise InputError(msg)
    least = least_items(both.rate)
    for part, found in (("validation", valid), ("training", train)):
        if not 0 < found.rare < found.items or found.items < least_items(found.rate):
            msg = (
                f"{name}: the {part} part has {counted(found.items, 'item')}, {found.rare} of them with the rarer "
                f"answer. Too few: not even an order with an AUC of {ORDER:g} is told from chance on it (Hanley "
                f"and McNeil 1982). "
            )
            if is_share:
                in_all = math.ceil(least / VALID_SHARE)
                msg += f"It takes about {in_all:,} labelled items in all, a fifth of which validates; there are "
                msg += f"{both.items:,}."
            else:
                msg += f"Each part takes about {least:,} labelled items, both answers among them."
            raise InputError(msg)
    if valid.tasks < LEAST_TASKS:
        msg = f"{name}: the validation part has {counted(valid.tasks, 'task')}; {LEAST_TASKS} are needed."
        if is_share:
            msg += f" That takes about {math.ceil(LEAST_TASKS / VALID_SHARE)} labelled tasks in all."
        raise InputError(msg)


def what_it_tells(valid: Amount) -> str:
    """What a comparison of two adapters on the validation part can show, as a sentence."""
    least, needed = least_difference(valid.items), least_to_compare()
    told = (
        f"On {counted(valid.items, 'validation item')} of {counted(valid.tasks, 'task')}, two adapters that answer "
        f"differently on {DISCORDANT:.0%} of the items are told apart from a difference of {100 * least:.1f} points "
        "of accuracy on (Connor 1987)"
    )
    if valid.items >= needed:
        return f"{told}."
    return f"{told}: below {needed:,} items a difference of {100 * DIFFERENCE:g} points means nothing."

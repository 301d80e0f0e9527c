"""How much each label counts in training: what is seldom labelled counts more, and classes balance. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from cascade.dataset.examples import Example

MOST = 10.0
"""How many times as much as another an item may count because items like it are seldom labelled."""

_DIGITS = 6


def selection(judged: Mapping[str, int], labelled: Mapping[str, int]) -> dict[str, float]:
    """Label that the cascade gave -> how much its labelled items stand for, with a mean of 1 over labelled items.

    Outcomes are known of what was shown or changed, and seldom of what a cascade dropped. Items of each given label
    count by how many there are of them in the log over how many of these are labelled, up to ``MOST`` times the least.

    Args:
        judged: Given label -> items of the log.
        labelled: Given label -> those whose true label is known.
    """
    raw = {given: judged[given] / n for given, n in labelled.items() if n}
    if not raw:
        return {}
    least = min(raw.values())
    held = {given: min(each, MOST * least) for given, each in raw.items()}
    total = sum(labelled[given] for given in held)
    mean = sum(held[given] * labelled[given] for given in held) / total
    return {given: each / mean for given, each in held.items()}


def weights(
    examples: Sequence[Example], by_given: Mapping[str, float], class_of: Callable[[Example], str] | None
) -> list[float]:
    """What each example counts, in (0, 1]; the largest is 1.

    Args:
        examples: All that is trained on.
        by_given: See ``selection``; labels that nobody asked for count as 1.
        class_of: The class of each, so that all classes weigh the same together; None to leave them as they are.
    """
    found = [_own(one, by_given) for one in examples]
    if class_of is not None:
        totals: dict[str, float] = {}
        for one, weight in zip(examples, found, strict=True):
            totals[class_of(one)] = totals.get(class_of(one), 0.0) + weight
        found = [weight / totals[class_of(one)] for one, weight in zip(examples, found, strict=True)]
    most = max(found, default=1.0)
    return [max(round(weight / most, _DIGITS), 10**-_DIGITS) for weight in found]


def balance(
    examples: Sequence[Example],
    by_given: Mapping[str, float],
    found: Sequence[float],
    class_of: Callable[[Example], str],
) -> dict[str, float]:
    """Class -> how many times as much its examples count as they would if classes were left as they are.

    A training takes it out of the odds again, so that p(yes) stays that of the tasks as they came.

    Args:
        examples: All that is trained on.
        by_given: See ``selection``.
        found: What each counts; see ``weights``.
        class_of: The class of each.
    """
    own: dict[str, float] = defaultdict(float)
    balanced: dict[str, float] = defaultdict(float)
    for one, weight in zip(examples, found, strict=True):
        name = class_of(one)
        own[name] += _own(one, by_given)
        balanced[name] += weight
    return {name: balanced[name] / total for name, total in own.items()}


def _own(one: Example, by_given: Mapping[str, float]) -> float:
    """What an example counts where classes are left as they are."""
    return one.weight * by_given.get(one.given, 1.0)

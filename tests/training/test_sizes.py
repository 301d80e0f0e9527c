"""How many examples a training needs, and what a validation part can tell."""

from __future__ import annotations

import math

import pytest

from cascade.errors import InputError
from cascade.training.sizes import (
    Amount,
    check_enough,
    least_difference,
    least_items,
    least_to_compare,
    what_it_tells,
)

GOOD = Amount(tasks=10, items=60, rare=25)


def test_rare_answers_take_more_items() -> None:
    """An order is told from chance by about 40 items of even answers, and by ever more where one answer is rare."""
    needed = [least_items(rate) for rate in (0.5, 0.3, 0.1, 0.05)]
    assert needed == sorted(needed)
    assert 35 <= needed[0] <= 45
    assert abs(least_items(0.9) - least_items(0.1)) <= 2
    assert least_items(0.5, auc=0.6) > 4 * needed[0]


def test_the_size_of_a_comparison_is_that_of_mcnemar() -> None:
    """By Connor's formula two points at a tenth of discordant answers take 1,960 pairs; the reverse agrees."""
    share, difference = 0.1, 0.02
    by_hand = (1.959964 * math.sqrt(share) + 0.841621 * math.sqrt(share - difference**2)) ** 2 / difference**2
    assert least_to_compare(difference, share) == math.ceil(by_hand) == 1960
    assert least_difference(1960) == pytest.approx(0.02, abs=1e-4)
    assert least_difference(100) > least_difference(1000)


@pytest.mark.parametrize(
    ("train", "valid", "words"),
    [
        (
            Amount(tasks=9, items=30, rare=15),
            GOOD,
            r"the training part has 30 items, 15 .* takes about \d+ labelled items",
        ),
        (
            GOOD,
            Amount(tasks=9, items=20, rare=10),
            "the validation part has 20 items, 10 of them with the rarer answer",
        ),
        (GOOD, Amount(tasks=9, items=60, rare=0), "the validation part has 60 items, 0 of them"),
        (GOOD, Amount(tasks=2, items=60, rare=30), r"2 tasks; 5 are needed\. That takes about 25 labelled tasks"),
        (Amount(tasks=9, items=30, rare=0), Amount(tasks=9, items=30, rare=0), "all 60 items have the same answer"),
        (Amount(tasks=0, items=0, rare=0), GOOD, "no item of the training part has a known answer"),
    ],
)
def test_too_few_are_refused_with_the_number_needed(train: Amount, valid: Amount, words: str) -> None:
    """The refusal says which part is too small, what it has, and how much is needed in all."""
    with pytest.raises(InputError, match=f"^mine: .*{words}"):
        check_enough("mine", train, valid)


@pytest.mark.parametrize(
    ("valid", "words"),
    [
        (Amount(tasks=2, items=60, rare=30), r"2 tasks; 5 are needed\.$"),
        (Amount(tasks=9, items=20, rare=10), r"Each part takes about \d+ labelled items, both answers among them\.$"),
    ],
)
def test_a_part_of_a_chosen_size_is_not_called_a_fifth(valid: Amount, words: str) -> None:
    """Where ``--valid`` or a dataset says what validates, the refusal says what that part needs."""
    with pytest.raises(InputError, match=words):
        check_enough("mine", GOOD, valid, is_share=False)


def test_enough_is_enough() -> None:
    """Parts of sixty items with twenty-five of the rarer answer are accepted."""
    check_enough("mine", GOOD, GOOD)


def test_small_parts_are_warned_of() -> None:
    """Below the size for two points the sentence says so; above it does not."""
    assert "below 1,960 items a difference of 2 points means nothing" in what_it_tells(GOOD)
    assert "means nothing" not in what_it_tells(Amount(tasks=100, items=2000, rare=100))

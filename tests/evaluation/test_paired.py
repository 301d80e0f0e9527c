"""The paired test: exact on what can be counted by hand, and silent where there is too little."""

from __future__ import annotations

import numpy as np
import pytest

from cascade.evaluation.paired import mcnemar, paired
from cascade.probability import Array, Bools, Ints


@pytest.mark.parametrize(
    ("only_one", "only_other", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (0, 5, 0.0625), (1, 9, 0.021484375), (9, 1, 0.021484375)],
)
def test_mcnemar_is_the_binomial_test(only_one: int, only_other: int, p: float) -> None:
    """Small counts have the exact p-value, either way round."""
    assert mcnemar(only_one, only_other) == pytest.approx(p)


def test_mcnemar_of_many_is_close_to_the_exact_one() -> None:
    """From a thousand pairs on the normal distribution takes over without a step."""
    assert mcnemar(470, 530) == pytest.approx(mcnemar(471, 530), abs=0.01)


def _rows(n_tasks: int) -> tuple[Ints, Ints]:
    return np.repeat(np.arange(n_tasks), 4), np.tile([1, 1, 0, 0], n_tasks)


def _right(truths: Ints, *scores: Array) -> tuple[Bools, Bools]:
    one, other = ((p >= 0.5) == (truths == 1) for p in scores)
    return one, other


def test_a_better_adapter_is_found() -> None:
    """One that orders every task right, against one that swaps two items, is better in every draw."""
    tasks, truths = _rows(12)
    good, bad = np.tile([0.9, 0.8, 0.2, 0.1], 12), np.tile([0.9, 0.1, 0.2, 0.1], 12)
    found = paired(bad, good, truths, tasks, _right(truths, bad, good))
    assert (found.n_tasks, found.n_rows, found.before, found.after) == (12, 48, 0.625, 1.0)
    assert found.low == found.high == pytest.approx(0.375)
    assert (found.only_before, found.only_after) == (0, 12)
    assert found.is_better()
    assert not found.is_better(0.4)
    assert not found.is_worse()
    back = paired(good, bad, truths, tasks, _right(truths, good, bad))
    assert back.is_worse()


def test_what_is_not_known_does_not_count() -> None:
    """Rows without a truth or an answer, and tasks of one class, are left out; too few tasks say nothing."""
    tasks, truths = _rows(3)
    truths = np.where(tasks == 2, -1, np.where(tasks == 1, 1, truths))
    p = np.tile([0.9, np.nan, 0.2, 0.1], 3)
    found = paired(p, p, truths, tasks, _right(truths, p, p))
    assert (found.n_tasks, found.n_rows) == (1, 6)
    assert not found.is_better(-1.0)
    assert not found.is_worse()
    nothing = paired(p, p, np.full(12, -1), tasks, _right(truths, p, p))
    assert nothing.as_dict()["before"] is None


def test_answers_of_a_choice_are_compared_by_their_probabilities() -> None:
    """Every task counts, since one answer is true and the others are not; what is not known or asked is left out."""
    tasks, truths = np.repeat(np.arange(12), 2), np.tile([0, 2], 12)
    good = np.tile([[0.8, 0.1, 0.1], [0.1, 0.2, 0.7]], (12, 1))
    bad = np.tile([[0.3, 0.1, 0.6], [0.1, 0.2, 0.7]], (12, 1))
    right = bad.argmax(axis=1) == truths, good.argmax(axis=1) == truths
    found = paired(bad, good, truths, tasks, right)
    assert (found.n_tasks, found.n_rows, found.after, found.only_before, found.only_after) == (12, 24, 1.0, 0, 12)
    assert found.before == pytest.approx(7 / 8)  # 0.3 is below 0.6 alone of the eight pairs
    assert found.is_better()
    truths[:2], good[2:4] = -1, np.nan
    assert paired(bad, good, truths, tasks, right).n_rows == 20

"""Metrics: each against its definition written out the slow way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cascade.errors import counted
from cascade.evaluation.metrics import (
    accuracy,
    auc,
    auc_per_task,
    best_f1_threshold,
    calibration_error,
    f1,
    macro_f1,
    recall_over_rows,
    rows_by_task,
)

ROWS = st.lists(st.tuples(st.integers(0, 20).map(lambda n: n / 20), st.booleans()), min_size=1, max_size=30)
Rows = list[tuple[float, bool]]


@given(rows=ROWS)
def test_auc_counts_pairs(rows: Rows) -> None:
    """AUC is the share of (yes, no) pairs in the right order, ties counted half."""
    pairs = [(good > bad) + (good == bad) / 2 for good, is_yes in rows if is_yes for bad, other in rows if not other]
    found = auc(*zip(*rows, strict=True))
    if pairs:
        assert found == pytest.approx(np.mean(pairs))
    else:
        assert math.isnan(found)


@given(rows=ROWS)
def test_auc_depends_on_order_only(rows: Rows) -> None:
    """A rising function of the scores leaves the AUC as it is; turning them over mirrors it."""
    scores, truths = zip(*rows, strict=True)
    found = auc(scores, truths)
    assert auc(np.exp(scores), truths) == pytest.approx(found, nan_ok=True)
    assert auc(-np.asarray(scores), truths) == pytest.approx(1 - found, nan_ok=True)


def test_auc_per_task_is_a_mean_over_tasks() -> None:
    """Tasks count alike whatever their size, and tasks of one class do not count."""
    scores = [0.9, 0.1, 0.2, 0.8, 0.8, 0.5]
    truths = [True, False, True, False, False, True]
    assert auc_per_task(scores, truths, ["a", "a", "b", "b", "b", "c"]) == pytest.approx(0.5)
    assert math.isnan(auc_per_task([0.5], [True], ["a"]))


def test_rows_by_task() -> None:
    """Rows come by task, tasks sorted, rows in their own order; none without rows."""
    assert [rows.tolist() for rows in rows_by_task(["b", "a", "b", "c", "a"])] == [[1, 4], [0, 2], [3]]
    assert rows_by_task([]) == []


def test_calibration_error_of_a_known_case() -> None:
    """Ten rows at 0.2 with five yes and ten at 0.9 with nine yes are off by 0.3 and 0.0."""
    p_yes = [0.2] * 10 + [0.9] * 10
    truths = [True] * 5 + [False] * 5 + [True] * 9 + [False]
    assert calibration_error(p_yes, truths) == pytest.approx(0.15)
    assert math.isnan(calibration_error([], []))


@given(rows=ROWS, n_bins=st.integers(1, 15), seed=st.integers(0, 9))
def test_calibration_error_ignores_the_order_of_rows(rows: Rows, n_bins: int, seed: int) -> None:
    """The error is in [0, 1] and the same for rows in any order, however many scores are equal."""
    p_yes, truths = map(np.asarray, zip(*rows, strict=True))
    found = calibration_error(p_yes, truths, n_bins)
    order = np.random.default_rng(seed).permutation(len(rows))
    again = calibration_error(p_yes[order], truths[order], n_bins)
    assert again == pytest.approx(found)
    assert 0 <= found <= 1


def test_calibration_error_has_bins_of_equal_mass() -> None:
    """Twenty different scores fall into ten bins of two neighbours each."""
    p_yes = np.arange(20) / 20
    truths = np.arange(20) % 2 == 0
    pairs = [abs(p_yes[at : at + 2].sum() - truths[at : at + 2].sum()) for at in range(0, 20, 2)]
    assert calibration_error(p_yes, truths) == pytest.approx(sum(pairs) / 20)


@given(rows=st.lists(st.tuples(st.booleans(), st.booleans()), max_size=20))
def test_f1_is_the_harmonic_mean(rows: list[tuple[bool, bool]]) -> None:
    """F1 is the harmonic mean of precision and recall; 0 where nothing is found, and none where yes is never true."""
    hits = sum(said and is_yes for said, is_yes in rows)
    n_said = sum(said for said, _ in rows)
    n_yes = sum(is_yes for _, is_yes in rows)
    expected = 2 / (n_said / hits + n_yes / hits) if hits else 0.0 if n_yes else math.nan
    assert f1([said for said, _ in rows], [is_yes for _, is_yes in rows]) == pytest.approx(expected, nan_ok=True)


@given(rows=ROWS)
def test_the_best_threshold_is_best(rows: Rows) -> None:
    """No other threshold in (0, 1) finds a higher F1 on the same rows."""
    scores, truths = map(np.asarray, zip(*rows, strict=True))
    best = best_f1_threshold(scores, truths)
    assert 0 < best < 1
    assume(truths.any())
    others = np.clip(np.unique(scores), 1e-6, 1 - 1e-6)
    assert f1(scores >= best, truths) >= max(f1(scores >= other, truths) for other in others) - 1e-12


def test_the_best_threshold_without_a_yes() -> None:
    """Without a yes to find, the threshold is 0.5."""
    assert best_f1_threshold([0.1, 0.9], [False, False]) == 0.5
    assert best_f1_threshold([], []) == 0.5


def test_macro_f1() -> None:
    """Macro F1 is the mean over the labels that occur as truth; others count only as mistakes."""
    confusion = np.array([[3, 1, 0], [0, 2, 2], [0, 0, 0]])
    assert macro_f1(confusion) == pytest.approx((6 / 7 + 4 / 7) / 2)
    assert math.isnan(macro_f1(np.zeros((2, 2), dtype=np.int64)))


def test_accuracy_and_recall_of_what_matters() -> None:
    """An item that matters is found whatever its label became, as long as it is not the dropped one."""
    confusion = np.array([[5, 1, 0], [1, 2, 1], [0, 0, 2]])
    assert accuracy(confusion) == pytest.approx(9 / 12)
    assert recall_over_rows(confusion, dropped=0) == pytest.approx(5 / 6)
    assert math.isnan(accuracy(np.zeros((2, 2), dtype=np.int64)))
    assert math.isnan(recall_over_rows(np.zeros((2, 2), dtype=np.int64), dropped=0))


def test_counts_are_words() -> None:
    """One thing is said in the singular, any other number in the plural, with commas between thousands."""
    assert [counted(n, "task") for n in (0, 1, 2, 1_234)] == ["0 tasks", "1 task", "2 tasks", "1,234 tasks"]
    assert [counted(n, "query", "queries") for n in (1, 2)] == ["1 query", "2 queries"]

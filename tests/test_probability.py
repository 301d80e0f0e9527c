"""From logits to probabilities, and what a distribution over values says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cascade.probability import (
    confidence_of_choice,
    confidence_of_score,
    expected_score,
    odds_of_likeliest,
    p_yes,
    softmax,
    sure_log,
)


def test_two_values_are_yes_and_no() -> None:
    """The softmax of two logits is p(yes) of their difference, and the odds of the likeliest are that difference."""
    for yes, no in ((0.3, -1.2), (-50.0, 60.0), (1e4, 0.0)):
        assert softmax([yes, no])[0] == pytest.approx(float(p_yes(yes - no)), abs=1e-12)
        assert odds_of_likeliest([yes, no]) == pytest.approx(abs(yes - no))


def test_a_constant_changes_no_distribution() -> None:
    """Log-probabilities serve as logits do, and every row sums to 1."""
    logits = np.array([[1.0, 2.0, -3.0], [700.0, 0.0, -700.0]])
    assert softmax(logits + 5) == pytest.approx(softmax(logits))
    assert softmax(logits).sum(axis=1) == pytest.approx([1, 1])


def test_the_odds_of_the_likeliest_are_those_of_its_probability() -> None:
    """Against all others together; what is no number gives no number."""
    logits = [0.5, 2.0, -1.0, 1.9]
    p = float(softmax(logits).max())
    assert odds_of_likeliest(logits) == pytest.approx(math.log(p / (1 - p)))
    for spoilt in (math.nan, math.inf, -math.inf):
        assert math.isnan(odds_of_likeliest([0.0, spoilt, 1.0]))


def test_logarithms_are_finite_and_lead_back() -> None:
    """A probability of 0 has a logarithm, too."""
    p = np.array([0.0, 0.25, 0.75])
    assert np.isfinite(sure_log(p)).all()
    assert softmax(sure_log(p)) == pytest.approx(p, abs=1e-12)


def test_the_confidence_of_a_choice_is_how_far_it_lies_above_chance() -> None:
    """1 where one value has all, 0 where all are alike; (m - 1/n) / (1 - 1/n) between."""
    p = np.array([[1.0, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.7, 0.1, 0.1, 0.1]])
    assert confidence_of_choice(p) == pytest.approx([1, 0, (0.7 - 0.25) / 0.75])


def test_a_score_is_expected_and_its_confidence_its_closeness() -> None:
    """Sum of i * p_i; 1 - sum(p_i * |i - k|) / D, not below 0, with D the mean distance from the middle."""
    p = np.array([[0, 0, 1.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.0, 0.5], [0.2, 0.7, 0.1]])
    assert expected_score(p) == pytest.approx([2, 1, 1, 0.9])
    assert confidence_of_score(p) == pytest.approx([1, 0, 0, 1 - 0.3 / (2 / 3)])

"""How the answers of several tiers make one: the rules against loops over rows, and what each rule goes by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.probability import Array, logit
from cascade.stages import Combine, Question, Stage, Target, combine, highest_threshold, joined_p

_TIERS = ("x", "y", "z")


def rows(seed: int, n: int = 40) -> tuple[Array, Array]:
    """p(yes) of rows that are asked in one to three tiers, on a grid so that ties occur, and the tiers' thresholds."""
    rng = np.random.default_rng(seed)
    p = rng.integers(0, 11, (n, len(_TIERS))) / 10
    asked = rng.random(p.shape) < 0.6
    asked[np.arange(n), rng.integers(0, len(_TIERS), n)] = True
    return np.where(asked, p, np.nan), rng.integers(1, 10, len(_TIERS)) / 10


def answer(rule: Combine, row: dict[int, float], thresholds: Array) -> bool:
    """A row's answer in plain Python."""
    if rule is Combine.ANY:
        return any(p >= thresholds[tier] for tier, p in row.items())
    if rule is Combine.MAX:
        best = max(row, key=lambda tier: (row[tier], -thresholds[tier]))
        return row[best] >= float(thresholds[best])
    return sum(row.values()) / len(row) >= sum(float(thresholds[tier]) for tier in row) / len(row)


def stage(rule: Combine, thresholds: Array) -> Stage:
    """A stage with these thresholds by tier."""
    questions = {
        tier: Question(marker=tier, wording="q", adapter="a", threshold=float(threshold))
        for tier, threshold in zip(_TIERS, thresholds, strict=True)
    }
    yes, no = Target("yes", is_label=True), Target("no", is_label=True)
    return Stage(name="s", questions=questions, yes=yes, no=no, combine=rule)


@given(st.sampled_from(Combine), st.integers(0, 10_000))
def test_arrays_and_single_items_have_one_rule(rule: Combine, seed: int) -> None:
    """A loop over rows, the stage's own answer to one item, and one p against one threshold say the same."""
    p, thresholds = rows(seed)
    by_row = [{tier: float(p_yes) for tier, p_yes in enumerate(row) if not np.isnan(p_yes)} for row in p]
    expected = [answer(rule, row, thresholds) for row in by_row]
    assert combine(rule, p, thresholds).tolist() == expected
    asked = stage(rule, thresholds)
    assert [asked.answer({_TIERS[tier]: p_yes for tier, p_yes in row.items()}) for row in by_row] == expected
    joined, limits = joined_p(rule, p, thresholds)
    assert (joined >= limits).tolist() == expected


@pytest.mark.slow
@given(st.sampled_from(Combine), st.integers(0, 10_000), st.integers(0, 2))
def test_the_highest_threshold_is_the_last_that_says_yes(rule: Combine, seed: int, tier: int) -> None:
    """Each row says yes at every threshold of the tier up to it, and at none above."""
    p, thresholds = rows(seed)
    highest = highest_threshold(rule, p, thresholds, tier)
    for threshold in np.linspace(0.005, 0.995, 34):  # between the values of p, where rounding decides nothing
        moved = thresholds.copy()
        moved[tier] = threshold
        assert combine(rule, p, moved).tolist() == (threshold <= highest).tolist()


@given(st.sampled_from((Combine.ANY, Combine.MAX)), st.integers(0, 10_000))
def test_with_one_threshold_for_all_tiers_the_highest_p_counts(rule: Combine, seed: int) -> None:
    """Then p of a stage does not depend on what that threshold is."""
    p, _ = rows(seed)
    joined, _ = joined_p(rule, p, np.full(3, 0.3))
    np.testing.assert_array_equal(joined, np.nanmax(p, axis=1))


def test_any_goes_by_the_tier_farthest_beyond_its_own_threshold() -> None:
    """0.3 of 0.2 says yes, and 0.7 of 0.8 does not, so the first is what the answer rests on."""
    thresholds = np.array([0.2, 0.8])
    joined, limits = joined_p(Combine.ANY, np.array([[0.3, 0.7], [0.1, 0.7], [np.nan, 0.7]]), thresholds)
    assert joined.tolist() == [0.3, 0.7, 0.7]
    assert limits.tolist() == [0.2, 0.8, 0.8]
    just_below = np.nextafter(0.9, 0)
    joined, _ = joined_p(Combine.ANY, np.array([[just_below, 0.8]]), np.array([0.9, 0.8]))
    assert joined.tolist() == [0.8]
    assert logit(just_below) == pytest.approx(logit(0.9))


@pytest.mark.parametrize("rule", Combine)
def test_a_row_without_tiers_is_answered_no(rule: Combine) -> None:
    """It has no p, and no threshold makes it a yes."""
    p, thresholds = np.full((1, 2), np.nan), np.array([0.2, 0.8])
    assert combine(rule, p, thresholds).tolist() == [False]
    assert np.isnan(joined_p(rule, p, thresholds)).all()
    assert highest_threshold(rule, p, thresholds, 0).tolist() == [-np.inf]


def test_the_order_of_an_items_tiers_decides_nothing() -> None:
    """Two tiers tie for the highest p, and reach one of their thresholds: the lowest counts, in any order."""
    asked = stage(Combine.MAX, np.array([0.6, 0.4, 0.5]))
    assert asked.answer({"x": 0.5, "y": 0.5})
    assert asked.answer({"y": 0.5, "x": 0.5})


def test_only_any_is_sure_before_all_tiers_have_answered() -> None:
    """One yes is enough for it; a mean can fall, and a higher p can miss its threshold."""
    thresholds = np.array([0.4, 0.6, 0.5])
    assert stage(Combine.ANY, thresholds).is_surely_yes({"x": 0.5})
    assert not stage(Combine.ANY, thresholds).is_surely_yes({"x": 0.3})
    assert not stage(Combine.MEAN, thresholds).is_surely_yes({"x": 0.5})
    assert not stage(Combine.MAX, thresholds).is_surely_yes({"x": 0.5})
    assert not stage(Combine.ANY, thresholds).is_surely_yes({})

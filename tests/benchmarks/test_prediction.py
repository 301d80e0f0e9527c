"""Prediction errors: which batches count, and what their errors are."""

from __future__ import annotations

import pytest

from benchmarks.speed.forced import Scored
from benchmarks.speed.summary import LEARNING, judged, prediction_error, prediction_figures
from cascade.backends.base import BatchCost


def scored(predicted_ms: float, elapsed_ms: float, *, is_whole: bool = True) -> Scored:
    """A batch that took so long."""
    cost = BatchCost(decode_calls=1, adapter_swaps=0, tokens_decoded=1, tokens_reused=0, elapsed_ms=elapsed_ms)
    return Scored(adapter="base", n_queries=1, cost=cost, predicted_ms=predicted_ms, is_whole=is_whole)


def test_batches_count_once_the_engine_has_learned() -> None:
    """The first batches do not count; of few batches only the first round does not."""
    many = [[scored(at, 1.0) for at in range(30)], [scored(at, 1.0) for at in range(30, 60)]]
    assert [batch.predicted_ms for batch in judged(many)] == list(range(LEARNING, 60))
    few = [[scored(at, 1.0) for at in range(4)], [scored(at, 1.0) for at in range(4, 8)]]
    assert [batch.predicted_ms for batch in judged(few)] == [4, 5, 6, 7]


def test_a_stopped_batch_does_not_count() -> None:
    """What it would have taken is not known."""
    assert judged([[], [scored(1, 2, is_whole=False), scored(3, 4)]]) == [scored(3, 4)]


def test_errors_are_relative_to_what_it_took() -> None:
    """Half of the time and half as much again are the same error; nothing to judge is no error."""
    found = prediction_figures([[], [scored(5, 10), scored(15, 10), scored(10, 10)]])
    assert found["prediction_error"] == {"p50": 0.5, "p95": pytest.approx(0.5), "n": 3}
    assert found["predictions"] == [[5, 10], [15, 10], [10, 10]]
    assert prediction_error([]) == {"p50": None, "p95": None, "n": 0}

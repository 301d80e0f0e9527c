"""A short soak: many requests at once, some given up, and nothing is left over. ``benchmarks.soak`` is the long one."""

from __future__ import annotations

import pytest

from benchmarks.soak import real, scripted

pytestmark = pytest.mark.slow


def test_scripted_requests_leave_nothing() -> None:
    """The planner keeps no node, and the loop no request."""
    left = scripted(400)
    assert left.cancelled > 0
    assert left.is_clean, left


def test_real_requests_leave_nothing() -> None:
    """No cell, sequence, file or thread outlives its requests, and the peak stays within the context."""
    left = real(24)
    assert 0 < left.peak_over_context <= 1
    assert left.is_clean, left

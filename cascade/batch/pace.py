"""How fast a job goes, and how long it still takes. Pure: is told the time."""

from __future__ import annotations

from collections import deque

WINDOW_S = 60.0
"""The rate is that of the last so many seconds, as what was slow at the beginning says little of the end."""

_LEAST_S = 0.2  # between two moments that are kept
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400  # seconds


class Pace:
    """Rows over time.

    Args:
        now: When work began, in seconds of any clock.
    """

    def __init__(self, now: float) -> None:
        self._moments: deque[tuple[float, int]] = deque([(now, 0)])

    def tell(self, n_done: int, now: float) -> None:
        """So many rows were done by now, in this run."""
        if now - self._moments[-1][0] >= _LEAST_S:
            self._moments.append((now, n_done))
        while len(self._moments) > 1 and now - self._moments[1][0] >= WINDOW_S:
            self._moments.popleft()

    def rate(self, n_done: int, now: float) -> float:
        """Rows per second in the last minute; 0 where nothing is known yet."""
        then, n_then = self._moments[0]
        return (n_done - n_then) / (now - then) if now > then else 0.0


def expected_total(n_read: int, share: float | None) -> int | None:
    """About how many rows there are in all; None where nobody knows.

    Args:
        n_read: Rows that were read.
        share: How much of the input they are, in [0, 1].
    """
    return round(n_read / share) if share and n_read else None


def in_time(seconds: float) -> str:
    """A time in at most two words of three letters, such as ``2 min 5 s`` or ``3 d 4 h``."""
    whole = max(0, round(seconds))
    for unit, name, below, part in ((_DAY, "d", _HOUR, "h"), (_HOUR, "h", _MINUTE, "min"), (_MINUTE, "min", 1, "s")):
        if whole >= unit:
            return f"{whole // unit} {name} {whole % unit // below} {part}"
    return f"{whole} s"


def progress_line(n_done: int, total: int | None, rate: float) -> str:
    """How far a job is, in one line of at most 79 characters.

    Args:
        n_done: Rows that have results.
        total: About how many there are; None where nobody knows.
        rate: Rows per second.
    """
    of = f" of about {total:,}" if total is not None else ""
    left = f", {in_time((total - n_done) / rate)} left" if total is not None and total >= n_done and rate > 0 else ""
    return f"{n_done:,}{of} rows, {rate:,.0f} rows/s{left}"

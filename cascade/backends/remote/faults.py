"""What keeps a request from its answer, and when a server is left alone. Pure: is told the time."""

from __future__ import annotations

from math import inf

TRIPS_AT = 12.0
"""Weight of failures in a row from which on a server counts as down."""

UNREACHABLE = 3.0
"""Weight of a failure that says more: nothing listens there, or nothing came back in time."""

_REST_S = 1.0  # how long a server is left alone at first
_LONGEST_REST_S = 30.0


class FaultError(Exception):
    """A request failed in a way that may pass; it is safe to ask again.

    Attributes:
        cause: Why, in words.
        wait_s: How long the server wants to be left alone; None where it does not say.
        weight: How much it says for the server's being down; 0 for a busy one.
    """

    def __init__(self, cause: str, *, wait_s: float | None = None, weight: float = 1.0) -> None:
        super().__init__(cause)
        self.cause = cause
        self.wait_s = wait_s
        self.weight = weight


class SpoiltError(FaultError):
    """A server has answered, with no number in a probability's place; if it does again, that is an error."""


class DownError(Exception):
    """A server is not asked because it counts as down."""


class Breaker:
    """Leaves a server alone after too many failures in a row, and tries it with one request after a rest."""

    def __init__(self) -> None:
        self._weight, self._rest_s = 0.0, _REST_S
        self._until, self._cause = -inf, ""
        self._succeeded = -inf
        self._is_trying = False

    def check(self, now: float) -> None:
        """Whether a request may begin.

        Raises:
            DownError: The server counts as down; has the last cause.
        """
        if self._weight >= TRIPS_AT and (now < self._until or self._is_trying):
            raise DownError(self._cause)

    def begin(self, now: float) -> None:
        """Let a request through, after a rest a single one; see ``check``."""
        self.check(now)
        self._is_trying = self._weight >= TRIPS_AT

    def succeed(self, now: float) -> None:
        """The server has answered."""
        self._weight, self._rest_s, self._is_trying, self._succeeded = 0.0, _REST_S, False, now

    def fail(self, now: float, cause: str, weight: float, began: float) -> None:
        """A request has failed; one that began before the last success says nothing new of the server."""
        if began < self._succeeded:
            weight = 0.0
        was_down = self._weight >= TRIPS_AT
        self._weight += weight
        if self._weight >= TRIPS_AT and (self._is_trying or not was_down):
            self._until, self._cause = now + self._rest_s, cause
            self._rest_s = min(2 * self._rest_s, _LONGEST_REST_S)
        self._is_trying = False

    def leave(self) -> None:
        """A request was given up before anything came of it."""
        self._is_trying = False

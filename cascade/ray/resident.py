"""A set of adapters and cascades that a replica has in memory for a while."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self

from cascade.engine.engine import Engine

if TYPE_CHECKING:
    from starlette.types import ASGIApp


class Resident:
    """A model that is in memory while somebody asks it, or Ray Serve keeps it.

    Args:
        engine: Its adapters and cascades.
        app: The HTTP service over them.
    """

    def __init__(self, engine: Engine, app: ASGIApp) -> None:
        self.engine, self.app = engine, app
        self._gate = threading.Lock()
        self._n_users, self._is_kept = 0, True

    def __enter__(self) -> Self:
        with self._gate:
            self._n_users += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._gate:
            self._n_users -= 1
        self._end()

    def __del__(self) -> None:
        """Ray Serve calls it when the model has to leave; whoever asks it meanwhile is still answered."""
        self._is_kept = False
        self._end()

    def _end(self) -> None:
        with self._gate:
            is_over = not self._is_kept and not self._n_users
        if is_over:
            self.engine.close()

"""One call per item in place of a cascade: four labels told apart at one position.

This is what a user without a cascade would do, at its cheapest: every item once, one question, the
same small model, engine and trie, no adapter but the first stage's. It is a lower bound of such a
call's cost: a model of this size tells four labels apart badly, which is why cascades exist, and
one that does it well is several times as large. The engine reads two logits at the position; two
more of the same row cost nothing, so the labels of a call do not show in its time.
"""

from __future__ import annotations

import asyncio
import time

from benchmarks.speed.peers import PeerSetup
from cascade.backends.llama.open import open_backend
from cascade.engine.engine import Engine
from cascade.errors import CascadeError, PeerError
from cascade.evaluation.single_call import one_stage


class FourwayPeer:
    """The workload's requests as one question per item.

    Args:
        setup: What is asked.

    Raises:
        PeerError: The engine does not open, or the question does not fit the model.
    """

    def __init__(self, setup: PeerSetup) -> None:
        self.name = "one four-way call, same model and engine"
        self._calls = setup.workload.calls
        cascades = {name: one_stage(cascade) for name, cascade in setup.config.cascades().items()}
        try:
            backend = open_backend(setup.config, cascades, models=setup.models)
            self._engine = Engine(backend, cascades, setup.workload.limits)
        except CascadeError as error:
            msg = f"The four-way call cannot be made: {error}"
            raise PeerError(msg) from error

    def run(self) -> float:
        """See ``Peer.run``."""

        async def ask() -> None:
            await asyncio.gather(*(self._engine.aclassify(call.task, call.items, call.cascade) for call in self._calls))

        started = time.perf_counter()
        try:
            asyncio.run(ask())
        except CascadeError as error:
            msg = f"The four-way call failed: {error}"
            raise PeerError(msg) from error
        return time.perf_counter() - started

    def close(self) -> None:
        """See ``Peer.close``."""
        self._engine.close()

"""A server over stdin and stdout whose engine answers once a file is there: a program that tests start.

    python -m tests.integrations.gated_server ROOT GATE

It tells of every request of its engine on stderr.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from cascade import Engine, ScriptedBackend
from cascade.engine.observer import SeenBatch
from cascade.engine.request import Request
from cascade.engine.settings import EngineSettings
from cascade.integrations.mcp import make_server
from cascade.integrations.roots import Roots
from tests.helpers.shipped import ADAPTERS, CASCADES


class Told:
    """Tells of requests."""

    def began(self, request: Request) -> None:
        """Nothing to tell."""

    def scored(self, seen: SeenBatch) -> None:
        """Nothing to tell."""

    def ended(self, request: Request) -> None:
        """How a request has ended."""
        sys.stderr.write(f"request {'cancelled' if request.done.cancelled() else 'answered'}\n")
        sys.stderr.flush()


def main(root: str, gate: str) -> None:
    """Serve until stdin ends."""

    def says(_adapter: str, _prompt: str) -> float:
        print("what a library prints must not reach the protocol")  # noqa: T201 - see the text
        while not Path(gate).exists():
            time.sleep(0.01)
        return 0.9

    backend = ScriptedBackend(says, ADAPTERS)
    with Engine(backend, CASCADES, settings=EngineSettings(observers=(Told(),))) as engine:
        make_server(engine, Roots([Path(root)])).run("stdio")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""llama.cpp's own server as a baseline: parallel slots, prompt cache, an adapter per request.

Each query is one request of one token, as the backend for servers asks it.
"""

from __future__ import annotations

import http.client
import json
import queue
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path

from benchmarks.speed.baselines import BaselineError, BaselineSetup
from benchmarks.speed.server_process import ServerProcess
from benchmarks.speed.workload import by_item, by_stage
from cascade.backends.servers.api import MalformedError
from cascade.backends.servers.llama_server import completion_body, read_p
from cascade.stages import BASE

_PAD = 256
_HEADERS = {"Content-Type": "application/json"}


class ServerBaseline:
    """A llama-server with a number of slots, asked with as many requests in flight.

    Args:
        setup: What is asked.
        server: Path of the program.
        n_slots: Its slots.
        is_by_item: Whether each item's questions follow one another, as a loop over the items has
            them: with activated adapters a slot then keeps the item's cache for the next question.
            Otherwise one stage of all items follows the other: requests of different adapters
            never share a batch.

    Attributes:
        p_yes: p(yes) of every query of the last run, in their order.

    Raises:
        BaselineError: The server does not start.
    """

    def __init__(self, setup: BaselineSetup, server: Path, n_slots: int, *, is_by_item: bool = False) -> None:
        self.name = f"llama-server, {n_slots} slot{'s' * (n_slots > 1)}, by {'item' if is_by_item else 'stage'}"
        self.p_yes = [0.0] * len(setup.queries)
        self._n_slots = n_slots
        self._labels = setup.labels
        self._bodies = request_bodies(setup)
        # Parts of a run: each a list of chains, whose queries wait for one another.
        chains = by_item(setup.queries)
        self._parts = [chains] if is_by_item else [[[at] for at in stage] for stage in by_stage(setup.queries)]
        self._open = ExitStack()
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            self._process = ServerProcess(server_command(setup, server, n_slots, Path(folder)))
            stack.callback(self._process.close)
            self._connections: queue.SimpleQueue[http.client.HTTPConnection] = queue.SimpleQueue()
            for _ in range(n_slots):
                connection = self._process.connect()
                stack.callback(connection.close)
                self._connections.put(connection)
            self._workers = ThreadPoolExecutor(n_slots, thread_name_prefix="cascade-server-baseline")
            stack.callback(self._workers.shutdown, cancel_futures=True)
            self._run([[[at] for at in range(min(n_slots, len(self._bodies)))]])  # touches the server's memory once
            self._open = stack.pop_all()

    def run(self) -> float:
        """See ``Baseline.run``."""
        for slot in range(self._n_slots):
            self._post(f"/slots/{slot}?action=erase", b"")
        started = time.perf_counter()
        self._run(self._parts)
        return time.perf_counter() - started

    def close(self) -> None:
        """See ``Baseline.close``."""
        self._open.close()

    def _run(self, parts: Sequence[Sequence[Sequence[int]]]) -> None:
        for chains in parts:
            list(self._workers.map(self._ask, chains))

    def _ask(self, chain: Sequence[int]) -> None:
        for at in chain:
            self.p_yes[at] = read_answer(self._post("/completion", self._bodies[at]), self._labels)

    def _post(self, path: str, body: bytes) -> bytes:
        connection = self._connections.get()
        try:
            response, found = _exchange(connection, path, body)
        except (OSError, http.client.HTTPException) as error:
            msg = f"llama-server did not answer ({error!r}); it wrote: {self._process.last_lines()}"
            raise BaselineError(msg) from error
        finally:
            self._connections.put(connection)
        if response.status != HTTPStatus.OK:
            msg = f"llama-server answered {response.status}: {found.decode(errors='replace')}"
            raise BaselineError(msg)
        return found


def _exchange(connection: http.client.HTTPConnection, path: str, body: bytes) -> tuple[http.client.HTTPResponse, bytes]:
    """One request; a connection that the server has closed for having been idle is opened again."""
    try:
        connection.request("POST", path, body, _HEADERS)
        response = connection.getresponse()
    except (ConnectionError, http.client.RemoteDisconnected):
        connection.close()
        connection.request("POST", path, body, _HEADERS)
        response = connection.getresponse()
    return response, response.read()


def server_command(setup: BaselineSetup, server: Path, n_slots: int, folder: Path) -> list[str]:
    """The command line of a server, without its address.

    Args:
        setup: Model, adapters and prompts.
        server: Path of the program.
        n_slots: Its slots.
        folder: An empty folder; without one the server refuses to empty its slots.
    """
    room = -(-(setup.longest + 8) // _PAD) * _PAD
    command = [str(server), "--model", str(setup.models.model_path)]
    for name in _loras(setup):
        command += ["--lora", str(setup.models.adapters[name].path)]
    command += ["--lora-init-without-apply", "-np", str(n_slots), "-kvu", "-c", str(n_slots * room)]
    command += ["-fa", "on" if setup.size.flash_attention else "off"]
    command += ["-t", str(setup.size.n_threads), "-tb", str(setup.size.n_threads)]
    command += ["-ngl", str(setup.size.n_gpu_layers)]
    # The cache in RAM is keyed by tokens alone and would mix up adapters; it also empties idle slots.
    return [*command, "--cache-ram", "0", "--slot-save-path", str(folder), "--no-ui"]


def request_bodies(setup: BaselineSetup) -> list[bytes]:
    """The body of every query's request, in their order."""
    loras = _loras(setup)
    scales = {name: setup.models.adapters[name].scale for name in loras}
    chosen = {
        adapter: [{"id": at, "scale": scales[name] if name == adapter else 0.0} for at, name in enumerate(loras)]
        for adapter in setup.adapters
    }
    return [request_body(query.node.prompt, chosen[query.adapter], setup.labels) for query in setup.queries]


def request_body(prompt: Sequence[int], lora: Sequence[Mapping[str, float]], labels: tuple[int, int]) -> bytes:
    """The body of ``POST /completion`` for one query.

    Args:
        prompt: Token ids.
        lora: The scale of every adapter of the server, by its number; those left out are off.
        labels: Token ids of yes and no.
    """
    return json.dumps(completion_body(prompt, lora, labels)).encode()


def read_answer(body: bytes, labels: tuple[int, int]) -> float:
    """p(yes) among yes and no, in [0, 1], from an answer's body.

    Raises:
        BaselineError: The answer does not give a probability for both labels.
    """
    try:
        return read_p(json.loads(body), labels)[0]
    except (ValueError, MalformedError) as error:
        text = body[:500].decode(errors="replace")
        msg = f"llama-server gave no probability for the labels {list(labels)}: {text}"
        raise BaselineError(msg) from error


def _loras(setup: BaselineSetup) -> list[str]:
    """Adapters in the order in which the server numbers them."""
    return [name for name in setup.adapters if name != BASE]

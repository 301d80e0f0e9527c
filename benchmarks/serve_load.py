"""``cascade serve`` under many clients at once: is every call answered, with the caller's own decisions?

    python -m benchmarks.serve_load [--clients 200] [--seconds 60] [--places 160] [--seed 0] [--json]

Starts the service in a process of its own on this machine's loopback, with fewer places than clients,
and lets every client call it again and again with requests drawn from a seeded set: to a cascade, to
one as a stream, or as System One questions. Each answer is compared with what an engine in this
process says of the same request alone; who is told to come back does so after the time that it is
told. Prints answers by status, what was lost or mixed up, latencies, and the service's memory after
over before; exits with 1 if an answer was none of 200, 429 and 503, a decision was lost or mixed up,
or memory grew by more than 5 %. A few short rounds before warm it up.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.script import count, run_script
from cascade import Engine
from cascade.cli.output import progress
from cascade.report import Step
from tests.helpers.requests import files, symbols
from tests.helpers.service import body_of

EXPECTED = frozenset({200, 429, 503})
TOLERANCE = 0.01  # between p(yes) in a shared batch and alone
GROWTH = 1.05  # of memory, allowed
NDJSON = "application/x-ndjson"
N_REQUESTS = 64
WARM_UPS, WARM_UP_S = 3, 12.0  # until llama.cpp has touched all of its cache; each begins with all clients at once
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request, and what the engine says of it alone.

    Attributes:
        path: Where it goes.
        body: The request.
        headers: How it is to be answered.
        p_yes: Item id -> p(yes) of its steps, in order; for System One the question's name -> its answer.
    """

    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    p_yes: dict[str, list[float]]


@dataclass(slots=True)
class Tally:
    """What all clients saw.

    Attributes:
        statuses: HTTP status -> calls; 0 for a call without an answer.
        decisions: Decisions that came.
        lost: Decisions of answered calls that did not come, or came twice.
        mixed: Decisions of items that were not asked about, or whose p(yes) is another's.
        latencies_ms: Of calls that were answered.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    decisions: int = 0
    lost: int = 0
    mixed: int = 0
    latencies_ms: list[float] = field(default_factory=list)

    def check(self, asked: Asked, found: Sequence[tuple[str, list[float]]]) -> None:
        """Compare an answer with what the engine says alone."""
        self.decisions += len(found)
        counts = Counter(name for name, _ in found)
        self.lost += sum(counts[name] != 1 for name in asked.p_yes)
        for name, p_yes in found:
            alone = asked.p_yes.get(name)
            same = alone is not None and len(alone) == len(p_yes) and np.allclose(alone, p_yes, rtol=0, atol=TOLERANCE)
            self.mixed += not same


def prepared(seed: int) -> list[Asked]:
    """Requests of every kind with their answers."""
    rng = random.Random(seed)
    with Engine.open() as engine:
        return [_asked(engine, rng, number) for number in range(N_REQUESTS)]


def _asked(engine: Engine, rng: random.Random, number: int) -> Asked:
    kind = rng.choice(("report", "stream", "systemone"))
    if kind == "systemone":
        task, (item,) = symbols(number, 1)
        names = [stage.name for stage in engine.cascade("precision").stages]
        (steps,) = engine.score(task, [item], "precision")
        state = {"task": task.text, "seeds": list(task.seeds), "item": asdict(item)}
        questions = {f"{number}-{name}": {"type": "noul", "instructions": name} for name in names}
        p_yes = {f"{number}-{step.stage}": [step.p_yes] for step in steps}
        body = {"state": state, "questions": questions, "model": "precision"}
        return Asked(path="/v1/systemone", body=body, headers={}, p_yes=p_yes)
    name = rng.choice(("precision", "scope"))
    n_items = rng.randint(1, 8)
    task, items = symbols(number, n_items) if name == "precision" else files(number, n_items)
    own = [replace(item, id=f"{number}-{item.id}") for item in items]
    clear = [decision for decision in engine.classify(task, own, name).decisions if all(map(_is_clear, decision.steps))]
    kept = {decision.id for decision in clear}
    return Asked(
        path=f"/v1/cascades/{name}",
        body=body_of(task, [item for item in own if item.id in kept]),
        headers={"Accept": NDJSON} if kind == "stream" else {},
        p_yes={decision.id: [step.p_yes for step in decision.steps] for decision in clear},
    )


def _is_clear(step: Step) -> bool:
    """Whether the answer stands however the batch is put together."""
    return abs(step.p_yes - step.threshold) > TOLERANCE


def _found(asked: Asked, answer: httpx.Response) -> list[tuple[str, list[float]]]:
    """Names and p(yes) of what was answered."""
    if asked.path == "/v1/systemone":
        return [(name, [entry["noul"]]) for name, entry in answer.json()["answers"].items()]
    if asked.headers:
        decisions = [json.loads(line) for line in answer.text.splitlines()][:-1]
    else:
        decisions = answer.json()["decisions"]
    return [(decision["id"], [step["p_yes"] for step in decision["steps"]]) for decision in decisions]


async def _client(url: str, requests: Sequence[Asked], rng: random.Random, ends: float, tally: Tally) -> None:
    """Calls again and again until time is up."""
    async with httpx.AsyncClient(
        base_url=url,
        timeout=PATIENCE_S,
        trust_env=False,  # no proxy reaches what is on this machine
        verify=False,  # noqa: S501 - plain HTTP
    ) as client:
        while time.monotonic() < ends:
            asked = rng.choice(requests)
            started = time.perf_counter()
            try:
                answer = await client.post(asked.path, json=asked.body, headers=asked.headers)
            except httpx.TransportError:
                tally.statuses[0] += 1
                continue
            tally.statuses[answer.status_code] += 1
            if answer.status_code == 200:
                tally.latencies_ms.append(1_000 * (time.perf_counter() - started))
                tally.check(asked, _found(asked, answer))
            else:
                await asyncio.sleep(float(answer.headers.get("retry-after", 1)) * rng.uniform(1.0, 1.5))


async def _load(url: str, requests: Sequence[Asked], n: int, seconds: float, seed: int) -> Tally:
    """So many clients for so long."""
    tally = Tally()
    ends = time.monotonic() + seconds
    with progress() as bar:
        line = bar.add_task(f"{n} clients", total=round(seconds))
        calls = [
            asyncio.create_task(_client(url, requests, random.Random(f"{seed} {at}"), ends, tally)) for at in range(n)
        ]
        while time.monotonic() < ends:
            await asyncio.sleep(0.5)
            bar.update(line, completed=round(seconds - max(ends - time.monotonic(), 0)))
        await asyncio.gather(*calls)
    return tally


@contextmanager
def _service(places: int) -> Iterator[tuple[str, int]]:
    """The service in a process of its own; yields its URL and process id."""
    command = [sys.executable, "-m", "cascade.cli", "serve", "--port", "0", "--max-calls", str(places), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        said = ""
        while process.stdout and not said.endswith("}\n") and (line := process.stdout.readline()):
            said += line
        try:
            yield json.loads(said)["url"], process.pid
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def _memory_mib(process: int) -> float:
    """Resident memory of a process, in MiB."""
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024**2


def measure(n_clients: int, seconds: float, places: int, seed: int) -> dict[str, Any]:
    """The whole measurement."""
    requests = prepared(seed)
    with _service(places) as (url, process):
        warm = [asyncio.run(_load(url, requests, n_clients, WARM_UP_S, seed + 1 + at)) for at in range(WARM_UPS)]
        before = _memory_mib(process)
        started = time.monotonic()
        tally = asyncio.run(_load(url, requests, n_clients, seconds, seed))
        took_s = time.monotonic() - started  # calls that are open at the end are waited for
        after = _memory_mib(process)
    calls = sum(tally.statuses.values())
    unexpected = sum(n for seen in (*warm, tally) for status, n in seen.statuses.items() if status not in EXPECTED)
    return {
        "clients": n_clients,
        "seconds": seconds,
        "calls": calls,
        "statuses": {str(status): n for status, n in sorted(tally.statuses.items())},
        "unexpected": unexpected,
        "decisions": tally.decisions,
        "lost": sum(seen.lost for seen in (*warm, tally)),
        "mixed": sum(seen.mixed for seen in (*warm, tally)),
        "answers_per_s": round(tally.statuses[200] / took_s, 1),
        "latency_ms": {f"p{q}": round(float(np.percentile(tally.latencies_ms, q)), 1) for q in (50, 95, 99)},
        "memory_before_mib": round(before, 1),
        "memory_after_mib": round(after, 1),
        "memory_growth": round(after / before, 4),
    }


def main() -> int:
    """Print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=count, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--places", type=count, default=160, help="calls that the service takes at once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.clients, options.seconds, options.places, options.seed)
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{key}: {value}\n" for key, value in found.items())
    is_clean = not (found["unexpected"] or found["lost"] or found["mixed"])
    return 0 if is_clean and found["calls"] and found["memory_growth"] <= GROWTH else 1


if __name__ == "__main__":
    run_script(main)

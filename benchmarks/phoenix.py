"""Spans in Arize Phoenix: whether it reads them as what they are, and what making them costs.

    python -m benchmarks.phoenix [--rounds 15] [--folder build/phoenix] [--json]

Installs the package ``arize-phoenix`` into an environment of its own below the folder, 850 MB, unless it is there, and
starts it on this machine. The requests are those of ``precision-100``, in turns without spans, with all names
and without those of GenAI; what Phoenix then answers of its spans is compared with the reports.

- ``decisions``: spans that Phoenix has of kind DECISION, which must be one for each request.
- ``equal``: those of them whose calls, tokens, cached tokens and outcomes are those of the request's report.
- ``llm``: those of them of which Phoenix counts tokens of a language model, with GenAI's names and without.
- ``wall``, ``cpu``: time with spans over that without, the time of sending them included in that of the processors.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from benchmarks.script import count, run_script
from benchmarks.speed.server_process import HOST, free_port
from benchmarks.speed.workload import Call, workload
from cascade import Engine, Traces
from cascade.errors import MachineError
from cascade.prompt import PromptBuilder
from cascade.report import Report

PACKAGE = "arize-phoenix>=20,<21"
FOLDER = Path("build/phoenix")
_START_S, _POLL_S, _INGEST_S = 180.0, 0.5, 60.0
_PAGE = 1_000  # the most spans that Phoenix gives at once


def installed(folder: Path) -> Path:
    """The program ``phoenix`` of an environment in a folder, installed there if need be.

    Raises:
        MachineError: It cannot be installed.
    """
    program = folder / "bin" / "phoenix"
    if not program.exists():
        venv.create(folder, with_pip=True)
        done = subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "--quiet", PACKAGE], check=False)
        if done.returncode:
            msg = f"pip cannot install {PACKAGE} into {folder}; it says why above."
            raise MachineError(msg)
    return program


@contextmanager
def phoenix(program: Path) -> Iterator[str]:
    """A running Phoenix without anything in it; yields its URL.

    Raises:
        MachineError: It does not start.
    """
    port = free_port()
    url = f"http://{HOST}:{port}"
    with tempfile.TemporaryDirectory() as folder:
        variables = {
            "PHOENIX_WORKING_DIR": folder,
            "PHOENIX_HOST": HOST,
            "PHOENIX_PORT": str(port),
            "PHOENIX_GRPC_PORT": str(free_port()),
            "PHOENIX_TELEMETRY_ENABLED": "false",
            "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        }
        process = subprocess.Popen(
            [program, "serve"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | variables,
        )
        try:
            _wait_for(url, process)
            yield url
        finally:
            process.terminate()
            process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            _get(f"{url}/v1/projects")
        except OSError:
            time.sleep(_POLL_S)
        else:
            return
    msg = f"Phoenix did not answer at {url}. Start `{process.args!r} serve` by hand to see why."
    raise MachineError(msg)


def _get(url: str) -> Any:
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - a URL made here
        return json.load(answer)


def spans_of(url: str, kind: str | None = None) -> list[dict[str, Any]]:
    """The spans that Phoenix has, of one kind or of all."""
    found: list[dict[str, Any]] = []
    query = f"limit={_PAGE}" + (f"&span_kind={kind}" if kind else "")
    cursor: str | None = ""
    while cursor is not None:
        page = _get(f"{url}/v1/projects/default/spans?{query}" + (f"&cursor={cursor}" if cursor else ""))
        found += page["data"]
        cursor = page["next_cursor"]
    return found


def is_equal(found: Mapping[str, Any], report: Report) -> bool:
    """Whether the attributes of a span say what a report says."""
    stats = report.stats
    labels = {f"cascade.outcome.{label}": n for label, n in report.labels().items()}
    said = {
        "cascade.calls": stats.calls,
        "decision.token_count.input": stats.tokens_decoded + stats.tokens_reused,
        "cascade.tokens_reused": stats.tokens_reused,
        **labels,
    }
    return all(found.get(name) == value for name, value in said.items())


class Bench:
    """Requests without spans and with them.

    Args:
        provider: Where spans go.
        stack: Closes what is opened.

    Attributes:
        reports: Of requests with spans, by the way to make them.
        wall_s: Seconds until each answer, by way.
        cpu_s: Seconds of all processors, until all is sent, by way.
    """

    def __init__(self, provider: TracerProvider, stack: ExitStack) -> None:
        observers = {"off": (), "all": (Traces(provider),), "without_genai": (Traces(provider, genai=False),)}
        self._provider = provider
        self._engines = {name: stack.enter_context(Engine.open(observers=each)) for name, each in observers.items()}
        (info,) = self._engines["off"].info.backends.values()
        self._prompts = PromptBuilder(info.form, info.tokenizer)
        self.reports: dict[str, list[Report]] = {name: [] for name in observers if name != "off"}
        self.wall_s: dict[str, list[float]] = {name: [] for name in observers}
        self.cpu_s: dict[str, list[float]] = {name: [] for name in observers}

    def round(self, seed: int) -> None:
        """A request of each way, with another first in each round."""
        (call,) = workload("precision-100", self._prompts, self._engines["off"].cascades, seed).calls
        names = list(self._engines)
        for at in range(len(names)):
            self._ask(names[(at + seed) % len(names)], call)

    @property
    def times(self) -> dict[str, dict[str, list[float]]]:
        """Both times, by what they measure."""
        return {"wall": self.wall_s, "cpu": self.cpu_s}

    def _ask(self, name: str, call: Call) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        report = self._engines[name].classify(call.task, call.items, call.cascade, budget=None)
        self.wall_s[name].append(time.perf_counter() - wall)
        if name in self.reports:
            self._provider.force_flush()
            self.reports[name].append(report)
        self.cpu_s[name].append(time.process_time() - cpu)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description="Spans in Arize Phoenix.")
    parser.add_argument("--rounds", type=count, default=15)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where Phoenix is, or is installed")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    with phoenix(installed(given.folder.absolute())) as url:
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{url}/v1/traces")))
        with ExitStack() as stack:
            bench = Bench(provider, stack)
            for seed in range(given.rounds + 1):
                bench.round(seed)
        provider.shutdown()
        figures = {"rounds": given.rounds, **_kept(url, bench.reports), **_costs(bench)}
    shown = "\n".join(f"{name}: {value}" for name, value in figures.items())
    sys.stdout.write((json.dumps(figures, indent=2) if given.json else shown) + "\n")
    return 0 if figures["decisions"] == figures["equal"] == figures["requests"] else 1


def _kept(url: str, reports: Mapping[str, Sequence[Report]]) -> dict[str, Any]:
    """What Phoenix has; it takes spans in behind its answer, so they are waited for."""
    n, deadline = sum(map(len, reports.values())), time.monotonic() + _INGEST_S
    while len(decisions := spans_of(url, "DECISION")) < n and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    by_key = {_key_of(span["attributes"]): span["attributes"] for span in decisions}
    pairs = {name: [(by_key.get((each.task_id, name), {}), each) for each in own] for name, own in reports.items()}
    return {
        "requests": n,
        "spans": len(spans_of(url)),
        "decisions": len(decisions),
        "equal": sum(is_equal(*pair) for own in pairs.values() for pair in own),
        "llm": {name: sum("llm.token_count.prompt" in found for found, _ in own) for name, own in pairs.items()},
    }


def _key_of(found: Mapping[str, Any]) -> tuple[str, str]:
    """Task and way of a span."""
    return found["cascade.task_id"], "all" if "gen_ai.operation.name" in found else "without_genai"


def _costs(bench: Bench) -> dict[str, Any]:
    """Medians of the rounds, the first left out, which warms up."""

    def over(times: Mapping[str, list[float]], name: str) -> float:
        pairs = zip(times[name][1:], times["off"][1:], strict=True)
        return round(float(median(on / off for on, off in pairs)), 4)

    return {what: {name: over(times, name) for name in bench.reports} for what, times in bench.times.items()}


if __name__ == "__main__":
    run_script(main)

"""The direction of imports, read from the source: what is pure stays pure, and heavy libraries stay at the edge."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import cascade

ROOT = Path(__file__).parent.parent
PURE = {
    "cascade.tree",
    "cascade.arguments",
    "cascade.errors",
    "cascade.items",
    "cascade.stages",
    "cascade.evaluation.features",
    "cascade.prompt",
    "cascade.probability",
    "cascade.evaluation.metrics",
    "cascade.report",
    "cascade.engine.item_state",
    "cascade.engine.planner",
    "cascade.backends.costs",
    "cascade.engine.cost_model",
    "cascade.budget",
    "cascade.profile",
    "cascade.evaluation.prior_fit",
    "cascade.evaluation.profile_fit",
    "cascade.engine.online_profile",
    "cascade.engine.prefix_index",
    "cascade.engine.batch",
    "cascade.backends.base",
    "cascade.evaluation.calibration",
    "cascade.tuning.check",
    "cascade.tuning.few_tasks",
    "cascade.tuning.label_model",
    "cascade.evaluation.targets",
    "cascade.evaluation.replay",
    "cascade.tuning.pareto",
    "cascade.tuning.search",
    "cascade.tuning.risk",
    "cascade.evaluation.scored",
    "cascade.audit.rates",
    "cascade.audit.stage_value",
    "cascade.audit.html.chart",
    "cascade.audit.html.palette",
    "cascade.tuning.shift",
    "cascade.tuning.surface",
    "cascade.repository.records",
    "cascade.repository.words",
    "cascade.repository.evidence",
}
PURE_LIBRARIES = {
    "__future__",
    "collections",
    "contextlib",
    "dataclasses",
    "enum",
    "fractions",
    "functools",
    "itertools",
    "math",
    "numbers",
    "numpy",
    "re",
    "reprlib",
    "statistics",
    "string",
    "threading",
    "types",
    "typing",
}


@cache
def modules() -> dict[str, Path]:
    """Name -> file of every module of the package."""
    files = sorted((ROOT / "cascade").rglob("*.py"))
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


def imports(name: str, *, at_top_only: bool = False) -> Iterator[str]:
    """Full names that a module imports, such as ``cascade.tree`` or ``numpy.typing``."""
    tree = ast.parse(modules()[name].read_text(encoding="utf-8"))
    for node in tree.body if at_top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name} has a relative import; write it in full"
            module = node.module or ""
            yield from (full if (full := f"{module}.{alias.name}") in modules() else module for alias in node.names)


@pytest.mark.parametrize("name", sorted(PURE))
def test_pure_modules_import_pure_ones_only(name: str) -> None:
    """A pure module imports pure modules, numpy, and what of the standard library touches nothing outside."""
    for other in imports(name):
        assert other in PURE if other.startswith("cascade") else other.partition(".")[0] in PURE_LIBRARIES, other


@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("llama_cpp", ("cascade.backends.", "cascade.bench.peers", "cascade.cli.doctor")),
        (
            "gguf",
            (
                "cascade.backends.llama.extra_buffers_worker",
                "cascade.models.lora",
                "cascade.models.gguf",
                "cascade.models.base_model",
                "cascade.cli.doctor",
            ),
        ),
        ("torch", ("cascade.bench.limits", "cascade.bench.torch_peer")),
        ("transformers", ("cascade.bench.torch_peer",)),
        ("peft", ("cascade.bench.torch_peer",)),
        ("tree_sitter", ("cascade.repository.",)),
        ("huggingface_hub", ("cascade.models.model_set",)),
        ("httpx", ("cascade.backends.servers.http",)),
        ("tenacity", ("cascade.backends.servers.retries",)),
        ("asyncio_throttle", ("cascade.backends.servers.retries",)),
        ("keyring", ("cascade.backends.servers.http",)),
        ("typer", ("cascade.cli",)),
        ("rich", ("cascade.cli",)),
        ("jinja2", ("cascade.audit.html.page",)),
        ("fastapi", ("cascade.service.",)),
        ("starlette", ("cascade.service.",)),
        ("uvicorn", ("cascade.service.server", "cascade.service.protocol")),
        ("h11", ("cascade.service.protocol",)),
        ("prometheus_client", ("cascade.service.",)),
        ("opentelemetry", ("cascade.service.telemetry", "cascade.cli.serve")),
    ],
)
def test_libraries_stay_in_their_rooms(library: str, rooms: tuple[str, ...]) -> None:
    """A library that does one job is imported only where that job is done."""
    users = [name for name in modules() for other in imports(name) if other.partition(".")[0] == library]
    assert all(name.startswith(rooms) for name in users), users


@pytest.mark.parametrize(
    ("room", "others"),
    [
        ("cascade.backends", ("cascade.repository", "cascade.cli", "cascade.engine.engine")),
        ("cascade.repository", ("cascade.backends", "cascade.cli", "cascade.engine.engine")),
        ("cascade.", ("cascade.cli", "cascade.service")),
    ],
)
def test_edges_do_not_import_each_other(room: str, others: tuple[str, ...]) -> None:
    """An edge knows the pure core and not another edge; nobody knows the command line or the service."""
    for name in modules():
        if name.startswith(room) and not name.startswith(("cascade.cli", "cascade.service", "cascade.__main__")):
            assert not [other for other in imports(name) if other.startswith(others)], name


def test_no_import_cycles() -> None:
    """Modules can be put in an order in which each imports only earlier ones."""
    graph = {name: {other for other in imports(name, at_top_only=True) if other in modules()} for name in modules()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(modules())


def test_imports_without_llama_cpp() -> None:
    """The package, its pure modules and the command line import where llama_cpp cannot be imported."""
    names = ["cascade", "cascade.cli.program", "cascade.config.schema", *sorted(PURE)]
    code = "import sys; sys.modules['llama_cpp'] = None; " + "; ".join(f"import {name}" for name in names)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert not done.stderr
    assert done.returncode == 0


def test_public_names_are_there_when_they_are_used() -> None:
    """Every name of the package is found where it says, and unknown ones are no attributes."""
    for name in cascade.__all__:
        assert getattr(cascade, name).__class__
    assert dir(cascade) == cascade.__all__
    with pytest.raises(AttributeError, match="no attribute 'Nonsense'"):
        cascade.Nonsense  # type: ignore[attr-defined]  # noqa: B018 - it is looked up, which raises


@pytest.mark.parametrize("module", ["cascade", "cascade.cli", "cascade.cli.signals"])
def test_what_the_command_loads_before_it_hears_signals_is_light(module: str) -> None:
    """Neither the package nor the entry of the command loads a library, or what takes as long as one."""
    code = f"import sys; before = set(sys.modules); import {module}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert loaded
    assert not {name for name in loaded if name.partition(".")[0] in {"numpy", "pydantic", "rich", "typer", "typing"}}
    assert not {name for name in loaded if name.startswith("cascade.")} - {"cascade.cli", "cascade.cli.signals"}


def test_servers_cost_nothing_where_none_is_asked() -> None:
    """Neither the package nor an engine without servers loads what talks to servers."""
    code = (
        "import sys; from cascade import Engine\n"
        "with Engine.open() as engine: engine.classify('fix it', [])\n"
        "print([name for name in ('httpx', 'tenacity', 'asyncio_throttle', 'keyring') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_every_test_says_what_it_shows() -> None:
    """Every test has a docstring."""
    silent = [
        f"{file.name}: {node.name}"
        for file in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if node.name.startswith("test_") and not ast.get_docstring(node)
    ]
    assert not silent

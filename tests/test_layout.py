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

ROOT = Path(__file__).parent.parent
LAYERS: dict[str, set[str]] = {
    "": set(),
    "evidence": {""},
    "wire": {""},
    "prompt": {"", "evidence"},
    "config": {"", "wire", "prompt"},
    "models": {"", "prompt", "config"},
    "registry": {"", "config", "models"},
    "backends": {"", "prompt", "config"},
    "backends.llama": {"", "prompt", "config", "models", "backends"},
    "backends.servers": {"", "wire", "prompt", "config", "models", "backends"},
    "engine": {"", "evidence", "prompt", "config", "backends"},
    "log": {"", "prompt", "config", "backends", "engine"},
    "batch": {"", "config", "engine"},
    "repository": {"", "evidence"},
    "evaluation": {"", "evidence", "prompt", "config", "backends", "engine"},
    "tuning": {"", "config", "evaluation"},
    "audit": {"", "engine", "evaluation", "tuning"},
    "audit.html": {"", "config", "engine", "evaluation", "tuning", "audit"},
    "dataset": {"", "evidence", "prompt", "config", "engine", "log", "repository", "evaluation", "audit.html"},
    "training": {"", "prompt", "config", "models", "backends", "backends.llama", "engine", "evaluation", "dataset"},
    "integrations": {"", "config", "engine", "repository"},
    "service": {"", "wire", "prompt", "config", "engine", "log", "integrations"},
    "ray": {"", "config", "engine", "batch", "service"},
}
"""Room -> the rooms that its modules may import, from the bottom up; "" is the loose modules, the vocabulary.

``cascade.cli`` may import every room, and no room imports it. Within a room anything goes but a circle.
"""

OPENS = {
    "cascade.backends": {"backends.llama", "backends.servers", "models"},
    "cascade": {"prompt", "config", "backends", "engine", "log"},
    "cascade.engine.engine": {"log", "batch"},
    "cascade.engine.settings": {"log"},
    "cascade.backends.servers.open": {"backends.llama"},
}
"""Modules that import more: what opens a backend and the lazy public names when a function of theirs is called."""

TRAINS = {f"cascade.training.{name}" for name in ("base_weights", "decoder", "encoder", "student", "trainer")}
"""Modules that need the extra ``train``."""

VOCABULARY = {"numpy"} | sys.stdlib_module_names
"""What loose modules may import from elsewhere."""

ALSO = {"cascade.files": {"pydantic_core"}, "cascade.machine": {"structlog"}}
"""Loose modules that may import something more."""


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


def room(name: str) -> str:
    """The room that a module is in, such as ``backends.llama``; "" for a loose one."""
    folders = modules()[name].relative_to(ROOT / "cascade").parts[:-1]
    return ".".join(folders)


def test_imports_run_down() -> None:
    """Every import leads to the same room or to one that the table of layers allows."""
    up = [
        f"{name} -> {other}"
        for name in modules()
        if room(name) != "cli" and name != "cascade.__main__"
        for other in imports(name)
        if other in modules()
        if room(other) not in LAYERS[room(name)] | {room(name)} | OPENS.get(name, set())
    ]
    assert not up


def test_layers_have_an_order() -> None:
    """Rooms stand in the table after all that they may import."""
    rooms = list(LAYERS)
    assert all(rooms.index(other) < at for at, name in enumerate(rooms) for other in LAYERS[name])


def test_the_house_is_small() -> None:
    """At most 12 loose modules, and at most 30 rooms beside them."""
    loose = {name for name in modules() if not room(name)} - {"cascade", "cascade.__main__"}
    assert len(loose) <= 12
    assert len({room(name) for name in modules()} - {""}) <= 30


@pytest.mark.parametrize("name", sorted(name for name in modules() if not room(name) and name != "cascade.__main__"))
def test_the_vocabulary_needs_numpy_at_most(name: str) -> None:
    """Loose modules import the standard library and numpy."""
    given = {other.partition(".")[0] for other in imports(name)} - {"cascade"}
    assert given <= VOCABULARY | ALSO.get(name, set())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "rooms"),
    [
        ("llama_cpp", ("cascade.backends.", "cascade.cli.doctor")),
        (
            "gguf",
            (
                "cascade.backends.llama.extra_buffers_worker",
                "cascade.models.lora",
                "cascade.models.gguf",
                "cascade.models.base_model",
                "cascade.models.encoder",
                "cascade.models.owners",
                "cascade.training.adapter_file",
                "cascade.training.tensors",
                "cascade.registry.versions",
                "cascade.cli.doctor",
            ),
        ),
        ("tree_sitter", ("cascade.repository.",)),
        ("huggingface_hub", ("cascade.models.model_set",)),
        ("httpx", ("cascade.backends.servers.http",)),
        ("tenacity", ("cascade.backends.servers.retries",)),
        ("asyncio_throttle", ("cascade.backends.servers.retries",)),
        ("keyring", ("cascade.backends.servers.http",)),
        ("typer", ("cascade.cli",)),
        ("rich", ("cascade.cli",)),
        ("jinja2", ("cascade.audit.html.page", "cascade.dataset.review_page")),
        ("matplotlib", ("cascade.audit.html.",)),
        ("fastapi", ("cascade.service.",)),
        ("starlette", ("cascade.service.", "cascade.ray.")),
        ("ray", ("cascade.ray.",)),
        ("uvicorn", ("cascade.service.server", "cascade.service.protocol")),
        ("h11", ("cascade.service.protocol",)),
        ("prometheus_client", ("cascade.service.",)),
        ("opentelemetry", ("cascade.engine.traces", "cascade.service.telemetry", "cascade.cli.serve")),
        ("openinference", ("cascade.engine.decision_span", "cascade.engine.traces")),
        ("detect_secrets", ("cascade.log.",)),
        ("pyarrow", ("cascade.batch.", "cascade.ray.")),
        ("langchain_core", ("cascade.integrations.langchain",)),
        ("llama_index", ("cascade.integrations.llama_index",)),
        ("BARGAIN", ("cascade.integrations.bargain",)),
        ("mcp", ("cascade.integrations.mcp",)),
        ("anyio", ("cascade.integrations.mcp",)),
        (
            "sqlite3",
            (
                "cascade.log.",
                "cascade.dataset.",
                "cascade.batch.finished",
                "cascade.cli.log",
                "cascade.cli.dataset",
                "cascade.repository.",
            ),
        ),
    ],
)
def test_libraries_stay_in_their_rooms(library: str, rooms: tuple[str, ...]) -> None:
    """A library that does one job is imported only where that job is done."""
    users = [name for name in modules() for other in imports(name) if other.partition(".")[0] == library]
    assert all(name.startswith(rooms) for name in users), users


def test_the_package_stands_alone() -> None:
    """Nothing in it imports benchmarks, tests or the recipe, which no wheel carries."""
    for name in modules():
        assert not [other for other in imports(name) if other.startswith(("benchmarks", "tests", "adapters"))], name


def test_what_only_checkouts_need_is_not_imported() -> None:
    """Benchmarks have a library that no command of the package needs."""
    assert not [name for name in modules() for other in imports(name) if other.startswith("pytest")]


@pytest.mark.parametrize("library", ["torch", "transformers", "peft"])
def test_what_trains_is_imported_where_a_student_is_trained(library: str) -> None:
    """The extra ``train`` may be absent: two modules need it, and no other imports them when it is loaded itself."""
    users = {name for name in modules() for other in imports(name) if other.partition(".")[0] == library}
    assert users <= TRAINS
    assert not [
        name for name in modules() if name not in TRAINS for other in imports(name, at_top_only=True) if other in TRAINS
    ]


@pytest.mark.slow
def test_no_import_cycles() -> None:
    """Modules can be put in an order in which each imports only earlier ones."""
    graph = {name: {other for other in imports(name, at_top_only=True) if other in modules()} for name in modules()}
    assert len(list(TopologicalSorter(graph).static_order())) == len(modules())


@pytest.mark.slow
def test_imports_without_llama_cpp() -> None:
    """All but the rooms that are about llama.cpp or train for it, and commands, import where llama_cpp cannot be."""
    apart = {"backends.llama", "training", "cli"}
    names = [name for name in modules() if name != "cascade.__main__" and room(name) not in apart]
    names = [*names, "cascade.cli", "cascade.cli.program"]
    code = "import sys; sys.modules['llama_cpp'] = None; " + "; ".join(f"import {name}" for name in names)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert not done.stderr
    assert done.returncode == 0


@pytest.mark.parametrize("module", ["cascade", "cascade.cli", "cascade.cli.signals"])
def test_what_the_command_loads_before_it_hears_signals_is_light(module: str) -> None:
    """Neither the package nor the entry of the command loads a library, or what takes as long as one."""
    code = f"import sys; before = set(sys.modules); import {module}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert loaded
    assert not {name for name in loaded if name.partition(".")[0] in {"numpy", "pydantic", "rich", "typer", "typing"}}
    assert not {name for name in loaded if name.startswith("cascade.")} - {"cascade.cli", "cascade.cli.signals"}


@pytest.mark.slow
def test_servers_cost_nothing_where_none_is_asked() -> None:
    """Neither the package nor an engine without servers loads what talks to servers."""
    code = (
        "import sys; from cascade import Engine\n"
        "with Engine.open() as engine: engine.classify('fix it', [])\n"
        "print([name for name in ('httpx', 'tenacity', 'asyncio_throttle', 'keyring') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
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

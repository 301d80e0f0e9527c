"""``cascade mcp`` with the official SDK's own client over a real process's stdin and stdout, on a real repository."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import anyio
import pytest
from mcp import Client, StdioServerParameters, stdio_client
from mcp_types import CallToolResult, TextContent

from cascade import Engine, ScriptedBackend
from cascade.cli import main
from cascade.errors import InputError
from cascade.integrations.mcp import Progress, make_server
from cascade.integrations.relevance import Answer, in_words_of_tools
from cascade.integrations.roots import Roots, within
from tests.helpers.asyncs import run
from tests.helpers.checkout import Checkout
from tests.helpers.shipped import ADAPTERS, CASCADES

ROOT = Path(__file__).parents[2]
TASK = "read the config file, and say which key is wrong"
SOURCES = {
    "app/__init__.py": "",
    "app/config.py": '"""Config files."""\nfrom app.errors import ConfigError\n\n\n'
    'def read_config(path):\n    """Read a config file."""\n    raise ConfigError(path)\n',
    "app/errors.py": 'class ConfigError(ValueError):\n    """A config is wrong: it names the key."""\n',
    "app/other.py": "def unrelated(x):\n    return x\n",
    "app/wire_pb2.py": "def made():\n    return 1\n",
    "tests/test_config.py": "def test_config_file():\n    assert True\n",
    "docs/conf.py": "def config_of_docs():\n    return 1\n",
}
SERVER = ("-m", "cascade", "mcp")
Progressed = list[tuple[float, float | None, str | None]]


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small git repository with two commits."""
    checkout = Checkout(tmp_path_factory.mktemp("work") / "repo").init().commit(SOURCES)
    checkout.commit({"app/config.py": f"{SOURCES['app/config.py']}    # more\n"})
    return checkout.root


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """What a server's process gets: this checkout, and a cache of its own."""
    return {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}


@asynccontextmanager
async def connected(*arguments: str, env: dict[str, str], errors: TextIO | None = None) -> AsyncIterator[Client]:
    """A client of a server that is a process of its own."""
    parameters = StdioServerParameters(command=sys.executable, args=list(arguments), env=env, cwd=ROOT)
    async with Client(stdio_client(parameters, errors or sys.stderr)) as client:
        yield client


def text_of(result: CallToolResult) -> str:
    """What a result says."""
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def answer_of(result: CallToolResult) -> Answer:
    """What a result that is no error has."""
    assert not result.is_error, text_of(result)
    return Answer.model_validate(result.structured_content)


def teller(told: Progressed) -> Any:
    """Keeps what is told of progress."""

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    return tell


@pytest.mark.slow
def test_an_agent_gets_what_classify_shows(
    repo: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    """Symbols and files with path, lines, label, p and reasons, as on the command line; progress only grows."""
    told: Progressed = []

    async def ask() -> tuple[Answer, Answer, Answer, Any]:
        with (tmp_path / "stderr").open("w") as errors:
            started = ("--root", str(repo.parent))
            async with connected(*SERVER, *started, env=environment, errors=errors) as client:
                tools = await client.list_tools()
                wish = {"task": TASK, "repository": "repo"}
                symbols = await client.call_tool("relevant_symbols", wish, progress_callback=teller(told))
                files = await client.call_tool("relevant_files", {**wish, "starting_points": ["app/config.py"]})
                more = await client.call_tool(
                    "relevant_symbols", {**wish, "also": ["tests", "docs", "generated"], "top": 2}
                )
                return answer_of(symbols), answer_of(files), answer_of(more), tools

    symbols, files, more, tools = asyncio.run(ask())
    assert [tool.name for tool in tools.tools] == ["relevant_symbols", "relevant_files"]
    assert all(tool.output_schema and tool.annotations.read_only_hint for tool in tools.tools)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other cache"))
    shown = _classified(capsys, "--repo", str(repo), "--task", TASK)
    kept = [row for row in sorted(shown, key=lambda row: row["order"]) if row["label"] != "excluded"]
    assert kept
    assert [(one.path + "::" + one.name, one.line, one.end_line, one.label, one.status) for one in symbols.found] == [
        (row["id"], row["span"]["first"], row["span"]["last"], row["label"], row["status"]) for row in kept
    ]
    assert [one.p for one in symbols.found] == pytest.approx([row["p"] for row in kept], abs=1e-3)
    assert [one.why for one in symbols.found] == [row["reasons"][:3] for row in kept]
    assert sum(symbols.labels.values()) == len(shown)
    rows = _classified(capsys, "--repo", str(repo), "--task", TASK, "--files", "--from", "app/config.py")
    assert {one.path: one.label for one in files.found} == {
        row["id"]: row["label"] for row in rows if row["label"] == "relevant"
    }
    assert files.starting_points == {"app/config.py": "given by the caller"}
    assert len(more.found) <= 2
    assert sum(more.labels.values()) > sum(symbols.labels.values())
    _check_progress(told)
    errors = (tmp_path / "stderr").read_text(encoding="utf-8")
    assert [json.loads(line)["event"] for line in errors.splitlines()] == ["answered"] * 3


def _classified(capsys: Any, *arguments: str) -> list[dict[str, Any]]:
    assert main(["classify", *arguments, "--json"]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["decisions"]
    return rows


def _check_progress(told: Progressed) -> None:
    steps = [step for step, _, _ in told]
    assert steps == sorted(set(steps))
    assert all(total is not None and step <= total for step, total, _ in told)
    assert told[-1][:2] == (told[-1][1], told[-1][1])
    assert {"reading files", "asking about symbols"} & {message for _, _, message in told}


@pytest.mark.slow
def test_a_call_that_is_cancelled_cancels_its_request(repo: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """The client gives up once candidates are asked: the engine drops the request, and the next call is answered."""
    gate, errors = tmp_path / "gate", tmp_path / "stderr"

    async def ask() -> Answer:
        asking = anyio.Event()

        async def tell(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001 - the SDK's
            if message == "asking about symbols":
                asking.set()

        async def call() -> None:
            await client.call_tool("relevant_symbols", {"task": TASK}, progress_callback=tell)

        with errors.open("w") as file:
            module = ("-m", "tests.integrations.gated_server", str(repo), str(gate))
            async with connected(*module, env=environment, errors=file) as client:
                async with anyio.create_task_group() as group:
                    group.start_soon(call)
                    await asking.wait()
                    group.cancel_scope.cancel()
                while "request cancelled" not in errors.read_text(encoding="utf-8"):  # noqa: ASYNC110 - another process
                    await anyio.sleep(0.01)
                gate.touch()
                return answer_of(await client.call_tool("relevant_symbols", {"task": TASK}))

    answer = asyncio.run(asyncio.wait_for(ask(), 120))
    assert answer.labels["primary"] == sum(answer.labels.values())
    said = errors.read_text(encoding="utf-8")
    assert re.findall(r"request \w+", said) == ["request cancelled", "request answered"]
    assert "what a library prints must not reach the protocol" in said


@run
async def test_a_cancelled_call_stops_reading() -> None:
    """The thread that reads files ends with the next of them."""
    ended = threading.Event()
    told = anyio.Event()

    async def report(_done: float, _total: float, _message: str) -> None:
        told.set()

    progress = Progress(report)

    def read() -> None:
        try:
            while True:
                progress.read(1, 2)
        finally:
            ended.set()

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, read)
            await told.wait()
            scope.cancel()
    assert ended.is_set()


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An engine of the shipped cascades that says yes to everything."""
    with Engine(ScriptedBackend(lambda _adapter, _prompt: 0.9, ADAPTERS), CASCADES) as engine:
        yield engine


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache folder of its own for this process."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def call(engine: Engine, roots: Sequence[Path], *wishes: dict[str, Any], mode: str = "auto") -> list[CallToolResult]:
    """Results of calls at once, of a server in this process."""

    async def ask() -> list[CallToolResult]:
        async with Client(make_server(engine, Roots(roots)), mode=mode) as client:
            asked = (client.call_tool("relevant_symbols", {"task": TASK} | wish) for wish in wishes)
            return list(await asyncio.gather(*asked))

    return asyncio.run(ask())


@pytest.mark.usefixtures("own_cache")
def test_mistakes_are_errors_of_the_tool(engine: Engine, tmp_path: Path) -> None:
    """Each says what was given and what to do, in words of the tool; nothing outside of the root is looked at."""
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.py").write_text("def secret(): ...\n", encoding="utf-8")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "root" / "inner").mkdir()
    (tmp_path / "root" / "inner" / "alias.py").symlink_to(tmp_path / "outside" / "secret.py")
    cases: list[tuple[dict[str, Any], str]] = [
        ({"task": " "}, "The task is empty"),
        ({"repository": "../outside"}, "lies outside of what this server may read"),
        ({"repository": str(tmp_path / "nowhere")}, "lies outside of what this server may read"),
        ({"repository": "link"}, "lies outside of what this server may read"),
        ({"repository": "x\0y"}, "cannot be looked up"),
        ({"repository": "nowhere"}, "is no folder"),
        ({"repository": "inner", "starting_points": ["../../outside/secret.py"]}, "lies outside of the repository"),
        ({"repository": "inner", "starting_points": ["alias.py"]}, "lies outside of the repository"),
        ({"repository": "inner", "starting_points": ["none.py"]}, "The starting point .* does not exist"),
        ({"top": 0}, r"^relevant_symbols: top must be greater than or equal to 1 \(given 0\)\.$"),
        ({"task": None}, r"^relevant_symbols: task must be a string \(given null\)\.$"),
        ({"also": ["letters"]}, r"also\[0\] must be 'tests', 'docs' or 'generated' \(given \"letters\"\)"),
        ({"budget_ms": 0, "top": "x"}, r"top must be .*\(given \"x\"\); budget_ms must be greater than 0 \(given 0\)"),
        (
            {"repositry": "x"},
            r"has no argument \"repositry\". Did you mean 'repository'\? Its arguments are task, repos",
        ),
    ]
    for (wish, says), result in zip(
        cases, call(engine, [tmp_path / "root"], *(wish for wish, _ in cases)), strict=True
    ):
        assert result.is_error, wish
        assert re.search(says, text_of(result)), text_of(result)
        assert "Traceback" not in text_of(result)
        assert "pydantic" not in text_of(result)


@pytest.mark.usefixtures("own_cache")
def test_an_error_of_the_backend_is_an_error_of_the_tool(repo: Path) -> None:
    """It says why, and the server goes on."""
    backend = ScriptedBackend(lambda _adapter, _prompt: 0.9, ADAPTERS, fail_at=0)
    with Engine(backend, CASCADES) as engine:
        (result,) = call(engine, [repo], {})
    assert result.is_error
    assert "Batch 0 fails" in text_of(result)


@pytest.mark.usefixtures("own_cache")
def test_a_budget_cuts_questions_short(engine: Engine, repo: Path) -> None:
    """What is not decided in time has its likeliest label, and the answer says how many these are."""
    (result,) = call(engine, [repo], {"budget_ms": 0.001})
    answer = answer_of(result)
    assert answer.undecided == sum(answer.labels.values()) == 3
    assert any("A larger budget_ms decides more" in note for note in answer.notes)


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_calls_at_once_are_answered_each_for_itself(mode: str, engine: Engine, repo: Path) -> None:
    """With their own numbers of matches; in the protocol's new form, and in that of before 2026."""
    found = call(engine, [repo], *({"top": top} for top in (1, 2, 3, 1)), mode=mode)
    assert [len(answer_of(result).found) for result in found] == [1, 2, 3, 1]
    one = answer_of(found[0])
    assert "2 more may matter; a larger top shows them." in one.notes
    first = one.found[0]
    assert f"primary {first.p:.2f} {first.path}:{first.line}-{first.end_line} {first.name}" in text_of(found[0])


@pytest.mark.usefixtures("own_cache")
def test_notes_are_in_words_of_the_tool(engine: Engine, repo: Path) -> None:
    """No option of the command line is named to who has none."""
    (result,) = call(engine, [repo], {"task": "zebras and quaggas"})
    notes = answer_of(result).notes
    assert any("`also: ['tests']`" in note for note in notes)
    assert any("`also: ['docs']`" in note for note in notes)
    assert any("`also: ['generated']`" in note for note in notes)
    assert any("in starting_points" in note for note in notes)
    assert not any("--" in note or "seed" in note for note in notes)
    assert in_words_of_tools("as it is") == "as it is"


def test_roots_hold_what_may_be_read(tmp_path: Path) -> None:
    """Several may be given; what is relative is looked up in the first, and the first is the default."""
    one, two = tmp_path / "one", tmp_path / "two"
    (one / "inner").mkdir(parents=True)
    two.mkdir()
    roots = Roots([one, two])
    assert roots.repository("") == one
    assert roots.repository("inner") == one / "inner"
    assert roots.repository(str(two)) == two
    assert within(one, ["inner/x.py", str(one / "y.py")]) == [str(one / "inner" / "x.py"), str(one / "y.py")]
    with pytest.raises(InputError, match="lies outside"):
        roots.repository(str(tmp_path))
    with pytest.raises(InputError, match="lies outside"):
        roots.repository(f"{one}x")
    with pytest.raises(InputError, match=r"The root .* is no folder"):
        Roots([tmp_path / "none"])


def test_a_server_needs_a_cascade_of_symbols(engine: Engine, repo: Path) -> None:
    """One that labels something else is refused; without one of files there is no tool for files."""
    with pytest.raises(InputError, match=r"'scope' labels no symbols.*the config has precision"):
        make_server(engine, Roots([repo]), "scope")
    with pytest.raises(InputError, match="Unknown cascade 'letters'"):
        make_server(engine, Roots([repo]), "letters")
    only = {"precision": CASCADES["precision"]}
    with Engine(ScriptedBackend({}, ADAPTERS), only) as own:
        (tool,) = asyncio.run(make_server(own, Roots([repo])).list_tools())
    assert tool.name == "relevant_symbols"
    assert tool.input_schema["additionalProperties"] is False
    with (
        Engine(ScriptedBackend({}, ADAPTERS), {"scope": CASCADES["scope"]}) as own,
        pytest.raises(InputError, match="No cascade of the config labels symbols"),
    ):
        make_server(own, Roots([repo]))


@pytest.mark.slow
def test_stdout_is_the_protocol_and_signals_end_the_server(repo: Path, environment: dict[str, str]) -> None:
    """Every line is a message; the end of stdin ends it with 0, SIGTERM with 143 even while stdin is open."""
    start = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}},
    }
    for way, code in (("stdin", 0), ("signal", 143)):
        process = subprocess.Popen(
            [sys.executable, *SERVER, "--root", str(repo)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
            env={**os.environ, **environment},
        )  # fmt: skip
        try:
            assert process.stdin
            assert process.stdout
            process.stdin.write(json.dumps(start) + "\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["result"]["serverInfo"]["name"] == "cascade"
            if way == "signal":
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == code
            rest, errors = process.communicate(timeout=60)
        finally:
            with suppress(ProcessLookupError):
                process.kill()
        assert process.returncode == code
        assert not rest
        assert "Traceback" not in errors


@pytest.mark.slow
def test_mistakes_of_the_command_line_are_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Exit code 2 before anything is served, and nothing on stdout."""
    for arguments, says in (
        (("--root", str(tmp_path / "none")), "is no folder"),
        (("--config", "-"), "stdin carries the protocol"),
        (("--cascade", "scope", "--root", str(tmp_path)), "labels no symbols"),
    ):
        assert main(["mcp", *arguments]) == 2
        out, err = capsys.readouterr()
        assert not out
        assert says in err

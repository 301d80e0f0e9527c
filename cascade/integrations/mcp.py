"""A server of the Model Context Protocol: which symbols and files of a repository matter for a task.

Needs the extra ``mcp``. ``cascade mcp`` runs it over stdin and stdout.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Annotated, Any, Literal

from anyio import from_thread, to_thread
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp_types import CallToolResult, InputRequiredResult, TextContent, Tool, ToolAnnotations
from pydantic import Field, ValidationError

from cascade.budget import Budget, BudgetLike
from cascade.config.toml import json_shown, json_wanted, meant
from cascade.engine.engine import Engine
from cascade.errors import CascadeError, InputError
from cascade.integrations.relevance import Answer, answer_of, as_text, in_words_of_tools
from cascade.integrations.roots import Roots, within
from cascade.items import Task
from cascade.machine import get_logger
from cascade.report import Decision
from cascade.repository.candidates import candidates_for, labels_files, labels_symbols
from cascade.tree import ItemKind

log = get_logger("cascade.mcp")

_BETWEEN_S = 0.1  # a client is told of progress at most that often
_TOP = 20

_HINTS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)

TOOLS = {
    "relevant_symbols": (
        "Symbols that matter for a task",
        (
            "Functions, methods and classes of a repository that matter for a task, the likeliest first. Each has its "
            "name, file, lines, label, p and the reasons. The shipped labels are primary (must be changed), supporting "
            "(is called or used) and type_context (a type in use)."
        ),
    ),
    "relevant_files": (
        "Files that matter for a task",
        (
            "Files of a repository that matter for a task, beside those that the work starts from, the likeliest "
            "first. Each has its path, label, p and the reasons."
        ),
    ),
}
"""Name of a tool -> its title, and what it does."""

Also = Literal["tests", "docs", "generated"]

TaskArgument = Annotated[
    str, Field(min_length=1, description="What is to be done, in plain words: an issue, a traceback, a sentence.")
]
RepositoryArgument = Annotated[
    str, Field(description="Folder of the repository, absolute or from the server's root; empty for the root itself.")
]
StartsArgument = Annotated[
    Sequence[str],
    Field(description="Files that the work starts from, from the repository or absolute; better answers with them."),
]
TopArgument = Annotated[int, Field(ge=1, le=500, description="Most matches that are returned.")]
AlsoArgument = Annotated[Sequence[Also], Field(description="What is read beside the project's own source.")]
BudgetArgument = Annotated[
    float | None,
    Field(gt=0, description="Milliseconds for the call; what is not decided then has its likeliest label."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a tool.

    Attributes:
        tool: Its name.
        cascade: Name of the cascade that is asked.
        task: What is to be done.
        repository: Folder of the repository, as the caller gave it.
        starting_points: Files that the work starts from, as the caller gave them.
        top: Most matches.
        also: What is read beside the project's own source.
        budget_ms: Milliseconds for all of it; None for the budget of the config.
    """

    tool: str
    cascade: str
    task: str
    repository: str
    starting_points: Sequence[str]
    top: int
    also: Sequence[Also]
    budget_ms: float | None


def make_server(engine: Engine, roots: Roots, symbols: str = "") -> MCPServer[Any]:
    """A server with the tools ``relevant_symbols`` and, where a cascade labels files, ``relevant_files``.

    Args:
        engine: An open engine, which stays open.
        roots: What may be read.
        symbols: Name of the cascade that labels symbols; empty for ``precision``, or the first that does.

    Raises:
        InputError: There is no such cascade, or it labels something else.
    """
    server = _Server(
        "cascade",
        title="binary-cascade",
        description="Which symbols and files of a repository matter for a task.",
        instructions=(
            "Call relevant_symbols or relevant_files with the task, as it was given, before you search a repository by "
            "hand. They read the code themselves; the first call on a repository takes longest."
        ),
        version=version("binary-cascade"),
        log_level="WARNING",
        lifespan=_aside,
    )
    if symbols:
        engine.cascade(symbols)  # refuses one that is unknown
    answers = Answers(engine, roots)
    answers.offer(server, "relevant_symbols", labels_symbols(engine.cascades, symbols))
    if any(cascade.items is ItemKind.FILES for cascade in engine.cascades.values()):
        answers.offer(server, "relevant_files", labels_files(engine.cascades))
    return server


class _Server(MCPServer[Any]):
    """A server that takes the arguments of its tools and no others, and says in plain words what is wrong with them."""

    async def list_tools(self) -> list[Tool]:
        """See ``MCPServer.list_tools``; the schemas say that there are no other arguments."""
        tools = await super().list_tools()
        closed = {"additionalProperties": False}
        return [tool.model_copy(update={"input_schema": tool.input_schema | closed}) for tool in tools]

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """See ``MCPServer.call_tool``."""
        tool = next((tool for tool in await self.list_tools() if tool.name == name), None)
        known = list(tool.input_schema["properties"]) if tool is not None else []
        unknown = [argument for argument in arguments if argument not in known]
        if known and unknown:
            near = meant(unknown[0], known)
            msg = f"{name} has no argument {json_shown(unknown[0])}. {near}Its arguments are {', '.join(known)}."
            raise ToolError(msg)
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            if isinstance(error.__cause__, ValidationError):
                raise ToolError(_in_words(name, error.__cause__)) from error
            raise


def _in_words(tool: str, error: ValidationError) -> str:
    """Which arguments are wrong, what was given and what is allowed."""
    found = []
    for entry in error.errors():
        argument, *places = entry["loc"]
        where = f"{argument}{''.join(f'[{place}]' for place in places)}"
        given = f"{json_wanted(entry)} (given {json_shown(entry['input'])})"
        found.append(f"{where} {'is missing' if entry['type'] == 'missing' else given}")
    return f"{tool}: {'; '.join(found)}."


@asynccontextmanager
async def _aside(_server: MCPServer[Any]) -> AsyncIterator[None]:
    """While a server runs, what is printed goes to stderr: stdout is the protocol's, and buffered text would follow."""
    with redirect_stdout(sys.stderr):
        yield


class Answers:
    """Answers calls of tools.

    Args:
        engine: Who is asked.
        roots: What may be read.
    """

    def __init__(self, engine: Engine, roots: Roots) -> None:
        self._engine = engine
        self._roots = roots

    def offer(self, server: MCPServer[Any], tool: str, cascade: str) -> None:
        """Give a server a tool that asks a cascade.

        Args:
            server: The server.
            tool: Name of the tool, out of ``TOOLS``.
            cascade: Name of the cascade.
        """

        async def answer(  # noqa: PLR0913, PLR0917 - the tool's arguments
            task: TaskArgument,
            context: Context[Any, Any],
            repository: RepositoryArgument = "",
            starting_points: StartsArgument = (),
            top: TopArgument = _TOP,
            also: AlsoArgument = (),
            budget_ms: BudgetArgument = None,
        ) -> Annotated[CallToolResult, Answer]:
            call = Call(
                tool=tool,
                cascade=cascade,
                task=task,
                repository=repository,
                starting_points=starting_points,
                top=top,
                also=also,
                budget_ms=budget_ms,
            )
            return await self._told(call, Progress(context.report_progress))

        answer.__name__ = tool  # a complaint about its arguments names it
        title, description = TOOLS[tool]
        server.add_tool(answer, tool, title, description, _HINTS)

    async def _told(self, call: Call, progress: Progress) -> CallToolResult:
        """The result of a call; a mistake of the caller's, or of a backend, is a tool's error."""
        try:
            answer = await self._answer(call, progress)
        except CascadeError as error:
            log.info("refused", tool=call.tool, problem=str(error))
            raise ToolError(in_words_of_tools(str(error))) from error
        except asyncio.CancelledError:
            log.info("cancelled", tool=call.tool, decided=progress.n_decided, of=progress.n_items)
            raise
        log.info(
            "answered", tool=call.tool, repository=answer.repository, found=len(answer.found), ms=answer.elapsed_ms
        )
        text = TextContent(type="text", text=as_text(answer))
        return CallToolResult(content=[text], structured_content=answer.model_dump(mode="json"))

    async def _answer(self, call: Call, progress: Progress) -> Answer:
        started = time.monotonic()
        if not call.task.strip():
            msg = "The task is empty. Say in a sentence what is to be done."
            raise InputError(msg)
        folder = self._roots.repository(call.repository)
        task = Task(text=call.task, seeds=tuple(within(folder, call.starting_points)))
        cascade = self._engine.cascade(call.cascade)
        read = partial(candidates_for, folder, task, cascade, also=call.also, progress=progress.read)
        candidates, asked = await to_thread.run_sync(read)  # once cancelled, it ends with the next file
        budget: BudgetLike = "config" if call.budget_ms is None else Budget(deadline=started + call.budget_ms / 1_000)
        telling = asyncio.create_task(progress.tell_decisions(len(asked.items), str(cascade.items)))
        try:
            report = await self._engine.aclassify(
                candidates.task, asked.items, call.cascade, budget=budget, on_decision=progress.decided
            )
        finally:
            telling.cancel()
        await progress.tell_end()
        elapsed_ms = 1_000 * (time.monotonic() - started)
        return answer_of(report, cascade, candidates, asked, top=call.top, elapsed_ms=elapsed_ms)


class Progress:
    """Tells a client how far a call is: files that were read, then candidates that are decided, in one count.

    Args:
        report: Tells it of a progress, a total and what is done.

    Attributes:
        n_items: Candidates that are asked; 0 while files are read.
        n_decided: Those of them that are decided.
    """

    def __init__(self, report: Callable[[float, float, str], Coroutine[Any, Any, None]]) -> None:
        self._report = report
        self._n_files, self._next, self._n_told = 0, 0.0, -1
        self.n_items = self.n_decided = 0

    def read(self, done: int, total: int) -> None:
        """Some files were read. Called in the thread that reads.

        Raises:
            CancelledError: The call was cancelled, so that reading ends.
        """
        from_thread.check_cancelled()
        self._n_files = total
        if done < total and time.monotonic() >= self._next:
            self._next = time.monotonic() + _BETWEEN_S
            from_thread.run(self._report, float(done), float(total), "reading files")

    def decided(self, _: Decision) -> None:
        """A candidate is decided. Called in the engine's thread."""
        self.n_decided += 1

    async def tell_decisions(self, n_items: int, what: str) -> None:
        """Tell of decisions until it is cancelled.

        Args:
            n_items: How many are to come.
            what: What is decided about.
        """
        self.n_items = n_items
        while True:
            await self._tell(self.n_decided, f"asking about {what}")
            await asyncio.sleep(_BETWEEN_S)

    async def tell_end(self) -> None:
        """Tell that everything is decided."""
        await self._tell(self.n_items, "all is decided")

    async def _tell(self, n: int, message: str) -> None:
        if n > self._n_told:
            self._n_told = n
            await self._report(float(self._n_files + n), float(self._n_files + self.n_items), message)

"""What commands share: results on stdout, all else on stderr, and one exit code for each outcome.

0    done
1    failure: a backend or the machine failed, or nobody read the output; of ``check``: what it looks for was found
2    bad input: a file, a key, an item or the command line itself
130  interrupted
143  terminated
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from cascade.budget import Budget
from cascade.cli.streams import drop_output, output_error
from cascade.config.toml import shown
from cascade.errors import CascadeError, InputError
from cascade.files import is_there

_PIPE_WIDTH = 1_000
_ACTED_ON = re.compile(" *\0[ \0]*")


class ExitCode(IntEnum):
    """What the command tells the shell."""

    DONE = 0
    FAILURE = 1
    BAD_INPUT = 2
    INTERRUPTED = 130
    TERMINATED = 143


@dataclass(slots=True)
class Settings:
    """Options that stand before the command's name.

    Attributes:
        name: What the user calls the program.
        path: What the user calls the command; the program's name where there is none.
        verbose: Whether an error shows its traceback.
    """

    name: str = "cascade"
    path: str = "cascade"
    verbose: bool = False


def _file_alone(path: Path | None) -> Path | None:
    """The file of --thresholds, which `serve` alone takes with a cascade's name before it."""
    if path is not None and "=" in str(path) and not is_there(path):
        msg = f"--thresholds {str(path)!r} is no file. Give the file alone: the command names the cascade."
        raise InputError(msg)
    return path


ConfigOption = Annotated[Path | None, typer.Option(help="A TOML config file, - for stdin; the shipped one if absent.")]
ThresholdsOption = Annotated[
    Path | None,
    typer.Option(
        help="Thresholds that `cascade tune --out` wrote, in place of the config's; - for stdin.", callback=_file_alone
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")]


class _Console(Console):
    """A console that writes no sign of a text that a terminal would act on."""

    def render_str(self, text: str, **options: Any) -> Text:
        """See ``rich.console.Console.render_str``."""
        return super().render_str("\n".join(plain(line, strips=False) for line in text.split("\n")), **options)


def results() -> Console:
    """The console of results: stdout, with lines as long as they come where no terminal shows them."""
    width = None if sys.stdout.isatty() else _PIPE_WIDTH
    return _Console(highlight=False, markup=False, emoji=False, width=width)


def notes() -> Console:
    """The console of everything else: stderr."""
    return _Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def progress(*columns: ProgressColumn) -> Progress:
    """A progress bar on stderr; shows nothing where stderr is no terminal, or one that cannot go back in a line.

    Args:
        columns: What stands in its line; what most commands show if there is none.
    """
    console = notes()
    console.quiet = not console.is_terminal or console.is_dumb_terminal
    usual = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*(columns or usual), console=console, transient=True, disable=console.quiet)


def plain(text: str, *, strips: bool = True) -> str:
    """A text from outside in one line, with a space for what a terminal would act on.

    Signs that stdout cannot carry, such as the bytes of a file name that is no UTF-8, stand as their escapes.

    Args:
        text: The text.
        strips: Whether spaces around it are taken off.
    """
    coding = sys.stdout.encoding or "utf-8"
    carried = text.encode(coding, "backslashreplace").decode(coding)
    if not carried.isprintable():
        carried = _ACTED_ON.sub(" ", "".join(sign if sign.isprintable() else "\0" for sign in carried))
    return carried.strip() if strips else carried


def print_json(value: object, *, is_compact: bool = False) -> None:
    """A value as JSON on stdout, in ASCII so that any locale can carry it.

    Raises:
        ValueError: It holds a NaN or an infinity, which JSON lacks; give None instead.
    """
    sys.stdout.write(json.dumps(value, indent=None if is_compact else 2, allow_nan=False) + "\n")


def note(text: str) -> None:
    """One line on stderr that is no error."""
    notes().print(Text.assemble(("note: ", "cyan"), plain(text)))


def complain(text: str) -> None:
    """One line on stderr that says why the command failed."""
    notes().print(Text.assemble(("error: ", "bold red"), plain(text)))


def budget_option(ms: float | None, depth: int | None = None) -> Budget:
    """The budget that the option --budget means, in milliseconds.

    Raises:
        InputError: It is not allowed; names the option.
    """
    try:
        return Budget(ms=ms, depth=depth)
    except InputError as error:
        msg = f"--budget: {error}"
        raise InputError(msg) from error


def need_command(context: typer.Context) -> None:
    """Show the help of a group of commands where none was named.

    Raises:
        InputError: None was named.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        msg = f"Missing command. See `{context.command_path} --help`."
        raise InputError(msg)


def guarded(command: Callable[[], object], settings: Settings) -> ExitCode:
    """Runs a command and turns every way it may end into an exit code and at most one line.

    Args:
        command: What to run; an int that it returns is an exit code.
        settings: Read after a failure, since the command itself parses them.
    """
    try:
        code = command()
        sys.stdout.flush()
    except SystemExit as error:
        if error.code != ExitCode.TERMINATED:  # rich and typer end so when the reader of a pipe has gone
            drop_output()
            return ExitCode.FAILURE
        code = ExitCode.TERMINATED
    except (KeyboardInterrupt, typer.Abort):  # older typers turn the one into the other
        code = ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001  the last line of defence: a user never meets a bare traceback
        return _failed(error, settings)
    ended = ExitCode(code) if isinstance(code, int) else ExitCode.DONE
    if ended in {ExitCode.INTERRUPTED, ExitCode.TERMINATED}:
        complain(ended.name.lower())
    return ended


def _failed(error: Exception, settings: Settings) -> ExitCode:
    if settings.verbose:
        notes().print_exception()
    lost = output_error()
    if lost is None:
        code, message = _outcome(error, settings)
        complain(message)
        return code
    drop_output()
    if not isinstance(lost, BrokenPipeError):  # a reader that has gone knows that it has
        complain(f"stdout cannot be written ({lost.strerror}). The results are lost.")
    return ExitCode.FAILURE


NO_MEMORY = "There is not enough memory for this. Free some, or raise the limit that `ulimit -v` shows."


def _outcome(error: Exception, settings: Settings) -> tuple[ExitCode, str]:
    if isinstance(error, InputError):
        return ExitCode.BAD_INPUT, str(error)
    if isinstance(error, CascadeError):
        return ExitCode.FAILURE, str(error)
    if hasattr(error, "format_message"):  # a usage error; its class is not public in every typer
        problem = error.format_message().rstrip().replace("Value error, ", "")
        if isinstance(error.__cause__, ValidationError):
            problem = f"{problem.rstrip('.')} (given {shown(error.__cause__.errors()[0]['input'])})"
        stop = "" if problem.endswith((".", "?", "!")) else "."
        return ExitCode.BAD_INPUT, f"{problem}{stop} See `{settings.path} --help`."
    if isinstance(error, MemoryError):
        return ExitCode.FAILURE, NO_MEMORY
    hint = f"Run again with `{settings.name} --verbose` for the traceback."
    if isinstance(error, OSError):
        return ExitCode.FAILURE, f"{error}. {hint}"
    return ExitCode.FAILURE, f"unexpected {type(error).__name__}: {error}. {hint}"

"""All commands put together.

None imports llama_cpp before it scores, so that help and config commands answer at once.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer
from typer.main import get_command

from cascade.cli import adapters as adapters_commands
from cascade.cli import adopt as adopt_command
from cascade.cli import audit as audit_command
from cascade.cli import check as check_command
from cascade.cli import classify as classify_command
from cascade.cli import config as config_commands
from cascade.cli import dataset as dataset_commands
from cascade.cli import depth as depth_command
from cascade.cli import doctor as doctor_command
from cascade.cli import evaluate as evaluate_command
from cascade.cli import explain as explain_command
from cascade.cli import improve as improve_command
from cascade.cli import log as log_commands
from cascade.cli import mcp as mcp_command
from cascade.cli import quantize as quantize_command
from cascade.cli import run as run_command
from cascade.cli import serve as serve_command
from cascade.cli import train as train_command
from cascade.cli import tune as tune_command
from cascade.cli.output import Settings, guarded, need_command
from cascade.cli.signals import Signals

app = typer.Typer(name="cascade", add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})
app.command()(classify_command.classify)
app.command()(explain_command.explain)
app.command()(run_command.run)
app.command()(evaluate_command.evaluate)
app.command()(depth_command.depth)
app.command()(tune_command.tune)
app.command()(train_command.train)
app.command()(audit_command.audit)
app.command()(check_command.check)
app.command()(doctor_command.doctor)
app.command()(quantize_command.quantize)
app.command()(adopt_command.adopt)
app.command(name="improve")(improve_command.improve_)
app.command()(serve_command.serve)
app.command()(mcp_command.mcp)
app.add_typer(config_commands.app, name="config")
app.add_typer(adapters_commands.app, name="adapters")
app.add_typer(log_commands.app, name="log")
app.add_typer(dataset_commands.app, name="dataset")


def _print_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"cascade {version('binary-cascade')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show the traceback of an error.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Sort candidates by short-circuiting cascades of yes/no questions on small models."""
    context.obj.verbose = verbose
    need_command(context)


def run(arguments: Sequence[str] | None, name: str, signals: Signals) -> int:
    """Runs the command; see ``cascade.cli.main``."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["help"]:
        given = [*given[1:], "--help"]
    given = _with_address(given)
    program = get_command(app)
    settings = Settings(name=name, path=_path(program, name, given))

    def command() -> object:
        with signals.unwinding():
            return program.main(args=given, prog_name=name, standalone_mode=False, obj=settings)

    return guarded(command, settings)


def _with_address(given: Sequence[str]) -> list[str]:
    """The arguments with an address behind a bare ``--ray``; Typer knows no option whose value may be left away."""
    follows = [*given[1:], ""]
    bare = [
        word == "--ray" and (not after or after.startswith("-")) for word, after in zip(given, follows, strict=False)
    ]
    return [f"{word}={run_command.AT_HAND}" if is_bare else word for word, is_bare in zip(given, bare, strict=True)]


def _path(program: object, name: str, given: Sequence[str]) -> str:
    """What the user calls the command that the arguments name, such as "cascade config show"."""
    path, here = [name], program
    for word in given:
        known = getattr(here, "commands", {})
        if word in known:
            path.append(word)
            here = known[word]
        elif not word.startswith("-"):
            break
    return " ".join(path)

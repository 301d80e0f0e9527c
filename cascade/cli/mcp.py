"""``cascade mcp``: which symbols and files matter for a task, for coding agents, over stdin and stdout."""

from __future__ import annotations

import logging
import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from cascade.cli.kept_log import KeptLogOption, with_log
from cascade.cli.output import ConfigOption, ThresholdsOption
from cascade.cli.signals import end_at_once
from cascade.config.schema import read_config, shipped_config
from cascade.engine.engine import Engine
from cascade.errors import InputError, MachineError
from cascade.files import STDIN
from cascade.machine import install_extra, show_logs


def mcp(
    *,
    root: Annotated[
        list[Path] | None,
        typer.Option(help="Folder within which repositories may be read; may be repeated. The working directory."),
    ] = None,
    cascade: Annotated[str, typer.Option(help="Name of the cascade that labels symbols; precision if absent.")] = "",
    log: KeptLogOption = None,
    thresholds: ThresholdsOption = None,
    config: ConfigOption = None,
) -> None:
    """Serve coding agents over stdin and stdout, by the Model Context Protocol, until stdin ends.

    Nothing else is written to stdout; what happens is told on stderr. Nothing outside --root is read.
    """
    try:
        from cascade.integrations.mcp import make_server  # noqa: PLC0415 - the extra `mcp` may be absent
        from cascade.integrations.roots import Roots  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        msg = f"{error.name} is not installed. Run `{install_extra('mcp')}`."
        raise MachineError(msg) from error
    if STDIN in {config, thresholds}:
        msg = "stdin carries the protocol here. Give --config and --thresholds as files."
        raise InputError(msg)
    roots = Roots(root or [Path()])
    own = {cascade or "precision": thresholds} if thresholds is not None else {}
    with Engine.open(with_log(read_config(config or shipped_config(), own), log)) as engine:
        show_logs(other="mcp")
        logging.getLogger("mcp").setLevel(logging.WARNING)  # what it says of each call is said here already
        logging.getLogger().addHandler(logging.NullHandler())  # or the SDK gives the root logger one of its own
        server = make_server(engine, roots, cascade)
        _end_by_signals(engine)
        server.run("stdio")


def _end_by_signals(engine: Engine) -> None:
    """Let SIGINT and SIGTERM close the engine and end the process: its reader of stdin would wait for a line."""

    def end(number: int, frame: FrameType | None) -> None:
        engine.close()
        end_at_once(number, frame)

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)

"""``cascade serve``: the cascades of a config as an HTTP service."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from cascade.cli.output import ConfigOption, JsonOption, note, plain, print_json, results
from cascade.cli.signals import end_at_once
from cascade.config.schema import Config, read_config, shipped_config
from cascade.engine.engine import Engine
from cascade.engine.observer import Observer
from cascade.errors import InputError, MachineError
from cascade.files import STDIN
from cascade.machine import install_extra, return_large_blocks, show_logs

_LOOPBACK = ("127.", "::1", "localhost")


def serve(  # noqa: PLR0913 - the command line's options
    *,
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 for any that is free.")] = 8095,
    max_items: Annotated[int, typer.Option(min=1, help="Most items of a request.")] = 10_000,
    max_body: Annotated[int, typer.Option(min=1, max=1_024, help="Most MiB of a request's body.")] = 8,
    max_calls: Annotated[int, typer.Option(min=1, help="Most calls at once; more are told to come back.")] = 512,
    grace: Annotated[float, typer.Option(min=0, max=3600, help="Seconds that calls may go on once told to end.")] = 10,
    traces: Annotated[bool, typer.Option("--traces", help="Send OpenTelemetry spans, as OTEL_ variables say.")] = False,
    trace_texts: Annotated[
        bool, typer.Option("--trace-texts", help="Send spans with the texts of tasks, items and answers in them.")
    ] = False,
    thresholds: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="Thresholds of a cascade that `cascade tune --out` wrote; repeatable."),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Serve cascades and System One questions over HTTP until interrupted.

    SIGTERM lets in nobody new, waits for open calls as long as --grace says, and ends with exit code 0; a second
    signal ends it at once. SIGHUP reads the config again and takes over its adapters, thresholds and cascades.

    The bearer token that callers must show is read from CASCADE_SERVE_TOKEN; without it everybody is let in. With
    CASCADE_ADMIN_TOKEN, which is another, POST /v1/admin/adapters does what SIGHUP does.
    """
    try:
        from cascade.service.admin import Reload  # noqa: PLC0415 - the extra `serve` may be absent
        from cascade.service.app import make_app  # noqa: PLC0415 - as above
        from cascade.service.metrics import Metrics  # noqa: PLC0415 - as above
        from cascade.service.server import Server, listen, url_of  # noqa: PLC0415 - as above
        from cascade.service.settings import ADMIN_VARIABLE, TOKEN_VARIABLE, ServiceSettings  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        msg = f"{error.name} is not installed. Run `{install_extra('serve')}`."
        raise MachineError(msg) from error
    path, own = config or shipped_config(), _thresholds(thresholds or ())
    read = read_config(path, own)
    settings = ServiceSettings(
        max_items=max_items,
        max_body=max_body * 1024 * 1024,
        max_calls=max_calls,
        aliases=read.service.aliases,
        token=_token(TOKEN_VARIABLE),
        admin_token=_token(ADMIN_VARIABLE),
    )
    if settings.token is None and not host.startswith(_LOOPBACK):
        note(f"everybody who reaches {host} is let in; set {TOKEN_VARIABLE} to a token that callers must show")
    metrics = Metrics()
    return_large_blocks()
    with (
        listen(host, port) as listening,
        _tracing(wanted=traces or trace_texts, texts=trace_texts) as (observers, spans),
        Engine.open(read, (metrics, *observers)) as engine,
    ):
        show_logs()
        reload = Reload(engine, lambda: read_config(path, own))
        server = Server(make_app(engine, metrics, settings, spans, reload), engine, grace, end_at_once)
        signal.signal(signal.SIGTERM, server.handle_exit)  # before uvicorn listens for it, and after
        if path != STDIN and hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, lambda *_: reload.in_background())
        _tell(url_of(listening), list(engine.cascades), read, needs_token=bool(settings.token), json=json)
        server.run(sockets=[listening])


def _tell(url: str, cascades: Sequence[str], config: Config, *, needs_token: bool, json: bool) -> None:
    """Say where the service listens, and with what."""
    if json:
        kept = {"log": str(config.log.path)} if config.log else {}
        print_json({"url": url, "cascades": cascades, "needs_token": needs_token, **kept})
    else:
        kept_in = f", decisions kept in {config.log.path}" if config.log else ""
        results().print(plain(f"serving {', '.join(cascades)} on {url}{kept_in}"))
    sys.stdout.flush()


def _thresholds(given: Sequence[str]) -> dict[str, Path | None]:
    """Cascade -> file."""
    found: dict[str, Path | None] = {}
    for text in given:
        name, _, file = text.partition("=")
        if not name or not file or name in found:
            again = f"{name} is named twice" if name in found else f"{text!r} was given"
            msg = f"--thresholds: {again}. Give each cascade and its file once, such as precision=my.thresholds.toml."
            raise InputError(msg)
        found[name] = Path(file)
    return found


def _token(variable: str) -> str | None:
    token = os.environ.get(variable)
    if token is not None and not (token.strip() == token and token.isascii() and token.isprintable() and token):
        msg = f"{variable} is empty, or has spaces around it or signs that no header carries. Set a plain ASCII token."
        raise InputError(msg)
    return token


@contextmanager
def _tracing(*, wanted: bool, texts: bool) -> Iterator[tuple[tuple[Observer, ...], Any]]:
    """What makes spans of the engine and of calls, if it is wanted; what is left of them is sent at the end."""
    if not wanted:
        yield (), None
        return
    try:
        from cascade.engine.traces import Traces  # noqa: PLC0415 - the extra `telemetry` may be absent
        from cascade.service.telemetry import otlp_provider, spans_of_calls  # noqa: PLC0415 - as above

        provider = otlp_provider()
    except ModuleNotFoundError as error:
        msg = f"{error.name} is not installed. Run `{install_extra('telemetry')}`."
        raise MachineError(msg) from error
    try:
        yield (Traces(provider, texts=texts),), spans_of_calls(provider)
    finally:
        provider.shutdown()

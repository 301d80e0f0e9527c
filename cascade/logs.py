"""Where the library's own messages go: structlog over the standard library's logging.

An application that configures ``logging`` decides what is shown; one that does not sees warnings
on stderr and nothing on stdout. Messages are JSON where stderr is no terminal.
"""

from __future__ import annotations

import logging
import sys

import structlog
from structlog.typing import EventDict, WrappedLogger

_FOR_PEOPLE = structlog.processors.KeyValueRenderer(key_order=["event"])
_FOR_PROGRAMS = structlog.processors.JSONRenderer(ensure_ascii=True)
_STAMP = structlog.processors.TimeStamper(fmt="iso", utc=True)


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A structured logger under a name of the standard library's logging tree."""
    logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, structlog.processors.format_exc_info, _render],
        wrapper_class=structlog.stdlib.BoundLogger,
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return logger


def show_logs(level: int = logging.INFO) -> None:
    """Show messages from a level on, and those of the web server, on stderr: for a program that is nobody's library."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Own())
    logging.getLogger("cascade").addHandler(handler)
    logging.getLogger("cascade").setLevel(level)
    foreign = logging.StreamHandler()
    foreign.setFormatter(_Foreign())
    logging.getLogger("uvicorn").addHandler(foreign)
    logging.getLogger("uvicorn").setLevel(level)


class _Own(logging.Formatter):
    """Our own messages, which hold their traceback already."""

    def format(self, record: logging.LogRecord) -> str:
        return record.getMessage()


class _Foreign(logging.Formatter):
    """Another library's messages in the form of our own."""

    def format(self, record: logging.LogRecord) -> str:
        event: EventDict = {"event": record.getMessage()}
        if record.exc_info:
            event["exception"] = self.formatException(record.exc_info)
        return str(_render(logging.getLogger(record.name), record.levelname.lower(), event))


def _render(logger: WrappedLogger, method: str, event: EventDict) -> str | bytes:
    """A message for people on a terminal, for programs elsewhere."""
    if sys.stderr.isatty():
        return _FOR_PEOPLE(logger, method, event)
    event = structlog.stdlib.add_logger_name(logger, method, structlog.stdlib.add_log_level(logger, method, event))
    return _FOR_PROGRAMS(logger, method, dict(_STAMP(logger, method, event)))

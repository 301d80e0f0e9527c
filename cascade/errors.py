"""Every error this library raises on purpose, and how its messages count things.

    CascadeError
    ├── InputError            what the caller gave cannot be used (exit code 2)
    │   ├── ConfigError       a config file or table: names the file and the key
    │   ├── ItemError         one item: names the item
    │   └── ModelFileError    a GGUF file that must not reach llama.cpp
    ├── BackendError          scoring failed (exit code 1)
    │   ├── DecodeError       llama.cpp refused or failed a decode
    │   ├── ServerError       a server refused a request, or serves something else than the config says
    │   ├── ClosedError       the engine or backend was closed while work was waiting
    │   └── OverloadError     more is asked of the engine than it can do in time
    └── MachineError          what was asked for is right, but could not be done here (exit code 1)

A message says what was given, what is allowed and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable


class CascadeError(Exception):
    """The base of all errors that this library raises on purpose; ``cascade.errors`` has the others."""


class InputError(CascadeError):
    """What the caller gave cannot be used; nothing was computed."""


class ConfigError(InputError):
    """A config file or table is wrong; the message names file, key and remedy."""


class ItemError(InputError):
    """An item cannot be asked; the message names the item."""


class ModelFileError(InputError):
    """A model or adapter file is missing, damaged or does not fit; llama.cpp never saw it."""


class BackendError(CascadeError):
    """A backend could not score a batch."""


class DecodeError(BackendError):
    """llama.cpp returned an error from a decode; carries its last log message."""


class ServerError(BackendError):
    """A server refused a request, cannot be reached when it is opened, or serves another model or no such adapter."""


class ClosedError(BackendError):
    """The engine or its backend was closed, or its worker died, with work still waiting."""


class OverloadError(BackendError):
    """The engine has too many open requests, or cannot meet this one's deadline and is set to refuse it."""


class MachineError(CascadeError):
    """What was asked for is right, but a file could not be written or llama.cpp failed at it."""


def unknown_cascade(name: str, names: Iterable[str]) -> str:
    """A sentence that says that no cascade has this name, and which there are."""
    return f"Unknown cascade {name!r}; there are {', '.join(names) or 'none'}."


def counted(n: int, one: str, many: str = "") -> str:
    """A number of things in words, such as ``1 task`` or ``1,200 tasks``.

    Args:
        n: How many, at least 0.
        one: What one is called.
        many: What others are called; with an s at its end if nothing is said.
    """
    return f"{n:,} {one if n == 1 else many or one + 's'}"

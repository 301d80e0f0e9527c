"""What was skipped or degraded on the way, told once per reason."""

from __future__ import annotations

from collections import defaultdict

_SHOWN = 3


class Messages:
    """Collects reasons with the paths they concern; many paths make one line."""

    def __init__(self) -> None:
        self._paths: dict[str, list[str]] = defaultdict(list)

    def add(self, reason: str, path: str = "") -> None:
        """Notes a reason, with the file it concerns if there is one."""
        paths = self._paths[reason]
        if path and path not in paths[-1:]:
            paths.append(path)

    def lines(self) -> tuple[str, ...]:
        """One line per reason, in the order in which they first came up."""
        return tuple(_line(reason, paths) for reason, paths in self._paths.items())


def _line(reason: str, paths: list[str]) -> str:
    if not paths:
        return reason
    shown = ", ".join(ascii(path)[1:-1] if not path.isprintable() else path for path in paths[:_SHOWN])
    count = f"{len(paths)} file{'s' if len(paths) > 1 else ''}"
    return f"{count} {reason}: {shown}{', ...' if len(paths) > _SHOWN else ''}"

"""Files that a task names: by a path, a line of a traceback, or a dotted module. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate, takewhile

MOST = 5
"""Files that are taken from one task; for each the history is read once more."""

_LEAST_ALIKE = 2  # parts of two paths that must agree, where both have as many
_MOST_ALIKE = 2  # files that one name may stand for; one that fits more, such as __init__.py, tells nothing
_LONGEST = 1_000  # characters of a path; more is no path
_TOKEN = re.compile(r"[\w./\\@+~:-]+")
_PLACE = re.compile(r"(?:(?::\d+)+(?::in)?|:line):?$")  # line and column; what Ruby and C# write behind a path
_MODULE = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+")
_FRAME = re.compile(r'^\s*(?:File "|at )|:\d+')
_CALLS = (
    re.compile(r'File "(?P<path>[^"\n]+)", line \d+, in (?P<name>\w+)'),  # Python
    re.compile(r"\bat (?:async |new )?(?P<name>[\w.$<>]+) ?\((?P<path>[^():\n]+):\d+"),  # JavaScript, Java, Kotlin
    re.compile(r"\bat (?P<name>[\w.<>`+]+)\([^()\n]{0,500}\) in (?P<path>[^\n]{1,500}?):line \d"),  # C#
    re.compile(  # Ruby
        r"(?<![^\s:])(?P<path>[^\s:]+):\d+:in [`'](?:(?:block|rescue|ensure)(?: \(\d+ levels\))? in )*"
        r"(?:[\w.:]+[.#])?(?P<name>\w+)"
    ),
    re.compile(  # Go
        r"(?<![\w.*()])(?P<name>[\w.*()]{1,300}?)(?:\.func\d+(?:\.\d+)*)*(?:\[\.\.\.\])?\([^()\n]*\)\n"
        r"\s+(?P<path>\S+\.go):\d+"
    ),
    re.compile(r"(?<!\d)\d+: +(?P<name>[\w:<>]+)\n\s+at (?P<path>[^\s:]+):\d+"),  # Rust
)

TRACEBACK, PATH, MODULE = "in a traceback of the task", "named in the task", "a module that the task names"
"""Why a file is a starting point."""


def starting_points(text: str, paths: Collection[str]) -> dict[str, str]:
    """The files of a repository that a text names.

    A path may be of another machine: what counts is its end. Of several files with that name the one that agrees in
    more folders is meant, and a name that fits more than two alike is passed over. Of a traceback the last line comes
    first, as that is where the error was raised.

    Args:
        text: The task, of any length.
        paths: Files of the repository, relative to its root, with forward slashes.

    Returns:
        At most ``MOST`` paths -> the reason in words: those of tracebacks first, then other paths, then modules.
    """
    frames, named, modules = list[str](), list[str](), list[str]()
    by_end = _by_end(paths)
    for line in text.splitlines():
        is_frame = _FRAME.search(line) is not None
        for token in _tokens(line):
            found = _meant(token, by_end)
            (frames if is_frame else named).extend(found)
            if not found and _MODULE.fullmatch(token):
                modules.extend(_modules(token.split("."), by_end))
    reasons: dict[str, str] = {}
    for found, reason in ((frames[::-1], TRACEBACK), (named, PATH), (modules, MODULE)):
        for path in found:
            reasons.setdefault(path, reason)
    return dict(list(reasons.items())[:MOST])


def traced_calls(text: str, paths: Collection[str]) -> list[tuple[tuple[str, ...], str]]:
    """The calls of a text's tracebacks that lie in a repository, in the order of the text.

    Args:
        text: The task, of any length.
        paths: Files of the repository.

    Returns:
        The files that a line may mean, at most two, and the function's name as the line has it, without its owners.
    """
    found = sorted(
        (match.start(), match["path"], match["name"]) for pattern in _CALLS for match in pattern.finditer(text)
    )
    by_end = _by_end(paths) if found else {}
    calls = [(tuple(_meant(path.replace("\\", "/"), by_end)), name) for _, path, name in found]
    return [(files, re.split(r"\W+", name.rstrip(")>"))[-1]) for files, name in calls if files]


def _by_end(paths: Collection[str]) -> dict[str, list[str]]:
    """Every end of a path, such as ``fees/halves.py``, -> the paths that have it, in order."""
    by_end = defaultdict[str, list[str]](list)
    for path in sorted(paths):
        parts = path.split("/")
        for at in range(len(parts)):
            by_end["/".join(parts[at:])].append(path)
    return by_end


def _tokens(line: str) -> Iterator[str]:
    """The words of a line that may be paths or modules, without line numbers and the signs around them."""
    for match in _TOKEN.finditer(line):
        token = match.group()
        if "." in token and len(token) <= _LONGEST:
            path = _PLACE.sub("", token.partition("::")[0]).strip(":-")  # of app.py::test_fees the file
            yield path.lstrip("@").rstrip(".").replace("\\", "/")


def _meant(name: str, by_end: Mapping[str, Sequence[str]]) -> list[str]:
    """The files that a path may stand for: those that agree with it in most folders, counted from the end."""
    parts = [part for part in name.split("/") if part not in {"", ".", ".."}]
    ends = accumulate(reversed(parts), lambda end, part: f"{part}/{end}")
    known = list(takewhile(by_end.__contains__, ends))
    least = min(_LEAST_ALIKE, len(parts))
    agreeing = by_end[known[-1]] if known else ()
    found = [path for path in agreeing if len(known) >= min(least, path.count("/") + 1)]
    return found if len(found) <= _MOST_ALIKE else []


def _modules(parts: Sequence[str], by_end: Mapping[str, Sequence[str]]) -> list[str]:
    """The file of a dotted name: that of its longest beginning that is a module, below the root or any folder."""
    for n in range(len(parts), 1, -1):
        folder = "/".join(parts[:n])
        found = [*by_end.get(f"{folder}.py", ()), *by_end.get(f"{folder}/__init__.py", ())]
        if found:
            return found if len(found) <= _MOST_ALIKE else []
    return []

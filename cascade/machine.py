"""What this machine is, and where the user's caches lie."""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Collection, Iterator
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path

import structlog
from structlog.typing import EventDict, WrappedLogger

from cascade.errors import MachineError

_CPU_INFO = Path("/proc/cpuinfo")
_M_MMAP_THRESHOLD, _LARGE_BLOCK = -3, 128 * 1024
_M_ARENA_MAX = -8
_MIB = 2**20
_STACK = 8 * _MIB  # address space that a thread takes
_PROC, _CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")
_CGROUP_FILES = {
    "": ("memory.max", "memory.current", "file"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache"),
}  # controllers, none in version 2 -> what is allowed, what is used, and what of it are cached files
_RELEASE = "Free memory or raise the limit, or take a smaller model or a smaller model.n_ctx."


def n_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def n_threads(wanted: int) -> int:
    """Threads to compute with: as many as wanted, or one for each core where that is 0; never more.

    More would only wait for each other, and where the system starts no more of them, OpenMP ends the process.
    """
    return min(wanted or n_cores(), n_cores())


def processor_name() -> str:
    """The processor's own name where the system tells it, otherwise its architecture; never empty."""
    return _cpu_info("model name") or platform.processor() or platform.machine() or "unknown"


def processor_flags() -> frozenset[str]:
    """The processor's features in Linux's words, such as ``avx2`` or ``amx_int8``; empty where the system is silent."""
    return frozenset(_cpu_info("flags").split())


def _cpu_info(key: str) -> str:
    """The first value of a key that Linux tells of its processors; empty where there is none."""
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    fields = (line.partition(":") for line in lines)
    return next((value.strip() for name, _, value in fields if name.strip() == key), "")


def memory_bytes() -> int | None:
    """Bytes of main memory; None where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def peak_memory_mib() -> float | None:
    """Most resident memory that this process ever had; None where the system does not tell."""
    try:
        import resource  # noqa: PLC0415 - POSIX only
    except ImportError:
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10  # getrusage(2): bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def need_memory(n_bytes: int, purpose: str, n_threads: int = 0) -> None:
    """Refuse what would take more memory than is left: llama.cpp ends the process where it gets none.

    Args:
        n_bytes: What it takes.
        purpose: What it is for, as the beginning of a sentence.
        n_threads: Threads that it starts.

    Raises:
        MachineError: Says what is left, and by which bound.
    """
    for left, bound, is_of_addresses in memory_left():
        needed = n_bytes + _STACK * n_threads * is_of_addresses
        if needed > left:
            given, allowed = needed // _MIB + 1, max(left, 0) // _MIB
            msg = f"{purpose} takes about {given} MiB of memory; {allowed} MiB are left {bound}. {_RELEASE}"
            raise MachineError(msg)


def share_heap() -> bool:
    """Let all threads share one heap where the address space is limited; False where it is not, or no glibc is there.

    Each thread would reserve 64 MiB of addresses for one of its own, and take what llama.cpp then cannot have.

    Source: mallopt(3), M_ARENA_MAX.
    """
    is_limited = any(is_of_addresses for _, _, is_of_addresses in memory_left())
    return is_limited and _mallopt(_M_ARENA_MAX, 1)


def memory_left(proc: Path = _PROC, groups: Path = _CGROUPS) -> Iterator[tuple[int, str, bool]]:
    """Bytes that this process may still take, the bound that says so, and whether it counts mere addresses.

    Args:
        proc: Where Linux tells of processes; nothing is known on other systems.
        groups: Where it tells of control groups.
    """
    try:
        pages = [int(number) for number in (proc / "self/statm").read_text(encoding="ascii").split()]
        import resource  # noqa: PLC0415 - POSIX only
    except (OSError, ValueError, ImportError):
        return
    size, data = (pages[at] * resource.getpagesize() for at in (0, 5))
    for kind, used, option in ((resource.RLIMIT_AS, size, "-v"), (resource.RLIMIT_DATA, data, "-d")):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY:
            yield limit - used, f"of the {limit // _MIB} MiB that `ulimit {option}` allows", True
    for limit, used in _control_groups(proc, groups):
        yield limit - used, f"of the {limit // _MIB} MiB that this process's control group allows", False
    told = _told(proc / "meminfo", ":")
    if "MemAvailable" in told:
        yield 1024 * (told["MemAvailable"] + told.get("SwapFree", 0)), "on this machine", False


def _control_groups(proc: Path, groups: Path) -> Iterator[tuple[int, int]]:
    """Bytes that each control group of this process allows, and of these what it cannot give back; Linux only."""
    try:
        lines = (proc / "self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers in {"", "memory"}:
            root, names = groups / controllers, _CGROUP_FILES[controllers]
            own = root / path.lstrip("/")
            for group in (own, *own.parents) if own.is_relative_to(root) else ():
                limit, used = (_number(group / name) for name in names[:2])
                if limit is not None and used is not None:
                    yield limit, used - _told(group / "memory.stat").get(names[2], 0)
                if group == root:
                    break


def _told(path: Path, mark: str = " ") -> dict[str, int]:
    """Name -> number of a file with one of each in every line; empty where it cannot be read."""
    try:
        rows = [line.replace(mark, " ").split() for line in path.read_text(encoding="utf-8").splitlines()]
        return {row[0]: int(row[1]) for row in rows}
    except (OSError, ValueError, IndexError):
        return {}


def _number(path: Path) -> int | None:
    """The number that a file holds; None where there is none, or no limit."""
    try:
        return int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def return_large_blocks() -> bool:
    """Let glibc give large blocks back to the system as soon as they are freed; False where there is no glibc.

    It would raise the size from which on it does with every such block that is freed. llama.cpp frees some of
    20 MiB, and the heap of a process that runs for long then becomes twice what it holds.

    Source: mallopt(3), M_MMAP_THRESHOLD.
    """
    return _mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK)


def _mallopt(parameter: int, value: int) -> bool:
    try:
        return bool(ctypes.CDLL("libc.so.6").mallopt(parameter, value))
    except (OSError, AttributeError):
        return False


def user_cache() -> Path | None:
    """``binary-cascade`` below ``$XDG_CACHE_HOME`` or ``~/.cache``; None for a user without a home."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        base = named if named.is_absolute() else Path.home() / ".cache"
    except RuntimeError:
        return None
    return base / "binary-cascade"


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


def show_logs(level: int = logging.INFO, other: str = "uvicorn") -> None:
    """Show messages from a level on, and another library's, on stderr: for a program that is nobody's library.

    Args:
        level: The level.
        other: Name of the library's logger; that of the web server if nothing is said.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Own())
    logging.getLogger("cascade").addHandler(handler)
    logging.getLogger("cascade").setLevel(level)
    foreign = logging.StreamHandler()
    foreign.setFormatter(_Foreign())
    logging.getLogger(other).addHandler(foreign)
    logging.getLogger(other).setLevel(level)


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


_NAME, _LLAMA_CPP = "binary-cascade", "llama-cpp-python"
_PARENT = Path(__file__).resolve().parent.parent
_PACKAGE_END = re.compile(r"[^\w.-]")
_EXTRA = re.compile(r"""extra\s*==\s*["']([\w.-]+)["']""")


def install_extra(extra: str, parent: Path = _PARENT) -> str:
    """The shell command that installs an extra of this package.

    The package is on no index. A checkout is installed again with the extra; of an installed wheel the command names
    the extra's own requirements.

    Args:
        extra: Its name in pyproject.toml, such as "languages".
        parent: The folder in which the package lies.
    """
    if _is_checkout(parent):
        return _pip("-e", f"{parent}[{extra}]")
    return _pip(*(_requirements(extra) or [f"{_NAME}[{extra}]"]))


def install_again(extra: str, names: Collection[str]) -> str:
    """The shell command that installs some packages of an extra anew, within its bounds, over what is there.

    Args:
        extra: Its name in pyproject.toml.
        names: The packages, by their names on the index.
    """
    bounds = {_PACKAGE_END.split(requirement)[0]: requirement for requirement in _requirements(extra)}
    return _pip("--force-reinstall", "--no-deps", *(bounds.get(name, name) for name in names))


def install_package(name: str, parent: Path = _PARENT) -> str:
    """The shell command that installs a package that this one needs always, or this one itself.

    Args:
        name: Its name on the index.
        parent: The folder in which this package lies.
    """
    if name == _NAME and _is_checkout(parent):
        return _pip("-e", str(parent))
    return _pip(*_required(name))


def rebuild_llama_cpp() -> str:
    """The shell command that compiles llama.cpp anew on this machine."""
    (llama_cpp,) = _required(_LLAMA_CPP)
    return _pip("--force-reinstall", "--no-deps", "--no-cache-dir", "--no-binary", _LLAMA_CPP, llama_cpp)


def _is_checkout(folder: Path) -> bool:
    """Whether a folder holds this project's own pyproject.toml; site-packages may hold that of another."""
    try:
        project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project")
    except (OSError, ValueError):
        return False
    return isinstance(project, dict) and project.get("name") == _NAME


def _required(name: str) -> list[str]:
    """A package with its bounds, or its bare name where nothing is known of it."""
    return [entry for entry in _requirements("") if _PACKAGE_END.split(entry)[0] == name] or [name]


def _requirements(extra: str) -> list[str]:
    """What an extra requires, with its bounds; "" for what is always required."""
    try:
        lines = requires(_NAME) or []
    except PackageNotFoundError:
        return []
    found = []
    for line in lines:
        requirement, _, marker = line.partition(";")
        named = _EXTRA.search(marker)
        if (named.group(1) if named else "") == extra:
            found.append(requirement.strip())
    return found


def _pip(*arguments: str) -> str:
    """The command for this interpreter, whose environment may have been made by uv, without pip."""
    python = sys.executable or "python3"
    command = [python, "-m", "pip", "install"]
    if find_spec("pip") is None and shutil.which("uv"):
        command = ["uv", "pip", "install", "--python", python]
    return shlex.join([*command, *arguments])

"""What this machine is, and where the user's caches lie."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

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

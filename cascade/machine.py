"""What this machine is, and where the user's caches lie."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
_M_MMAP_THRESHOLD, _LARGE_BLOCK = -3, 128 * 1024


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


def return_large_blocks() -> bool:
    """Let glibc give large blocks back to the system as soon as they are freed; False where there is no glibc.

    It would raise the size from which on it does with every such block that is freed. llama.cpp frees some of
    20 MiB, and the heap of a process that runs for long then becomes twice what it holds.

    Source: mallopt(3), M_MMAP_THRESHOLD.
    """
    try:
        return bool(ctypes.CDLL("libc.so.6").mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK))
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

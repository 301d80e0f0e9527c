"""Whether llama.cpp may rearrange quantised weights into its extra buffer types on this machine.

Some builds die, or compute something else, when they do: gcc 12 at -O3 drops stores that ggml needs for
the matrix tiles of CPUs with AMX (ggml-org/llama.cpp pull request 26954), and a library that was built
for another CPU uses instructions that this one lacks. Such a death cannot be caught, so a child process
tries first, with a tiny model, and what it found is kept for that library on that CPU.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from cascade.backends.llama.library import llama_cpp
from cascade.errors import MachineError
from cascade.machine import get_logger, processor_flags, processor_name, rebuild_llama_cpp, user_cache
from cascade.models.base_model import matrix_type
from cascade.models.gguf import GGUFFile, read_gguf

log = get_logger("cascade.llama")

REBUILD = f"CMAKE_ARGS=\"-DCMAKE_CXX_FLAGS='-fno-dse -fno-tree-dse'\" {rebuild_llama_cpp()}"
"""The command that builds llama.cpp for this machine, with all stores that its matrix tiles need."""

TIMEOUT_S = 120.0
"""Seconds that the child process may take; it needs about one."""

TOLERANCE = 0.02
"""Most that a logit may differ, as a share of the largest: the two ways to compute round differently."""

_WHOLE = {"", "F32", "F16", "BF16"}
_BY_32 = {"Q4_0", "Q4_1", "Q8_0"}  # what the tiles compute in blocks of 32 values
_BLOCK = 32
_FAULTS = {signal.SIGILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGTRAP}
_NEEDS = {
    "SSE3": "pni",
    "SSSE3": "ssse3",
    "AVX": "avx",
    "AVX2": "avx2",
    "AVX_VNNI": "avx_vnni",
    "AVX512": "avx512f",
    "AVX512_VBMI": "avx512vbmi",
    "AVX512_VNNI": "avx512_vnni",
    "AVX512_BF16": "avx512_bf16",
    "AMX_INT8": "amx_int8",
    "FMA": "fma",
    "F16C": "f16c",
    "BMI2": "bmi2",
}  # what llama.cpp says that it was built with -> the CPU's flag for it


class Verdict(StrEnum):
    """What the child process found."""

    SOUND = "sound"
    DIES = "dies"
    WRONG = "wrong"
    HANGS = "hangs"
    BROKEN = "broken"
    UNKNOWN = "unknown"

    @property
    def words(self) -> str:
        """What llama.cpp does, as the end of a sentence that begins with it."""
        return {
            Verdict.SOUND: "computes right with its extra buffer types",
            Verdict.DIES: "dies when it uses its extra buffer types",
            Verdict.WRONG: "computes wrong numbers when it uses its extra buffer types",
            Verdict.HANGS: "does not come to an end when it uses its extra buffer types",
            Verdict.BROKEN: "dies on this processor, with and without its extra buffer types",
            Verdict.UNKNOWN: "could not be tried out",
        }[self]

    @property
    def is_kept(self) -> bool:
        """Whether it would be the same another time."""
        return self is not Verdict.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A llama.cpp library on a CPU.

    Attributes:
        libraries: SHA-256 of its files.
        processor: Name of the CPU.
        flags: The CPU's flags, sorted.
    """

    libraries: str
    processor: str
    flags: tuple[str, ...]


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = 1
    libraries: str
    processor: str
    flags: str
    verdict: Literal["sound", "dies", "wrong", "hangs", "broken"]


def is_suspect(features: frozenset[str], flags: frozenset[str], weights: str) -> bool:
    """Whether a model must not be loaded before a child process has tried.

    Args:
        features: What the library was built with, in llama.cpp's words.
        flags: The CPU's flags; empty where the system does not tell.
        weights: Format of most of the model's weights, such as ``BF16`` or ``Q8_0``.
    """
    if not flags:
        return False
    lacks = any(feature in features and flag not in flags for feature, flag in _NEEDS.items())
    return lacks or ("amx_int8" in flags and weights not in _WHOLE)


def may_use_extra_buffers(model: Path, folder: Path | None = None) -> bool:
    """Whether a model may be loaded with extra buffer types; tries first where that is not known.

    Args:
        model: A GGUF file.
        folder: Where findings are kept; None for the user's cache folder.

    Raises:
        MachineError: llama.cpp cannot compute on this CPU at all.
        ModelFileError: The file cannot be read.
    """
    features, flags = built_with(), processor_flags()
    has_tiles = "amx_int8" in flags
    if not has_tiles and not is_suspect(features, flags, ""):  # without reading the model
        return True
    file = read_gguf(model)
    if has_tiles and has_rows_of_one_block(file):
        return False
    if not is_suspect(features, flags, matrix_type(file)):
        return True
    return decide(find_verdict(this_pair(), folder or user_cache()), model)


def has_rows_of_one_block(file: GGUFFile) -> bool:
    """Whether rows of a matrix are one quantised block of 32 values, as in models of width 32.

    Of such rows llama.cpp's matrix tiles add the products to memory that was never cleared, 32 tokens at a
    time (``tinygemm_kernel_amx`` of ggml-cpu/amx/mmq.cpp with ``KB`` = 1, llama-cpp-python 0.3.36).
    """
    return any(
        len(tensor.shape) > 1 and tensor.shape[0] == _BLOCK and tensor.type.name in _BY_32
        for tensor in file.tensors.values()
    )


def decide(verdict: Verdict, model: Path) -> bool:
    """Whether to use extra buffer types after a verdict; warns where not.

    Raises:
        MachineError: llama.cpp cannot compute on this CPU at all.
    """
    if verdict is Verdict.SOUND:
        return True
    if verdict is Verdict.BROKEN:
        msg = f"{model} was not loaded: llama.cpp {verdict.words}. Build it again on this machine: {REBUILD}"
        raise MachineError(msg)
    log.warning(
        "the model is loaded without llama.cpp's extra buffer types; its answers are right, but a quantised model is "
        "slower than it could be",
        reason=f"llama.cpp {verdict.words}",
        model=str(model),
        remedy=f"build it again on this machine: {REBUILD}",
    )
    return False


@cache
def find_verdict(pair: Pair, folder: Path | None) -> Verdict:
    """What is kept of a library on a CPU, else what a child process finds now, which is then kept.

    Args:
        pair: The library and the CPU.
        folder: The cache folder; None keeps nothing.
    """
    return load_verdict(pair, folder) or keep_verdict(pair, probe(), folder)


def probe(command: Sequence[str] | None = None, timeout_s: float = TIMEOUT_S) -> Verdict:
    """Let a child process decode with a tiny quantised model, first without extra buffer types and then with them.

    Args:
        command: What to run; None for the tiny model. It writes the logits of each as a line of JSON.
        timeout_s: Seconds until it is ended.
    """
    # -P: a folder named cascade where the command is called must not stand in for this package.
    command = command or [sys.executable, "-P", "-m", "cascade.backends.llama.extra_buffers_worker"]
    try:
        # A session of its own: Ctrl-C is for this process, which then ends the child.
        found = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout_s,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        return Verdict.HANGS if _logits(error.stdout or b"") else Verdict.UNKNOWN
    except (OSError, ValueError):
        return Verdict.UNKNOWN
    return judge(_logits(found.stdout), -found.returncode)


def judge(logits: Sequence[Sequence[float]], died_of: int) -> Verdict:
    """What a child process's end means.

    Args:
        logits: Those without extra buffer types, then those with them, as far as it came.
        died_of: The signal that ended it; 0 or less if none did.
    """
    plain, extra = [*logits, (), ()][:2]
    if died_of in _FAULTS:
        return Verdict.DIES if plain else Verdict.BROKEN
    if died_of or not plain:
        return Verdict.UNKNOWN
    most = TOLERANCE * max(map(abs, plain))
    is_right = len(plain) == len(extra) and all(abs(a - b) <= most for a, b in zip(plain, extra, strict=True))
    return Verdict.SOUND if is_right else Verdict.WRONG


def load_verdict(pair: Pair, folder: Path | None) -> Verdict | None:
    """What is kept of a library on a CPU; None if there is nothing, or nothing that can be used."""
    if folder is None:
        return None
    try:
        kept = _Kept.model_validate_json(_path(pair, folder).read_bytes())
    except (OSError, ValidationError):  # whatever is wrong with it, it is found anew
        return None
    return Verdict(kept.verdict) if kept.model_dump(exclude={"version", "verdict"}) == _fields(pair) else None


def keep_verdict(pair: Pair, verdict: Verdict, folder: Path | None) -> Verdict:
    """Keep a verdict where that can be done, and return it."""
    if folder is not None and verdict.is_kept:
        path = _path(pair, folder)
        text = json.dumps({"version": 1, **_fields(pair), "verdict": str(verdict)}, indent=2)
        part = path.with_suffix(f".{os.getpid()}.part")
        with suppress(OSError):  # it costs a second next time
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            part.write_text(text + "\n", encoding="utf-8")
            part.replace(path)
    return verdict


@cache
def this_pair() -> Pair:
    """The library that this process loads, and this machine's CPU."""
    named = os.environ.get("LLAMA_CPP_LIB_PATH")  # as llama_cpp itself looks
    folder = Path(named) if named is not None else Path(llama_cpp.__file__).parent / "lib"
    digest = hashlib.sha256()
    for file in sorted({found.resolve() for name in ("*ggml*", "*llama*") for found in folder.glob(name)}):
        with suppress(OSError):
            digest.update(os.fsencode(file.name) + b"\0" + file.read_bytes())
    return Pair(libraries=digest.hexdigest(), processor=processor_name(), flags=tuple(sorted(processor_flags())))


def built_with() -> frozenset[str]:
    """What the library that this process loads was built with, in llama.cpp's words."""
    parts = llama_cpp.llama_print_system_info().decode("utf-8", "replace").replace(":", "|").split("|")
    return frozenset(name.strip() for name, _, value in (part.partition("=") for part in parts) if value.strip() == "1")


def _logits(output: bytes) -> list[list[float]]:
    found: list[list[float]] = []
    for line in output.splitlines():
        with suppress(ValueError, TypeError):
            found.append([float(value) for value in json.loads(line)])
    return found


def _fields(pair: Pair) -> dict[str, str]:
    return {"libraries": pair.libraries, "processor": pair.processor, "flags": " ".join(pair.flags)}


def _path(pair: Pair, folder: Path) -> Path:
    name = hashlib.blake2b(json.dumps(_fields(pair)).encode(), digest_size=12).hexdigest()
    return folder / "extra-buffers" / f"{name}.json"

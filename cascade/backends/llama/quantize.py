"""Writes a model in another weight format, with llama.cpp's own quantiser.

It runs in a process of its own: it may abort on what it does not like, and it cannot be interrupted.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cascade.backends.llama.library import llama_cpp
from cascade.errors import InputError, MachineError, ModelFileError
from cascade.files import check_output, check_replaceable, is_folder, is_there, whole_file
from cascade.machine import n_threads
from cascade.models.base_model import check_model, matrix_type
from cascade.models.gguf import read_gguf
from cascade.models.model_set import file_hash

_PREFIXES = ("LLAMA_FTYPE_MOSTLY_", "LLAMA_FTYPE_ALL_")
_NOT_ALONE = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "Q2_K_S")
"""Types for which llama.cpp wants an importance matrix, a file that says which weights matter most."""

_NOT_WRITTEN = ("NVFP4", "Q2_0")
"""Types that llama.cpp names but does not write, or that the package gguf does not know."""

_WHOLE = ("F32", "F16", "BF16")

Tell = Callable[[int, int], None]
"""Told how many tensors of how many are reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantisation:
    """What to write, and how.

    Attributes:
        source: The model to read.
        target: The file to write.
        type: A key of ``types()``, in any case.
        n_threads: Threads, at most one for each core that this process may use; 0 for all of these.
        force: Whether a target that exists is replaced.
        allow_requantize: Whether the source may be quantised already.
    """

    source: Path
    target: Path
    type: str
    n_threads: int = 0
    force: bool = False
    allow_requantize: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """Bytes of the files before and after."""

    before: int
    after: int


def types() -> dict[str, int]:
    """Name -> number of the types that llama.cpp can write from a model alone."""
    found = {}
    for constant in dir(llama_cpp):
        for prefix in _PREFIXES:
            name = constant.removeprefix(prefix)
            if name != constant and name not in _NOT_ALONE + _NOT_WRITTEN:
                found[name] = int(getattr(llama_cpp, constant))
    return dict(sorted(found.items(), key=lambda entry: entry[1]))


def quantize(wanted: Quantisation, tell: Tell) -> Sizes:
    """Write a model in another format; the target appears when it is whole, or not at all.

    The new file names the SHA-256 of its source, so that adapters trained for that fit it as well.

    Raises:
        InputError: The type is unknown, the target cannot take the file or is no regular file, or the source is
            quantised.
        ModelFileError: The source is missing, damaged or no model.
        MachineError: llama.cpp failed.
    """
    number = _number(wanted.type)
    _check_target(wanted)
    before = _check_source(wanted)
    with whole_file(wanted.target) as part:
        _run(wanted, number, part, tell)
        after = _check_result(part)
    return Sizes(before=before, after=after)


def _number(name: str) -> int:
    known = types()
    if name.upper() in _NOT_ALONE:
        msg = f"Type {name!r} needs an importance matrix, which this command does not take. Choose another type."
        raise InputError(msg)
    if name.upper() not in known:
        msg = f"Unknown type {name!r}. Choose one of {', '.join(known)}."
        raise InputError(msg)
    return known[name.upper()]


def _check_target(wanted: Quantisation) -> None:
    target = wanted.target
    check_replaceable(target)
    if not is_folder(target.parent):
        msg = f"{target}: its folder does not exist. Make it first."
        raise InputError(msg)
    if is_there(target) and is_there(wanted.source) and target.samefile(wanted.source):
        msg = f"{target} is the model to read. Give another file to write."
        raise InputError(msg)
    if is_folder(target) or (is_there(target) and not wanted.force):
        remedy = "Give the name of a file." if is_folder(target) else "Choose another name, or replace it with --force."
        msg = f"{target} exists. {remedy}"
        raise InputError(msg)
    check_output(target)


def _check_source(wanted: Quantisation) -> int:
    """The size of the model to read, once it is clear that it can be written in another format."""
    file = read_gguf(wanted.source)
    check_model(file)
    given = matrix_type(file)
    if given not in _WHOLE and not wanted.allow_requantize:
        msg = (
            f"{wanted.source} is quantised already, to {given}: quantising it again loses more than quantising the "
            f"original once. Give a file in {', '.join(_WHOLE)}, or accept the loss with --allow-requantize."
        )
        raise InputError(msg)
    return file.size


def _run(wanted: Quantisation, number: int, part: Path, tell: Tell) -> None:
    """Let a process of its own write the file; whatever happens here, it does not outlive this."""
    # -P: a folder named cascade where the command is called must not stand in for this package.
    command = [sys.executable, "-P", "-m", "cascade.backends.llama.quantize_worker", str(wanted.source), str(part)]
    command += [str(number), str(n_threads(wanted.n_threads)), str(int(wanted.allow_requantize))]
    command += [file_hash(wanted.source)]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors) as process,
    ):
        try:
            for line in process.stdout or ():
                at, _, total = line.partition(b"/")
                tell(int(at), int(total))
            code = process.wait()
        finally:
            process.kill()
        if code == -signal.SIGINT:  # Ctrl-C reaches both processes, and the other one's end can be seen first
            raise KeyboardInterrupt
        if code:
            errors.seek(0)
            lines = errors.read().decode("utf-8", "replace").strip().splitlines()
            reason = lines[-1].strip() if lines else f"exit status {code}"
            msg = f"llama.cpp could not write {wanted.source} as {wanted.type.upper()}: {reason}. Choose another type."
            raise MachineError(msg)


def _check_result(part: Path) -> int:
    """The size of what was written, once it is clear that it can be used."""
    try:
        file = read_gguf(part)
        check_model(file)
    except ModelFileError as error:
        msg = f"llama.cpp wrote a file that cannot be used: {error}"
        raise MachineError(msg) from error
    return file.size

"""llama-server built from the llama.cpp source that the installed llama-cpp-python was built from.

    python -m benchmarks.build_llama_server [FOLDER] [--jobs N]

Gets the source distribution of that version by pip, and builds the one program with cmake for this
machine's processor, as llama-cpp-python builds its library. Prints the program's path, for
``python -m benchmarks.speed --baseline llama-server --llama-server PATH``. Takes several minutes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

PACKAGE = "llama-cpp-python"
FOLDER = Path("build/llama-server")
TARGET = "llama-server"
OPTIONS: Mapping[str, str] = {
    "CMAKE_BUILD_TYPE": "Release",
    "GGML_NATIVE": "ON",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_UI": "OFF",  # the web page would be downloaded
    "LLAMA_USE_PREBUILT_UI": "OFF",
}
"""What differs from llama.cpp's own defaults, and what the comparison rests on."""

KEEP_STORES = ("-fno-dse", "-fno-tree-dse")
"""Flags without which gcc drops stores that the matrix tiles of CPUs with AMX need; see the Makefile."""

_STDERR = 2  # where the tools' words go: stdout has the path alone


class BuildError(Exception):
    """What is missing or went wrong, in one line."""


def check_tools() -> None:
    """Check that all is there that a build needs.

    Raises:
        BuildError: Names what is missing.
    """
    if shutil.which("cmake") is None:
        msg = "cmake is not on the PATH. Install it by the system's package manager."
        raise BuildError(msg)
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "c++").partition(" ")[0], "g++", "clang++")):
        msg = "A C++ compiler is missing; install one, or name it in CXX."
        raise BuildError(msg)
    if not hasattr(tarfile, "data_filter"):
        msg = "This Python cannot unpack archives safely; use 3.11.4 or newer."
        raise BuildError(msg)


def knows(flags: Sequence[str]) -> bool:
    """Whether the C++ compiler takes flags."""
    compiler = os.environ.get("CXX", "c++").split()
    command = [*compiler, "-Werror", *flags, "-x", "c++", "-fsyntax-only", os.devnull]
    try:
        return not subprocess.run(command, check=False, capture_output=True).returncode
    except OSError:
        return False


def fetch(folder: Path) -> Path:
    """The unpacked source distribution of the installed version, below a folder.

    Raises:
        BuildError: It cannot be had.
    """
    wanted = version(PACKAGE)
    archive = folder / f"{PACKAGE.replace('-', '_')}-{wanted}.tar.gz"
    if not archive.is_file():
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps"]
        _run([*pip, "--no-binary", PACKAGE, "--dest", str(folder), f"{PACKAGE}=={wanted}"])
    return unpack(archive, folder)


def unpack(archive: Path, folder: Path) -> Path:
    """The one folder that an archive holds, unpacked below another; nothing may land outside.

    Raises:
        BuildError: The archive is missing, damaged, or reaches outside.
    """
    try:
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        msg = f"{archive} cannot be unpacked: {error}. Delete it, so that it is fetched again."
        raise BuildError(msg) from error
    return folder / archive.name.removesuffix(".tar.gz")


def build(source: Path, folder: Path, jobs: int) -> Path:
    """The program, built from a llama-cpp-python source tree in a folder.

    Raises:
        BuildError: cmake failed; its own words stand above.
    """
    options = [f"-D{key}={value}" for key, value in OPTIONS.items()]
    if knows(KEEP_STORES):
        options.append(f"-DCMAKE_CXX_FLAGS={' '.join(KEEP_STORES)}")
    _run(["cmake", "-S", str(source / "vendor" / "llama.cpp"), "-B", str(folder), *options])
    _run(["cmake", "--build", str(folder), "--config", "Release", "--target", TARGET, "--parallel", str(jobs)])
    found = sorted(path for path in (folder / "bin").rglob(f"{TARGET}*") if path.stem == TARGET)
    if not found:
        msg = f"cmake built no {TARGET} in {folder / 'bin'}."
        raise BuildError(msg)
    return found[0]


def _run(command: Sequence[str]) -> None:
    if subprocess.run(command, check=False, stdout=_STDERR).returncode:
        msg = f"`{' '.join(command)}` failed."
        raise BuildError(msg)


def main(arguments: Sequence[str] | None = None) -> int:
    """Build, and print the program's path; exit code 2 where something is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER, help=f"where to; {FOLDER} if absent")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="compilers at a time")
    options = parser.parse_args(arguments)
    folder: Path = options.folder.resolve()
    try:
        check_tools()
        folder.mkdir(parents=True, exist_ok=True)
        program = build(fetch(folder), folder / "cmake", options.jobs)
    except (BuildError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"{program}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

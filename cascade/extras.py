"""How to install what is missing, from where this copy of the package lies: a checkout or an installed wheel."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import tomllib
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, requires
from importlib.util import find_spec
from pathlib import Path

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


def build_llama_server(parent: Path = _PARENT) -> str:
    """How to come by the program llama-server, as a sentence; what builds it lies in checkouts alone.

    Args:
        parent: The folder in which this package lies.
    """
    if _is_checkout(parent):
        python = shlex.quote(sys.executable or "python3")
        return f"`cd {shlex.quote(str(parent))} && {python} -m benchmarks.build_llama_server` builds it."
    return "Build it from https://github.com/ggml-org/llama.cpp."


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

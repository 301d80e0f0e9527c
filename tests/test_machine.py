"""How to install what is missing, by where the package lies."""

from __future__ import annotations

import shlex
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest

from cascade.machine import install_again, install_extra, install_package, rebuild_llama_cpp

ROOT = Path(__file__).parents[1]
EXTRAS = ("hub", "keyring", "languages", "log", "report", "serve", "servers", "telemetry", "train")
IN_CHECKOUTS = ("bench", "dev")


def _pip(command: str) -> list[str]:
    """What follows the interpreter's own pip."""
    python, dash_m, name, verb, *rest = shlex.split(command)
    assert (python, dash_m, name, verb) == (sys.executable, "-m", "pip", "install")
    return rest


@pytest.mark.parametrize("extra", [*EXTRAS, *IN_CHECKOUTS])
def test_a_checkout_is_installed_again_with_the_extra(extra: str) -> None:
    """The folder of the checkout is named in full, so that the command works from everywhere."""
    assert _pip(install_extra(extra)) == ["-e", f"{ROOT}[{extra}]"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_of_a_wheel_the_requirements_of_the_extra_are_named(extra: str, tmp_path: Path) -> None:
    """All of them with their bounds, and never this package, which is on no index."""
    named = _pip(install_extra(extra, tmp_path))
    lines = [line.partition(";") for line in requires("binary-cascade") or []]
    assert named == [line.strip() for line, _, marker in lines if f"extra == '{extra}'" in marker]
    assert named
    assert not [requirement for requirement in named if requirement.startswith("binary-cascade")]


def test_the_pyproject_of_another_project_makes_no_checkout(tmp_path: Path) -> None:
    """Some packages leave one in site-packages; a damaged one does no harm either."""
    for text in ('[project]\nname = "other"\n', "project = 1\n", "= damaged"):
        (tmp_path / "pyproject.toml").write_text(text)
        assert _pip(install_extra("hub", tmp_path))[0].startswith("huggingface-hub")


def test_a_folder_with_a_space_is_quoted(tmp_path: Path) -> None:
    """The command can be pasted into a shell as it is."""
    checkout = tmp_path / "my own"
    checkout.mkdir()
    (checkout / "pyproject.toml").write_text('[project]\nname = "binary-cascade"\n')
    assert _pip(install_extra("hub", checkout)) == ["-e", f"{checkout}[hub]"]


def test_a_package_is_named_with_its_bounds(tmp_path: Path) -> None:
    """One that is always needed as the metadata have it, an unknown one by its name, this one by its checkout."""
    (numpy,) = _pip(install_package("numpy"))
    assert numpy.startswith("numpy<")
    assert _pip(install_package("unheard-of")) == ["unheard-of"]
    assert _pip(install_package("binary-cascade")) == ["-e", str(ROOT)]
    assert _pip(install_package("binary-cascade", tmp_path)) == ["binary-cascade"]


def test_packages_of_an_extra_are_installed_again_within_its_bounds() -> None:
    """What is there already is replaced, and nothing else is touched."""
    arguments = _pip(install_again("languages", ["tree-sitter", "tree-sitter-go"]))
    assert arguments[:2] == ["--force-reinstall", "--no-deps"]
    assert [argument.partition(">")[0].partition("<")[0] for argument in arguments[2:]] == [
        "tree-sitter", "tree-sitter-go",
    ]  # fmt: skip
    assert all("<" in argument for argument in arguments[2:])


def test_llama_cpp_is_built_again_from_its_sources() -> None:
    """The version that is asked for, from sources, on this machine, and no other package with it."""
    *options, requirement = _pip(rebuild_llama_cpp())
    assert options == ["--force-reinstall", "--no-deps", "--no-cache-dir", "--no-binary", "llama-cpp-python"]
    assert requirement.startswith("llama-cpp-python<")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["classify --task t --items items.jsonl", "quantize a b --type Q8_0"])
def test_a_llama_cpp_that_cannot_be_loaded(command: str, tmp_path: Path) -> None:
    """Exit code 1, the cause, and the command that builds it again."""
    (tmp_path / "items.jsonl").write_text('{"id": "1", "name": "a"}', encoding="utf-8")
    code = (
        f"import sys; sys.modules['llama_cpp'] = None; from cascade.cli import main; sys.exit(main({command.split()}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: llama.cpp cannot be loaded (")
    assert done.stderr.endswith(f"Build it again: `{rebuild_llama_cpp()}`\n")


SERVED = """
[servers.far]
kind = "completions"
url = "http://127.0.0.1:9"
[model]
[adapters]
one = { server = "far" }
[cascade.c]
labels = ["drop", "keep"]
[[cascade.c.stages]]
name = "s"
question = "does it matter?"
adapter = "one"
yes = { label = "keep" }
no = { label = "drop" }
"""


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["httpx", "tenacity", "asyncio_throttle"])
def test_servers_without_their_extra(missing: str, tmp_path: Path) -> None:
    """A config with servers can be read; whoever opens it is told what installs the package, and nobody is asked."""
    (tmp_path / "my.toml").write_text(SERVED, encoding="utf-8")
    (tmp_path / "items.jsonl").write_text('{"id": "1", "name": "a"}', encoding="utf-8")
    check = ["config", "check", "my.toml"]
    classify = "classify --task t --items items.jsonl --config my.toml --cascade c".split()
    code = (
        f"import sys; sys.modules[{missing!r}] = None; from cascade.cli import main; "
        f"assert main({check}) == 0; sys.exit(main({classify}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: servers: asking far needs the package {missing}. Run `{install_extra('servers')}`, or let this "
        "process answer: give every entry of [adapters] a file.\n"
    )


@pytest.mark.slow
def test_without_servers_their_extra_is_not_needed() -> None:
    """The shipped config is answered by this process alone."""
    code = (
        "import sys; sys.modules |= dict.fromkeys(('httpx', 'tenacity', 'asyncio_throttle', 'sniffio')); "
        "from cascade import Engine; Engine.open().close()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_the_command_is_one_that_pip_understands() -> None:
    """Pip resolves the checkout with the extra; nothing is installed or fetched."""
    dry = [*shlex.split(install_extra("keyring")), "--dry-run", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(dry, capture_output=True, text=True, check=False)
    assert "Would install binary-cascade" in done.stdout, done.stderr

"""What a wheel and an sdist carry."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder

PAGES = ("cascade/audit/html/template.html", "cascade/dataset/review.html", "cascade/dataset/review.js")
ROOT = Path(__file__).parents[2]
TABLES = tuple(sorted(path.name for path in (ROOT / "adapters").glob("*.toml")))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the project with everything that must stay out of a wheel, and no GGUF file."""
    copy = tmp_path / "project"
    shutil.copytree(ROOT / "cascade", copy / "cascade", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "Makefile", "CHANGELOG.md", ".gitignore"):
        shutil.copy(ROOT / name, copy / name)
    for name in (
        "adapters/README.md",
        "adapters/recipe/train.py",
        "adapters/.work/checkpoint.gguf",
        "tests/test_it.py",
        "benchmarks/bench_it.py",
    ):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_text("")
    for name in TABLES:
        shutil.copy(ROOT / "adapters" / name, copy / "adapters" / name)
    return copy


def wheel(project: Path) -> Path:
    """The wheel of a project."""
    (path,) = WheelBuilder(str(project)).build(directory=str(project / "dist"), versions=["standard"])
    return Path(path)


def files(archive: Path) -> set[str]:
    """What lies in a wheel besides its metadata."""
    with zipfile.ZipFile(archive) as opened:
        return {name for name in opened.namelist() if ".dist-info/" not in name}


def test_a_wheel_carries_the_package_and_the_shipped_set(project: Path) -> None:
    """A wheel has every module and, in cascade/shipped, the map with what it names, and nothing else."""
    for name in ("embedded.gguf", "relevant.gguf"):
        (project / "adapters" / name).write_bytes(b"GGUF")
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "cascade").rglob("*.py")}
    shipped = {f"cascade/shipped/{name}" for name in (*TABLES, "embedded.gguf", "relevant.gguf")}
    found = files(wheel(project))
    assert found == modules | shipped | {"cascade/py.typed", *PAGES}
    assert not [name for name in found if "bench" in name]


def test_a_wheel_can_be_built_before_there_are_adapters(project: Path) -> None:
    """Without GGUF files the wheel has the map, its profiles and thresholds alone."""
    shipped = {f"cascade/shipped/{name}" for name in TABLES}
    assert {name for name in files(wheel(project)) if "shipped" in name} == shipped


@pytest.mark.slow
def test_an_unpacked_wheel_finds_its_shipped_config(project: Path, tmp_path: Path) -> None:
    """The installed package reads the config that it carries, from any folder."""
    with zipfile.ZipFile(wheel(project)) as opened:
        opened.extractall(tmp_path / "site")  # noqa: S202  our own wheel
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from cascade.config.schema import read_config, shipped_config; "
        "print(shipped_config()); read_config(shipped_config())"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "site")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == str(tmp_path / "site" / "cascade" / "shipped" / "map.toml")


@pytest.mark.slow
def test_an_sdist_is_complete(project: Path) -> None:
    """An sdist has what is needed to build, test and train again, and nothing that git ignores."""
    (path,) = SdistBuilder(str(project)).build(directory=str(project / "dist"), versions=["standard"])
    with tarfile.open(path) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    needed = ("Makefile", "LICENSE", "adapters/map.toml", "adapters/recipe/train.py", "tests/test_it.py")
    assert names.issuperset({*needed, "CHANGELOG.md", "cascade/tree.py", "benchmarks/bench_it.py"})
    assert not [name for name in names if ".work" in name]


def test_a_wheel_needs_what_every_command_needs(project: Path) -> None:
    """Libraries that talk to servers, serve, train or measure come with extras, and the README names each extra."""
    with zipfile.ZipFile(wheel(project)) as opened:
        (path,) = [name for name in opened.namelist() if name.endswith(".dist-info/METADATA")]
        lines = opened.read(path).decode().splitlines()
    needed = {
        re.split(r"[^\w-]", line.removeprefix("Requires-Dist: "))[0]
        for line in lines
        if line.startswith("Requires-Dist:") and "extra ==" not in line
    }
    assert needed == {"gguf", "llama-cpp-python", "numpy", "pydantic", "rich", "structlog", "tomlkit", "typer"}
    extras = {line.removeprefix("Provides-Extra: ") for line in lines if line.startswith("Provides-Extra:")}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = readme.partition("\nExtras: ")[2].partition(". ")[0]
    assert set(re.findall(r"`([\w-]+)`", listed)) == extras - {"dev"}


def test_the_command_is_installed(project: Path) -> None:
    """The wheel's metadata names the command."""
    with zipfile.ZipFile(wheel(project)) as opened:
        (entry,) = [name for name in opened.namelist() if name.endswith("entry_points.txt")]
        assert opened.read(entry).decode().split() == ["[console_scripts]", "cascade", "=", "cascade.cli:main"]

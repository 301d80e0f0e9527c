"""Imports followed to the file they mean."""

from __future__ import annotations

import pytest

from cascade.repository.find import find_candidates
from cascade.repository.imports import ImportGraph
from cascade.repository.outline import Import, Outline
from cascade.repository.python_source import python_outline
from tests.helpers.checkout import Checkout


def targets(path: str, files: dict[str, str], package: str = "") -> set[str]:
    """What one of some Python files imports."""
    outlines = {name: python_outline(source.encode()) for name, source in files.items()}
    return set(ImportGraph(sorted(files), outlines, package).targets(path))


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("import pkg.core.io", {"pkg/core/io.py"}),
        ("import pkg", {"pkg/__init__.py"}),
        ("from pkg.core import io", {"pkg/core/io.py"}),
        ("from pkg.core.io import read", {"pkg/core/io.py"}),
        ("from .core.io import read", {"pkg/core/io.py"}),
        ("from . import core", {"pkg/core/__init__.py"}),
        ("from .core import read", {"pkg/core/io.py"}),
        ("from .core import *", {"pkg/core/__init__.py"}),
        ("from .core import missing", {"pkg/core/__init__.py"}),
        ("from . import read", {"pkg/core/io.py"}),
        ("from . import renamed", {"pkg/core/io.py"}),
        ("from . import whole", {"pkg/core/io.py"}),
        ("from ... import far", set()),
        ("import os, numpy.linalg", set()),
        ("def f():\n    if x:\n        from .core import io", {"pkg/core/io.py"}),
    ],
)
def test_python_imports(statement: str, expected: set[str]) -> None:
    """Absolute, relative, star and nested imports, names followed through packages."""
    files = {
        "pkg/__init__.py": "from .core import *\nfrom .core import read as renamed\nimport pkg.core.io as whole\n",
        "pkg/core/__init__.py": "from .io import read, LIMIT\n",
        "pkg/core/io.py": "LIMIT = 1\ndef read(): ...\n",
        "pkg/user.py": statement,
    }
    assert targets("pkg/user.py", files) == expected


@pytest.mark.parametrize("layout", ["src/", "lib/", "python/", "packages/one/src/", ""])
def test_layouts(layout: str) -> None:
    """A package is found below src, lib or deeper, by the folders that hold an __init__.py."""
    files = {f"{layout}pkg/__init__.py": "", f"{layout}pkg/core.py": "", "tool.py": "import pkg.core"}
    assert targets("tool.py", files) == {f"{layout}pkg/core.py"}


def test_scripts_beside_each_other() -> None:
    """A script imports its neighbour, but a lone file elsewhere is no top-level module."""
    files = {"bin/run.py": "import helper, other", "bin/helper.py": "", "deep/down/other.py": ""}
    assert targets("bin/run.py", files) == {"bin/helper.py"}


def test_root_that_is_a_package_knows_its_name() -> None:
    """Files of a package given as the root import each other by the package's name."""
    files = {"__init__.py": "", "decoder.py": "from json import scanner\nimport json", "scanner.py": ""}
    assert targets("decoder.py", files, package="json") == {"scanner.py", "__init__.py"}


def test_circular_reexports_end() -> None:
    """Star imports in a circle and names that import themselves come to an end."""
    files = {
        "pkg/__init__.py": "from .a import *\nfrom .b import *\n",
        "pkg/a.py": "from . import *\nfrom .b import thing",
        "pkg/b.py": "from . import *\nfrom .a import thing",
        "use.py": "from pkg import thing",
    }
    assert targets("use.py", files) == {"pkg/__init__.py"}


def test_scripts_and_includes() -> None:
    """Relative script imports try suffixes and index files; includes try folders, then a unique name."""
    paths = ["web/a.ts", "web/b.ts", "web/ui/index.tsx", "src/main.c", "src/near.h", "include/api.h", "deep/x/y/far.h"]
    written = {
        "web/a.ts": ["./b.js", "./ui", "./missing", "../web/b"],
        "src/main.c": ["near.h", "api.h", "y/far.h", "gone.h"],
    }
    outlines = {path: Outline(imports=tuple(Import(module=one) for one in ones)) for path, ones in written.items()}
    graph = ImportGraph(paths, outlines)
    assert graph.targets("web/a.ts") == {"web/b.ts", "web/ui/index.tsx"}
    assert graph.targets("src/main.c") == {"src/near.h", "include/api.h", "deep/x/y/far.h"}


def test_dependency_tier_looks_both_ways(checkout: Checkout) -> None:
    """Files that import a seed and files that a seed imports, re-exports followed."""
    checkout.write({
        "src/pkg/__init__.py": "from .seed import run\n",
        "src/pkg/seed.py": "from .below import help\ndef run(): ...\n",
        "src/pkg/below.py": "def help(): ...\n",
        "src/pkg/above.py": "from pkg import run\n",
        "src/pkg/apart.py": "import os\n",
    })  # fmt: skip
    found = {record.path: record for record in checkout.find("nothing fits", "src/pkg/seed.py").files}
    assert {path: (one.imports_seed, one.imported_by_seed) for path, one in found.items()} == {
        "src/pkg/__init__.py": (True, False),
        "src/pkg/above.py": (True, False),
        "src/pkg/below.py": (False, True),
    }
    assert {one.tiers for one in found.values()} == {("dependency",)}


def test_several_seeds_share_their_ties(checkout: Checkout) -> None:
    """A tie to any seed counts, and no seed is a candidate."""
    checkout.write({"a.py": "import b, x", "b.py": "import y", "x.py": "", "y.py": "", "z.py": "import b"})
    result = checkout.find("nothing fits", "a.py", "b.py")
    assert {record.path for record in result.files} == {"x.py", "y.py", "z.py"}


def test_package_root_in_a_folder(checkout: Checkout) -> None:
    """A package that is the root itself is found by its dotted name, its parents included."""
    checkout.write({"__init__.py": "", "sub/__init__.py": "", "sub/a.py": "from repo.sub import b", "sub/b.py": ""})
    result = find_candidates(checkout.root / "sub", "nothing", ["a.py"], cache=None)
    assert [record.path for record in result.files] == ["b.py"]

"""The public names: sorted, found where they are said to be, with docstrings whose examples run."""

from __future__ import annotations

import ast
import doctest
import inspect
from pathlib import Path

import pytest

import cascade

N_PUBLIC = 23
WITH_EXAMPLE = ("Budget", "Cascade", "Engine", "Item", "Observer", "Traces")


def _for_checkers() -> set[str]:
    """The names that type checkers see, from the imports that are not run."""
    tree = ast.parse(Path(cascade.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    return {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}


def test_all_is_complete_and_sorted() -> None:
    """The 23 names are sorted, the same for type checkers, and all that ``dir`` shows."""
    assert cascade.__all__ == sorted(cascade.__all__)
    assert len(cascade.__all__) == N_PUBLIC
    assert set(cascade.__all__) == _for_checkers()
    assert dir(cascade) == cascade.__all__


def test_unknown_names_are_no_attributes() -> None:
    """A name that is not public, such as one of a module, is no attribute of the package."""
    for name in ("Nonsense", "InputError"):
        assert not hasattr(cascade, name)
        with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
            getattr(cascade, name)


@pytest.mark.parametrize("name", cascade.__all__)
def test_a_public_name_has_a_docstring_whose_examples_run(name: str) -> None:
    """So has each public method and property of it, and those that are most used have an example."""
    member = getattr(cascade, name)
    assert inspect.getdoc(member)
    for inner, value in vars(member).items() if inspect.isclass(member) else ():
        function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
        if not inner.startswith("_") and inspect.isfunction(function):
            assert inspect.getdoc(function), f"{name}.{inner}"
    tests = [test for test in doctest.DocTestFinder().find(member, name) if test.examples]
    runner = doctest.DocTestRunner()
    for test in tests:
        runner.run(test)
    assert not runner.summarize().failed
    assert tests or name not in WITH_EXAMPLE

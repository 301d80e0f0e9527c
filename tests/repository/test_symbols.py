"""Symbols of Python files in the form that the adapters were trained on."""

from __future__ import annotations

import pytest

from cascade.evidence.records import SymbolRecord
from cascade.repository.python_definitions import python_definitions
from cascade.repository.python_source import python_outline
from tests.helpers.checkout import Checkout

SOURCE = '''"""Sessions of users.

More."""
import typing as t

@deco(
    1,
)
async def load(key: str, /, *rest: int, ttl: float=1.5, **more) -> "Session | None":
    """
    Loads a session.

    Longer text.
    """
    def inner(): ...
    return None

class Session(dict[str, t.Any], metaclass=Meta, **options):
    """A user's session."""
    class Key:
        def __hash__(self): return 1
    if t.TYPE_CHECKING:
        def typed(self) -> int: ...
    @property
    def user(self): return self._user
    @user.setter
    def user(self, value): pass
    @t.overload
    def get(self, key: str) -> str: ...
    @t.overload
    def get(self, key: int) -> int: ...
    def get(self, key):
        return 1
'''


def by_name(source: str | bytes) -> dict[str, SymbolRecord]:
    """Symbols of a source text by qualified name."""
    data = source.encode() if isinstance(source, str) else source
    return {one.record.qualname: one.record for one in python_definitions("a.py", data)}


def test_symbols_come_in_source_order_without_nested_functions() -> None:
    """Methods follow their class, functions inside functions are not symbols of their own."""
    assert list(by_name(SOURCE)) == [
        "load", "Session", "Session.Key", "Session.Key.__hash__", "Session.typed", "Session.user", "Session.get",
    ]  # fmt: skip


def test_function_is_described_in_one_line() -> None:
    """A signature is the head as Python would write it, lines count the decorators."""
    assert by_name(SOURCE)["load"] == SymbolRecord(
        path="a.py",
        qualname="load",
        kind="function",
        signature="async def load(key: str, /, *rest: int, ttl: float=1.5, **more) -> 'Session | None'",
        doc="Loads a session.",
        lines=11,
        line=6,
    )


def test_class_shows_its_bases_and_keywords() -> None:
    """Bases and keywords stand in the head, the documentation is its first line."""
    session = by_name(SOURCE)["Session"]
    assert (session.kind, session.doc) == ("class", "A user's session.")
    assert session.signature == "class Session(dict[str, t.Any], metaclass=Meta, **)"


def test_kinds_tell_methods_from_functions() -> None:
    """What a class holds is a method at any depth, also behind a condition."""
    found = by_name(SOURCE)
    assert {found[name].kind for name in ("Session.Key.__hash__", "Session.typed", "Session.get")} == {"method"}
    assert found["Session.Key"].kind == "class"


def test_overloads_give_way_to_the_implementation() -> None:
    """Of several definitions the first that is no overload is shown, so a property shows its getter."""
    found = by_name(SOURCE)
    assert found["Session.get"].signature == "def get(self, key)"
    assert found["Session.user"].signature == "def user(self)"


def test_outline_of_a_file() -> None:
    """An outline has documentation, top-level names and every import."""
    outline = python_outline(SOURCE.encode())
    assert (outline.doc, outline.tops, outline.problem) == ("Sessions of users.", ("load", "Session"), "")
    assert [(one.module, one.alias) for one in outline.imports] == [("typing", "t")]


def test_definition_behind_an_assignment_is_its_fallback() -> None:
    """A name that was assigned before is no top-level function of the file."""
    assert python_outline(b"if new:\n    run = fast\nelse:\n    def run(): ...\n").tops == ()


def test_coding_cookie_is_respected() -> None:
    """A file in another coding is read if it says so."""
    source = "# -*- coding: latin-1 -*-\ndef f(size='größer'):\n    'Größe'\n".encode("latin-1")
    assert by_name(source)["f"].doc == "Größe"
    assert by_name(source)["f"].signature == "def f(size='größer')"


@pytest.mark.parametrize(
    "source",
    [b"def broken(:\n", b"x = '\xff'\n", b"x = 1\0\n", b"x = " + b"(" * 5000, b"x = " + b"-" * 100_000 + b"1"],
    ids=["syntax", "coding", "null byte", "parentheses", "deep expression"],
)
def test_what_does_not_parse_has_no_symbols(source: bytes) -> None:
    """Whatever stops the parser gives an empty outline with a reason, not an error."""
    assert python_definitions("a.py", source) == []
    assert python_outline(source).problem


def test_long_chains_of_branches_are_read() -> None:
    """A thousand elif branches nest a thousand deep and still give their names."""
    branches = "".join(f"elif x == {n}:\n    pass\n" for n in range(1, 900))
    source = f"if x == 0:\n    pass\n{branches}else:\n    def last(): ...\n"
    outline = python_outline(source.encode())
    assert outline.tops == ("last",) or outline.problem


def test_default_that_nests_too_deep_leaves_the_name() -> None:
    """A signature that cannot be written out shrinks to the name."""
    source = f"def f(x={'+'.join(['1'] * 600)}): ...\n"
    assert by_name(source)["f"].signature.startswith("def f")


def test_text_for_prompts_has_no_control_characters() -> None:
    """Lone surrogates and control characters of a docstring become blanks, long lines are cut."""
    found = by_name('def f():\n    "a\\ud800b\\x00c"\ndef g():\n    "' + "x" * 500 + '"\n')
    assert found["f"].doc == "a b c"
    assert len(found["g"].doc) == 160


def test_lone_surrogates_are_replaced() -> None:
    """Documentation and strings can be written to a file, whatever the source spells."""
    (found,) = python_definitions("a.py", b'def f():\n    "a\\ud800b"\n    return "c\\udfff"\n')
    assert (found.doc, found.strings) == ("a b", ("c ",))


def test_symbols_of_the_seed_come_first(checkout: Checkout) -> None:
    """Seeds lead, then the files with the strongest evidence."""
    checkout.write({
        "b.py": "import a\ndef other(): ...\n",
        "a.py": "def seed(): ...\n",
    })  # fmt: skip
    assert [symbol.id for symbol in checkout.find("anything", "a.py").symbols] == ["a.py::seed", "b.py::other"]

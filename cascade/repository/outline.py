"""What a source file tells about itself: its documentation, names and imports. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, TypeVar

_T = TypeVar("_T")
_LINE_LIMIT = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class Import:
    """One imported thing, as the file writes it.

    Attributes:
        module: Dotted module, or another language's path such as ``./util`` or ``list.h``.
        level: Leading dots of a relative Python import.
        name: The name taken from the module, ``*`` for all, empty for the module itself.
        alias: The name given to it, empty when it keeps its own.
    """

    module: str
    level: int = 0
    name: str = ""
    alias: str = ""

    @property
    def bound(self) -> str:
        """The name that the import creates in its file: ``import a.b`` creates ``a``."""
        return self.alias or self.name or self.module.partition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What the scope stage needs to know of a file.

    Attributes:
        doc: First line of its documentation.
        tops: Top-level functions and classes, in source order.
        names: Other names assigned at the top level.
        imports: Everything it imports, anywhere in the file.
        problem: Key of the reason why the file could not be read in full; empty when it could.
    """

    doc: str = ""
    tops: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    imports: tuple[Import, ...] = ()
    problem: str = ""

    def dump(self) -> str:
        """The outline as JSON text that ``load`` reads back."""
        imports = [(one.module, one.level, one.name, one.alias) for one in self.imports]
        return json.dumps([self.doc, self.tops, sorted(self.names), imports, self.problem], separators=(",", ":"))

    @staticmethod
    def load(text: str) -> Outline:
        """An outline from its JSON text.

        Raises:
            ValueError: The text is no outline.
        """
        try:
            doc, tops, names, imports, problem = json.loads(text)
            return Outline(
                doc=_known(doc, str),
                tops=tuple(_known(top, str) for top in _known(tops, list)),
                names=frozenset(_known(name, str) for name in _known(names, list)),
                imports=_imports(_known(imports, list)),
                problem=_known(problem, str),
            )
        except (TypeError, RecursionError) as error:
            msg = f"not an outline: {text[:80]!r}"
            raise ValueError(msg) from error


def _imports(rows: list[Any]) -> tuple[Import, ...]:
    """Imports from their rows; TypeError or ValueError for anything else."""
    if not rows:
        return ()
    types = [{*map(type, column)} for column in zip(*rows, strict=True)]
    if types != [{str}, {int}, {str}, {str}]:
        raise TypeError
    return tuple(Import(module=module, level=level, name=name, alias=alias) for module, level, name, alias in rows)


def _known(value: object, kind: type[_T]) -> _T:
    """A value of a type; TypeError for any other."""
    if not isinstance(value, kind):
        raise TypeError
    return value


def first_line(text: str | None) -> str:
    """The first line that is not blank, at most 160 printable characters."""
    line = next((line.strip() for line in (text or "").split("\n") if line.strip()), "")
    return _printable(line)[:_LINE_LIMIT]


def one_line(text: str, limit: int = 300) -> str:
    """A text with every run of white space made one blank, cut to a length."""
    return _printable(" ".join(text.split()))[:limit]


def _printable(text: str) -> str:
    """Control characters and lone surrogates as blanks: they must not reach a prompt."""
    return text if text.isprintable() else "".join(c if c.isprintable() else " " for c in text).strip()

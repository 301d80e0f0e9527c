"""What a repository or a labelled task tells about symbols and files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolRecord:
    """A function, method, class or the like of a source file.

    Attributes:
        path: The file's path from the repository's root, with forward slashes.
        qualname: Dotted name within the file.
        kind: ``function``, ``method``, ``class``, or another language's word.
        signature: The definition's head in one line.
        doc: First line of its documentation; empty when it has none.
        lines: Number of source lines, at least 1.
        line: Its first line in the file, decorators included, from 1.
    """

    path: str
    qualname: str
    kind: str
    signature: str
    doc: str
    lines: int
    line: int = 1

    @property
    def id(self) -> str:
        """``path::qualname``."""
        return f"{self.path}::{self.qualname}"

    @property
    def name(self) -> str:
        """The last part of the qualified name."""
        return self.qualname.rpartition(".")[2]

    @property
    def owner(self) -> str:
        """The qualified name of what encloses it; empty at the top level."""
        return self.qualname.rpartition(".")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """A symbol as its source has it: what evidence is made from.

    Attributes:
        record: What is shown of it.
        text: Its source. Of a class all but the bodies of its methods; of a function all, nested functions included.
        doc: The whole of its documentation.
        strings: Its string literals, documentation left out.
        uses: Names that it uses, as written, such as ``make_response`` in ``app.make_response()``.
    """

    record: SymbolRecord
    text: str
    doc: str = ""
    strings: tuple[str, ...] = ()
    uses: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRecord:
    """A source file that may matter for a task, with its ties to the seed files.

    Attributes:
        path: From the repository's root, with forward slashes.
        doc: First line of the module's documentation.
        symbols: Top-level functions and classes, at most 12.
        tiers: The tiers that found it: ``dependency``, ``co_change``, ``metadata``.
        imports_seed: It imports a seed file.
        imported_by_seed: A seed file imports it.
        co_changes: Earlier commits that changed both it and a seed file.
        seed_changes: Earlier commits that changed a seed file.
    """

    path: str
    doc: str = ""
    symbols: tuple[str, ...] = ()
    tiers: tuple[str, ...] = ()
    imports_seed: bool = False
    imported_by_seed: bool = False
    co_changes: int = 0
    seed_changes: int = 0

    @property
    def co_change_ratio(self) -> float:
        """Share of the seed's earlier changes that changed this file too, in [0, 1]."""
        return min(1.0, self.co_changes / self.seed_changes) if self.seed_changes else 0.0

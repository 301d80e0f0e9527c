"""Labelled tasks mined from commit histories: one JSON object a line, read into records.

A commit message is the task, the code that the commit changed is the truth. The schema is the
pydantic models below; fields beyond them are ignored.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from cascade.config.item_rows import Date, Tiers, Words
from cascade.evidence.of_records import file_items, symbol_items
from cascade.evidence.records import FileRecord, SymbolRecord
from cascade.items import Item, Task

Label = Literal["primary", "supporting", "type_context", "excluded"]
_Count = Annotated[int, Field(ge=0, le=1_000_000_000)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class CommitSymbol(_Model):
    """A symbol with its truth."""

    path: str
    qualname: Words
    kind: str
    signature: str = ""
    doc: str = ""
    lines: _Count = 1
    label: Label

    def record(self) -> SymbolRecord:
        """The symbol without its truth."""
        return SymbolRecord(**self.model_dump(exclude={"label"}))


class CommitEvidence(_Model):
    """A file's ties to the seed."""

    imports_seed: bool = False
    imported_by_seed: bool = False
    co_changes: _Count = 0
    seed_changes: _Count = 0


class CommitFile(_Model):
    """A file with its truth."""

    path: Words
    doc: str = ""
    symbols: tuple[str, ...] = ()
    tiers: Tiers = ()
    evidence: CommitEvidence = CommitEvidence()
    relevant: bool

    def record(self) -> FileRecord:
        """The file without its truth."""
        return FileRecord(
            path=self.path, doc=self.doc, symbols=self.symbols, tiers=self.tiers, **self.evidence.model_dump()
        )


class CommitTask(_Model):
    """One line of a commit-task file."""

    repo: str
    commit: str
    date: Date = ""
    task: Words
    seed: str
    files: tuple[CommitFile, ...]
    symbols: tuple[CommitSymbol, ...]

    def request(self) -> Task:
        """The task as a caller would state it."""
        return Task(text=self.task, seeds=(self.seed,))

    def symbol_items(self) -> list[Item]:
        """The symbols as items, in order."""
        return symbol_items(self.request(), [symbol.record() for symbol in self.symbols], self._files())

    def file_items(self) -> list[Item]:
        """The files as items, in order."""
        return file_items(self.request(), self._files())

    @property
    def symbol_labels(self) -> tuple[str, ...]:
        """The truth of each symbol."""
        return tuple(symbol.label for symbol in self.symbols)

    @property
    def file_labels(self) -> tuple[str, ...]:
        """The truth of each file: ``relevant`` or ``irrelevant``."""
        return tuple("relevant" if file.relevant else "irrelevant" for file in self.files)

    def _files(self) -> list[FileRecord]:
        return [file.record() for file in self.files]

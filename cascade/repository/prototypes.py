"""Prototypes in headers are the same symbols as their definitions in source files. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cascade.evidence.entry import Entry
from cascade.evidence.records import SymbolRecord
from cascade.repository.languages import C_FAMILY, language_of

PROTOTYPE = "prototype"


def without_prototypes(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """The entries of some files, by path, without the prototypes of what another of them defines.

    A prototype that none of them defines is a function or a method as any other: its definition is elsewhere.
    """
    if not any(one.kind == PROTOTYPE for entry in entries.values() for one in entry.symbols):
        return dict(entries)
    defined = {_key(one) for entry in entries.values() for one in entry.symbols if _is_defined(one)}
    return {path: _plain(entry, defined) for path, entry in entries.items()}


def _is_defined(record: SymbolRecord) -> bool:
    """Whether a symbol may define what a header declares: a static function cannot."""
    is_function = record.kind in {"function", "method"} and language_of(record.path) in C_FAMILY
    return is_function and not record.signature.startswith("static ")


def _key(record: SymbolRecord) -> str:
    """Owner and name: one file may write ``ns::Owner::name`` and the other ``Owner::name``."""
    return ".".join(record.qualname.split(".")[-2:])


def _plain(entry: Entry, defined: set[str]) -> Entry:
    """An entry whose prototypes are left out where they are defined, and functions where they are not."""
    is_kept = [one.kind != PROTOTYPE or _key(one) not in defined for one in entry.symbols]
    kept = entry.take(is_kept)
    symbols = tuple(
        replace(one, kind="method" if one.owner else "function") if one.kind == PROTOTYPE else one
        for one in kept.symbols
    )
    return replace(kept, symbols=symbols)

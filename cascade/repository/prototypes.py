"""Prototypes in headers are the same symbols as their definitions in source files. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cascade.evidence.records import Definition, SymbolRecord
from cascade.repository.languages import C_FAMILY, language_of

PROTOTYPE = "prototype"


def without_prototypes(definitions: Mapping[str, Sequence[Definition]]) -> dict[str, list[Definition]]:
    """The definitions of some files, by path, without the prototypes of what another of them defines.

    A prototype that none of them defines is a function or a method as any other: its definition is elsewhere.
    """
    defined = {_key(one.record) for several in definitions.values() for one in several if _is_defined(one.record)}
    return {
        path: [_plain(one) for one in several if one.record.kind != PROTOTYPE or _key(one.record) not in defined]
        for path, several in definitions.items()
    }


def _is_defined(record: SymbolRecord) -> bool:
    """Whether a symbol may define what a header declares: a static function cannot."""
    is_function = record.kind in {"function", "method"} and language_of(record.path) in C_FAMILY
    return is_function and not record.signature.startswith("static ")


def _key(record: SymbolRecord) -> str:
    """Owner and name: one file may write ``ns::Owner::name`` and the other ``Owner::name``."""
    return ".".join(record.qualname.split(".")[-2:])


def _plain(definition: Definition) -> Definition:
    if definition.record.kind != PROTOTYPE:
        return definition
    kind = "method" if definition.record.owner else "function"
    return replace(definition, record=replace(definition.record, kind=kind))

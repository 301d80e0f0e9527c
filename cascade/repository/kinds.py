"""The candidates of a repository as the items that a cascade asks about: symbols, files, folders, stages or pairs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from cascade.errors import counted
from cascade.evidence.edges import Edges
from cascade.evidence.reasons import Reasons
from cascade.evidence.sets import FileSet, best_of, folder_sets, set_items, stage_sets
from cascade.items import Item
from cascade.repository.find import Candidates
from cascade.repository.tiers import file_record
from cascade.tree import ItemKind

MOST_PARTS = 6
"""Files of which all pairs are asked where the task starts from fewer than two."""

_LEAST_PARTS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a cascade asks about.

    Attributes:
        items: The items, in order.
        reasons: Id -> why it may matter, of items that are neither a symbol nor a file.
        messages: What a user should know of the choice, one line each; why there is no item where there is none.
    """

    items: list[Item]
    reasons: Mapping[str, Sequence[str]] = field(default_factory=dict)
    messages: Sequence[str] = ()


def items_of(found: Candidates, kind: ItemKind | None) -> Asked:
    """The items of a kind, made from the candidates of a repository.

    Args:
        found: The candidates.
        kind: ``symbols`` and ``files`` are the candidates themselves; ``folders`` are those in which files lie,
            ``stages`` the retrieval stages, each with the files that it finds, and ``pairs`` all ordered pairs of the
            files that the work starts from, or of the likeliest where these are fewer than two.
    """
    match kind:
        case ItemKind.FILES:
            return _with(found.file_items(), found.without_files())
        case ItemKind.FOLDERS:
            return _sets(found, folder_sets(found.evidence), found.without_symbols())
        case ItemKind.STAGES:
            records = {record.path: record for record in found.files}
            return _sets(found, stage_sets(found.evidence, records) if found.n_read else [], "")
        case ItemKind.PAIRS:
            return _pairs(found)
    return _with(found.symbol_items(), found.without_symbols())


def _with(items: list[Item], none: str) -> Asked:
    return Asked(items=items, messages=[none] if none and not items else [])


def _sets(found: Candidates, sets: Sequence[FileSet], none: str) -> Asked:
    reasons = {one.name: list(_reasons(found, one)) for one in sets}
    items = set_items(found.evidence, sets) if sets else []
    return Asked(items=items, reasons=reasons, messages=[none] if none and not items else [])


def _reasons(found: Candidates, one: FileSet) -> Iterator[str]:
    if not one.files:
        yield "finds no file"
        return
    best = best_of(found.evidence, one, most=1)[0]
    yield f"{counted(len(one.files), 'file')}, the likeliest {found.evidence.signals.corpus.paths[best]}"
    yield from Reasons(found.evidence.signals).of_file(best)


def _pairs(found: Candidates) -> Asked:
    parts = _parts(found)
    if len(parts) < _LEAST_PARTS:
        none = "There are no pairs: fewer than two files were read. Name the parts of the change with --from."
        return Asked(items=[], messages=[none] if found.n_read else [])
    records = tuple(file_record(path, found.outlines[path]) for path in parts)
    imports = {path: found.imports(path) for path in parts}
    edges = Edges(found.evidence.signals.corpus, imports, records)
    items = edges.items()
    named = _named(found)
    told = f"The parts are {', '.join(parts)}."
    if len(named) == 1:
        others = [path for path in parts if path not in named]
        told = (
            f"Pairs take two files or more, and {named[0]} alone is named; the other parts are the likeliest "
            f"{counted(len(others), 'file')}: {', '.join(others)}. Name those of the change with --from."
        )
    elif not named:
        told = f"The parts are the likeliest files: {', '.join(parts)}. Name those of the change with --from."
    return Asked(items=items, reasons={item.id: _ties(edges, at) for at, item in enumerate(items)}, messages=[told])


def _named(found: Candidates) -> list[str]:
    """The files that the work starts from, as far as they were read."""
    paths = set(found.evidence.signals.corpus.paths)
    return [path for path in found.task.seeds if path in found.outlines and path in paths]


def _parts(found: Candidates) -> list[str]:
    paths, seeds = found.evidence.signals.corpus.paths, _named(found)
    if len(seeds) >= _LEAST_PARTS:
        return seeds
    best = np.argsort(-found.evidence.file_odds, kind="stable")[:MOST_PARTS].tolist()
    return list(dict.fromkeys([*seeds, *(paths[at] for at in best)]))[:MOST_PARTS]


def _ties(edges: Edges, at: int) -> list[str]:
    """What ties the files of a pair, in words."""
    n = {name: round(float(np.expm1(edges.columns[name][at]))) for name in ("n_used", "n_users", "together")}
    said = [
        ("the first imports the second", edges.columns["imports"][at] > 0),
        ("the second imports the first", edges.columns["imported"][at] > 0),
        (f"the first uses {counted(n['n_used'], 'name')} of the second", n["n_used"] > 0),
        (f"the second uses {counted(n['n_users'], 'name')} of the first", n["n_users"] > 0),
        (f"changed together in {counted(n['together'], 'commit')}", n["together"] > 0),
    ]
    return [words for words, is_true in said if is_true]

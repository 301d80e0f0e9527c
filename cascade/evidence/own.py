"""Evidence for items of one's own: from their names, signatures, documentation and source against the task. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from cascade.evidence.corpus import Corpus
from cascade.evidence.entry import Entry
from cascade.evidence.making import Evidence
from cascade.evidence.ranker import Ranker, shipped_ranker
from cascade.evidence.records import Definition, FileRecord, SymbolRecord
from cascade.evidence.ties import Ties
from cascade.items import Item, Task

_LITERAL = re.compile(r'"((?:[^"\\\n]|\\.){1,400})"|\'((?:[^\'\\\n]|\\.){1,400})\'|`([^`]{1,400})`')
_NAME = re.compile(r"[^\W\d]\w{2,}")
_OTHER_SIGNS = re.compile(r"::|->|[#/\\$]")


def own_evidence(task: Task, items: Sequence[Item], ranker: Ranker | None = None) -> list[Item]:
    """The items, those without evidence with what their own texts tell; they compete with each other alone.

    Items of one group count as symbols of one file; an item of kind ``file`` is a file of its own. What an item lacks,
    such as its source, is evidence neither way. The order in which items are given changes nothing.

    Args:
        task: The task.
        items: Any items; one that brings evidence stays as it is.
        ranker: What says from signals how likely an item matters; None for the shipped one.
    """
    corpus = own_corpus(items)
    order = sorted(range(len(items)), key=lambda at: _texts(items[at]))  # the order of the corpus
    seeds = tuple(seed for seed in task.seeds if seed in corpus.paths)
    evidence = Evidence.of(corpus, task.text, Ties(seeds=seeds), ranker or shipped_ranker())
    made = dict(zip(order, evidence.symbol_items(range(len(items))), strict=True))
    made |= _files(items, evidence)
    return [_with(item, made[at]) for at, item in enumerate(items)]


def _files(items: Sequence[Item], evidence: Evidence) -> dict[int, Item]:
    """Place of each item that is a file -> the item with what is known of a file."""
    places = [at for at, item in enumerate(items) if _is_file(item)]
    numbers = {path: at for at, path in enumerate(evidence.signals.corpus.paths)}
    paths = [_path(items[at]) for at in places]
    records = {path: FileRecord(path=path) for path in paths}
    return dict(zip(places, evidence.file_items([numbers[path] for path in paths], records), strict=True))


def own_corpus(items: Sequence[Item]) -> Corpus:
    """The items as symbols of files; they come in the order of the files' paths, and in a file in that of their texts.

    Signals rank equal symbols by their order, so that of the caller must not count.
    """
    several: dict[str, list[Item]] = {}
    for item in sorted(items, key=_texts):
        several.setdefault(_path(item), []).append(item)
    return Corpus(tuple(several), tuple(_entry(path, found) for path, found in several.items()))


def _is_file(item: Item) -> bool:
    return item.kind == "file" and item.group is None


def _path(item: Item) -> str:
    return item.group.name if item.group is not None else item.name if _is_file(item) else ""


def _texts(item: Item) -> tuple[str, ...]:
    """All that evidence is made from, the path first."""
    return _path(item), item.name, item.kind, item.signature, item.doc, item.text


def _entry(path: str, items: Sequence[Item]) -> Entry:
    text = "\n".join(part for item in items for part in (item.name, item.signature, item.doc, item.text) if part)
    return Entry.of([_definition(path, item) for item in items], text)


def _definition(path: str, item: Item) -> Definition:
    record = SymbolRecord(
        path=path,
        qualname=_OTHER_SIGNS.sub(".", item.name),
        kind=item.kind,
        signature=item.signature,
        doc=item.doc,
        lines=max(1, item.text.count("\n") + 1),
    )
    return Definition(
        record=record,
        text=item.text,
        doc=item.doc,
        strings=tuple("".join(parts) for parts in _LITERAL.findall(item.text)),
        uses=frozenset(_NAME.findall(item.text)) - {record.name},
    )


def _with(item: Item, made: Item) -> Item:
    """An item with the evidence that was made for it, where it has none.

    Without source the ranker knows too little to settle it before a question; its p is then no prior.
    """
    if item.evidence:
        return item
    group = item.group
    if group is not None and not group.evidence and made.group is not None:
        group = replace(group, evidence=made.group.evidence)
    return replace(
        item,
        evidence=made.evidence,
        group=group,
        prior=made.prior if item.prior is None and item.text else item.prior,
        priority=item.priority or made.priority,
    )

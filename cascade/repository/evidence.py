"""Evidence in plain words: what ties a symbol or a file to a task. Pure.

The adapters were trained on exactly these words, so a change here needs new adapters. A fact is
a word and, where it has a size, one or two digits: ``match7`` means that the candidate's words reach
seven ninths of the best match among all candidates. No fact tells how many candidates there are
or whether a relative of the candidate is among them: in labelled data that would give the truth
away, in a real repository it would mean nothing.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cascade.items import Group, Item, Task
from cascade.evidence.records import FileRecord, SymbolRecord
from cascade.evidence.words import identifiers, stem, stems, telling_words

_RANKS = (1, 2, 3, 5, 8, 13, 21)  # a rank is given as the first of these it does not exceed
_TELLING_LENGTH = 5  # a shorter plain name may stand in a task by chance
_MAX_HITS = 4


@dataclass(frozen=True, slots=True)
class _Field:
    """A text of a candidate and how much a task word found there counts."""

    text: str
    weight: float


class _Match:
    """Overlap of a task's words with every candidate, rare words counting more."""

    def __init__(self, task: Task, candidates: Sequence[Sequence[_Field]]) -> None:
        self.words = telling_words(task.text)
        found = [[(stems(field.text), field.weight) for field in fields] for fields in candidates]
        frequency = Counter(
            word for fields in found for word in frozenset().union(*(has for has, _ in fields)) if word in self.words
        )
        total = len(candidates)
        # Sorted, since sets come in another order in every process and sums of floats depend on theirs.
        self.rarity = {word: math.log((total + 1) / (n + 0.5)) for word, n in sorted(frequency.items())}
        self.scores = [
            sum(
                rarity * max((weight for has, weight in fields if word in has), default=0.0)
                for word, rarity in self.rarity.items()
            )
            for fields in found
        ]
        self.best = max(self.scores, default=0.0) or 1.0
        self.mass = sum(self.rarity.values()) or 1.0
        self.edges = _rank_edges(self.scores)

    def share(self, index: int) -> float:
        """Score of a candidate over the best candidate's, in [0, 1]."""
        return self.scores[index] / self.best

    def facts(self, index: int) -> list[str]:
        """``match``, ``covers`` and ``rank`` of a candidate; empty without any hit."""
        if not self.scores[index]:
            return []
        facts = [f"match{_ninths(self.share(index))}", f"covers{_ninths(self.scores[index] / self.mass)}"]
        edge = self.edges[index]
        return [*facts, f"rank{edge}"] if edge else facts

    def hits(self, word: str, text: str) -> list[str]:
        """``word`` followed by the task's words found in a text, or nothing."""
        has = stems(text)
        found = [self.words[key] for key in self.words if key in has][:_MAX_HITS]
        return [f"{word} {' '.join(found)}"] if found else []


def symbol_items(task: Task, symbols: Sequence[SymbolRecord], files: Iterable[FileRecord]) -> list[Item]:
    """Items of a precision cascade, in the order of the symbols.

    Args:
        task: The task with its seed files.
        symbols: All symbols that compete for the task.
        files: What is known of their files; a file that is missing here has no ties to the seed.
    """
    match = _Match(task, [_symbol_fields(symbol) for symbol in symbols])
    named = identifiers(task.text)
    mentioned = _mentions(symbols, match)
    twins = Counter(symbol.name for symbol in symbols)
    members: dict[str, float] = defaultdict(float)
    in_file: dict[str, float] = defaultdict(float)
    for index, symbol in enumerate(symbols):
        in_file[symbol.path] = max(in_file[symbol.path], match.share(index))
        owner = f"{symbol.path}::{symbol.owner}"
        members[owner] = max(members[owner], match.share(index))
    ties = {record.path: record for record in files}
    groups = {
        path: Group(name=path, evidence=_file_ties(task, path, ties.get(path), best)) for path, best in in_file.items()
    }
    items = []
    for index, symbol in enumerate(symbols):
        facts = [f"size{_log2(symbol.lines)}", *match.facts(index)]
        facts += _named(symbol, task.text, named)
        facts += match.hits("name", symbol.name) + match.hits("of", symbol.owner)
        facts += match.hits("text", f"{_head_cut(symbol)} {symbol.doc}")
        if members.get(symbol.id):
            facts.append(f"members{_ninths(members[symbol.id])}")
        if mentioned.get(symbol.name):
            facts.append(f"mentioned{_ninths(mentioned[symbol.name])}")
        if twins[symbol.name] > 1:
            facts.append(f"twins{min(9, twins[symbol.name])}")
        items.append(
            Item(
                id=symbol.id,
                kind=symbol.kind,
                name=symbol.qualname,
                signature=_head_cut(symbol),
                doc=symbol.doc,
                evidence=tuple(facts),
                group=groups[symbol.path],
                priority=match.share(index),
            )
        )
    return items


def file_items(task: Task, files: Sequence[FileRecord]) -> list[Item]:
    """Items of a scope cascade, in the order of the files."""
    match = _Match(task, [_file_fields(record) for record in files])
    most = max((record.co_changes for record in files), default=0) or 1
    places = _rank_edges([record.co_changes for record in files])
    items = []
    for index, record in enumerate(files):
        facts = list(_ties(record))
        if record.co_changes:
            facts.append(f"among{_ninths(record.co_changes / most)}")
            facts += [f"place{places[index]}"] if places[index] else []
        facts += match.facts(index)
        facts += match.hits("path", _stem_path(record.path)) + match.hits("symbols", " ".join(record.symbols))
        facts += match.hits("text", record.doc)
        facts += _near(record.path, task.seeds)
        items.append(
            Item(
                id=record.path,
                kind="file",
                name=record.path,
                signature=" ".join(record.symbols),
                doc=record.doc,
                evidence=tuple(facts),
                tiers=record.tiers,
                priority=max(match.share(index), record.co_changes / most),
            )
        )
    return items


def _symbol_fields(symbol: SymbolRecord) -> list[_Field]:
    return [
        _Field(symbol.name, 1.0),
        _Field(f"{_head_cut(symbol)} {symbol.doc}", 0.6),
        _Field(symbol.owner, 0.5),
        _Field(_stem_path(symbol.path), 0.3),
    ]


def _file_fields(record: FileRecord) -> list[_Field]:
    return [
        _Field(_stem_path(record.path), 1.0),
        _Field(" ".join(record.symbols), 0.8),
        _Field(record.doc, 0.5),
    ]


def _mentions(symbols: Sequence[SymbolRecord], match: _Match) -> dict[str, float]:
    """Name -> the best match among the other symbols whose signature mentions it."""
    found: dict[str, float] = defaultdict(float)
    for index, symbol in enumerate(symbols):
        for word in identifiers(_head_cut(symbol)) - {symbol.name}:
            found[word] = max(found[word], match.share(index))
    return found


def _named(symbol: SymbolRecord, text: str, named: frozenset[str]) -> list[str]:
    """Whether the task writes the symbol's own name, and its owner's."""
    name = symbol.name
    telling = "_" in name.strip("_") or len(name) >= _TELLING_LENGTH or name[:1].isupper()
    facts = []
    if symbol.owner and symbol.qualname in text:
        facts.append("spelled")
    elif name in named and telling:
        facts.append("named")
    if symbol.owner and symbol.owner.rpartition(".")[2] in named:
        facts.append("owner named")
    return facts


def _file_ties(task: Task, path: str, record: FileRecord | None, best: float) -> tuple[str, ...]:
    """Evidence of a group header: the file's ties to the seed and its symbols' best match."""
    facts = ["seed"] if path in task.seeds else list(_ties(record)) if record else ["apart"]
    return (*facts, f"best{_ninths(best)}")


def _ties(record: FileRecord) -> Iterable[str]:
    if record.imports_seed:
        yield "imports"
    if record.imported_by_seed:
        yield "imported"
    if record.co_changes:
        yield f"together{_log2(record.co_changes)}"
        yield f"ratio{_ninths(math.sqrt(record.co_change_ratio))}"
    elif record.seed_changes:
        yield f"never{_log2(record.seed_changes)}"
    if record.keyword_hits:
        yield f"hits{min(9, len(record.keyword_hits))}"


def _near(path: str, seeds: Sequence[str]) -> list[str]:
    """Whether a file lies beside a seed and how many words of its path are a seed's."""
    facts = []
    folder = path.rpartition("/")[0]
    if any(seed.rpartition("/")[0] == folder for seed in seeds):
        facts.append("beside")
    name = _name_stems(path.rpartition("/")[2])
    if any(name & _name_stems(seed.rpartition("/")[2]) for seed in seeds):
        facts.append("alike")
    return facts


def _name_stems(path: str) -> frozenset[str]:
    """Stems of a file name without its suffix."""
    return stems(_stem_path(path)) - {stem("init"), stem("main")}


def _rank_edges(scores: Sequence[float]) -> list[int]:
    """Each score's rank, ties sharing the best of theirs, as the first edge that holds it; else 0."""
    order = sorted(scores, reverse=True)
    first = {score: rank for rank, score in reversed(list(enumerate(order, 1)))}
    return [next((edge for edge in _RANKS if first[score] <= edge), 0) for score in scores]


def _stem_path(path: str) -> str:
    folder, slash, name = path.rpartition("/")
    return f"{folder}{slash}{name.partition('.')[0]}"


def _head_cut(symbol: SymbolRecord) -> str:
    """A signature from behind the symbol's name on, which stands in the item already."""
    return re.sub(rf"^.*?(?<!\w){re.escape(symbol.name)}(?!\w)", "", symbol.signature, count=1)


def _ninths(share: float) -> int:
    """A share in [0, 1] as a digit, 0 only for zero."""
    return max(1 if share > 0 else 0, min(9, round(9 * share)))


def _log2(count: int) -> int:
    """A positive count as a digit: 1 -> 0, 2-3 -> 1, 4-7 -> 2, ... at most 9."""
    return min(9, max(1, count).bit_length() - 1)

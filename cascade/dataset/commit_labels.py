"""Labels of a commit, read from what it changed: the truth of a task whose text is the commit's message.

A symbol is ``primary`` if its own code changed: of a class what stands outside its methods, so that a method that comes
or goes changes its class; comments, layout and documentation do not count. A symbol that a changed one uses by name is
``supporting``; the class of a changed method is ``type_context``, as is a class that is used. All other symbols of the
changed files, and of four more, are ``excluded``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from cascade.evidence.corpus import Corpus
from cascade.evidence.history import Commit
from cascade.evidence.records import Definition
from cascade.repository.exclusions import is_source
from cascade.repository.source import read_definitions

MOST_FILES = 8
_LEAST_WORDS, _MOST_TEXT = 3, 500
_MOST = {"primary": 12, "supporting": 12, "type_context": 8, "excluded": 60}
_OTHER_FILES = 4
_DULL = re.compile(
    r"merge|revert|bump|release|changelog|typo|format|lint|version|vendor|type hint|annotation|prepare|\[bot\]|docs?:",
    re.IGNORECASE,
)
_TRAILER = re.compile(r"^[\w-]+-by:|^#|^\(cherry", re.IGNORECASE)
_BLANK = re.compile(r"\s+|#[^\n]*|//[^\n]*")


Tree = Mapping[str, str]
"""Path -> blob of the project's own source."""


class Blobs(Protocol):
    """What is asked of a clone."""

    def source(self, blob: str) -> bytes:
        """The contents of a file."""


def task_text(message: str) -> str:
    """The task that a message states: its subject and first paragraph; empty where it says too little."""
    subject, _, rest = message.strip().partition("\n")
    if _DULL.search(subject) or len(subject.split()) < _LEAST_WORDS:
        return ""
    paragraphs = (part.strip() for part in rest.split("\n\n"))
    body = next((part for part in paragraphs if part and not _TRAILER.match(part)), "")
    subject = re.sub(r"\s*\(?(?:gh-)?#\d+\)?", "", subject)
    return f"{subject}\n\n{body}".strip()[:_MOST_TEXT]


def changed_files(commit: Commit) -> list[str]:
    """The source files that a commit modifies; none where it does more than that, or too much."""
    source = [one for one in commit.changes if is_source(one.old) or is_source(one.new)]
    if not 0 < len(source) <= MOST_FILES or any(one.status != "M" for one in source):
        return []
    return [one.old for one in source]


def labels(clone: Blobs, corpus: Corpus, trees: tuple[Tree, Tree], paths: list[str]) -> dict[str, str]:
    """Id -> label of the symbols of a commit's task, as its parent has them.

    Args:
        clone: Where blobs are read.
        corpus: The symbols of the parent.
        trees: Path -> blob of the source before the commit, and after it.
        paths: The files that it modifies.
    """
    before, after = trees
    primary: list[str] = []
    for path in paths:
        old = _definitions(clone, path, before)
        new = _definitions(clone, path, after)
        primary += [one.record.id for one in old.values() if _code(one) != _code(new.get(one.record.qualname))]
        primary += [f"{path}::{owner}" for owner in _owners_of_new(old, new) if owner in old]
    primary = list(dict.fromkeys(primary))[: _MOST["primary"]]
    found = dict.fromkeys(primary, "primary")
    for id_, label in _used(corpus, found):
        found.setdefault(id_, label)
    for id_ in _rest(corpus, paths, found):
        found.setdefault(id_, "excluded")
    return found


def _definitions(clone: Blobs, path: str, tree: Tree) -> dict[str, Definition]:
    found = read_definitions(path, clone.source(tree[path])) if path in tree else []
    return {one.record.qualname: one for one in found}


def _code(one: Definition | None) -> str:
    """What counts of a definition's text."""
    return "" if one is None else _BLANK.sub("", one.text.replace(one.doc, "") if one.doc else one.text)


def _owners_of_new(old: Mapping[str, Definition], new: Mapping[str, Definition]) -> Iterator[str]:
    yield from (one.record.owner for name, one in new.items() if name not in old and one.record.owner)


def _used(corpus: Corpus, primary: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Symbols that the changed ones use, the most used first, and the classes that changed methods belong to."""
    links, symbols = corpus.links, corpus.symbols
    changed = {at for at, one in enumerate(symbols) if one.id in primary}
    counts: dict[int, int] = {}
    for user, used in zip(links.users.tolist(), links.used.tolist(), strict=True):
        if user in changed:
            counts[used] = counts.get(used, 0) + 1
    several = sorted(counts, key=lambda at: (-counts[at], at))
    functions = [at for at in several if symbols[at].kind != "class"][: _MOST["supporting"]]
    owners = {f"{symbols[at].path}::{symbols[at].owner}" for at in changed if symbols[at].owner}
    classes = [at for at in several if symbols[at].kind == "class"]
    classes += [at for at, one in enumerate(symbols) if one.id in owners]
    yield from ((symbols[at].id, "supporting") for at in functions)
    yield from ((symbols[at].id, "type_context") for at in list(dict.fromkeys(classes))[: _MOST["type_context"]])


def _rest(corpus: Corpus, paths: list[str], found: Mapping[str, str]) -> list[str]:
    """Symbols of the changed files and of those that what is labelled lies in, the same in every run."""
    others = [id_.partition("::")[0] for id_ in found]
    files = list(dict.fromkeys([*paths, *others]))[: len(paths) + _OTHER_FILES]
    rest = [one.id for one in corpus.symbols if one.path in files and one.id not in found]
    step = max(1, len(rest) // _MOST["excluded"])
    return rest[::step][: _MOST["excluded"]]


def label_row(
    commit: str, repository: str, text: str, found: Mapping[str, str], corpus: Corpus, paths: list[str]
) -> dict[str, Any]:
    """A line of a commit-task file."""
    symbols = [
        {
            "id": one.id, "path": one.path, "qualname": one.qualname, "kind": one.kind, "signature": one.signature,
            "doc": one.doc, "lines": one.lines, "label": found[one.id],
        }
        for one in corpus.symbols
        if one.id in found
    ]  # fmt: skip
    counts = [id_.partition("::")[0] for id_, label in found.items() if label == "primary"]
    seed = max(paths, key=lambda path: (counts.count(path), path))
    files = [{"path": path, "doc": "", "symbols": [], "tiers": [], "relevant": True} for path in paths if path != seed]
    return {
        "repo": repository, "commit": commit, "date": "", "task": text, "seed": seed, "files": files,
        "symbols": symbols,
    }  # fmt: skip

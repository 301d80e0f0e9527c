"""What ties every symbol and file of a corpus to a task, as numbers: what the ranker reads. Pure numpy.

A name that ends in ``_share`` is over the best of the tree, in [0, 1]; ``_first`` is one over the rank, 0 without a
score; ``_rank`` is the logarithm of the rank; ``_within`` is over the best of the file. Measured on the histories of
public repositories, no signal alone is worth half of them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from cascade.evidence.corpus import Corpus
from cascade.evidence.starting_points import starting_points, traced_calls
from cascade.evidence.task_terms import TaskTerms
from cascade.evidence.terms import terms
from cascade.evidence.ties import Ties
from cascade.probability import Array

_LEAST_NAME = 3  # characters of a name that can be told from a word
_TOP = 3  # symbols of a file that lend it their scores
Columns = dict[str, Array]


@dataclass(frozen=True, eq=False)
class Signals:
    """The signals of a task; n symbols of f files.

    Attributes:
        corpus: All that compete.
        task: What the task says.
        ties: The files that the work starts from, and what ties others to them.
    """

    corpus: Corpus
    task: TaskTerms
    ties: Ties

    @cached_property
    def symbols(self) -> Columns:
        """Signal -> its value for each symbol; (n,)."""
        found = self._words() | self._mentions()
        bodies = found["body_share"]
        links, files = self.corpus.links, self.corpus.files
        for name, values in (("body", bodies), ("named", found["named"]), ("traced", found["traced"])):
            found[f"callers_{name}"] = links.best_user(values)
            found[f"callees_{name}"] = links.best_used(values)
        found["n_users"] = np.log1p(np.bincount(links.used, minlength=len(bodies)))
        found["n_used"] = np.log1p(np.bincount(links.users, minlength=len(bodies)))
        found["mates"] = _best(bodies, self.corpus.mates)[self.corpus.mates] if len(bodies) else bodies
        found |= {f"file_{name}": values[files] for name, values in self.files.items()}
        return found | self._form()

    @cached_property
    def files(self) -> Columns:
        """Signal -> its value for each file; (f,)."""
        corpus, task = self.corpus, self.task
        bodies, n_files = self._scores["body"], len(corpus.paths)
        share = bodies / max(float(bodies.max(initial=0)), 1e-9)
        top = np.array([np.sort(share[a:b])[::-1][:_TOP].sum() for a, b in self._spans()])
        found = _scored("words", corpus.file_words.hits(task.words).bm25(task.counts))
        found |= _scored("top", top)
        found["best"] = _best(share, corpus.files, n_files)
        paths = corpus.path_words.hits(task.words)
        rarity = np.bincount(paths.documents, paths.rarity[paths.places], n_files)
        found |= _scored("path", rarity.astype(np.float64))
        history = corpus.history
        found |= _scored("history", self._of_files(history.matches(task) if history else {}))
        found["churn"] = np.log1p(self._of_files(history.recency() if history else {}))
        found["named"] = _best(self._mentioned["named_code"], corpus.files, n_files)
        found["traced"] = _best(self._mentioned["traced"], corpus.files, n_files)
        found["located"] = self._of_files(self._located)
        found["n_symbols"] = np.log1p(np.diff(corpus.starts))
        return found | tied(self.corpus, self.ties)

    @cached_property
    def _located(self) -> dict[str, float]:
        """File that the task names -> 1 for the first, less for each further one."""
        found = starting_points(self.task.text, self.corpus.paths)
        return {path: 1 / (1 + place) ** 0.5 for place, path in enumerate(found)}

    @cached_property
    def _scores(self) -> Columns:
        """BM25 of the parts of each symbol."""
        corpus, task = self.corpus, self.task
        bodies = corpus.postings("body").hits(task.words)
        literals = corpus.postings("literals").hits(task.words)
        idents = corpus.postings("idents")
        return {
            "body": bodies.bm25(task.counts),
            "title": bodies.bm25(task.title),
            "once": bodies.bm25(np.minimum(task.counts, 1), is_binary=True),
            "covers": bodies.coverage(),
            "rare": bodies.rarest(),
            "head": corpus.postings("head").hits(task.words).bm25(task.counts),
            "doc": corpus.postings("doc").hits(task.words).bm25(task.counts),
            "literals": literals.bm25(task.counts),
            "quoted": literals.bm25(task.quoted, is_binary=True),
            "idents": idents.hits(task.name_words).bm25(np.ones(len(task.name_words)), is_binary=True),
            "code": idents.hits(task.code_words).bm25(np.ones(len(task.code_words)), is_binary=True),
        }

    def _words(self) -> Columns:
        corpus, n_files = self.corpus, len(self.corpus.paths)
        found: Columns = {}
        for name, scores in self._scores.items():
            if name in {"covers", "rare"}:
                found[name] = scores
                continue
            found |= _scored(name, scores)
            best = _best(scores, corpus.files, n_files)[corpus.files]
            found[f"{name}_within"] = scores / np.maximum(best, 1e-9)
        return found

    @cached_property
    def _mentioned(self) -> Columns:
        """What the task names or traces."""
        corpus, task = self.corpus, self.task
        names, owners = corpus.names, corpus.owners
        rarity = corpus.namesakes**-0.5
        telling = [name if len(name) >= _LEAST_NAME else "" for name in names]
        found = {
            "named": rarity * _among(telling, task.names),
            "named_code": rarity * _among(telling, task.code),
            "called": _among(names, task.called),
            "owner_named": _among(owners, task.names),
            "owner_code": _among(owners, task.code),
            "qualified": _among([f"{a}.{b}" for a, b in zip(owners, names, strict=True)], task.qualified),
        }
        return found | self._traces()

    def _traces(self) -> Columns:
        corpus = self.corpus
        found, last = np.zeros(len(corpus.names)), np.zeros(len(corpus.names))
        calls = traced_calls(self.task.text, corpus.paths)
        place = {path: at for at, path in enumerate(corpus.paths)}
        for at, (paths, name) in enumerate(calls):
            for path in paths:
                start, end = corpus.starts[place[path]], corpus.starts[place[path] + 1]
                for symbol in (one for one in range(start, end) if corpus.names[one] == name):
                    found[symbol] = max(found[symbol], (len(calls) - at) ** -0.5)
                    last[symbol] = max(last[symbol], float(at == len(calls) - 1))
        return {"traced": found, "traced_last": last}

    def _mentions(self) -> Columns:
        corpus = self.corpus
        mates = corpus.mates
        named = self._mentioned["named"]
        found = dict(self._mentioned)
        found["mates_named"] = _best(named, mates)[mates] if len(named) else named
        found["namesakes"] = np.log(np.maximum(corpus.namesakes, 1))
        return found

    def _form(self) -> Columns:
        corpus = self.corpus
        n, names = len(corpus.names), corpus.names
        places = np.arange(n) - corpus.starts[corpus.files]
        counts = np.diff(corpus.starts)[corpus.files]
        return {
            "lines": np.log1p(corpus.sizes),
            "method": np.array([bool(owner) for owner in corpus.owners], np.float64),
            "class": np.array([one.kind == "class" for one in corpus.symbols], np.float64),
            "private": np.array([name.startswith("_") and not name.startswith("__") for name in names], np.float64),
            "dunder": np.array([name.startswith("__") for name in names], np.float64),
            "has_doc": np.array([bool(one.doc) for one in corpus.symbols], np.float64),
            "has_body": corpus.has_body.astype(np.float64),
            "place": places / np.maximum(counts, 1),
            "n_words": np.full(n, np.log1p(len(self.task.words))),
            "n_candidates": np.full(n, np.log1p(n)),
        }

    def _of_files(self, values: Mapping[str, float]) -> Array:
        return np.array([values.get(path, 0.0) for path in self.corpus.paths], np.float64)

    def _spans(self) -> Iterable[tuple[int, int]]:
        starts = self.corpus.starts.tolist()
        return pairwise(starts)


def tied(corpus: Corpus, ties: Ties) -> Columns:
    """Signal -> what ties each file to the seeds; (f,)."""
    paths = corpus.paths
    folders = {seed.rpartition("/")[0] for seed in ties.seeds}
    stems = frozenset[int]().union(*map(_file_stem, ties.seeds))
    together = np.array([ties.together.get(path, 0) for path in paths], np.float64)
    return {
        "seed": _among(paths, frozenset(ties.seeds)),
        "imports": _among(paths, ties.importers),
        "imported": _among(paths, ties.imported),
        "together": np.log1p(together),
        "ratio": np.array([ties.ratio(path) for path in paths], np.float64),
        "together_first": _scored("found", together)["found_first"],
        "never": np.where(together > 0, 0.0, np.log1p(ties.seed_changes)),
        "beside": np.array([path.rpartition("/")[0] in folders for path in paths], np.float64),
        "alike": np.array([bool(_file_stem(path) & stems) for path in paths], np.float64),
        "has_seed": np.full(len(paths), float(bool(ties.seeds))),
        "has_history": np.full(len(paths), float(corpus.history is not None)),
    }


def _scored(name: str, scores: Array) -> Columns:
    """A score as a share of the best, one over its rank, and the logarithm of its rank."""
    ranks = np.empty(len(scores))
    ranks[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    return {
        f"{name}_share": scores / max(float(scores.max(initial=0)), 1e-9),
        f"{name}_first": (scores > 0) / (1 + ranks),
        f"{name}_rank": np.log1p(np.where(scores > 0, ranks, len(scores))),
    }


def _best(values: Array, groups: np.ndarray, n_groups: int | None = None) -> Array:
    """The best value of each group; 0 where none is above."""
    found = np.zeros(int(groups.max(initial=-1)) + 1 if n_groups is None else n_groups)
    np.maximum.at(found, groups, values)
    return found


def _among(names: Sequence[str], wanted: frozenset[str]) -> Array:
    """1 where a name is among those wanted; an empty name never is."""
    return np.array([bool(name) and name in wanted for name in names], np.float64)


def alike(one: str, other: str) -> bool:
    """Whether the names of two files have a word in common."""
    return bool(_file_stem(one) & _file_stem(other))


def _file_stem(path: str) -> frozenset[int]:
    """Words of a file's name that tell it from others."""
    return frozenset(terms(path.rpartition("/")[2].partition(".")[0])) - _USUAL


_USUAL = frozenset(terms("init main index"))

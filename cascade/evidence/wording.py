"""Signals put into words of evidence. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from cascade.evidence.facts import RANKS, SIZED
from cascade.evidence.signals import Columns
from cascade.probability import Array
from cascade.profile import WITHOUT_SOURCE

_LEAST_ODDS, _STEP = -8.0, 0.5  # log odds that ``matters0`` and ``changes0`` stand for, and from one to the next


def odds_facts(word: str, log_odds: Array) -> list[str]:
    """``matters`` or ``changes`` for each of some log odds."""
    most = SIZED[word]
    sizes = np.clip(np.round((log_odds - _LEAST_ODDS) / _STEP), 0, most).astype(int)
    return [f"{word}{size}" for size in sizes.tolist()]


def _ninths(values: Array) -> Array:
    """Shares in [0, 1] as digits, 0 only for zero."""
    return np.where(values > 0, np.clip(np.round(9 * values), 1, 9), 0)


def _doublings(counts: Array) -> Array:
    """Counts as digits: 1 -> 1, 2-3 -> 2, 4-7 -> 3, ... at most 9; 0 for none."""
    return np.clip(np.ceil(np.log2(counts + 1)), 0, 9)


def _logs(values: Array) -> Array:
    """Logarithms of counts, as ``np.log1p`` has them, as digits."""
    return _doublings(np.round(np.expm1(values)).astype(np.float64))


def _several(values: Array) -> Array:
    """Logarithms of counts as digits, 0 for one alone."""
    return np.where(values > 0, _doublings(np.round(np.exp(values)).astype(np.float64)), 0)


_Made = tuple[str, str, Callable[[Array], Array]]
_SYMBOL: tuple[_Made, ...] = (
    ("body", "body_share", _ninths),
    ("title", "title_share", _ninths),
    ("covers", "covers", _ninths),
    ("rare", "rare", _ninths),
    ("head", "head_share", _ninths),
    ("literals", "literals_share", _ninths),
    ("doc", "doc_share", _ninths),
    ("idents", "idents_share", _ninths),
    ("code", "code_share", _ninths),
    ("within", "body_within", _ninths),
    ("mates", "mates", _ninths),
    ("callers", "callers_body", _ninths),
    ("callees", "callees_body", _ninths),
    ("named", "named", _ninths),
    ("traced", "traced", _ninths),
    ("size", "lines", _logs),
    ("users", "n_users", _logs),
    ("uses", "n_used", _logs),
    ("twins", "namesakes", _several),
)
_SYMBOL_PLAIN = (("spelled", "qualified"), ("owned", "owner_named"))
_FILE: tuple[_Made, ...] = (
    ("file", "words_share", _ninths),
    ("path", "path_share", _ninths),
    ("history", "history_share", _ninths),
    ("churn", "churn", lambda values: _ninths(np.minimum(values / 5, 1))),
    ("located", "located", _ninths),
    ("together", "together", _logs),
    ("ratio", "ratio", lambda values: _ninths(np.sqrt(values))),
    ("never", "never", _logs),
)
_FILE_PLAIN = (("seed", "seed"), ("imports", "imports"), ("imported", "imported"))
_FILE_ITEM: tuple[_Made, ...] = (
    ("body", "best", _ninths),
    ("mates", "top_share", _ninths),
    ("named", "named", _ninths),
    ("traced", "traced", _ninths),
    ("size", "n_symbols", _logs),
)
_FILE_ITEM_PLAIN = (("beside", "beside"), ("alike", "alike"))
_EDGE: tuple[_Made, ...] = (
    ("uses", "n_used", _logs),
    ("users", "n_users", _logs),
    ("together", "together", _logs),
    ("ratio", "ratio", lambda values: _ninths(np.sqrt(values))),
    ("never", "never", _logs),
)
_EDGE_PLAIN = (("imports", "imports"), ("imported", "imported"), *_FILE_ITEM_PLAIN)
_TIES = ("imports", "imported", "n_used", "n_users", "together")


def symbol_facts(signals: Columns, chosen: Sequence[int]) -> list[list[str]]:
    """The facts of some symbols but what the ranker says; those of their files are apart."""
    ranks = _rank_facts(signals["body_rank"], signals["body_share"], chosen)
    found = _facts(signals, _SYMBOL, _SYMBOL_PLAIN, chosen)
    bodiless = signals["has_body"][chosen] == 0
    return [
        [*facts, *rank, *([WITHOUT_SOURCE] if is_bodiless else [])]
        for facts, rank, is_bodiless in zip(found, ranks, bodiless.tolist(), strict=True)
    ]


def group_facts(signals: Columns, chosen: Sequence[int]) -> list[list[str]]:
    """The facts of some files that their symbols share."""
    found = _facts(signals, _FILE, _FILE_PLAIN, chosen)
    ties = ("seed", "imports", "imported", "together")
    is_apart = (signals["has_seed"] > 0) & (sum(signals[name] for name in ties) == 0)
    return [[*facts, *(["apart"] if is_apart[at] else [])] for facts, at in zip(found, chosen, strict=True)]


def file_facts(signals: Columns, chosen: Sequence[int]) -> list[list[str]]:
    """The facts of some files as items, but what the ranker says."""
    own = _facts(signals, _FILE_ITEM, _FILE_ITEM_PLAIN, chosen)
    ranks = _rank_facts(signals["words_rank"], signals["words_share"], chosen)
    shared = group_facts(signals, chosen)
    return [[*one, *other, *rank] for one, other, rank in zip(own, shared, ranks, strict=True)]


def edge_facts(signals: Columns, chosen: Sequence[int]) -> list[list[str]]:
    """The facts of some pairs of files; see ``cascade.evidence.edges``."""
    found = _facts(signals, _EDGE, _EDGE_PLAIN, chosen)
    is_apart = np.sum([signals[name] for name in _TIES], axis=0) == 0
    return [[*facts, *(["apart"] if is_apart[at] else [])] for facts, at in zip(found, chosen, strict=True)]


def _facts(
    signals: Columns, made: Sequence[_Made], plain: Sequence[tuple[str, str]], chosen: Sequence[int]
) -> list[list[str]]:
    sizes = {word: size(signals[name][chosen]).astype(int).tolist() for word, name, size in made}
    said = {word: (signals[name][chosen] > 0).tolist() for word, name in plain}
    return [list(_said(sizes, said, at)) for at in range(len(chosen))]


def _said(sizes: Mapping[str, list[int]], said: Mapping[str, list[bool]], at: int) -> Iterator[str]:
    yield from (word for word, values in said.items() if values[at])
    yield from (f"{word}{values[at]}" for word, values in sizes.items() if values[at])


def _rank_facts(ranks: Array, shares: Array, chosen: Sequence[int]) -> list[list[str]]:
    """The rank of each, where it has a score and is among the first."""
    places = np.round(np.expm1(ranks[chosen])).astype(int) + 1
    edges = [next((edge for edge in RANKS if place <= edge), 0) for place in places.tolist()]
    return [[f"rank{edge}"] if edge and share > 0 else [] for edge, share in zip(edges, shares[chosen], strict=True)]

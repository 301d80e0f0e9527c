"""Items with their evidence, made from a corpus for a task: the one path for use and training. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from cascade.evidence.corpus import Corpus
from cascade.evidence.ranker import Ranker
from cascade.evidence.records import FileRecord, SymbolRecord
from cascade.evidence.signals import Signals
from cascade.evidence.task_terms import TaskTerms
from cascade.evidence.ties import Ties
from cascade.evidence.wording import file_facts, group_facts, odds_facts, symbol_facts
from cascade.items import Group, Item
from cascade.probability import Array, logit, p_yes

_MATTERS, _CHANGES = 0, 1
_CHANGE_WEIGHT = 0.5  # what must be changed comes before what is only read, but does not drown it

_GAIN = 5.0
"""How much more it is worth to keep what must be changed than what is only read; see ``priors``."""

_BIAS, _SLOPE = 0.82, 0.70
"""Logistic curve from the log odds of the expected gain to P(matters).

Fitted on symbols of commits that the shipped ranker never saw, with no file to start from, the right one and a wrong
one: 750 commits of three repositories (0.97, 0.81) and 750 of fifteen others (0.67, 0.59); this is the mean of both.
"""

_PLACED = (0.73, 0.50, -0.35)
"""The same from those log odds and the logarithm of the gain's place among all.

Fitted likewise: 375 commits of three repositories (0.96, 0.57, -0.43) and 560 of fifteen others (0.50, 0.43, -0.27).
"""


def priors(odds: Array) -> Array:
    """P that each symbol matters, in the order of how much is expected of it: what must be changed counts most.

    The gain of a symbol is 1 if it must be changed, 1 / 6 if it is only read, and else 0, so that a prior stage rather
    drops what is only read. The place counts since a task has few symbols that matter, however many look like it: of
    two symbols of which as much is expected, the one that has fewer before it is likelier to be one of them. It only
    takes away: among a few symbols none is likely for being one of the first. With as many symbols kept as by
    P(matters) alone, more of those that commits changed are among them, and more of all that mattered (see
    ``adapters/README.md``).

    Args:
        odds: Log odds that each symbol matters, and that it must be changed if it does; (n, 2).

    Returns:
        (n,), in [0, 1].
    """
    matters, changes = p_yes(odds[:, _MATTERS]), p_yes(odds[:, _CHANGES])
    gain = matters * (1 + _GAIN * changes) / (1 + _GAIN)
    odds_of_gain = logit(gain)
    place = len(gain) - np.searchsorted(np.sort(gain), gain, side="right") + 1  # equals share the best
    bias, slope, per_place = _PLACED
    return p_yes(np.minimum(_BIAS + _SLOPE * odds_of_gain, bias + slope * odds_of_gain + per_place * np.log(place)))


@dataclass(frozen=True, eq=False)
class Evidence:
    """What is known of the symbols and files of a corpus for a task.

    Attributes:
        signals: Their signals.
        ranker: What says from them how likely each matters.
    """

    signals: Signals
    ranker: Ranker

    @classmethod
    def of(cls, corpus: Corpus, text: str, ties: Ties, ranker: Ranker) -> Evidence:
        """The evidence for a task's text."""
        return cls(Signals(corpus, TaskTerms(text), ties), ranker)

    @cached_property
    def symbol_odds(self) -> Array:
        """Log odds that each symbol matters, and that it must be changed if it does; (n, 2)."""
        return self.ranker.symbols.log_odds(self.signals.symbols)

    @cached_property
    def symbol_priors(self) -> Array:
        """P that each symbol matters, as prior stages take it; (n,)."""
        return priors(self.symbol_odds)

    @cached_property
    def file_odds(self) -> Array:
        """Log odds that each file matters; (f,)."""
        return self.ranker.files.log_odds(self.signals.files)[:, 0]

    def best_symbols(self, most: int) -> NDArray[np.int64]:
        """Numbers of the symbols that most likely matter and must be changed, the likeliest first."""
        p = np.logaddexp(0, -self.symbol_odds)  # minus the logarithms of p(matters) and of p(changes | matters)
        return np.argsort(p[:, _MATTERS] + _CHANGE_WEIGHT * p[:, _CHANGES], kind="stable")[:most]

    def symbol_items(self, chosen: Sequence[int] | NDArray[np.int64]) -> list[Item]:
        """Items of some symbols, in that order."""
        corpus, chosen = self.signals.corpus, np.asarray(chosen, np.int64)
        odds, files = self.symbol_odds[chosen], corpus.files[chosen]
        own = np.unique(files)
        shared = group_facts(self.signals.files, own.tolist())
        groups = {
            at: Group(name=corpus.paths[at], evidence=tuple(facts))
            for at, facts in zip(own.tolist(), shared, strict=True)
        }
        said = zip(
            odds_facts("matters", odds[:, _MATTERS]),
            odds_facts("changes", odds[:, _CHANGES]),
            symbol_facts(self.signals.symbols, chosen.tolist()),
            strict=True,
        )
        return [
            _symbol_item(corpus.symbols[at], (matters, changes, *facts), groups[file], prior)
            for at, file, (matters, changes, facts), prior in zip(
                chosen, files.tolist(), said, self.symbol_priors[chosen].tolist(), strict=True
            )
        ]

    def file_items(self, chosen: Sequence[int] | NDArray[np.int64], records: Mapping[str, FileRecord]) -> list[Item]:
        """Items of some files, in that order.

        Args:
            chosen: Their numbers.
            records: Path -> what is shown of a file, and the tiers that found it.
        """
        chosen = np.asarray(chosen, np.int64)
        odds = self.file_odds[chosen]
        matters, facts = odds_facts("matters", odds), file_facts(self.signals.files, chosen.tolist())
        return [
            _file_item(records[self.signals.corpus.paths[at]], (one, *others), prior)
            for at, one, others, prior in zip(chosen.tolist(), matters, facts, p_yes(odds).tolist(), strict=True)
        ]


def _symbol_item(symbol: SymbolRecord, facts: tuple[str, ...], group: Group, prior: float) -> Item:
    return Item(
        id=symbol.id,
        kind=symbol.kind,
        name=symbol.qualname,
        signature=_head_cut(symbol),
        doc=symbol.doc,
        evidence=facts,
        group=group,
        priority=prior,
        prior=prior,
    )


def _file_item(record: FileRecord, facts: tuple[str, ...], prior: float) -> Item:
    return Item(
        id=record.path,
        kind="file",
        name=record.path,
        signature=" ".join(record.symbols),
        doc=record.doc,
        evidence=facts,
        tiers=record.tiers,
        priority=prior,
        prior=prior,
    )


def _head_cut(symbol: SymbolRecord) -> str:
    """A signature from behind the symbol's name on, which stands in the item already."""
    return re.sub(rf"^.*?(?<!\w){re.escape(symbol.name)}(?!\w)", "", symbol.signature, count=1)

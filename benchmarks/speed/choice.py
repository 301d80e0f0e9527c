"""Which peers a comparison asks. Pure, so that the command line can say it without loading any of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from cascade.config.toml import meant
from cascade.errors import InputError

PEERS = {
    "llama": "llama-cpp-python's Llama, one completion with log-probabilities per query, as documented",
    "llama-by-hand": "Llama.generate with the two logits read by hand",
    "llama-server": "llama.cpp's server with several slots, prompt cache and an adapter per request",
    "transformers": "transformers and PEFT on torch in BF16, batches of padded prompts, as documented",
    "transformers-by-hand": "the same with logits of the last position alone",
    "four-way": "one call of the same model and engine per item, in place of a cascade",
}
"""Name of a peer -> what it is."""

ALL = "all"
"""Stands for every peer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerChoice:
    """The peers of one comparison.

    Attributes:
        names: Keys of ``PEERS``, each once.
        server: Path of a llama-server; needed by the peer of that name alone.
        n_rounds: Rounds in which peers take part, the first ones; None for every round.
    """

    names: tuple[str, ...] = ()
    server: Path | None = None
    n_rounds: int | None = None

    @classmethod
    def of(cls, names: Iterable[str], server: Path | None = None, n_rounds: int | None = None) -> Self:
        """A choice by names, where ``all`` stands for every peer.

        Raises:
            InputError: A name is unknown.
        """
        found = dict.fromkeys(names)
        unknown = [name for name in found if name not in PEERS and name != ALL]
        if unknown:
            near = meant(unknown[0], (*PEERS, ALL))
            msg = f"Unknown peer {unknown[0]!r}. {near}Allowed are {', '.join(PEERS)} and {ALL}."
            raise InputError(msg)
        return cls(names=tuple(PEERS) if ALL in found else tuple(found), server=server, n_rounds=n_rounds)

    def takes_part(self, at: int) -> bool:
        """Whether peers run in the round of this index."""
        return self.n_rounds is None or at < self.n_rounds

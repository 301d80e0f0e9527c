"""What ties files to the files that the work starts from. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Ties:
    """The files that the work starts from, and what ties others to them.

    Attributes:
        seeds: Paths of the files that the work starts from.
        imported: Files that a seed imports.
        importers: Files that import a seed.
        together: File -> earlier commits that changed both it and a seed.
        seed_changes: Earlier commits that changed a seed.
    """

    seeds: tuple[str, ...] = ()
    imported: frozenset[str] = frozenset()
    importers: frozenset[str] = frozenset()
    together: Mapping[str, int] = field(default_factory=dict)
    seed_changes: int = 0

    def ratio(self, path: str) -> float:
        """Share of a seed's earlier changes that changed this file too, in [0, 1]."""
        return min(1.0, self.together.get(path, 0) / self.seed_changes) if self.seed_changes else 0.0

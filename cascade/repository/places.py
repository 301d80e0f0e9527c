"""Where the candidates of a repository lie, and why they may matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cascade.evidence.reasons import Reasons
from cascade.repository.find import Candidates


class Places:
    """Where the candidates of a repository lie, and why they may matter.

    Args:
        found: The candidates.
        others: Numbers of further symbols.
        reasons: Id -> why, of candidates that are neither a symbol nor a file.
    """

    def __init__(
        self, found: Candidates, others: Sequence[int] = (), reasons: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        corpus = found.evidence.signals.corpus
        self._reasons = Reasons(found.evidence.signals)
        self._told = reasons or {}
        self._symbols = {corpus.symbols[at].id: at for at in (*found.chosen, *others)}
        self._files = {path: at for at, path in enumerate(corpus.paths)}
        self._records = corpus.symbols

    def where(self, id_: str) -> str:
        """``path:line`` of a symbol; empty for a file, whose id says it."""
        record = self._records[self._symbols[id_]] if id_ in self._symbols else None
        return f"{record.path}:{record.line}" if record is not None else ""

    def lines(self, id_: str) -> tuple[int, int] | None:
        """First and last line of a symbol; None for a file."""
        record = self._records[self._symbols[id_]] if id_ in self._symbols else None
        return (record.line, record.line + record.lines - 1) if record is not None else None

    def why(self, id_: str) -> list[str]:
        """Why a candidate may matter, the strongest reason first."""
        if id_ in self._told:
            return list(self._told[id_])
        if id_ in self._symbols:
            return self._reasons.of_symbol(self._symbols[id_])
        return self._reasons.of_file(self._files[id_]) if id_ in self._files else []

"""Answers that the log has already: a backend that asks only what nobody has asked before."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite, nan
from pathlib import Path

from cascade.backends.base import Backend, BackendInfo, Batch, BatchCost, Query, Scores, Stop
from cascade.backends.swapping import Prepared, swapping
from cascade.log.store import add_answers
from cascade.log.writer import LogWriter
from cascade.machine import get_logger
from cascade.prompt import Node
from cascade.stages import SERVED
from cascade.tree import Cascade

log = get_logger("cascade.log")

_AT_ONCE = 500  # keys of one statement
_NO_WORK = BatchCost(decode_calls=0, adapter_swaps=0, tokens_decoded=0, tokens_reused=0, elapsed_ms=0.0)
_NOTHING = Scores((), _NO_WORK)
"""What a backend would say of no queries."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question was answered.

    Attributes:
        logit: As ``Scores.logits``.
        values: As ``Scores.values``; None for yes or no.
    """

    logit: float
    values: tuple[float, ...] | None


class RememberingBackend:
    """A backend in front of another, which it asks what the log does not know.

    An answer is known by the SHA-256 of the model's file and of the adapter's, the adapter's scale, the labels, and
    every token of the prompt; what was computed once comes back to the last bit. Servers are always asked: nobody
    knows their weights.

    Args:
        backend: What computes; it is closed with this one.
        writer: Writes the log.
    """

    def __init__(self, backend: Backend, writer: LogWriter) -> None:
        self._backend, self._writer = backend, writer
        self._database: sqlite3.Connection | None = None
        self._has_complained = False
        self._known_by: _Keys | None = None

    @property
    def info(self) -> BackendInfo:
        """That of the backend behind."""
        return self._backend.info

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        """See ``Backend.score``."""
        if self.info.prefix_adapters[batch.adapter] == SERVED:
            return await self._backend.score(batch, stop)
        known_by = self._keys
        keys = [known_by.key(query) for query in batch.queries]
        known = self._known(keys)
        new = [place for place, key in enumerate(keys) if key not in known]
        if not new:
            return _joined(keys, known, _NOTHING, new)
        scores = await self._backend.score(replace(batch, queries=tuple(batch.queries[place] for place in new)), stop)
        self._keep([keys[place] for place in new], scores)
        return scores if len(new) == len(keys) else _joined(keys, known, scores, new)

    def release(self, nodes: Iterable[Node], prefix_adapter: str | None = None) -> None:
        """See ``Backend.release``."""
        self._backend.release(nodes, prefix_adapter)

    async def close(self) -> None:
        """See ``Backend.close``."""
        if self._database is not None:
            self._database.close()
            self._database = None
        await self._backend.close()

    def check_markers(self, cascade: Cascade, keys: Mapping[str, str]) -> None:
        """See ``SwappingBackend.check_markers``."""
        swapping(self._backend).check_markers(cascade, keys)

    def prepare(self, name: str, path: Path, scale: float) -> Prepared:
        """See ``SwappingBackend.prepare``."""
        return swapping(self._backend).prepare(name, path, scale)

    async def unload(self, key: str) -> None:
        """See ``SwappingBackend.unload``."""
        await swapping(self._backend).unload(key)

    @property
    def _keys(self) -> _Keys:
        """What answers are known by, made anew where the backend has other adapters."""
        info = self.info
        if self._known_by is None or self._known_by.info is not info:
            self._known_by = _Keys(info)
        return self._known_by

    def _known(self, keys: Sequence[bytes]) -> dict[bytes, Answer]:
        """What the log has; nothing where it cannot be read."""
        found: dict[bytes, Answer] = {}
        try:
            if self._database is None:
                address = f"{self._writer.path.absolute().as_uri()}?mode=ro"
                self._database = sqlite3.connect(address, uri=True, timeout=0.0)
            wanted = list(dict.fromkeys(keys))
            for at in range(0, len(wanted), _AT_ONCE):
                some = wanted[at : at + _AT_ONCE]
                marks = ", ".join("?" * len(some))
                rows = self._database.execute(f"SELECT key, logit, other FROM answers WHERE key IN ({marks})", some)  # noqa: S608 - marks alone
                for key, logit, other in rows:
                    found[key] = Answer(logit, None if other is None else tuple(json.loads(other)))
        except sqlite3.Error as error:
            if not self._has_complained:
                self._has_complained = True
                log.warning("the log cannot be read; every question is asked", reason=str(error))
        return found

    def _keep(self, keys: Sequence[bytes], scores: Scores) -> None:
        now = time.time()
        rows = [
            (key, now, logit, json.dumps(list(map(float, values))) if values is not None else None)
            for place, (key, logit) in enumerate(zip(keys, map(float, scores.logits), strict=True))
            if isfinite(logit) and place not in scores.spoilt
            for values in (scores.values.get(place),)
        ]
        if rows:
            self._writer.put(lambda database: add_answers(database, rows))


class _Keys:
    """What answers are known by."""

    def __init__(self, info: BackendInfo) -> None:
        self.info = info
        self._heads: dict[tuple[str, object], bytes] = {}

    def key(self, query: Query) -> bytes:
        """The key of a query's answer."""
        head = self._heads.get((query.adapter, query.labels))
        if head is None:
            head = self._heads[query.adapter, query.labels] = self._head(query)
        return hashlib.blake2b(head + query.node.digest, digest_size=32).digest()

    def _head(self, query: Query) -> bytes:
        of, adapter = self.info.provenance, query.adapter
        labels = query.labels.tokens if query.labels is not None else of.label_tokens
        own = [of.adapters.get(adapter, ""), self.info.scales.get(adapter, 1.0)]
        # An adapter that another computes the prefix of reads other KV than the same file on its own.
        own.append(of.adapters.get(self.info.prefix_adapters[adapter], ""))
        told = json.dumps([of.model, *own, of.prompt_format, list(labels)])
        return hashlib.blake2b(told.encode(), digest_size=32).digest()


def _joined(keys: Sequence[bytes], known: Mapping[bytes, Answer], scores: Scores, new: Sequence[int]) -> Scores:
    """The answers of the whole batch: those that were known, and those of the queries at ``new`` that were computed."""
    logits: list[float] = [nan] * len(keys)
    values: dict[int, Sequence[float]] = {}
    for place, key in enumerate(keys):
        answer = known.get(key)
        if answer is not None:
            logits[place] = answer.logit
            if answer.values is not None:
                values[place] = answer.values
    for at, place in enumerate(new):
        logits[place] = scores.logits[at]
    return replace(
        scores,
        logits=logits,
        values=values | {new[at]: own for at, own in scores.values.items()},
        unanswered={new[at]: why for at, why in scores.unanswered.items()},
        spoilt={new[at]: why for at, why in scores.spoilt.items()},
        under_way={new[at]: how for at, how in scores.under_way.items()},
        reused=frozenset(range(len(keys))) - frozenset(new),
    )

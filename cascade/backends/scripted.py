"""A backend that answers from a script: for tests of code that uses the engine. No model, no cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from cascade.backends.base import BackendInfo, Batch, BatchCost, Query, Scores, Stop
from cascade.backends.swapping import Prepared
from cascade.errors import BackendError, ClosedError
from cascade.probability import odds_of_likeliest, sure_log, sure_logit
from cascade.prompt import FORMATS, Node
from cascade.report import Provenance
from cascade.stages import BASE
from cascade.tree import Cascade

Says = float | Sequence[float]
"""p(yes), or of a choice or score the probability of each value in order; one number alone is that of the first."""

Script = Callable[[str, str], Says]
"""(adapter, text of the whole prompt) -> what is answered."""


class ByteTokenizer:
    """One token a byte, so that prompts can be read back; no special tokens."""

    def encode(self, text: str, *, special: bool) -> list[int]:  # noqa: ARG002 - the protocol's signature
        """Token ids 0..255; the labels are one token each above them."""
        labels = {"yes": [256], "no": [257]}
        return labels.get(text) or list(text.encode("utf-8", "replace"))

    @staticmethod
    def decode(tokens: Iterable[int]) -> str:
        """The text of token ids."""
        return bytes(token for token in tokens if token < len(bytes(256))).decode("utf-8", "replace")


@dataclass(slots=True)
class ScriptedBackend:
    """A backend without a model, for tests: it answers every query by a function of adapter and prompt.

    Attributes:
        script: Function of (adapter, text of the whole prompt) that returns p(yes) in [0, 1], or for a choice or score
            the probability of each value; or a table from adapter to these.
        adapters: Adapters that queries may ask.
        fail_at: Number of the batch, from 0, whose scoring raises a BackendError; None for never.
        max_prompt: Most tokens of a prompt; a token is a byte.
        max_nodes: Most prompt nodes that are kept at once.
        prefix_adapters: Adapter -> adapter whose weights compute what stands before its questions, if that is another.
        slowdown: Factor on the times of ``Costs`` by which the engine predicts; a script itself takes no time.
        records: Whether batches and releases are kept for tests to look at; a long run has no room for them.
        n_batches: Batches scored.
        batches: Every batch scored, in order.
        released: Every node released, in order.
        is_closed: Whether ``close`` was called.
        files: Adapter that was loaded since -> the path of its file.

    Examples:
        >>> from cascade import Engine, Item, ScriptedBackend, read_config, shipped_config
        >>> precision = read_config(shipped_config()).cascades()["precision"]
        >>> backend = ScriptedBackend({"relevant": 0.1, "primary": 0.2, "supporting": 0.9}, {*precision.adapters()})
        >>> with Engine(backend, {"precision": precision}) as engine:
        ...     engine.classify("fix it", [Item(id="1", name="parse")]).labels()
        Counter({'supporting': 1})
    """

    script: Script | Mapping[str, Says]
    adapters: frozenset[str]
    fail_at: int | None = None
    max_prompt: int = 1_000_000
    max_nodes: int = 128
    prefix_adapters: Mapping[str, str] = field(default_factory=dict)
    slowdown: float = 1e-6
    records: bool = True
    n_batches: int = 0
    batches: list[Batch] = field(default_factory=list)
    released: list[Node] = field(default_factory=list)
    is_closed: bool = False
    files: dict[str, str] = field(default_factory=dict)

    @property
    def info(self) -> BackendInfo:
        """See ``Backend.info``."""
        return BackendInfo(
            provenance=Provenance(
                model="scripted",
                adapters={name: self.files.get(name, "scripted") for name in sorted(self.adapters)},
                prompt_format="embedded",
                label_tokens=(256, 257),
            ),
            prefix_adapters={name: self.prefix_adapters.get(name, name) for name in (BASE, *sorted(self.adapters))},
            form=FORMATS["embedded"],
            tokenizer=ByteTokenizer(),
            max_prompt=self.max_prompt,
            max_tokens=self.max_prompt,
            max_nodes=self.max_nodes,
            slowdown=self.slowdown,
        )

    async def score(self, batch: Batch, stop: Stop) -> Scores:  # noqa: ARG002 - the protocol's
        """See ``Backend.score``."""
        if self.is_closed:
            msg = "The backend is closed."
            raise ClosedError(msg)
        number, self.n_batches = self.n_batches, self.n_batches + 1
        if self.records:
            self.batches.append(batch)
        if number == self.fail_at:
            msg = f"Batch {number} fails, as the script says."
            raise BackendError(msg)
        says = list(map(self._says, batch.queries))
        values = {at: sure_log(p).tolist() for at, p in enumerate(says) if isinstance(p, Sequence)}
        logits = sure_logit([np.nan if isinstance(p, Sequence) else p for p in says]).tolist()
        for at, own in values.items():
            logits[at] = odds_of_likeliest(own)
        tokens = sum(query.node.end for query in batch.queries)
        cost = BatchCost(decode_calls=1, adapter_swaps=1, tokens_decoded=tokens, tokens_reused=0, elapsed_ms=0.0)
        return Scores(logits, cost, values=values)

    def release(self, nodes: Iterable[Node], prefix_adapter: str | None = None) -> None:  # noqa: ARG002 - the protocol's
        """See ``Backend.release``."""
        if self.records:
            self.released += nodes

    def check_markers(self, cascade: Cascade, keys: Mapping[str, str]) -> None:
        """See ``SwappingBackend.check_markers``; every marker is fine."""

    def prepare(self, name: str, path: Path, scale: float) -> Prepared:  # noqa: ARG002 - the protocol's
        """See ``SwappingBackend.prepare``; the path stands for the file, and the script is asked under the new key."""
        return Prepared(sha256=str(path), scale=scale, load=partial(self._load, str(path)))

    async def unload(self, key: str) -> None:
        """See ``SwappingBackend.unload``."""
        self.adapters -= {key}

    async def _load(self, sha256: str, key: str) -> None:
        self.adapters |= {key}
        self.files[key] = sha256

    async def close(self) -> None:
        """See ``Backend.close``."""
        self.is_closed = True

    def _says(self, query: Query) -> Says:
        adapter, prompt = query.adapter, ByteTokenizer.decode(query.node.prompt)
        p = self.script[adapter] if isinstance(self.script, Mapping) else self.script(adapter, prompt)
        if query.labels is None or isinstance(p, Sequence):
            return p
        n_others = len(query.labels.values) - 1
        return [p, *[(1 - p) / n_others] * n_others]

"""A backend that answers from a script: for tests of code that uses the engine. No model, no cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from cascade.backends.base import BackendInfo, Batch, BatchCost, Scores, Stop
from cascade.errors import BackendError, ClosedError
from cascade.probability import sure_logit
from cascade.prompt import FORMATS, Node
from cascade.report import Provenance
from cascade.stages import BASE

Script = Callable[[str, str], float]
"""(adapter, text of the whole prompt) -> p(yes)."""


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
        script: Function of (adapter, text of the whole prompt) that returns p(yes) in [0, 1]; or a table from adapter
            to p(yes).
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

    Examples:
        >>> from cascade import Engine, Item, ScriptedBackend, read_config, shipped_config
        >>> precision = read_config(shipped_config()).cascades()["precision"]
        >>> backend = ScriptedBackend({"relevant": 0.01, "primary": 0.5, "supporting": 0.5}, {*precision.adapters()})
        >>> with Engine(backend, {"precision": precision}) as engine:
        ...     engine.classify("fix it", [Item(id="1", name="parse")]).labels()
        Counter({'excluded': 1})
    """

    script: Script | Mapping[str, float]
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

    @property
    def info(self) -> BackendInfo:
        """See ``Backend.info``."""
        return BackendInfo(
            provenance=Provenance(
                model="scripted",
                adapters=dict.fromkeys(sorted(self.adapters), "scripted"),
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
        p = [self._p(query.adapter, ByteTokenizer.decode(query.node.prompt)) for query in batch.queries]
        tokens = sum(query.node.end for query in batch.queries)
        cost = BatchCost(decode_calls=1, adapter_swaps=1, tokens_decoded=tokens, tokens_reused=0, elapsed_ms=0.0)
        return Scores(sure_logit(p).tolist(), cost)

    def release(self, nodes: Iterable[Node], prefix_adapter: str | None = None) -> None:  # noqa: ARG002 - the protocol's
        """See ``Backend.release``."""
        if self.records:
            self.released += nodes

    async def close(self) -> None:
        """See ``Backend.close``."""
        self.is_closed = True

    def _p(self, adapter: str, prompt: str) -> float:
        return self.script[adapter] if isinstance(self.script, Mapping) else self.script(adapter, prompt)

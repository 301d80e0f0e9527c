"""The limits that a run is held against: the fewest tokens, llama.cpp's own best rate, the processor's operations."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from benchmarks.speed.baselines import BaselineError
from benchmarks.speed.workload import LabelledQuery
from cascade.backends.llama.batch_rows import Rows, Run
from cascade.backends.llama.native import ContextSize, NativeModel
from cascade.machine import install_extra
from cascade.models.base_model import ModelInfo
from cascade.prompt import Node, Segment

PROMPT = 512
"""Tokens of the prompt whose rate is llama.cpp's best: that of llama-bench's pp512."""

_SIZE = 2_048
_WARM, _TIMED = 2, 3
_MATRIX = 2  # dimensions


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """Tokens of a workload.

    Attributes:
        asked: Of all prompts, as if nothing were shared.
        saved_by_task: Saved by computing the task's prefix once per prefix adapter.
        saved_by_group: Saved by computing group headers once per prefix adapter.
        saved_by_item: Saved by computing an item once per prefix adapter for all of its stages.
        least: What is left: the fewest that answer all queries.
    """

    asked: int
    saved_by_task: int
    saved_by_group: int
    saved_by_item: int
    least: int

    @staticmethod
    def of(queries: Iterable[LabelledQuery], prefix_adapters: Mapping[str, str]) -> Reuse:
        """What the queries of a workload share.

        Args:
            queries: The queries.
            prefix_adapters: Adapter -> which adapter computes what stands before its questions.
        """
        saved = dict.fromkeys((Segment.TASK, Segment.GROUP, Segment.ITEM), 0)
        seen: set[tuple[Node, str]] = set()
        total = 0
        for query in queries:
            total += query.node.end
            for node in query.node.path[:-1]:
                key = (node, prefix_adapters[query.adapter])
                if key in seen:
                    saved[node.segment] += len(node.tokens)
                seen.add(key)
        return Reuse(
            asked=total,
            saved_by_task=saved[Segment.TASK],
            saved_by_group=saved[Segment.GROUP],
            saved_by_item=saved[Segment.ITEM],
            least=total - sum(saved.values()),
        )


class PlainPrompt:
    """llama.cpp on one plain prompt, without adapter, output or shared cells: its own best rate."""

    def __init__(self, model: Path, n_threads: int) -> None:
        size = ContextSize(n_ctx=PROMPT, n_seq_max=1, n_batch=PROMPT, n_threads=n_threads)
        self._native = NativeModel(model, size)
        tokens = np.random.default_rng(0).integers(0, self._native.tokenizer.n_vocab, PROMPT)
        self._rows = Rows.of([Run(tokens.tolist(), 0, (0,))])

    def rate(self) -> float:
        """Tokens per second of one prompt."""
        self._native.clear()
        started = time.perf_counter()
        self._native.decode(self._rows, (0, 1))
        return PROMPT / (time.perf_counter() - started)

    def close(self) -> None:
        """Free the context."""
        self._native.close()


def flops_per_token(model: ModelInfo) -> float:
    """Floating-point operations of a token in the layers' matrices: two per weight.

    Attention and norms are left out, and so are embedding and head, which few tokens use; 0.88 GFLOP
    for Qwen3-0.6B's geometry.
    """
    layers = [shape for name, shape in model.shapes.items() if name.startswith("blk.") and len(shape) == _MATRIX]
    return 2.0 * sum(prod(shape) for shape in layers)


def best_product(n_threads: int) -> Callable[[], float]:
    """A function that times a BF16 matrix product of torch, which uses oneDNN; it returns FLOP/s.

    Raises:
        BaselineError: There is no torch.
    """
    try:
        import torch  # noqa: PLC0415 - optional and heavy
    except ImportError as error:
        msg = f"torch is not installed. Run `{install_extra('train')}`."
        raise BaselineError(msg) from error
    left, right = (torch.randn(_SIZE, _SIZE, dtype=torch.bfloat16) for _ in range(2))

    def measure() -> float:
        before = torch.get_num_threads()
        torch.set_num_threads(n_threads or before)
        for _ in range(_WARM):
            left @ right
        started = time.perf_counter()
        for _ in range(_TIMED):
            left @ right
        seconds = (time.perf_counter() - started) / _TIMED
        torch.set_num_threads(before)
        return float(2 * _SIZE**3 / seconds)

    return measure

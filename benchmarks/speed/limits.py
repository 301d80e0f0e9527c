"""How far a model's run is from the processor's own limit: floating-point operations in a matrix product."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import prod

from cascade.errors import PeerError
from cascade.machine import install_extra
from cascade.models.base_model import ModelInfo

_SIZE = 2_048
_WARM, _TIMED = 2, 3
_MATRIX = 2  # dimensions


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
        PeerError: There is no torch.
    """
    try:
        import torch  # noqa: PLC0415 - optional and heavy
    except ImportError as error:
        msg = f"torch is not installed. Run `{install_extra('train')}`."
        raise PeerError(msg) from error
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

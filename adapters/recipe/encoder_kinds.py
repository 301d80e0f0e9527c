"""How far llama.cpp's answers move from the trained weights, by how the file stores them.

python -m adapters.recipe.encoder_kinds --bert DIR --checkpoint FILE PAIRS.pkl... [--kinds LAYERS/TOKENS ...]
"""

from __future__ import annotations

import argparse
import pickle
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from adapters.recipe.encoder import Encoder, export, read_start
from adapters.recipe.encoder_file import kinds_of
from adapters.recipe.encoder_train import pair, scores
from cascade.backends.llama.encoder_native import NativeEncoder
from cascade.backends.llama.loaded import ContextSize
from cascade.probability import p_yes

_KINDS = (
    "F32", "F16", "Q8_0", "Q8_0/Q5_1", "Q8_0/Q5_0", "Q8_0/Q4_1", "Q8_0/Q4_0", "Q5_1/Q5_1", "Q5_0/Q5_1", "Q5_0/Q5_0",
    "Q4_1/Q5_1", "Q4_0/Q4_0",
)  # fmt: skip
_SEED = 1
_MB = 1e6


def main() -> None:
    """Print a table: for each kind, the size of the file and how far p(yes) moves."""
    options = _options()
    model = read_start(options.bert)
    model.load_state_dict(torch.load(options.checkpoint, weights_only=True)["model"])
    vocabulary = (options.bert / "vocab.txt").read_text(encoding="utf-8").splitlines()
    pairs = _drawn(options.sources, options.pairs, vocabulary.index("[SEP]"))
    with torch.no_grad():
        right = p_yes(scores(model.eval(), pairs, parts=len(pairs)).double().numpy())
    print(f"{len(pairs)} pairs, p(yes) from {right.min():.3f} to {right.max():.3f}, median {np.median(right):.3f}\n")
    print("| layers/tokens | MB | mean move of p(yes) | largest |\n|---|--:|--:|--:|")
    for kind in options.kinds:
        size, found = _asked(model, vocabulary, pairs, kind)
        moves = np.abs(p_yes(found) - right)
        print(f"| {kind} | {size / _MB:.2f} | {moves.mean():.4f} | {moves.max():.4f} |", flush=True)


def _asked(
    model: Encoder, vocabulary: Sequence[str], pairs: Sequence[Sequence[int]], kind: str
) -> tuple[int, NDArray[np.float64]]:
    """Bytes of the file of one kind, and the log odds that llama.cpp reads from it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoder.gguf"
        export(model, vocabulary, path, kind)
        native = NativeEncoder(path, ContextSize(n_ctx=256, n_seq_max=2, n_batch=512))
        try:
            return path.stat().st_size, np.concatenate([native.encode([one]) for one in pairs]).astype(np.float64)
        finally:
            native.close()


def _drawn(sources: Sequence[Path], n: int, end: int) -> list[list[int]]:
    """Pairs of all tasks, changed symbols and others."""
    tasks = [task for source in sources for task in pickle.loads(source.read_bytes())]  # noqa: S301 - the recipe's own
    rng = np.random.default_rng(_SEED)

    def draw() -> Iterator[list[int]]:
        for at in range(n):
            task = tasks[rng.integers(len(tasks))]
            places = np.flatnonzero(task.changed) if at % 2 and task.changed.any() else range(len(task.candidates))
            yield pair(task, task.candidates[int(rng.choice(places))], end, is_told=True)

    return list(draw())


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path, metavar="PAIRS.pkl", help="pairs that the step encoder made")
    parser.add_argument("--bert", type=Path, required=True, help="the model that was started from, with its vocab.txt")
    parser.add_argument("--checkpoint", type=Path, required=True, help="encoder.pt of the training")
    parser.add_argument("--pairs", type=int, default=60, help="how many pairs are asked")
    parser.add_argument("--kinds", nargs="+", default=_KINDS, metavar="LAYERS/TOKENS", help="what is compared")
    options = parser.parse_args()
    for kind in options.kinds:
        try:
            kinds_of(kind)
        except ValueError as error:
            parser.error(str(error))
    return options


if __name__ == "__main__":
    main()

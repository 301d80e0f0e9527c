"""What torch answers with the tiny encoder, for the tests: python -m adapters.recipe.encoder_golden [FILE]."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from adapters.recipe.encoder import of_file
from adapters.recipe.tiny_encoder import SHAPE, SPECIALS, write_tiny

_N_PAIRS = 24
_SEED = 5


def golden_pairs() -> list[list[int]]:
    """Token ids of pairs of all lengths that fit."""
    drawn = np.random.default_rng(_SEED)
    lengths = np.linspace(4, SHAPE.n_positions, _N_PAIRS).astype(int)
    start, end = SPECIALS.index("[CLS]"), SPECIALS.index("[SEP]")
    pairs = []
    for length in lengths.tolist():
        words = drawn.integers(len(SPECIALS), SHAPE.n_vocab, length).tolist()
        words[0], words[length // 2], words[-1] = start, end, end
        pairs.append(words)
    return pairs


@torch.no_grad()
def main() -> None:
    """Write the golden file."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "tests/golden/encoder.json")
    with tempfile.TemporaryDirectory() as folder:
        model = of_file(write_tiny(Path(folder) / "tiny.gguf"))
    pairs = golden_pairs()
    odds = [model(torch.tensor([pair]), torch.ones(1, len(pair), dtype=torch.bool)).item() for pair in pairs]
    out.write_text(json.dumps({"pairs": pairs, "odds": [round(one, 6) for one in odds]}) + "\n")
    print(f"{out}: {len(pairs)} pairs, log odds from {min(odds):.3f} to {max(odds):.3f}")


if __name__ == "__main__":
    main()

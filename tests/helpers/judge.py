"""A cascade of one question, an adapter that answers it well, and one that answers it badly."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from cascade.config.extends import shipped_config
from cascade.models.gguf import read_gguf

FOLDER = shipped_config().parent
BETTER = FOLDER / "relevant.gguf"
"""Labels are made from its answers to the question that the tests ask."""

CONFIG = """
[model]
path = "{folder}/embedded.gguf"
[adapters]
judge = "live.gguf"
[log]
path = "log.sqlite3"
texts = "{texts}"
redact = false
[cascade.c]
labels = ["skip", "read"]
[[cascade.c.stages]]
name = "relevant"
question = "does it matter?"
adapter = "judge"
yes = {{ label = "read" }}
no = {{ label = "skip" }}
"""


def write_worse(path: Path) -> Path:
    """An adapter that changes the model the opposite way."""
    shutil.copy(BETTER, path)
    with path.open("r+b") as file:
        for name, tensor in read_gguf(BETTER).tensors.items():
            if name.endswith(".lora_b"):
                file.seek(tensor.offset)
                weights = -np.frombuffer(file.read(tensor.n_bytes), "<f2")
                file.seek(tensor.offset)
                file.write(weights.tobytes())
    return path


def write_config(folder: Path, live: Path, texts: str = "hash") -> Path:
    """A config with an adapter that is live, and a log."""
    shutil.copy(live, folder / "live.gguf")
    path = folder / "my.toml"
    path.write_text(CONFIG.format(folder=FOLDER, texts=texts))
    return path

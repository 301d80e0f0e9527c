"""A cascade of one question, an adapter that answers it well, and one that answers it badly."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from cascade import Item, Task
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.config.extends import shipped_config
from cascade.models.gguf import read_gguf
from tests.helpers.requests import symbols

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


def judged_tasks(n: int) -> list[tuple[Task, list[Item]]]:
    """Tasks of eight items of which nothing is known but kind, name and signature."""
    found = []
    for at in range(n):
        task, items = symbols(at, 8)
        plain = [replace(item, doc="", evidence=(), group=None, priority=0.0, prior=None) for item in items]
        found.append((Task(text=f"{task.text} {at}"), plain))
    return found


def build_dataset(folder: Path, tasks: list[tuple[Task, list[Item]]], labels: list[list[str]], config: Path) -> Path:
    """Tasks with their labels, an hour apart, as ``cascade dataset build`` makes a dataset of them."""
    lines = []
    for at, ((task, items), own) in enumerate(zip(tasks, labels, strict=True)):
        rows = [
            {"id": item.id, "kind": item.kind, "name": item.name, "signature": item.signature, "label": label}
            for item, label in zip(items, own, strict=True)
        ]
        date = f"2026-01-{at // 24 + 1:02}T{at % 24:02}:00:00+00:00"
        lines.append(json.dumps({"task": task.text, "date": date, "items": rows}))
    (folder / "data.jsonl").write_text("\n".join(lines))
    assert main([
        "dataset", "build", "--cascade", "c", "--data", str(folder / "data.jsonl"), "--out", str(folder / "set"),
        "--test", "0.4", "--valid", "0.5", "--config", str(config),
    ]) == ExitCode.DONE  # fmt: skip
    return folder / "set"


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

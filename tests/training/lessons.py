"""A tiny model, a cascade of two stages for it, and labelled tasks that it can learn."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from cascade.config.schema import Config, read_config
from tests.helpers.gguf_files import write_model

CONFIG = """
[model]
path = "tiny.gguf"
format = "embedded"
n_ctx = 1024

[adapters]
first = "first.gguf"
second = "second.gguf"

[cascade.two]
instructions = "Sort."
labels = ["out", "in", "far"]

[[cascade.two.stages]]
name = "a"
question = "is it one?"
adapter = "first"
threshold = 0.5
yes = { stage = "b" }
no = { label = "out" }

[[cascade.two.stages]]
name = "b"
question = "is it near?"
adapter = "second"
threshold = 0.5
yes = { label = "in" }
no = { label = "far" }
"""


def tiny_config(folder: Path, *, model: Path | None = None) -> Config:
    """A config with a tiny model in a folder; its adapters are not there yet."""
    if model is None:
        write_model(folder / "tiny.gguf")
    (folder / "cascade.toml").write_text(CONFIG.replace("tiny.gguf", str(model or "tiny.gguf")), encoding="utf-8")
    return read_config(folder / "cascade.toml")


def row(number: int, n_items: int = 6, weight: float | None = None) -> dict[str, object]:
    """A task whose items are in where their names begin with x, half of them, and else out or far."""
    rng = random.Random(number)
    items = []
    for at in range(n_items):
        is_in = (at + number) % 2 == 0
        name = ("x" if is_in else "q") + "".join(rng.choices("abc", k=3))
        group = {"name": f"g{at % 2}"} if at % 3 else None
        label = "in" if is_in else "out" if at % 4 else "far"
        items.append(
            {"id": str(at), "name": name, "label": label, "group": group}
            | ({} if weight is None else {"weight": weight})
        )
    return {"task": f"t{number}", "items": items}


def write_rows(path: Path, n_tasks: int = 40, n_items: int = 6) -> Path:
    """A file of labelled tasks."""
    rows = (json.dumps(row(number, n_items)) for number in range(n_tasks))
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def write_dataset(folder: Path, lines: Sequence[str], more: Mapping[str, object] | None = None) -> Path:
    """A dataset of three parts: of the tasks the first four sevenths, the next two, and the last one."""
    folder.mkdir()
    parts: dict[str, dict[str, object]] = {}
    ends = [0, *(round(share * len(lines) / 7) for share in (4, 6, 7))]
    for name, first, end in zip(("train", "valid", "test"), ends, ends[1:], strict=False):
        text = "".join(lines[first:end])
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
        parts[name] = {"file": f"{name}.jsonl", "sha256": hashlib.sha256(text.encode()).hexdigest()}
        parts[name] |= {"tasks": 1, "items": 6, "positives": 3}
    told = {
        "version": 1,
        "cascade": "two",
        "labels": ["out", "in", "far"],
        "made": "today",
        "sources": [],
        "parts": parts,
    }
    (folder / "manifest.json").write_text(json.dumps(told | dict(more or {})), encoding="utf-8")
    return folder

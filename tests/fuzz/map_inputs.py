"""Adapter maps: configs of a real model with real adapters, opened as the command line opens them."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from cascade import Engine
from tests.fuzz.answers import ITEMS, TASK
from tests.fuzz.damage import damaged_bytes, damaged_tree
from tests.fuzz.gguf_seeds import INVOCATION
from tests.fuzz.target import Files, Target
from tests.fuzz.toml_text import toml_text
from tests.helpers.gguf_files import Lora, write_adapter, write_model

_STAGE = {"question": "does it matter?", "yes": {"label": "yes"}, "no": {"label": "no"}}
_MAP: dict[str, Any] = {
    "model": {
        "path": "model.gguf",
        "format": "embedded",
        "limits": {"task": 64, "item": 32},
        "n_ctx": 512,
        "n_seq_max": 8,
        "n_batch": 64,
        "n_batch_questions": 32,
        "n_threads": 1,
        "n_gpu_layers": 0,
        "flash_attention": True,
    },
    "adapters": {"plain": "plain.gguf", "scaled": {"path": "activated.gguf", "scale": 0.5}},
    "cascade": {
        "precision": {
            "labels": ["no", "yes"],
            "stages": [
                {"name": "first", "marker": "go", "adapter": "plain", **_STAGE, "yes": {"stage": "second"}},
                {"name": "second", "marker": "ok", "adapter": "scaled", **_STAGE},
            ],
        }
    },
}


@st.composite
def _maps(draw: DrawFn) -> Files:
    text = toml_text(draw(damaged_tree(_MAP)))
    return {"map.toml": draw(damaged_bytes(text, 2)) if draw(st.integers(0, 5)) == 0 else text}


@cache
def _files() -> tuple[Path, ...]:
    """A model, an adapter, and an activated one."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-map-"))
    return (
        write_model(folder / "model.gguf"),
        write_adapter(folder / "plain.gguf"),
        write_adapter(folder / "activated.gguf", Lora(invocation=INVOCATION)),
    )


def take_map(folder: Path) -> bool:
    """Open an engine from a map and classify."""
    for file in _files():
        shutil.copy(file, folder)
    with Engine.open(folder / "map.toml") as engine:
        for name, cascade in engine.cascades.items():
            report = engine.classify(TASK, ITEMS[:2], name)
            assert {decision.label for decision in report.decisions} <= set(cascade.labels)
    return True


TARGETS = (Target(name="map", share=4, files=_maps(), take=take_map),)

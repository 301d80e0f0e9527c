"""GGUF files: base models, adapters for them, and maps of both; what is accepted is loaded by llama.cpp and decodes."""

from __future__ import annotations

import math
import tempfile
from functools import cache
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from cascade import Item, Task
from cascade.adapters import load_model_set
from cascade.backends.base import Probe
from cascade.backends.native import ContextSize
from cascade.config import Config
from cascade.model_config import AdapterConfig, ModelConfig
from cascade.model_facts import ARCHITECTURES
from tests.fuzz.gguf_damage import damaged_document
from tests.fuzz.gguf_document import Document, read_document
from tests.fuzz.grown_models import grown_model
from tests.fuzz.target import Files, Target
from tests.gguf_files import Lora, write_adapter, write_model
from tests.rig import Rig

_SIZE = ContextSize(n_ctx=256, n_seq_max=4, n_batch=64, n_threads=1)


@cache
def _sound(kind: str) -> Document:
    """A sound model or adapter, taken apart."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sound.gguf")
        if kind == "model":
            return read_document(write_model(path))
        return read_document(write_adapter(path, Lora(invocation=(7, 8) if kind == "activated" else ())))


def decodes(config: Config) -> bool:
    """Load what a config names, and ask the model and every adapter; whether all answers are numbers.

    Those that are none the engine refuses, which tests of its own show.
    """
    rig = Rig(load_model_set(config), _SIZE)
    try:
        root = rig.builder.task("Answer.", (), Task(text="fix it"))
        item = rig.builder.item(root, Item(id="1", kind="class", name="Cache"))
        probes = [Probe(rig.builder.question(item, "matter"), adapter) for adapter in ("base", *config.adapters)]
        return all(math.isfinite(rig.score([probe])[0]) for probe in probes)
    finally:
        rig.native.close()


@st.composite
def _models(draw: DrawFn) -> Files:
    return {"model.gguf": draw(damaged_document(_sound("model"))).packed()}


_WITH_EXPERTS = frozenset(
    """dbrx deepseek ernie4_5-moe glm4moe gpt-oss grok hunyuan-moe phimoe qwen2moe qwen3moe""".split()
)


@st.composite
def _architectures(draw: DrawFn) -> Files:
    """A damaged model of any architecture that runs here."""
    name = draw(st.sampled_from(sorted(ARCHITECTURES)))
    sound = grown_model(name, has_experts=name in _WITH_EXPERTS)
    return {"model.gguf": draw(damaged_document(sound, 3)).packed()}


def take_model(folder: Path) -> bool:
    """Load a model and decode."""
    return decodes(Config(model=ModelConfig(path=folder / "model.gguf"), cascade={}))


@cache
def _model_file() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-model-"))
    return write_model(folder / "model.gguf")


@st.composite
def _loras(draw: DrawFn) -> Files:
    kind = draw(st.sampled_from(["plain", "activated"]))
    return {"lora.gguf": draw(damaged_document(_sound(kind))).packed()}


def take_lora(folder: Path) -> bool:
    """Load an adapter for a sound model and decode under it."""
    entry = AdapterConfig(path=folder / "lora.gguf")
    return decodes(Config(model=ModelConfig(path=_model_file()), adapters={"lora": entry}, cascade={}))


TARGETS = (
    Target(name="gguf", share=10, files=_models(), take=take_model),
    Target(name="architectures", share=10, files=_architectures(), take=take_model),
    Target(name="lora", share=10, files=_loras(), take=take_lora),
)

"""GGUF files: base models, adapters for them, and maps of both; what is accepted is loaded by llama.cpp and decodes."""

from __future__ import annotations

import math
import tempfile
from functools import cache
from pathlib import Path

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from cascade import Item, Task
from cascade.backends.base import Query
from cascade.backends.llama.native import ContextSize
from cascade.config.model import AdapterConfig, ModelConfig
from cascade.config.schema import Config
from cascade.models.model_set import load_model_set
from tests.fuzz.damage import TEXTS
from tests.fuzz.gguf_damage import damaged_document
from tests.fuzz.gguf_seeds import ARCHITECTURE_NAMES, KINDS, adapter, model, of_architecture
from tests.fuzz.target import Files, Target
from tests.helpers.gguf_files import write_model
from tests.helpers.rig import Rig

_EVERY_BYTE = "".join(map(chr, range(0x180)))
_SIZE = ContextSize(n_ctx=256, n_seq_max=4, n_batch=64, n_threads=1)


def decodes(config: Config) -> bool:
    """Load what a config names, and ask the model and every adapter; whether all answers are numbers.

    Those that are none the engine refuses, which tests of its own show.
    """
    rig = Rig(load_model_set(config), _SIZE)
    try:
        for text in (*TEXTS, _EVERY_BYTE):
            for is_special in (False, True):
                rig.native.tokenizer.encode(text, special=is_special)
        root = rig.builder.task("Answer.", (), Task(text="fix it"))
        item = rig.builder.item(root, Item(id="1", kind="class", name="Cache"))
        queries = [Query(rig.builder.question(item, "ok"), adapter) for adapter in ("base", *config.adapters)]
        return all(math.isfinite(rig.score([query])[0]) for query in queries)
    finally:
        rig.native.close()


@st.composite
def _models(draw: DrawFn) -> Files:
    sound = model(KINDS[draw(st.integers(0, len(KINDS) - 1))])
    return {"model.gguf": draw(damaged_document(sound)).packed()}


@st.composite
def _architectures(draw: DrawFn) -> Files:
    """A damaged model of any architecture that runs here."""
    sound = of_architecture(draw(st.sampled_from(ARCHITECTURE_NAMES)))
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
    sound = adapter(draw(st.sampled_from(["plain", "activated"])))
    return {"lora.gguf": draw(damaged_document(sound)).packed()}


def take_lora(folder: Path) -> bool:
    """Load an adapter for a sound model and decode under it."""
    entry = AdapterConfig(path=folder / "lora.gguf")
    return decodes(Config(model=ModelConfig(path=_model_file()), adapters={"lora": entry}, cascade={}))


TARGETS = (
    Target(name="gguf", share=10, files=_models(), take=take_model),
    Target(name="architectures", share=10, files=_architectures(), take=take_model),
    Target(name="lora", share=10, files=_loras(), take=take_lora),
)

"""Models that ``cascade quantize`` is given; llama.cpp writes them in a process of its own, which may die."""

from __future__ import annotations

from pathlib import Path

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from cascade.backends.llama.quantize import Quantisation, quantize
from tests.fuzz.gguf_damage import damaged_document
from tests.fuzz.gguf_seeds import KINDS, model
from tests.fuzz.target import Files, Target

_TYPES = (
    "Q8_0",
    "Q4_0",
    "Q4_K_M",
    "Q6_K",
    "BF16",
    "F32",
    "IQ4_NL",
    "TQ1_0",
    "Q3_K",
    "IQ1_S",
    "q4_k_s",
    "",
    "MXFP4_MOE",
)


@st.composite
def _sources(draw: DrawFn) -> Files:
    sound = model(KINDS[draw(st.integers(0, len(KINDS) - 1))])
    wanted = _TYPES[draw(st.integers(0, len(_TYPES) - 1))]
    return {"model.gguf": draw(damaged_document(sound, 2)).packed(), "type": wanted.encode()}


def take_source(folder: Path) -> bool:
    """Write a model in another format, and find it whole, or find no trace of it."""
    target, wanted = folder / "quantised.gguf", (folder / "type").read_text()
    source = folder / "model.gguf"
    try:
        sizes = quantize(
            Quantisation(source=source, target=target, type=wanted, n_threads=1, allow_requantize=True), lambda *_: None
        )
    finally:
        assert {path.name for path in folder.iterdir()} <= {"model.gguf", "type", "quantised.gguf"}
    assert sizes.after == target.stat().st_size
    return True


TARGETS = (Target(name="quantize", share=0.2, files=_sources(), take=take_source),)

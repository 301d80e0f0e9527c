"""Every architecture that is let in runs here: its cache can be shared and cut back, and its answers stay the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from cascade import Item, Task
from cascade.backends.base import Batch, Query
from cascade.backends.llama.native import ContextSize
from cascade.config.model import ModelConfig
from cascade.config.schema import Config
from cascade.models.model_set import load_model_set
from tests.fuzz.gguf_seeds import ARCHITECTURE_NAMES, of_architecture
from tests.helpers.rig import Rig

pytestmark = pytest.mark.slow

SIZE = ContextSize(n_ctx=256, n_seq_max=8, n_batch=64, n_threads=1)


@pytest.mark.parametrize("name", ARCHITECTURE_NAMES)
def test_prompts_that_share_a_cache_are_answered_as_alone(name: str, tmp_path: Path) -> None:
    """Items of one task, asked one question and then another, answer as each does in an empty cache."""
    path = tmp_path / "model.gguf"
    path.write_bytes(of_architecture(name).packed())
    rig = Rig(load_model_set(Config(model=ModelConfig(path=path), cascade={})), SIZE)
    try:
        root = rig.builder.task("Answer.", (), Task(text="fix it"))
        items = [rig.builder.item(root, Item(id=f"{n}", kind="class", name="Cache" * n)) for n in (1, 2, 3)]
        asked = [[Query(rig.builder.question(item, marker), "base") for item in items] for marker in ("ok", "go")]
        shared = [logit for queries in asked for logit in rig.runner.score(Batch(tuple(queries))).logits]
        alone = [_alone(rig, query) for queries in asked for query in queries]
    finally:
        rig.native.close()
    assert shared == pytest.approx(alone, rel=1e-3, abs=1e-3)
    assert len(set(shared)) > 2


def _alone(rig: Rig, query: Query) -> float:
    rig.empty()
    (logit,) = rig.runner.score(Batch((query,))).logits
    return logit

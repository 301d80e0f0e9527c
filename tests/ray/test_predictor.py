"""``CascadePredictor`` without a cluster: an actor's class is a class, and its batches are tables."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cascade import Engine, Item
from cascade.config.schema import config_from
from cascade.errors import ConfigError, InputError, MachineError
from cascade.ray import CascadePredictor
from cascade.ray.engines import opened
from cascade.ray.share import on_share, resources
from tests.engine.test_beside import TOLERANCE, tables

pytestmark = pytest.mark.slow

ROWS = [
    {"id": f"{task}/{item}", "task": f"task {task}", "name": f"name_{task}_{item}", "mine": item}
    for item in range(5)
    for task in range(4)
]


@pytest.fixture(scope="module")
def predictor() -> Iterator[CascadePredictor]:
    """One that has opened the shipped model."""
    found = CascadePredictor(tables())
    yield found
    found.close()


def test_rows_get_columns_and_stay_as_they_were(predictor: CascadePredictor) -> None:
    """Labels and p(yes) are those of the engine, in the order of the rows, whose own columns are untouched."""
    found = predictor(pa.Table.from_pylist(ROWS)).to_pylist()
    assert [{name: row[name] for name in ROWS[0]} for row in found] == ROWS
    with Engine.open(tables()) as engine:
        for task in range(4):
            own = [row for row in found if row["task"] == f"task {task}"]
            items = [Item(id=row["id"], name=row["name"]) for row in own]
            for row, decision in zip(own, engine.classify(f"task {task}", items).decisions, strict=True):
                assert (row["label"], row["status"], row["error"]) == (decision.label, decision.status, None)
                assert row["p_relevant"] == pytest.approx(decision.steps[0].p_yes, abs=TOLERANCE)
                assert row["n_calls"] == len(decision.steps)


def test_bad_rows_are_kept_with_their_errors(predictor: CascadePredictor) -> None:
    """A row without a name or with an unknown kind of field says so, and the others are answered."""
    rows: list[dict[str, Any]] = [dict(row) for row in ROWS]
    rows[2]["name"], rows[7]["task"], rows[9]["id"] = None, " ", rows[9 - 4]["id"]
    found = predictor(pa.Table.from_pylist(rows)).to_pylist()
    errors = {place: row["error_kind"] for place, row in enumerate(found) if row["status"] == "error"}
    assert errors == {2: "item", 7: "item"}
    assert all(row["label"] is None and row["error"] for row in (found[2], found[7]))
    assert sum(row["label"] is not None for row in found) == len(rows) - 2


@pytest.mark.parametrize("as_batch", [
    lambda rows: {name: np.array([row[name] for row in rows], dtype=object) for name in rows[0]},
    pd.DataFrame,
])  # fmt: skip
def test_batches_come_in_any_format(predictor: CascadePredictor, as_batch: Any) -> None:
    """Ray's three formats of batches give the same."""
    wanted = predictor(pa.Table.from_pylist(ROWS)).column("label").to_pylist()
    assert list(map(str, predictor(as_batch(ROWS))["label"])) == wanted


def test_options_are_those_of_the_engine(predictor: CascadePredictor) -> None:
    """A prefix makes room beside a column that is there, and another column may have the task."""
    labelled = pa.table({"id": ["1"], "goal": ["fix it"], "name": ["a"], "label": ["primary"]})
    with pytest.raises(InputError, match="no column 'task'"):
        predictor(labelled)
    other = CascadePredictor(tables(), by="goal", prefix="c_", depth=1)
    assert other(labelled).column("c_label").to_pylist() != [None]
    other.close()


def test_what_an_actor_takes_comes_from_the_config() -> None:
    """Threads and layers on a GPU are CPUs and a GPU; threads that are open are as many as Ray gives."""
    models = [{"n_threads": 3}, {"n_gpu_layers": -1}, {}]
    taken = [resources(config_from({"extends": "shipped", "model": model})) for model in models]
    assert taken == [
        {"num_cpus": 3.0, "num_gpus": 0.0},
        {"num_cpus": 1.0, "num_gpus": 1.0},
        {"num_cpus": 1.0, "num_gpus": 0.0},
    ]
    open_, given = config_from({"extends": "shipped"}), config_from({"extends": "shipped", "model": models[0]})
    assert [on_share(open_, cpus).model.n_threads for cpus in (0, 0.5, 4)] == [1, 1, 4]
    assert on_share(given, 8).model.n_threads == 3
    assert CascadePredictor.arguments(given)["num_cpus"] == 3.0
    with pytest.raises(ConfigError, match="labls"):
        CascadePredictor.arguments({"extends": "shipped", "cascade": {"precision": {"labls": []}}})
    with pytest.raises(InputError, match="Unknown cascade"):
        CascadePredictor(tables(), "nobody")


def test_an_address_where_nobody_listens_is_said_at_once() -> None:
    """Ray itself would look for two minutes."""
    with (
        pytest.raises(MachineError, match=r"no Ray cluster at 127\.0\.0\.1:1 "),
        opened(config_from(tables()), "precision", address="127.0.0.1:1"),
    ):
        pass


def test_ray_is_loaded_where_it_is_used() -> None:
    """Neither the room nor its names load it."""
    code = (
        "import sys, cascade.ray as room; [getattr(room, name) for name in room.__all__]; print('ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

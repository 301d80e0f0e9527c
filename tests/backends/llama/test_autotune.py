"""Tunings: what is clearly faster wins, what is kept is found again or passed over, and no answer changes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from cascade.backends.costs import Costs
from cascade.backends.llama.autotune import tune, tuning_key
from cascade.backends.llama.native import ContextSize, NativeModel
from cascade.backends.llama.open import context_size, find_tuning, open_backend
from cascade.backends.llama.timing import ITEM, PREFIX, QUESTION, TrieBatch, cells
from cascade.backends.llama.tuned_settings import (
    Shapes,
    Tuning,
    TuningKey,
    check_can_save,
    clearly_best,
    load_tuning,
    save_tuning,
    tuning_path,
)
from cascade.cli.doctor_speed import described, speed
from cascade.cli.output import ExitCode
from cascade.config.schema import ModelConfig, read_config, shipped_config
from cascade.engine.engine import Engine
from cascade.errors import DecodeError, MachineError
from cascade.models.base_model import check_model
from cascade.models.gguf import read_gguf
from cascade.models.model_set import ModelSet, load_model_set
from tests.helpers.gguf_files import write_model
from tests.helpers.requests import symbols

KEY = TuningKey(model_sha256="ab" * 32, llama_cpp="0.3.36", processor="Some CPU", n_cores=2, n_gpu_layers=0)
TUNING = Tuning(
    flash_attention=False,
    n_batch=96,
    n_threads=1,
    gain=1.25,
    full_pool=1.5,
    costs=Costs(per_token_ms=0.5, per_output_ms=0.25, per_call_ms=2.0, per_swap_ms=4.0),
)


@pytest.mark.parametrize(
    ("seconds", "best"),
    [
        ({"default": (1.0, 1.0, 1.0), "fast": (0.8, 0.9, 0.85), "faster": (0.7, 0.8, 0.7)}, "faster"),
        ({"default": (1.0, 1.0, 1.0), "hardly": (0.98, 0.98, 0.98)}, "default"),
        ({"default": (1.0, 1.0, 1.0), "by luck": (0.5, 1.1, 1.1)}, "default"),
        ({"default": (1.0, 3.0, 1.0), "in every round": (0.9, 2.7, 0.9)}, "in every round"),
        ({"default": (1.0, 1.0), "too few rounds": (0.5, 0.5)}, "default"),
        ({"default": (1.0, 1.0, 1.0)}, "default"),
    ],
)
def test_only_what_is_clearly_faster_replaces_a_default(seconds: dict[str, tuple[float, ...]], best: str) -> None:
    """A choice must be faster by more than a little, in most rounds, of which there must be enough."""
    assert clearly_best(seconds) == best


def test_costs_are_the_parts_of_measured_times() -> None:
    """Times that are sums of known parts give those parts back; noise below nothing becomes next to nothing."""
    parts = Costs(per_token_ms=2.0, per_output_ms=0.5, per_call_ms=30.0, per_swap_ms=7.0)
    whole = 8 * 40 * 2.0 + 30.0
    shapes = Shapes(
        n_items=8,
        n_tokens=40,
        n_questions=24,
        whole_ms=whole,
        split_ms=whole + 7 * 30.0,
        silent_ms=270.0,
        asked_ms=270.0 + 24 * 0.5,
        kept_ms=100.0,
        swapped_ms=107.0,
    )
    assert shapes.costs() == parts
    odd = replace(shapes, asked_ms=1.0, split_ms=1.0, swapped_ms=1.0).costs()
    assert 0 < odd.per_output_ms < 0.001
    assert 0 < odd.per_call_ms < 0.001
    assert odd.per_swap_ms == 0


def test_a_tuning_is_found_again(tmp_path: Path) -> None:
    """What was kept comes back whole, a later one in place of an earlier one, with nothing else in the folder."""
    assert load_tuning(KEY, tmp_path) is None
    assert load_tuning(KEY, None) is None
    save_tuning(KEY, Tuning(), tmp_path)
    path = save_tuning(KEY, TUNING, tmp_path)
    assert load_tuning(KEY, tmp_path) == TUNING
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "other",
    [
        replace(KEY, model_sha256="cd" * 32),
        replace(KEY, llama_cpp="0.3.37"),
        replace(KEY, processor="Other CPU"),
        replace(KEY, n_cores=3),
        replace(KEY, n_gpu_layers=-1),
    ],
)
def test_a_tuning_is_of_one_model_and_machine(other: TuningKey, tmp_path: Path) -> None:
    """Any other model, version, processor, core count or split over a GPU has none."""
    save_tuning(KEY, TUNING, tmp_path)
    assert load_tuning(other, tmp_path) is None


def test_a_file_under_another_key_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that was copied to where another model's would lie is not believed."""
    other = replace(KEY, n_cores=64)
    path = save_tuning(KEY, TUNING, tmp_path)
    path.rename(tuning_path(other, tmp_path))
    with caplog.at_level(logging.WARNING):
        assert load_tuning(other, tmp_path) is None
    assert "another model or machine" in caplog.text


@pytest.mark.parametrize(
    "damage",
    [
        lambda _: "",
        lambda _: "[]",
        lambda text: text[:-20],
        lambda text: text.replace('"version": 1', '"version": 2'),
        lambda text: text.replace('"gain"', '"loss"'),
        lambda text: text.replace('"n_batch": 96', '"n_batch": 1000000000'),
        lambda text: text.replace('"n_batch": 96', '"n_batch": "96"'),
        lambda text: text.replace('"per_call_ms": 2.0', '"per_call_ms": NaN'),
        lambda text: text.replace('"per_call_ms": 2.0', '"per_call_ms": -1'),
        lambda text: text.replace('"per_call_ms": 2.0', '"per_call_ms": 1e308'),
    ],
)
def test_a_damaged_file_is_passed_over(
    damage: Callable[[str], str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is wrong with a file, it is logged and the defaults are used."""
    path = save_tuning(KEY, TUNING, tmp_path)
    path.write_text(damage(path.read_text(encoding="utf-8")), encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        assert load_tuning(KEY, tmp_path) is None
    assert "passed over" in caplog.text


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The error says where and what to do."""
    (tmp_path / "file").touch()
    with pytest.raises(MachineError, match="XDG_CACHE_HOME"):
        save_tuning(KEY, TUNING, tmp_path / "file")
    with pytest.raises(MachineError, match="XDG_CACHE_HOME"):
        check_can_save(tmp_path / "file")
    assert load_tuning(KEY, tmp_path / "file") is None
    check_can_save(tmp_path / "new")
    assert [entry.name for entry in (tmp_path / "new").rglob("*")] == ["tunings"]


def test_what_a_config_sets_wins() -> None:
    """A tuning replaces defaults only, even where the config sets a value that is the default."""
    size = context_size(ModelConfig(path=Path("m.gguf")), TUNING)
    assert (size.flash_attention, size.n_batch, size.n_threads) == (False, 96, 1)
    fixed = context_size(ModelConfig(path=Path("m.gguf"), n_batch=1024, flash_attention=True), TUNING)
    assert (fixed.flash_attention, fixed.n_batch, fixed.n_threads) == (True, 1024, 1)
    plain = context_size(ModelConfig(path=Path("m.gguf"), n_batch=128))
    assert plain.n_batch == 128
    assert size.n_ctx == plain.n_ctx


@pytest.mark.slow
def test_a_tuned_engine_decides_the_same(tmp_path: Path) -> None:
    """Every label, and every probability to a hair, is as without a tuning; the backend hands its costs on."""
    config = read_config(shipped_config())
    cascades = config.cascades()
    key = tuning_key(config.model, load_model_set(config).model_sha256)
    save_tuning(key, TUNING, tmp_path)
    task, items = symbols(7, 40)
    reports = []
    for folder in (None, tmp_path):
        backend = open_backend(config, cascades, folder)
        assert backend.info.costs == (TUNING.costs if folder else Costs())
        with Engine(backend, cascades, config.model.limits.limits()) as engine:
            reports.append(engine.classify(task, items))
    plain, tuned = reports
    assert tuned.labels() == plain.labels()
    for one, other in zip(plain.decisions, tuned.decisions, strict=True):
        assert [step.p_yes for step in other.steps] == pytest.approx([step.p_yes for step in one.steps], abs=1e-3)


@pytest.fixture
def native(tmp_path: Path) -> Iterator[NativeModel]:
    """A tiny random model with a little cache."""
    size = ContextSize(n_ctx=1024, n_seq_max=16, n_batch=128, n_threads=1)
    model = NativeModel(write_model(tmp_path / "tiny.gguf"), size)
    yield model
    model.close()


def test_a_context_can_be_opened_anew(native: NativeModel) -> None:
    """Another context has the new size and an empty cache, and works."""
    native.reopen(replace(native.size, n_ctx=512, flash_attention=False, n_batch=64))
    assert (native.n_cells, native.n_batch, native.active) == (512, 64, "")
    TrieBatch(native, 4).start()


def test_a_batch_times_every_shape(native: NativeModel) -> None:
    """Every shape of a batch runs again and again, in an empty cache and in a full one."""
    batch = TrieBatch(native, 4, clock=iter(range(100)).__next__)
    assert cells(4) == PREFIX + 4 * (ITEM + QUESTION)
    batch.start()
    batch.fill(cells(4))
    for _ in range(2):
        assert batch.run(128) == 1
        assert batch.items(128) == 1
        assert batch.items(64, alone=True) == 1
        assert batch.questions(128, lambda: None, is_output=False) == 1


def test_a_sequence_can_be_copied_while_there_is_room(native: NativeModel) -> None:
    """A copy takes cells of its own; too large a one is an error, and what was there works on."""
    batch = TrieBatch(native, 4)
    batch.start()
    for sequence in range(1, 8):
        native.duplicate(0, sequence)
    with pytest.raises(DecodeError, match="cannot be copied"):
        native.duplicate(0, 8)
    for sequence in range(1, 8):
        native.cut(sequence)
    assert batch.run(128) > 0


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "is_enough"), [(3600.0, True), (1e-3, False)])
def test_tuning_measures_what_the_time_allows(tmp_path: Path, seconds: float, *, is_enough: bool) -> None:
    """With time every setting is tried, without it none; the costs are measured anyway, no adapter costs no swap."""
    path = write_model(tmp_path / "tiny.gguf")
    models = ModelSet(model_path=path, model_sha256="", model=check_model(read_gguf(path)), adapters={})
    told: list[tuple[str, float]] = []
    found = tune(models, ModelConfig(path=path, n_ctx=2048), seconds, lambda *step: told.append(step))
    names = {name for name, _ in told}
    assert {"batch", "full cache", "costs"} <= names
    assert names.issuperset({"flash_attention", "n_batch"}) == is_enough
    assert all(0 <= share <= 1 for _, share in told)
    assert min(found.costs.per_token_ms, found.costs.per_output_ms, found.costs.per_call_ms, found.full_pool) > 0
    assert found.costs.per_swap_ms == 0
    assert is_enough or not found.settings()


@pytest.mark.slow
def test_doctor_tune_is_found_by_doctor_and_engine(tmp_path: Path) -> None:
    """``doctor --autotune`` keeps its result in the user's cache folder, ``doctor`` shows it; JSON has all of it."""
    config = read_config(shipped_config())
    models = load_model_set(config)
    command = [sys.executable, "-m", "cascade.cli", "doctor", "--autotune", "--seconds", "1", "--json"]
    # Threads that wait without spinning: beside other work, spinning ones would make this take a minute.
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "OMP_WAIT_POLICY": "passive"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (ExitCode.DONE, "")
    shown = json.loads(done.stdout)
    assert set(shown) == {"file", "model", "tuning"}
    assert set(shown["tuning"]) == {entry.name for entry in fields(Tuning)}
    kept = find_tuning(config.model, models.model_sha256, tmp_path / "binary-cascade")
    assert kept is not None
    assert Path(shown["file"]).is_relative_to(tmp_path)
    tuning, form = speed(config.model, models, tmp_path / "binary-cascade")
    assert (tuning.name, tuning.value) == ("tuning", described(kept))
    assert form.name == "format"
    assert f"the only one in its folder; `cascade quantize {models.model_path} " in form.value

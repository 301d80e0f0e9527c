"""The weight formats of a model that lie side by side: found by what the files say, timed, and one finding each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cascade.backends.llama.native import ContextSize
from cascade.backends.llama.quantize import Quantisation, quantize
from cascade.backends.llama.timing import time_formats
from cascade.cli.doctor import Finding
from cascade.cli.doctor_speed import compared, speed
from cascade.config.schema import Config, read_config
from cascade.models.base_model import ModelFormat, find_formats
from cascade.models.model_set import ModelSet, load_model_set
from tests.helpers.gguf_files import TOKENS, write_adapter, write_model

pytestmark = pytest.mark.slow

CONFIG = """
[model]
path = "tiny.gguf"
format = "qwen3"

[cascade.c]
labels = ["keep", "drop"]

[[cascade.c.stages]]
name = "s"
question = "?"
adapter = "base"
yes = { label = "keep" }
no = { label = "drop" }
"""


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A config with a tiny model in F16, and much else in its folder."""
    tiny = write_model(tmp_path / "tiny.gguf")
    write_model(tmp_path / "another.gguf", tokens=("aa", *TOKENS))
    write_adapter(tmp_path / "adapter.gguf")
    (tmp_path / "broken.gguf").write_bytes(tiny.read_bytes()[:500])
    (tmp_path / "notes.txt").touch()
    (tmp_path / "my.toml").write_text(CONFIG, encoding="utf-8")
    return read_config(tmp_path / "my.toml")


def other_format(models: ModelSet, name: str, form: str) -> Path:
    """Another format of the config's model, beside it."""
    target = models.model_path.with_name(name)
    quantize(Quantisation(source=models.model_path, target=target, type=form), lambda *_: None)
    return target


def findings(config: Config, models: ModelSet) -> list[Finding]:
    """What the doctor says of formats."""
    return [finding for finding in speed(config.model, models, tunings=None) if "format" in finding.name]


def test_formats_are_found_by_what_files_say(config: Config) -> None:
    """Files of the same architecture, shapes and vocabulary count, whatever their names; nothing else does."""
    models = load_model_set(config)
    assert [entry.type for entry in find_formats(models.model_path, models.model)] == ["F16"]
    eight = other_format(models, "a-misleading-BF16.gguf", "Q8_0")
    found = find_formats(models.model_path, models.model)
    assert [(entry.path, entry.type, entry.n_bytes) for entry in found] == [
        (models.model_path, "F16", models.model_path.stat().st_size),
        (eight, "Q8_0", eight.stat().st_size),
    ]


def test_doctor_says_something_of_every_format(config: Config) -> None:
    """Alone, one line; with others, a line for each with its speed, and one that says what to do."""
    models = load_model_set(config)
    (only,) = findings(config, models)
    assert only.value.startswith("F16, the only one in its folder")
    other_format(models, "q8.gguf", "Q8_0")
    other_format(models, "q4.gguf", "Q4_0")
    own, four, eight, best = findings(config, models)
    assert [own.name, four.name, eight.name] == ["format F16", "format Q4_0", "format Q8_0"]
    assert own.value.startswith("tiny.gguf: the config's, ")
    assert "times as fast as the config's" in four.value
    assert best.name == "fastest format"
    written = models.model_path.with_name("OUT.gguf")
    assert best.value.endswith(f"`cascade quantize {models.model_path} {written} --type T` makes more to compare")
    assert all(finding.ok for finding in (own, four, eight, best))


@pytest.mark.parametrize("memory", [None, 2**40])
def test_formats_are_timed_the_same_together_and_apart(config: Config, memory: int | None) -> None:
    """Held in memory together or not, every format is timed in as many rounds as the others."""
    models = load_model_set(config)
    other_format(models, "q8.gguf", "Q8_0")
    formats = find_formats(models.model_path, models.model)
    size = ContextSize(n_ctx=4096, n_seq_max=128, n_batch=128, n_threads=1)
    seconds = time_formats(formats, size, 60.0, memory)
    assert list(seconds) == formats
    assert [len(times) for times in seconds.values()] == [5, 5]
    assert [len(times) for times in time_formats(formats, size, 0.0, memory).values()] == [1, 1]


@pytest.mark.parametrize(
    ("times", "advice"),
    [((0.5, 0.5, 0.5), 'Q8_0; name it in the config: path = "q8.gguf" under [model]'), ((1.0, 0.9, 1.1), "none")],
)
def test_only_a_clearly_faster_format_is_recommended(times: Sequence[float], advice: str) -> None:
    """The advice names the file that is clearly faster, or says that there is none."""
    own = ModelFormat(path=Path("f16.gguf"), type="F16", n_bytes=1)
    other = ModelFormat(path=Path("q8.gguf"), type="Q8_0", n_bytes=1)
    _, line, best = compared({own: (1.0, 1.0, 1.0), other: tuple(times)})
    assert line.value.startswith(f"q8.gguf: {1 / times[0]:.2f} times as fast as the config's")
    assert best.value.startswith(advice)

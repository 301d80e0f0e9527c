"""The guard against builds of llama.cpp that die of their extra buffer types: as it works on any CPU."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType

from cascade.backends.llama.extra_buffers import (
    Pair,
    Verdict,
    built_with,
    decide,
    has_rows_of_one_block,
    is_suspect,
    judge,
    keep_verdict,
    load_verdict,
    may_use_extra_buffers,
    probe,
    this_pair,
)
from cascade.backends.llama.extra_buffers_worker import logits, write_tiny_model
from cascade.backends.llama.open import context_size
from cascade.cli.doctor import extra_buffers_finding
from cascade.config.schema import read_config
from cascade.errors import MachineError
from cascade.models.gguf import GGUFFile, TensorInfo
from tests.helpers.gguf_files import write_model

PAIR = Pair(libraries="ab" * 32, processor="Some CPU", flags=("amx_int8", "avx2"))
PLAIN = "print('[1.0, -2.0]', flush=True)"


def python(*lines: str) -> list[str]:
    """A command that runs lines of Python."""
    return [sys.executable, "-c", "\n".join(("import os, signal, time", *lines))]


def dies_of(number: signal.Signals) -> str:
    """A line of Python that ends the process by a signal."""
    return f"os.kill(os.getpid(), {int(number)})"


@pytest.mark.slow
def test_this_llama_cpp_computes_the_same_with_extra_buffer_types() -> None:
    """The real child process, with the real library, finds nothing wrong."""
    assert probe() is Verdict.SOUND


@pytest.mark.parametrize(
    ("lines", "verdict"),
    [
        ((PLAIN, PLAIN), Verdict.SOUND),
        ((PLAIN, "print('[1.01, -2.01]')"), Verdict.SOUND),
        ((PLAIN, dies_of(signal.SIGILL)), Verdict.DIES),
        ((PLAIN, dies_of(signal.SIGSEGV)), Verdict.DIES),
        ((PLAIN, "os.abort()"), Verdict.DIES),
        ((dies_of(signal.SIGILL),), Verdict.BROKEN),
        ((PLAIN, "print('[1.2, -2.0]')"), Verdict.WRONG),
        ((PLAIN, "print('[NaN, -2.0]')"), Verdict.WRONG),
        ((PLAIN, "print('[1.0]')"), Verdict.WRONG),
        ((PLAIN,), Verdict.WRONG),
        ((PLAIN, dies_of(signal.SIGTERM)), Verdict.UNKNOWN),
        ((PLAIN, dies_of(signal.SIGKILL)), Verdict.UNKNOWN),
        (("raise ImportError",), Verdict.UNKNOWN),
        (("print('no numbers')",), Verdict.UNKNOWN),
    ],
)
def test_how_a_child_process_ends_is_its_verdict(lines: tuple[str, ...], verdict: Verdict) -> None:
    """A fault of the processor or a wrong number is llama.cpp's; what somebody else ended tells nothing."""
    assert probe(python(*lines)) is verdict


@pytest.mark.slow
def test_a_child_process_that_never_returns_is_ended() -> None:
    """It hangs if it came as far as the extra buffer types; if not, nothing is known."""
    assert probe(python(PLAIN, "time.sleep(600)"), timeout_s=1.0) is Verdict.HANGS
    assert probe(python("time.sleep(600)"), timeout_s=0.2) is Verdict.UNKNOWN


def test_a_program_that_cannot_be_started_tells_nothing(tmp_path: Path) -> None:
    """An application that embeds Python may have no interpreter to run."""
    assert probe([str(tmp_path / "missing")]) is Verdict.UNKNOWN
    assert probe([""]) is Verdict.UNKNOWN


def test_wrong_numbers_are_told_from_rounding() -> None:
    """A logit may differ by a small share of the largest."""
    assert judge([[10.0, 0.1], [10.1, 0.2]], 0) is Verdict.SOUND
    assert judge([[10.0, 0.1], [10.3, 0.1]], 0) is Verdict.WRONG


def test_a_finding_is_kept_for_its_library_and_cpu(tmp_path: Path) -> None:
    """Another library, or the same one on another CPU, is tried anew."""
    assert keep_verdict(PAIR, Verdict.DIES, tmp_path) is Verdict.DIES
    assert load_verdict(PAIR, tmp_path) is Verdict.DIES
    assert load_verdict(replace(PAIR, libraries="cd" * 32), tmp_path) is None
    assert load_verdict(replace(PAIR, processor="Another CPU"), tmp_path) is None
    assert load_verdict(replace(PAIR, flags=("avx2",)), tmp_path) is None
    keep_verdict(PAIR, Verdict.SOUND, tmp_path)
    assert load_verdict(PAIR, tmp_path) is Verdict.SOUND


def test_a_finding_of_another_library_under_this_ones_name_is_passed_over(tmp_path: Path) -> None:
    """A file says whose finding it is, and is not believed without."""
    keep_verdict(PAIR, Verdict.SOUND, tmp_path)
    (file,) = tmp_path.rglob("*.json")
    kept = json.loads(file.read_text())
    for text in (json.dumps(kept | {"libraries": "cd" * 32}), json.dumps(kept | {"verdict": "fine"}), "{", ""):
        file.write_text(text)
        assert load_verdict(PAIR, tmp_path) is None


def test_a_finding_that_cannot_be_kept_costs_nothing_else(tmp_path: Path) -> None:
    """A cache folder that is a file, or none at all; and what is unknown is never kept."""
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", None):
        assert keep_verdict(PAIR, Verdict.DIES, folder) is Verdict.DIES
        assert load_verdict(PAIR, folder) is None
    keep_verdict(PAIR, Verdict.UNKNOWN, tmp_path)
    assert load_verdict(PAIR, tmp_path) is None


@pytest.mark.parametrize(
    ("features", "flags", "weights", "suspect"),
    [
        ({"AVX2"}, {"avx2", "amx_int8"}, "Q8_0", True),
        ({"AVX2"}, {"avx2", "amx_int8"}, "Q4_K", True),
        ({"AVX2"}, {"avx2", "amx_int8"}, "BF16", False),
        ({"AVX2"}, {"avx2", "amx_int8"}, "F16", False),
        ({"AVX2"}, {"avx2"}, "Q8_0", False),
        ({"AVX2", "AVX512"}, {"avx2"}, "BF16", True),
        ({"AMX_INT8"}, {"avx2"}, "BF16", True),
        ({"AVX2", "AVX512"}, set(), "Q8_0", False),
    ],
)
def test_what_is_tried_before_a_model_is_loaded(
    features: set[str], flags: set[str], weights: str, *, suspect: bool
) -> None:
    """Quantised weights where there is AMX, and anything where the library was built for another CPU."""
    assert is_suspect(frozenset(features), frozenset(flags), weights) is suspect


@pytest.mark.parametrize(("kind", "width", "is_so"), [("Q8_0", 32, True), ("Q8_0", 64, False), ("F32", 32, False)])
def test_rows_of_one_block_are_known(kind: str, width: int, *, is_so: bool) -> None:
    """The matrix tiles of AMX compute them wrong: a model of width 32 in blocks of 32."""
    tensor = TensorInfo(shape=(width, 64), type=GGMLQuantizationType[kind], offset=0, n_bytes=0)
    file = GGUFFile(path=Path("m.gguf"), size=0, metadata={}, tensors={"w": tensor})
    assert has_rows_of_one_block(file) is is_so


def test_this_library_was_built_for_a_cpu_that_is_known() -> None:
    """What llama.cpp says of itself is read, so that a library of another machine can be told."""
    assert built_with()
    assert len(this_pair().libraries) == 64


@pytest.mark.parametrize("verdict", [Verdict.DIES, Verdict.WRONG, Verdict.HANGS, Verdict.UNKNOWN])
def test_a_warning_says_what_it_costs_and_how_to_build_anew(verdict: Verdict, caplog: pytest.LogCaptureFixture) -> None:
    """The model is loaded without extra buffer types."""
    assert not decide(verdict, Path("model.gguf"))
    (record,) = caplog.records
    said = record.getMessage()
    assert verdict.words in said
    assert "slower" in said
    assert "-fno-dse -fno-tree-dse" in said
    assert "model.gguf" in said


def test_a_library_that_dies_in_any_case_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is loaded, and the message says how to build it for this machine."""
    with pytest.raises(MachineError, match=r"dies on this processor.*Build it again.*pip install"):
        decide(Verdict.BROKEN, Path("model.gguf"))
    assert decide(Verdict.SOUND, Path("model.gguf"))
    assert not caplog.records


def test_doctor_shows_the_finding() -> None:
    """A verdict that costs something is a problem, with the command that ends it."""
    assert extra_buffers_finding(Verdict.SOUND).ok
    for verdict in (Verdict.DIES, Verdict.WRONG, Verdict.HANGS, Verdict.BROKEN):
        finding = extra_buffers_finding(verdict)
        assert not finding.ok
        assert "-fno-dse -fno-tree-dse" in finding.remedy


def test_a_quantised_model_answers_the_same_either_way(tmp_path: Path) -> None:
    """The model that the child process tries gives numbers that depend on its tokens, and not on extra buffer types."""
    path = write_tiny_model(tmp_path / "tiny.gguf")
    found = [logits(path, use_extra_bufts=use_extra_bufts) for use_extra_bufts in (False, True)]
    assert judge(found, 0) is Verdict.SOUND
    assert len({round(value, 3) for value in found[0]}) > 40


@pytest.mark.parametrize(("line", "wanted"), [("", None), ("use_extra_bufts = false", False)])
def test_the_key_reaches_the_context(tmp_path: Path, line: str, *, wanted: bool | None) -> None:
    """What the config says of extra buffer types is what the model is loaded by."""
    model = write_model(tmp_path / "tiny.gguf")
    path = tmp_path / "my.toml"
    path.write_text(f'[model]\npath = "{model}"\n{line}\n[cascade]\n')
    assert context_size(read_config(path).model).use_extra_bufts is wanted


def test_an_ordinary_model_may_use_them(tmp_path: Path) -> None:
    """A model in F16 is loaded as llama.cpp would by itself."""
    assert may_use_extra_buffers(write_model(tmp_path / "tiny.gguf"), tmp_path)

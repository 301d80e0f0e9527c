"""What would abort the process is refused before llama.cpp sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cascade.backends.llama.batch_rows import Rows, Run
from cascade.backends.llama.native import ContextSize, NativeModel
from cascade.backends.llama.quantize import Quantisation, quantize
from cascade.backends.llama.tokenizer import load_vocabulary
from cascade.errors import ClosedError, DecodeError, MachineError, ModelFileError
from cascade.machine import memory_left, n_cores, n_threads, need_memory
from tests.helpers.gguf_files import TOKENS, write_adapter, write_model

SIZE = ContextSize(n_ctx=256, n_seq_max=4, n_batch=32, n_threads=1)
GOOD = Rows.of([Run([1, 2, 3], 0, (0,), is_output=True)])


@pytest.fixture
def native(tmp_path: Path) -> Iterator[NativeModel]:
    """A tiny random model."""
    model = NativeModel(write_model(tmp_path / "tiny.gguf"), SIZE)
    yield model
    model.close()


def test_rows_are_laid_out_in_order() -> None:
    """Runs become flat arrays with running positions and outputs at their ends."""
    runs = [
        Run([5, 6], 3, (1, 2), is_output=True),
        Run([7], 0, (2,)),
        Run([8, 9, 10], 4, (0,), is_output=True),
    ]
    rows = Rows.of(runs)
    assert rows.tokens.tolist() == [5, 6, 7, 8, 9, 10]
    assert rows.positions.tolist() == [3, 4, 0, 4, 5, 6]
    assert rows.n_sequences.tolist() == [2, 2, 1, 1, 1, 1]
    assert rows.sequences[rows.first_sequence].tolist() == [1, 1, 2, 0, 0, 0]
    assert rows.outputs.tolist() == [0, 1, 0, 0, 0, 1]


def test_a_decode_gives_the_labels_logits(native: NativeModel) -> None:
    """One row of two finite logits for each output."""
    logits = native.decode(
        Rows.of([Run([1, 2], 0, (0,), is_output=True), Run([3], 0, (1,)), Run([4], 0, (2,), is_output=True)]), (5, 6)
    )
    assert logits.shape == (2, 2)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tokens": np.array([1, 2, 10_000], np.int32)}, "token"),
        ({"tokens": np.array([1, -1, 3], np.int32)}, "token"),
        ({"sequences": np.array([0, 0, 4], np.int32)}, "sequence"),
        ({"positions": np.array([0, 1, 256], np.int32)}, "position"),
        ({"positions": np.array([-1, 0, 1], np.int32)}, "position"),
    ],
)
def test_values_out_of_bounds_are_refused(native: NativeModel, change: dict[str, object], words: str) -> None:
    """The message names what was out of bounds, and the model works on."""
    with pytest.raises(DecodeError, match=words):
        native.decode(replace(GOOD, **change), (5, 6))  # type: ignore[arg-type]
    native.decode(GOOD, (5, 6))


def test_too_many_tokens_or_outputs_are_refused(native: NativeModel) -> None:
    """More than n_batch tokens, or more outputs than the context has room for, never reach llama.cpp."""
    with pytest.raises(DecodeError, match=r"33 tokens is outside 1\.\.32"):
        native.decode(Rows.of([Run([1] * 33, 0, (0,), is_output=True)]), (5, 6))
    with pytest.raises(DecodeError, match="outputs"):
        native.decode(Rows.of([Run([1], at, (0,), is_output=True) for at in range(5)]), (5, 6))
    with pytest.raises(DecodeError, match="label"):
        native.decode(GOOD, (5, 10_000))


def test_sequences_out_of_bounds_are_refused(native: NativeModel) -> None:
    """Forking and cutting check their sequences."""
    with pytest.raises(DecodeError, match="Sequence 4"):
        native.fork(0, 4, 1)
    with pytest.raises(DecodeError, match="Sequence -1"):
        native.cut(-1)


def test_a_gap_in_positions_is_llama_cpps_error(native: NativeModel) -> None:
    """What llama.cpp itself reports comes back as a DecodeError with its last message."""
    native.decode(GOOD, (5, 6))
    with pytest.raises(DecodeError, match=r"llama\.cpp returned -1"):
        native.decode(Rows.of([Run([1], 9, (0,), is_output=True)]), (5, 6))


@pytest.mark.slow
def test_there_are_never_more_threads_than_cores(tmp_path: Path) -> None:
    """However many are wanted: where the system started no more of them, OpenMP would end the process."""
    assert (n_threads(0), n_threads(1), n_threads(1_024)) == (n_cores(), 1, n_cores())
    native = NativeModel(write_model(tmp_path / "tiny.gguf"), replace(SIZE, n_threads=1_024))
    assert np.isfinite(native.decode(GOOD, (5, 6))).all()
    native.close()


@pytest.mark.slow
@pytest.mark.parametrize("pre", ["tekken", "gpt-4o", "deepseek-llm", "qwen2"])
@pytest.mark.parametrize("unit", ["a", "=", "\u4e00", "a1"])
def test_a_word_of_any_length_is_tokenised(tmp_path: Path, pre: str, unit: str) -> None:
    """Where llama.cpp matches words by recursion, one of 300,000 characters would end the process."""
    tokenizer = load_vocabulary(write_model(tmp_path / "tiny.gguf", pre=pre))
    word = unit * (300_000 // len(unit))
    tokens = tokenizer.encode(word, special=False)
    assert tokens == tokenizer.encode(unit, special=False) * (len(word) // len(unit))


@pytest.mark.slow
@pytest.mark.parametrize("pre", ["gpt-4o", "deepseek-llm", "bloom", "minicpm5", "qwen2"])
@pytest.mark.parametrize("unit", [" ", "\n", "\x1c", "\u3000", "\x85", "\u3000 ", "a\x1c", "\x1c\n"])
def test_white_space_of_any_length_is_tokenised(tmp_path: Path, pre: str, unit: str) -> None:
    """What Python and llama.cpp take for white space is not the same; neither may be matched without end."""
    tokenizer = load_vocabulary(write_model(tmp_path / "tiny.gguf", pre=pre))
    text = f"x{unit * (200_000 // len(unit))}y"
    assert tokenizer.decode(tokenizer.encode(text, special=False)) == text


@pytest.mark.slow
def test_user_defined_tokens_are_kept_apart_in_one_pass(tmp_path: Path) -> None:
    """No outside text becomes one, wherever they overlap, and thousands of both take no longer than they must."""
    own = [f"<own{at}>" for at in range(3_000)]
    texts = ["<<", "<a", "<ab>", "a<a", "aa", "aaa", *own]
    path = write_model(tmp_path / "tiny.gguf", (*texts, *TOKENS), dict.fromkeys(texts, 4))
    tokenizer = load_vocabulary(path)
    assert {tokenizer.text(token) for token in tokenizer.encode("".join(own[:3]), special=True)} == set(own[:3])
    for text in ("<<<<", "a<a<ab>", "aaaa", "x<ab", "<", "<own7>", "".join(own), "<own2" * 10_000, "<<" * 50_000):
        tokens = tokenizer.encode(text, special=False)
        assert not any(map(tokenizer.is_special, tokens))
        assert "".join(map(tokenizer.text, tokens)) == text


_LITTLE = """
import resource, sys
from pathlib import Path
from cascade.backends.llama import open as embedded
from cascade.config.schema import read_config
from cascade.engine.engine import Engine
from cascade.errors import MachineError
from cascade.items import Item

config = read_config(Path(sys.argv[1]))
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + int(sys.argv[2]) * 2**20
resource.setrlimit(resource.RLIMIT_AS, (size, size))
try:
    with Engine.open(config) as engine:
        print(len(engine.classify("t", [Item(id=str(at), kind="file", name="n") for at in range(40)], "c").decisions))
except MachineError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
@pytest.mark.parametrize(("mib", "words"), [(90, "takes about"), (110, "takes about"), (300, "40"), (400, "40")])
def test_little_memory_is_an_error_and_no_death(tmp_path: Path, mib: int, words: str) -> None:
    """Where a context would not fit into the address space, that is said before llama.cpp ends the process."""
    write_model(tmp_path / "tiny.gguf")
    (tmp_path / "tiny.toml").write_text(
        '[model]\npath = "tiny.gguf"\nformat = "qwen3"\nn_threads = 1\n[cascade.c]\nlabels = ["drop", "keep"]\n'
        '[[cascade.c.stages]]\nname = "s"\nquestion = "does it matter?"\nadapter = "base"\n'
        'yes = { label = "keep" }\nno = { label = "drop" }\n',
        encoding="utf-8",
    )
    command = [sys.executable, "-c", _LITTLE, str(tmp_path / "tiny.toml"), str(mib)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, words in done.stdout) == (0, True), done.stdout + done.stderr
    assert words == "40" or "MiB that `ulimit -v` allows. Free memory or raise the limit" in done.stdout


@pytest.mark.parametrize("version", ["1", "2"])
def test_control_groups_bound_what_a_process_may_take(tmp_path: Path, version: str) -> None:
    """Of a group and those above it each limit counts, without cached files; no limit is none."""
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    files = ("memory.max", "memory.current", "file")
    if version == "1":
        files = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache")
    root = groups / ("memory" if version == "1" else "")
    (root / "above/own").mkdir(parents=True)
    for folder, limit in ((root, "max"), (root / "above", str(900 * 2**20)), (root / "above/own", str(500 * 2**20))):
        (folder / files[0]).write_text(limit + "\n", encoding="ascii")
        (folder / files[1]).write_text(str(300 * 2**20) + "\n", encoding="ascii")
        (folder / "memory.stat").write_text(f"anon 5\n{files[2]} {100 * 2**20}\n", encoding="ascii")
    (proc / "self").mkdir(parents=True)
    (proc / "self/statm").write_text("100 90 80 70 0 60 0\n", encoding="ascii")
    controllers = "3:cpu:/above\n4:memory" if version == "1" else "0:"
    (proc / "self/cgroup").write_text(f"{controllers}:/above/own\n", encoding="ascii")
    (proc / "meminfo").write_text(
        "MemTotal: 9 kB\nMemAvailable:  2048 kB\nSwapFree: 1024 kB\nHuge: 0\n", encoding="ascii"
    )
    found = {bound: left // 2**20 for left, bound, is_of_addresses in memory_left(proc, groups) if not is_of_addresses}
    assert found == {
        "of the 500 MiB that this process's control group allows": 300,
        "of the 900 MiB that this process's control group allows": 700,
        "on this machine": 3,
    }
    assert not list(memory_left(tmp_path / "nowhere", groups))


def test_what_does_not_fit_is_refused_with_the_bound() -> None:
    """More than any machine has is refused; nothing is taken anyway."""
    need_memory(0, "Nothing")
    if sys.platform == "linux":
        with pytest.raises(MachineError, match=r"^A model takes about \d+ MiB of memory; \d+ MiB are left "):
            need_memory(2**60, "A model")


def test_a_closed_model_refuses_everything(tmp_path: Path) -> None:
    """After close nothing reaches freed memory; closing twice is fine."""
    model = NativeModel(write_model(tmp_path / "tiny.gguf"), SIZE)
    model.close()
    model.close()
    for call in (
        lambda: model.decode(GOOD, (5, 6)),
        lambda: model.fork(0, 1, 1),
        model.clear,
        lambda: model.activate("x"),
    ):
        with pytest.raises(ClosedError):
            call()


def test_a_file_that_llama_cpp_refuses_is_a_model_file_error(tmp_path: Path) -> None:
    """Its log's last error stands in the message, or what is wrong where the file was read before."""
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + bytes(20))
    with pytest.raises(ModelFileError, match=r"cannot load .*broken\.gguf|broken\.gguf: has GGUF version 0"):
        NativeModel(path, SIZE)


@pytest.mark.slow
def test_files_whose_paths_are_not_utf_8_are_loaded(tmp_path: Path) -> None:
    """A model, its vocabulary and an adapter are found by the bytes of their names."""
    folder = tmp_path / os.fsdecode(b"gr\xf6\xdfe")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("names must be UTF-8 here")
    path = write_model(folder / "tiny.gguf")
    assert load_vocabulary(path).n_vocab
    model = NativeModel(path, SIZE)
    model.load_adapter("one", write_adapter(folder / "one.gguf"), 1.0)
    model.close()
    target = folder / "q8.gguf"
    quantize(Quantisation(source=path, target=target, type="q8_0", n_threads=1), lambda _at, _of: None)
    NativeModel(target, SIZE).close()

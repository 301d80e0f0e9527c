"""``cascade quantize``: another weight format that loads and scores close, and nothing half-done left behind."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cascade.backends.llama.batch_rows import Rows, Run
from cascade.backends.llama.native import ContextSize, NativeModel
from cascade.backends.llama.quantize import Quantisation, quantize, types
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.config.schema import shipped_config
from cascade.errors import MachineError
from cascade.models.base_model import check_model, find_formats, matrix_type
from cascade.models.gguf import read_gguf
from cascade.models.lora import check_adapter
from tests.helpers.gguf_files import Lora, write_adapter, write_model

pytestmark = pytest.mark.slow

SHIPPED = shipped_config().parent / "embedded.gguf"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A tiny model in F16, alone in its folder."""
    return write_model(tmp_path / "tiny.gguf")


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``cascade quantize``."""
    code = main(["quantize", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def logits(path: Path, tokens: Sequence[int]) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """(1, 2) logits behind a prompt."""
    native = NativeModel(path, ContextSize(n_ctx=256, n_seq_max=2, n_batch=64, n_threads=1))
    try:
        return native.decode(Rows.of([Run(tokens, 0, [0], is_output=True)]), (5, 6))
    finally:
        native.close()


def test_the_new_file_loads_and_scores_close(tmp_path: Path) -> None:
    """The shipped model in Q8_0 is about half as large and answers nearly as before; every tensor was told of."""
    target = tmp_path / "q8.gguf"
    reached: list[tuple[int, int]] = []
    sizes = quantize(Quantisation(source=SHIPPED, target=target, type="q8_0"), lambda *at: reached.append(at))
    file = read_gguf(target)
    assert matrix_type(file) == "Q8_0"
    assert sizes.before == SHIPPED.stat().st_size
    assert sizes.after == target.stat().st_size < 0.6 * sizes.before
    n = len(file.tensors)
    assert reached == [(at, n) for at in range(1, n + 1)]
    tokens = list(range(40, 90))
    np.testing.assert_allclose(logits(target, tokens), logits(SHIPPED, tokens), atol=0.5)
    assert check_model(file).shapes == check_model(read_gguf(SHIPPED)).shapes
    assert [entry.path for entry in find_formats(target, check_model(file))] == [target]


def test_json_has_the_sizes(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --json the result is one object; without, one line."""
    target = tiny.with_name("q4.gguf")
    code, out, err = run(capsys, tiny, target, "--type", "Q4_0", "--threads", "1", "--json")
    assert (code, err) == (ExitCode.DONE, "")
    assert json.loads(out) == {
        "input": str(tiny),
        "output": str(target),
        "type": "Q4_0",
        "bytes_before": tiny.stat().st_size,
        "bytes_after": target.stat().st_size,
    }
    code, out, _ = run(capsys, tiny, target, "--type", "bf16", "--force")
    assert code == ExitCode.DONE
    assert out.startswith(f"{target}: BF16, ")
    assert matrix_type(read_gguf(target)) == "BF16"


def test_adapters_of_the_source_fit_the_new_file(tiny: Path) -> None:
    """An adapter that names its base model by hash fits the base model's other formats, and no other model."""
    target = tiny.with_name("q8.gguf")
    quantize(Quantisation(source=tiny, target=target, type="Q8_0"), lambda *_: None)
    sha256 = hashlib.sha256(tiny.read_bytes()).hexdigest()
    adapter = read_gguf(write_adapter(tiny.with_name("adapter.gguf"), Lora(base_sha256=sha256)))
    info = check_model(read_gguf(target))
    assert info.source_sha256 == sha256
    assert check_adapter(adapter, info, hashlib.sha256(target.read_bytes()).hexdigest()).is_base_verified


def test_an_unknown_type_is_refused_with_the_list(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the types there are; those that need more than the model say so."""
    code, out, err = run(capsys, tiny, tiny.with_name("out.gguf"), "--type", "Q9")
    assert (code, out) == (ExitCode.BAD_INPUT, "")
    assert f"Choose one of {', '.join(types())}" in err
    assert {"F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0"} <= set(types())
    code, _, err = run(capsys, tiny, tiny.with_name("out.gguf"), "--type", "IQ1_S")
    assert code == ExitCode.BAD_INPUT
    assert "importance matrix" in err
    assert [path.name for path in tiny.parent.iterdir()] == ["tiny.gguf"]


def test_quantising_twice_is_refused(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A source that is quantised already needs --allow-requantize."""
    once, twice = tiny.with_name("once.gguf"), tiny.with_name("twice.gguf")
    assert run(capsys, tiny, once, "--type", "Q8_0")[0] == ExitCode.DONE
    code, _, err = run(capsys, once, twice, "--type", "Q4_0")
    assert code == ExitCode.BAD_INPUT
    assert "quantised already, to Q8_0" in err
    assert not twice.exists()
    assert run(capsys, once, twice, "--type", "Q4_0", "--allow-requantize")[0] == ExitCode.DONE
    assert matrix_type(read_gguf(twice)) == "Q4_0"


def test_targets_that_exist_are_kept(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --force nothing is replaced, with it never the source; a missing folder is named."""
    other = tiny.with_name("other.gguf")
    other.write_text("mine", encoding="utf-8")
    code, _, err = run(capsys, tiny, other, "--type", "Q8_0")
    assert code == ExitCode.BAD_INPUT
    assert "--force" in err
    assert other.read_text(encoding="utf-8") == "mine"
    before = tiny.read_bytes()
    assert run(capsys, tiny, tiny, "--type", "Q8_0", "--force")[0] == ExitCode.BAD_INPUT
    assert tiny.read_bytes() == before
    assert run(capsys, tiny, tiny.parent, "--type", "Q8_0", "--force")[0] == ExitCode.BAD_INPUT
    assert "folder does not exist" in run(capsys, tiny, tiny.parent / "no" / "out.gguf", "--type", "Q8_0")[2]
    code, _, err = run(capsys, tiny, tiny.parent / ("x" * 300), "--type", "Q8_0")
    assert (code, "File name too long" in err) == (ExitCode.FAILURE, True)
    assert run(capsys, tiny.parent / ("x" * 300), tiny.parent / "out.gguf", "--type", "Q8_0")[0] == ExitCode.BAD_INPUT


def test_what_is_no_regular_file_is_kept(
    tiny: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe, a link to one, a socket and the dash of stdout are refused with and without --force."""
    monkeypatch.chdir(tiny.parent)
    pipe, link = tiny.with_name("pipe"), tiny.with_name("link")
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        for path, words in ((pipe, "is a pipe"), (link, "is a pipe"), ("socket", "is a pipe"), ("-", "means stdout")):
            for more in ([], ["--force"]):
                code, out, err = run(capsys, tiny, path, "--type", "Q8_0", *more)
                assert (code, out) == (ExitCode.BAD_INPUT, "")
                assert words in err
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert sorted(path.name for path in tiny.parent.iterdir()) == ["link", "pipe", "socket", "tiny.gguf"]


def test_a_damaged_source_never_reaches_llama_cpp(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the project's own reader refuses is bad input, an adapter included; nothing is left behind."""
    tiny.write_bytes(tiny.read_bytes()[:-100])
    code, _, err = run(capsys, tiny, tiny.with_name("out.gguf"), "--type", "Q8_0")
    assert code == ExitCode.BAD_INPUT
    assert "cut short" in err
    adapter = write_adapter(tiny.with_name("adapter.gguf"))
    assert run(capsys, adapter, tiny.with_name("out.gguf"), "--type", "Q8_0")[0] == ExitCode.BAD_INPUT
    assert sorted(path.name for path in tiny.parent.iterdir()) == ["adapter.gguf", "tiny.gguf"]


def test_a_failure_of_llama_cpp_is_told_and_leaves_nothing(tiny: Path) -> None:
    """What llama.cpp itself refuses comes back with its reason, and the folder is as before."""
    renamed = tiny.read_bytes().replace(b"rms_epsilon", b"rmX_epsilon")
    tiny.write_bytes(renamed)
    with pytest.raises(MachineError, match=r"key not found in model: qwen3\.attention"):
        quantize(Quantisation(source=tiny, target=tiny.with_name("out.gguf"), type="Q8_0"), lambda *_: None)
    assert [path.name for path in tiny.parent.iterdir()] == ["tiny.gguf"]


def test_an_interrupt_leaves_nothing(tiny: Path) -> None:
    """An interrupt while llama.cpp works ends it, and the folder is as before."""

    def interrupt(_at: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize(Quantisation(source=tiny, target=tiny.with_name("out.gguf"), type="Q8_0"), interrupt)
    assert [path.name for path in tiny.parent.iterdir()] == ["tiny.gguf"]


def test_ctrl_c_on_the_command_line(tmp_path: Path) -> None:
    """Ctrl-C in a terminal, which every process of the command gets, is exit code 130 and leaves nothing."""
    command = [sys.executable, "-m", "cascade.cli", "quantize", str(SHIPPED), str(tmp_path / "out.gguf")]
    process = subprocess.Popen(
        [*command, "--type", "IQ3_S", "--threads", "1"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    while not any(path.stat().st_size for path in tmp_path.iterdir()) and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == ExitCode.INTERRUPTED
    assert err == "error: interrupted\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells a process's children")
def test_the_other_process_interrupted_is_an_interrupt(tmp_path: Path) -> None:
    """Ctrl-C that ends llama.cpp's process before this one has heard of it is no failure of llama.cpp."""

    def interrupt_child(_at: int, _total: int) -> None:
        for children in Path("/proc/self/task").glob("*/children"):
            for child in children.read_text(encoding="ascii").split():
                os.kill(int(child), signal.SIGINT)

    wanted = Quantisation(source=SHIPPED, target=tmp_path / "out.gguf", type="IQ3_S", n_threads=1)
    with pytest.raises(KeyboardInterrupt):
        quantize(wanted, interrupt_child)
    assert not list(tmp_path.iterdir())

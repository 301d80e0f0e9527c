"""llama-cpp-python's own server as a child process on loopback, with the shipped model and some adapters."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.speed.server_process import HOST, free_port
from cascade import shipped_config

_START_S = 120.0


@contextmanager
def python_server(folder: Path, adapters: Mapping[str, Path]) -> Iterator[str]:
    """A running server; yields its address. Models are called ``embedded`` and as the adapters are.

    Args:
        folder: For its config and its words.
        adapters: Name -> file.
    """
    port = free_port()
    path = shipped_config().parent / "embedded.gguf"
    model = {"model": str(path), "logits_all": True, "n_ctx": 512, "n_threads": 1}
    loras = [{"model_alias": name, "lora_path": str(lora)} for name, lora in adapters.items()]
    models = [model | {"verbose": False} | entry for entry in ({"model_alias": "embedded"}, *loras)]
    config = folder / "server.json"
    config.write_text(json.dumps({"host": HOST, "port": port, "models": models}), encoding="utf-8")
    with (folder / "server.log").open("wb") as log:
        command = [sys.executable, "-m", "llama_cpp.server", "--config_file", str(config)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        try:
            url = f"http://{HOST}:{port}"
            _wait(process, url, folder / "server.log")
            yield url
        finally:
            process.terminate()
            process.wait(30)


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    ends = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < ends:
        try:
            urllib.request.urlopen(f"{url}/v1/models", timeout=5).close()  # noqa: S310 - our own address
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
        else:
            return
    raise AssertionError(log.read_text(encoding="utf-8"))

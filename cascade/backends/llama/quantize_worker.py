"""The process in which llama.cpp quantises: ``SOURCE TARGET TYPE THREADS REQUANTIZE SHA256``.

It writes a line "reached/all" for each tensor to stdout, and what llama.cpp complains of to stderr.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import Any

import llama_cpp

from cascade.models.base_model import SOURCE_HASH_KEY

_ERROR_LEVEL = 4  # GGML_LOG_LEVEL_ERROR
_TENSOR = re.compile(rb"\[\s*(\d+)/\s*(\d+)\]")
_STRING = 3  # LLAMA_KV_OVERRIDE_TYPE_STR


def _take(level: int, text: bytes, _data: object) -> None:
    """One message of llama.cpp's log."""
    if found := _TENSOR.match(text):
        at, total = found.groups()
        print(f"{at.decode()}/{total.decode()}", flush=True)  # noqa: T201 - the other process reads it
    elif level == _ERROR_LEVEL:
        sys.stderr.write(text.decode("utf-8", "replace"))


def main(arguments: Sequence[str]) -> int:
    """Quantise; see the module."""
    source, target, number, n_threads, requantize, sha256 = arguments
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # a shell's background job heeds no Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own handler would wait for llama.cpp
    os.environ.setdefault("GGML_NO_BACKTRACE", "1")
    log = llama_cpp.llama_log_callback(_take)
    llama_cpp.llama_log_set(log, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    overrides = (llama_cpp.llama_model_kv_override * 2)()  # an empty key ends the list
    overrides[0].tag, overrides[0].key = _STRING, SOURCE_HASH_KEY.encode()
    text: Any = overrides[0].value
    text.val_str = sha256.encode()
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread = int(number), int(n_threads)
    params.allow_requantize = requantize == "1"
    params.kv_overrides = ctypes.cast(overrides, type(params.kv_overrides))
    return int(llama_cpp.llama_model_quantize(os.fsencode(source), os.fsencode(target), ctypes.byref(params)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

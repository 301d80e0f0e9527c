"""The shipped model in a large and in a small context, for tests that compare scores with those of cold prompts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cascade import Config
from cascade.models.model_set import ModelSet, load_model_set
from tests.helpers.rig import LARGE, SMALL, Rig
from tests.helpers.shipped import questions_alone


@pytest.fixture(scope="module")
def config() -> Config:
    """The shipped questions."""
    return questions_alone()


@pytest.fixture(scope="module")
def models(config: Config) -> ModelSet:
    """The shipped files, checked."""
    return load_model_set(config)


@pytest.fixture(scope="module")
def large(models: ModelSet) -> Iterator[Rig]:
    """A context that holds whole requests."""
    rig = Rig(models, LARGE)
    yield rig
    rig.native.close()


@pytest.fixture(scope="module")
def small(models: ModelSet) -> Iterator[Rig]:
    """A context so small that every request is chunked and evicted."""
    rig = Rig(models, SMALL)
    yield rig
    rig.native.close()

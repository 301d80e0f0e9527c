"""What the tests of candidates share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.checkout import Checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """An empty folder in which files can be written and committed."""
    return Checkout(tmp_path / "repo")

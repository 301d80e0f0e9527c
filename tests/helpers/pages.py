"""The pages of this project: every README.md, and what stands on it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NOT_OURS = {"build", "dist", "node_modules"}
PAGES = sorted(
    path.relative_to(ROOT)
    for path in ROOT.rglob("README.md")
    if not any(part.startswith(".") or part in _NOT_OURS for part in path.relative_to(ROOT).parts)
)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@cache
def text_of(page: Path | str) -> str:
    """A page, by its path from the root of the checkout."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: Path | str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return [block for name, block in FENCE.findall(text_of(page)) if name == language]

"""The shipped cascades as tests use them: their questions alone, put to every item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks.shipped import CASCADES, SHIPPED, questions_alone, questions_alone_text
from cascade import Cascade
from cascade.stages import Stage

__all__ = ["ADAPTERS", "CASCADES", "SHIPPED", "questions_alone", "reading", "shipped_text", "write_shipped"]

ADAPTERS = frozenset(name for cascade in CASCADES.values() for name in cascade.adapters())
"""All that answer."""


def reading(cascade: Cascade, most: Mapping[str, int]) -> Cascade:
    """A cascade with stages that read items' texts.

    Args:
        cascade: The cascade.
        most: Stage -> most tokens of the text that it reads.
    """

    def with_text(stage: Stage) -> Stage:
        of_tiers = {
            tier: replace(question, max_text_tokens=most.get(stage.name, 0))
            for tier, question in stage.questions.items()
        }
        return replace(stage, questions=of_tiers)

    return replace(cascade, stages=tuple(map(with_text, cascade.stages)))


def shipped_text(*, profile: bool = True) -> str:
    """The shipped config's text without prior stages and thresholds, for another folder.

    Args:
        profile: Whether the profiles stay.
    """
    return questions_alone_text(profile=profile, is_elsewhere=True)


def write_shipped(path: Path, **thresholds: Path | str) -> Path:
    """The shipped config without prior stages as a file anywhere.

    Args:
        path: The file.
        thresholds: Cascade -> its file of thresholds.
    """
    text = shipped_text()
    for name, file in thresholds.items():
        text = text.replace(f"[cascade.{name}]\n", f'[cascade.{name}]\nthresholds = "{file}"\n')
    path.write_text(text, encoding="utf-8")
    return path

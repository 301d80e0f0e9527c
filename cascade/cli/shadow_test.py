"""What was seen of a version in the shadow: its answers beside the live one's, against what became of the items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cascade.cli.log_file import opened
from cascade.config.schema import Config
from cascade.errors import counted
from cascade.evaluation.paired import Paired, paired
from cascade.log.shadows import ShadowPair, read_shadows

_Question = tuple[str, str, str]  # cascade, stage, tier


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowTest:
    """What was seen.

    Attributes:
        pairs: (cascade, stage, tier) -> the two adapters on the items whose truth is known.
        n_answers: Answers in the shadow.
        n_known: Those whose truth is known.
        n_differ: Those that are another answer than the live one's, at the thresholds in use.
        mean_shift: Mean distance of the two p(yes).
    """

    pairs: Mapping[_Question, Paired]
    n_answers: int
    n_known: int
    n_differ: int
    mean_shift: float

    def as_dict(self) -> dict[str, Any]:
        """JSON form."""
        pairs = [
            {"cascade": cascade, "stage": stage, "tier": tier, **found.as_dict()}
            for (cascade, stage, tier), found in self.pairs.items()
        ]
        return {"answers": self.n_answers, "known": self.n_known, "differ": self.n_differ,
                "mean_shift": self.mean_shift, "test": pairs}  # fmt: skip

    def text(self) -> str:
        """In a sentence."""
        return (
            f"shadow: {counted(self.n_answers, 'answer')}, {self.n_differ:,} of them another than the live one's; "
            f"p(yes) is {self.mean_shift:.3f} apart on average; the truth of {self.n_known:,} is known"
        )


def test_shadow(config: Config, adapter: str, sha256: str) -> ShadowTest | None:
    """What the log has of a version in the shadow; None where it has nothing.

    Args:
        config: Names the log.
        adapter: What cascades call the adapter.
        sha256: SHA-256 of the version's file.
    """
    if config.log is None or not config.log.path.is_file():
        return None
    with opened(config.log.path, None) as (database, _):
        rows = list(read_shadows(database, adapter, sha256))
    if not rows:
        return None
    by_question: dict[_Question, list[ShadowPair]] = {}
    for row in rows:
        by_question.setdefault((row.cascade, row.stage, row.tier), []).append(row)
    return ShadowTest(
        pairs={key: _paired(each) for key, each in by_question.items() if any(row.truth is not None for row in each)},
        n_answers=len(rows),
        n_known=sum(row.truth is not None for row in rows),
        n_differ=sum((row.before >= row.threshold) != (row.after >= row.threshold) for row in rows),
        mean_shift=float(np.mean([abs(row.after - row.before) for row in rows])),
    )


def _paired(rows: list[ShadowPair]) -> Paired:
    before, after = (np.array([getattr(row, name) for row in rows]) for name in ("before", "after"))
    truths = np.array([-1 if row.truth is None else int(row.truth) for row in rows])
    numbers = {task: at for at, task in enumerate(dict.fromkeys(row.task for row in rows))}
    tasks = np.array([numbers[row.task] for row in rows])
    threshold = np.array([row.threshold for row in rows])
    right = ((before >= threshold) == (truths == 1), (after >= threshold) == (truths == 1))
    return paired(before, after, truths, tasks, right)

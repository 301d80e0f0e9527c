"""What was seen of a version in the shadow: its answers beside the live one's, against what became of the items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cascade.cli.log_file import opened
from cascade.config.schema import Config
from cascade.errors import counted
from cascade.evaluation.paired import Paired, paired
from cascade.log.shadows import ShadowPair, read_shadows
from cascade.probability import Array, Ints
from cascade.stages import Answer, Answers
from cascade.tree import Cascade

_Question = tuple[str, str, str]  # cascade, stage, tier


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowTest:
    """What was seen.

    Attributes:
        pairs: (cascade, stage, tier) -> the two adapters on the items whose truth is known.
        n_answers: Answers in the shadow.
        n_known: Those whose truth is known.
        n_differ: Those that are another answer than the live one's, at the thresholds in use.
        mean_shift: Mean distance of the two p(yes); of choices and scores half the sum of that of all values.
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
            f"p is {self.mean_shift:.3f} apart on average; the truth of {self.n_known:,} is known"
        )


def test_shadow(config: Config, adapter: str, sha256: str) -> ShadowTest | None:
    """What the log has of a version in the shadow; None where it has nothing that the config's cascades ask.

    Args:
        config: Names the log.
        adapter: What cascades call the adapter.
        sha256: SHA-256 of the version's file.
    """
    if config.log is None or not config.log.path.is_file():
        return None
    with opened(config.log.path, None) as (database, _):
        by_question: dict[_Question, list[ShadowPair]] = {}
        for pair in read_shadows(database, adapter, sha256):
            by_question.setdefault((pair.cascade, pair.stage, pair.tier), []).append(pair)
    cascades = config.cascades()
    found = {key: each for key, rows in by_question.items() if (each := _seen(cascades, key, rows)) is not None}
    if not found:
        return None
    return ShadowTest(
        pairs={key: each.paired() for key, each in found.items() if each.n_known},
        n_answers=sum(len(each.rows) for each in found.values()),
        n_known=sum(each.n_known for each in found.values()),
        n_differ=sum(each.n_differ for each in found.values()),
        mean_shift=float(np.concatenate([each.shifts for each in found.values()]).mean()),
    )


@dataclass(frozen=True, slots=True)
class _Seen:
    """What two adapters said to one question.

    Attributes:
        rows: The items.
        possible: The sure answers, in order.
        p: p(yes), (n,), or p of the values of a choice or score, (n, values), of the live one and of the other.
        by_answer: The same, or p of the sure answers, (n, answers).
        answers: Place of either's answer to each item among those possible, -1 for uncertain; (n,).
    """

    rows: list[ShadowPair]
    possible: list[Answer]
    p: tuple[Array, Array]
    by_answer: tuple[Array, Array]
    answers: tuple[Ints, Ints]

    @property
    def n_known(self) -> int:
        """Items whose truth is known."""
        return sum(row.truth is not None for row in self.rows)

    @property
    def n_differ(self) -> int:
        """Items that the two answer differently."""
        before, after = self.answers
        return int((before != after).sum())

    @property
    def shifts(self) -> Array:
        """How far apart the two are of each item; (n,), in [0, 1]."""
        before, after = self.p
        apart = np.abs(after - before)
        return apart if apart.ndim == 1 else np.asarray(apart.sum(axis=1) / 2)

    def paired(self) -> Paired:
        """The two on the items whose truth is known."""
        numbers = {task: at for at, task in enumerate(dict.fromkeys(row.task for row in self.rows))}
        tasks = np.array([numbers[row.task] for row in self.rows])
        possible = self.possible
        truths = np.array([possible.index(row.truth) if row.truth in possible else -1 for row in self.rows])
        before, after = self.answers
        return paired(*self.by_answer, truths, tasks, (before == truths, after == truths))


def _seen(cascades: Mapping[str, Cascade], key: _Question, rows: list[ShadowPair]) -> _Seen | None:
    """What was said to a question; None to a choice or score that the cascades do not ask now."""
    name, stage_name, tier = key
    if tuple(rows[0].after) == (tier,):
        before, after = (p[:, 0] for p in _said(rows, (tier,)))
        threshold = np.array([row.threshold for row in rows])
        answers = [Answers.sure(p >= threshold).places for p in (before, after)]
        return _Seen(rows, [False, True], (before, after), (before, after), (answers[0], answers[1]))
    stages = cascades[name].stages if name in cascades else ()
    stage = next((each for each in stages if each.name == stage_name and each.has_values), None)
    rows = [row for row in rows if stage is not None and set(row.before) == set(row.after) == set(stage.columns)]
    if stage is None or not rows:
        return None
    before, after = _said(rows, stage.columns)
    by_answer = stage.by_answer(before), stage.by_answer(after)
    answers = [stage.answers(p).places for p in (before, after)]
    return _Seen(rows, list(stage.sure_ways), (before, after), by_answer, (answers[0], answers[1]))


def _said(rows: list[ShadowPair], columns: Sequence[str]) -> tuple[Array, Array]:
    """What the live one said, and the other, by column; (n, columns) each."""
    before, after = (
        np.array([[of[column] for column in columns] for of in each])
        for each in ([row.before for row in rows], [row.after for row in rows])
    )
    return before, after

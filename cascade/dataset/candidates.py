"""What a log has of each item that may be worth a look: what the cascade said, how sure it was, what is known."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cascade.dataset.known import REST, REVIEW, SAMPLED, WRONG, Known, Reading, family, known
from cascade.dataset.tally import Drawn
from cascade.log.judged import JudgedCall, JudgedDecision, judged_decisions
from cascade.log.outcomes import LoggedOutcome
from cascade.log.store import read_outcomes_of
from cascade.stages import Answer
from cascade.tree import Cascade

_LEAST_P = 1e-6  # of a probability, so that its log odds stay finite


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An item of a task, as it was judged last.

    Attributes:
        decision: What the cascade said.
        label: Its true label; empty where it is not known.
        source: Who says so; empty likewise.
        is_reviewed: Whether a person has looked at it.
        is_wrong: Whether the label that it got is known to be wrong.
        sureness: How far in log odds its least sure answer lies from where it would have been another one, or its
            surest wrong answer if it is wrong; at least 0.
        p: The probability with which it was drawn at random; 0 where it was not.
    """

    decision: JudgedDecision
    label: str
    source: str
    is_reviewed: bool
    is_wrong: bool
    sureness: float
    p: float = 0.0

    @property
    def name(self) -> tuple[str, str]:
        """Task and item."""
        return self.decision.task, self.decision.item

    @property
    def drawn(self) -> Drawn:
        """What it tells of rates, if it was drawn."""
        return Drawn(p=self.p, given=self.decision.label, label=self.label, source=self.source)


def candidates(
    database: sqlite3.Connection,
    cascade: Cascade,
    reading: Reading,
    since: float = 0.0,
    progress: Callable[[], object] = lambda: None,
) -> list[Candidate]:
    """All items that a cascade has judged since a time, each as it was judged last.

    Args:
        database: The log.
        cascade: The cascade.
        reading: How outcomes are read.
        since: Seconds since the epoch.
        progress: Called for each item.
    """
    outcomes: dict[tuple[str, str], list[LoggedOutcome]] = {}
    for one in read_outcomes_of(database):
        outcomes.setdefault((one.task, one.item), []).append(one)
    truths = cascade.true_answers()
    found: dict[tuple[str, str], Candidate] = {}
    for decision in judged_decisions(database, cascade.name, since):
        own = outcomes.get((decision.task, decision.item), [])
        told = known(own, decision.label, reading)
        found[decision.task, decision.item] = _candidate(decision, own, told, truths)
        progress()
    return list(found.values())


def _candidate(
    decision: JudgedDecision, outcomes: list[LoggedOutcome], told: Known, truths: dict[str, dict[str, Answer]]
) -> Candidate:
    label, source = (told.claim.label, told.claim.source) if told.claim is not None else ("", "")
    said = [one.value > 1 / 2 for one in outcomes if one.what == WRONG]
    is_wrong = label != decision.label if label else bool(said and said[-1])
    distances = [_distance(call) for call in decision.calls]
    wrong = [
        _distance(call)
        for call in decision.calls
        if is_wrong and call.answer is not None and truths.get(label, {}).get(call.stage, call.answer) != call.answer
    ]
    sampled = [one.value for one in outcomes if one.what == SAMPLED]
    return Candidate(
        decision=decision,
        label=label,
        source=source,
        is_reviewed=any(family(one.source) == REVIEW for one in outcomes if one.what != SAMPLED),
        is_wrong=is_wrong,
        sureness=max(wrong) if wrong else min(distances) if distances else _of_label(decision),
        p=sampled[-1] if sampled else 0.0,
    )


def _distance(call: JudgedCall) -> float:
    """How far in log odds an answer lies from where it would have been another one; 0 where it was uncertain."""
    if call.answer is None:
        return 0.0
    if call.p_yes is not None:
        limits = {call.threshold, call.threshold if call.no_below is None else call.no_below}
        return min(abs(_logit(call.p_yes) - _logit(limit)) for limit in limits)
    first, second = sorted([*(call.probabilities or {}).values(), 0.0, 0.0], reverse=True)[:2]
    return math.log(max(first, _LEAST_P) / max(second, _LEAST_P))


def _of_label(decision: JudgedDecision) -> float:
    """How sure a label is that no answer tells of."""
    return abs(_logit(decision.p_label)) if decision.p_label is not None else 0.0


def _logit(p: float) -> float:
    held = min(max(p, _LEAST_P), 1 - _LEAST_P)
    return math.log(held / (1 - held))


def drawn_of(found: list[Candidate]) -> Iterator[Drawn]:
    """What those that were drawn at random tell of rates."""
    return (one.drawn for one in found if one.p > 0 and one.source != REST)

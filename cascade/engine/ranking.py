"""One order of decisions: by how likely each item has the first label that is kept, or by labels. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from cascade.items import Item
from cascade.profile import DEFAULT_PASS_RATE
from cascade.report import Decision
from cascade.stages import Answer, Stage
from cascade.tree import Cascade


def p_shown(decision: Decision, cascade: Cascade, prior: float | None = None) -> float:
    """The p that stands beside a decision: of the leading label, or of its own label where a stage is a choice.

    The labels of a choice are kinds, such as ``bug`` and ``docs``, and no steps of one scale. The p of a label is the
    sum over all ways to it. An item that is handed on has the p of its likeliest label. See ``p_leading``.
    """
    if not _is_of_kinds(cascade):
        return p_leading(decision, cascade, prior)
    p, start = _p_yes(decision, cascade), _start(decision, cascade)
    labels = [decision.label] if decision.label in cascade.answers else cascade.answers
    return max(_p_from(start, label, decision, cascade, p) for label in labels)


def _is_of_kinds(cascade: Cascade) -> bool:
    return any(stage.has_values and not stage.cuts for stage in cascade.stages)


def _p_from(stage: Stage, label: str, decision: Decision, cascade: Cascade, p: Mapping[str, float]) -> float:
    """P that the ways from a stage on end at a label."""
    found = 0.0
    for answer, target in stage.sure_ways.items():
        if target.is_label:
            onward = float(target.name == label)
        else:
            onward = _p_from(cascade.stage(target.name), label, decision, cascade, p)
        if onward:
            found += onward * _p_answer(decision, stage, answer, p)
    return found


def p_leading(decision: Decision, cascade: Cascade, prior: float | None = None) -> float:
    """P that an item has the leading label, as far as it was asked, in [0, 1].

    The leading label is the first that is not dropped, such as ``primary``. A stage on the way to it that the item was
    not asked counts as even. Where an uncertain answer has led to a stage off that way, such as one that asks a larger
    model the same, the way begins there. Where a prior stage settles some items, the item's prior, such as the
    ranker's, stands in place of the first question's p, since on commits that puts more of what was changed first;
    without one, the p of the prior stage does. Where every item is asked, the answers are all that counts.

    Args:
        decision: What was answered.
        cascade: Whose decision it is.
        prior: The item's prior, in [0, 1]; None where it has none.
    """
    p = _p_asked(decision, cascade, prior)
    shares = cascade.shares(_leading(cascade), _start(decision, cascade))
    found = float(any(shares.values()))
    for stage in cascade.stages:
        for answer in (answer for answer in stage.sure_ways if shares[stage.name, answer] == 1):
            found *= _p_answer(decision, stage, answer, p)
    return found


def p_of(labels: Collection[str], decision: Decision, cascade: Cascade, prior: float | None = None) -> float:
    """P that an item has one of some labels, as far as it was asked, in [0, 1]: the sum over all ways to them.

    A stage on a way that the item was not asked counts as even; see ``p_leading`` for what else is counted.

    Args:
        labels: The labels; those that only uncertain answers lead to have no way of their own and count nothing.
        decision: What was answered.
        cascade: Whose decision it is.
        prior: The item's prior, in [0, 1]; None where it has none.
    """
    p, start = _p_asked(decision, cascade, prior), _start(decision, cascade)
    return float(sum(_p_from(start, label, decision, cascade, p) for label in cascade.answers if label in labels))


def _p_answer(decision: Decision, stage: Stage, answer: Answer, p: Mapping[str, float]) -> float:
    """P of one answer of a stage, from what is known of its yes."""
    if stage.has_values:
        return _p_value(decision, stage, answer)
    p_yes = p.get(stage.name, DEFAULT_PASS_RATE)
    return p_yes if answer else 1 - p_yes


def _start(decision: Decision, cascade: Cascade) -> Stage:
    """Where the item's way of yes and no begins: the first stage, or where an uncertain answer has led it last."""
    start = cascade.first
    asked: dict[str, dict[str, float]] = defaultdict(dict)
    for step in decision.steps:
        asked[step.stage][step.tier] = step.p_yes
    for stage in cascade.in_order():
        target = stage.uncertain
        if target is None or target.is_label or stage.name not in asked or target.name not in asked:
            continue
        if stage.answer(asked[stage.name]) is None and target.name not in cascade.sure_stages(start):
            start = cascade.stage(target.name)
    return start


def ranked(
    decisions: Sequence[Decision], cascade: Cascade, items: Mapping[str, Item], *, with_dropped: bool
) -> list[Decision]:
    """Decisions in order, the likeliest first; what is dropped comes after all that is kept, or is left out.

    Where a stage is a choice, they stand by label, in the cascade's order of labels, and then by its p.

    Args:
        decisions: What to put in order.
        cascade: Whose decisions they are.
        items: Their items by id.
        with_dropped: Whether what is dropped is shown.
    """
    kept = [one for one in decisions if with_dropped or one.label != cascade.dropped]
    place = {label: at if _is_of_kinds(cascade) else 0 for at, label in enumerate(cascade.labels)}

    def order(one: Decision) -> tuple[bool, int, float]:
        return one.label == cascade.dropped, place[one.label], -p_shown(one, cascade, items[one.id].prior)

    return sorted(kept, key=order)


def _leading(cascade: Cascade) -> str:
    return next((label for label in cascade.answers if label != cascade.dropped), cascade.dropped)


def _p_value(decision: Decision, stage: Stage, answer: Answer) -> float:
    """P of an answer of a choice or score; as likely as any other where it was not asked."""
    step = next((step for step in decision.steps if step.stage == stage.name), None)
    if step is None:
        return 1 / len(stage.sure_ways)
    return float(stage.p_of_answers(np.array([list(step.probabilities.values())]))[answer][0])


def _p_asked(decision: Decision, cascade: Cascade, prior: float | None) -> dict[str, float]:
    """Stage -> P that it says yes, where the item's prior may stand in place of the first question's."""
    p = _p_yes(decision, cascade)
    if prior is not None and cascade.prior_stage is not None:
        p[cascade.first.name] = prior
    return p


def _p_yes(decision: Decision, cascade: Cascade) -> dict[str, float]:
    """Stage -> P that it says yes."""
    scores: dict[str, dict[str, float]] = defaultdict(dict)
    for step in decision.steps:
        if not step.probabilities:
            scores[step.stage][step.tier] = step.p_yes
    prior = scores.pop(cascade.prior_stage.name, None) if cascade.prior_stage is not None else None
    found = {name: cascade.stage(name).joined_p(tiers)[0] for name, tiers in scores.items()}
    if prior is not None:
        found.setdefault(cascade.first.name, *prior.values())
    return found

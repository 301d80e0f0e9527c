"""Passages of a framework as items, and which of them a cascade keeps. Pure: the same for every framework."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cascade.engine.ranking import p_of
from cascade.errors import InputError
from cascade.items import Group, Item
from cascade.report import Decision, Report, Status
from cascade.tree import Cascade

Order = Literal["given", "p"]
Uncertain = Literal["keep", "drop"]
Undecided = Literal["keep", "drop", "likeliest"]

_CUT_SHORT = (Status.DEPTH_CAP, Status.DEADLINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A document or node as a framework retrieved it.

    Attributes:
        text: What is judged.
        name: What it is called; empty for nothing.
        group: What it is a part of, such as its file; passages of one group share that part of the prompt.
    """

    text: str
    name: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Which passages are kept, and in which order.

    Attributes:
        labels: The labels that are kept; empty for all but the one that the cascade drops.
        top_n: Most passages that are kept, those with the highest p; None for no limit.
        order: ``given`` keeps the order of the framework; ``p`` puts the likeliest first.
        uncertain: What becomes of a passage that is handed on, under a label that is not among ``labels``.
        undecided: What becomes of one that time or depth cut short; ``likeliest`` goes by its likeliest label.
    """

    labels: tuple[str, ...] = ()
    top_n: int | None = None
    order: Order = "given"
    uncertain: Uncertain = "keep"
    undecided: Undecided = "keep"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What a cascade said of a passage.

    Attributes:
        at: Its number in the order of the framework, from 0.
        p: Probability in [0, 1] that it has one of the labels that are kept, as far as it was asked; six places, so
            that what is equally likely stays in order.
        label_is_kept: Whether its label is one of those.
        decision: Its label and the steps that led to it.
    """

    at: int
    p: float
    label_is_kept: bool
    decision: Decision

    def as_dict(self) -> dict[str, Any]:
        """What stands in the passage's metadata: ``label``, ``p``, ``status`` and ``steps``."""
        told = self.decision.as_dict()
        del told["id"]
        return {"label": told.pop("label"), "p": self.p, **told}


def named(metadata: Mapping[str, Any], keys: Iterable[str]) -> str:
    """The first of some keys that has a value, as text; empty if none has."""
    return next((text for key in keys if (text := str(metadata.get(key) or "").strip())), "")


def items_of(passages: Sequence[Passage], cascade: Cascade, kind: str) -> list[Item]:
    """Passages as the items of a cascade; their ids are their numbers, and the first ones come first if time is short.

    The text is the item's ``text``. Where a stage reads the item's line alone it is the item's ``doc`` as well.

    Args:
        passages: The passages, best first.
        cascade: Whose items they become.
        kind: What a passage is, in a word or two.
    """
    shows = any(not question.max_text_tokens for question in cascade.questions())
    return [
        Item(
            id=str(at),
            kind=kind,
            name=passage.name,
            doc=passage.text if shows else "",
            text=passage.text,
            group=Group(name=passage.group) if passage.group else None,
            priority=-float(at),
        )
        for at, passage in enumerate(passages)
    ]


def labels_kept(rules: Rules, cascade: Cascade) -> tuple[str, ...]:
    """The labels that rules keep.

    Raises:
        InputError: The cascade has no such label.
    """
    unknown = [label for label in rules.labels if label not in cascade.labels]
    if unknown:
        msg = f"Cascade {cascade.name!r} has no label {unknown[0]!r}; it has {', '.join(cascade.labels)}."
        raise InputError(msg)
    return rules.labels or tuple(label for label in cascade.answers if label != cascade.dropped)


def judged_of(report: Report, cascade: Cascade, rules: Rules) -> list[Judged]:
    """What was said of each passage, in their order.

    Args:
        report: The answer about the items that ``items_of`` made.
        cascade: Whose decisions they are.
        rules: Say which labels are kept.
    """
    labels = labels_kept(rules, cascade)
    return [
        Judged(
            at=at,
            p=round(p_of(labels, decision, cascade), 6),
            label_is_kept=decision.label in labels,
            decision=decision,
        )
        for at, decision in enumerate(report.decisions)
    ]


def kept_of(judged: Iterable[Judged], rules: Rules) -> list[Judged]:
    """The passages that are kept, in the order of the rules."""
    best = sorted((one for one in judged if _is_kept(one, rules)), key=lambda one: -one.p)[: rules.top_n]
    return best if rules.order == "p" else sorted(best, key=lambda one: one.at)


def _is_kept(judged: Judged, rules: Rules) -> bool:
    status = judged.decision.status
    if status in _CUT_SHORT and rules.undecided != "likeliest":
        return rules.undecided == "keep"
    if status is Status.UNCERTAIN and not judged.label_is_kept:
        return rules.uncertain == "keep"
    return judged.label_is_kept

"""A cascade with a choice and a score, and what a script says of its items."""

from __future__ import annotations

from cascade import Item
from cascade.stages import ANY_TIER, BASE, Question, Stage, Target, Value
from cascade.tree import Cascade

KINDS = ("none", "bug", "wish")
LEVELS = ("can wait", "this week", "today")


def label(name: str) -> Target:
    """Leads to a label."""
    return Target(name, is_label=True)


def tickets(least: float = 0.0, cuts: tuple[float, ...] = (0.5, 1.5)) -> Cascade:
    """Tickets: a choice whose value ``bug`` leads on to a score, and with a least confidence to a review.

    Args:
        least: The least confidence of the choice.
        cuts: Cut points of the score.
    """
    kind = Question(
        marker="kind", wording="what is it?", adapter="kinds", threshold=least, values=tuple(map(Value, KINDS))
    )
    urgency = Question(
        marker="urgency",
        wording="how urgent is it?",
        adapter=BASE,
        threshold=0.0,
        values=tuple(map(Value, LEVELS)),
        is_scale=True,
    )
    return Cascade(
        name="tickets",
        instructions="Sort tickets.",
        labels=("dropped", "wish", "later", "soon", "now", *(["review"] if least else [])),
        stages=(
            Stage(
                name="kind",
                questions={ANY_TIER: kind},
                next={"none": label("dropped"), "bug": Target("urgency", is_label=False), "wish": label("wish")},
                uncertain=label("review") if least else None,
            ),
            Stage(
                name="urgency",
                questions={ANY_TIER: urgency},
                next=dict(zip(("0", "1", "2"), map(label, ("later", "soon", "now")), strict=True)),
                cuts=cuts,
            ),
        ),
    )


def says(adapter: str, prompt: str) -> tuple[float, ...]:
    """The percents that stand in an item's name: ``k70_20_10__u0_10_90``, for the choice and for the score."""
    name = prompt.split("<|item|>")[1].split("<|ask|>", maxsplit=1)[0].rsplit(maxsplit=1)[-1]
    part = next(part for part in name.split("__") if part[0] == ("k" if adapter == "kinds" else "u"))
    return tuple(int(percent) / 100 for percent in part[1:].split("_"))


def item(at: int, kind: str, urgency: str = "100_0_0") -> Item:
    """An item of which ``says`` reads percents."""
    return Item(id=str(at), kind="ticket", name=f"k{kind}__u{urgency}")

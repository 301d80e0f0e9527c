"""The chart of a learning curve: how good an adapter becomes with ever more tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cascade.audit.html.draw import Picture, colour, scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def curve_picture(curve: Mapping[str, Any]) -> Picture:
    """The picture of a curve.

    Args:
        curve: From ``cascade.training.curve.learning_curve``.
    """
    before, *points = curve["points"]

    def draw(axes: Axes) -> None:
        x = [point["tasks"] for point in points]
        y = [point["log_loss"] for point in points]
        widths = [(point["gain"] or {}).get("half_width") or 0.0 for point in points]
        axes.errorbar(x, y, yerr=widths, fmt="o-", color=colour("first"), label="trained", clip_on=False)
        axes.axhline(before["log_loss"], color=colour("quiet"), linestyle=(0, (3, 2)), linewidth=1.5, label="before")
        axes.set_xscale("log", base=2)
        axes.set_xticks(x, [f"{size:,}" for size in x])
        axes.minorticks_off()
        axes.set_xlabel("training tasks")
        axes.set_title("log loss on the validation part")
        scale(axes.yaxis)

    enough = curve["enough_from"]
    told = "more tasks still help" if enough is None else f"{enough:,} tasks are enough"
    return Picture(name=f"{curve['adapter']}-curve", title=f"{curve['adapter']}: {told}", draw=draw)

"""Pictures of a comparison: latency, cost by adapter, what sharing saves, throughput, predictions, baselines.

Those of requests with budgets show quality by budget, and how far over budget they ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from cascade.audit.html.draw import prepare
from cascade.config.figures import Figure
from cascade.files import write_whole

Figures = Mapping[str, Any]
"""What ``compare`` or ``measure_budgets`` returns."""

Draw = Callable[[Any, Figures], None]
"""Draws figures on axes of matplotlib."""

_WINDOW_MS = 50.0  # over budget or left of it


def write_plots(figures: Figures, folder: Path) -> list[Path]:
    """Write PNG files into a folder, which is made if absent; returns their paths.

    Raises:
        MachineError: There is no matplotlib, or the folder cannot be written.
    """
    drawings: dict[str, Draw] = {
        "latency": _latency,
        "stages": _stages,
        "reuse": _reuse,
        "waves": _waves,
    }
    if figures["predictions"]:
        drawings["prediction"] = _prediction
    if figures["baselines"]:
        drawings["baselines"] = _baselines
    return _draw_all(figures, folder, drawings)


def write_budget_plots(figures: Figures, folder: Path) -> list[Path]:
    """Write PNG files into a folder, which is made if absent; returns their paths.

    Raises:
        MachineError: There is no matplotlib, or the folder cannot be written.
    """
    drawings: dict[str, Draw] = {"overshoot": _overshoot}
    if figures["anytime"]:
        drawings["anytime"] = _anytime
    if figures["predictions"]:
        drawings["prediction"] = _prediction
    return _draw_all(figures, folder, drawings)


def _draw_all(figures: Figures, folder: Path, drawings: Mapping[str, Draw]) -> list[Path]:
    """Write one PNG file a drawing, which the drawing's name gives its own; returns their paths."""
    figure_class = prepare(folder)
    paths = []
    for title, draw in drawings.items():
        figure = figure_class(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        draw(axes, figures)
        axes.spines[["top", "right"]].set_visible(False)
        paths.append(folder / f"{figures['workload']}-{title}.png")
        picture = BytesIO()
        figure.savefig(picture, dpi=120)
        write_whole(paths[-1], picture.getvalue())
    return paths


def _latency(axes: Any, figures: Figures) -> None:
    """Share of decisions settled by a time."""
    settled = sorted(figures["settled_ms"])
    axes.step([0, *settled], [at / len(settled) for at in range(len(settled) + 1)], where="post")
    for name, value in figures["decision_ms"].items():
        axes.axvline(value, linestyle=":", color="grey")
        axes.annotate(name, (value, 0.02), rotation=90, ha="right")
    axes.set(xlabel="ms since the request", ylabel="share of decisions", title=f"{figures['workload']}: latency")


def _stages(axes: Any, figures: Figures) -> None:
    """Time and queries of each adapter's waves."""
    ms: dict[str, float] = defaultdict(float)
    queries: dict[str, int] = defaultdict(int)
    for wave in figures["waves"]:
        ms[wave["adapter"]] += wave["elapsed_ms"]
        queries[wave["adapter"]] += wave["queries"]
    bars = axes.bar(list(ms), list(ms.values()))
    axes.bar_label(bars, [f"{queries[name]} calls" for name in ms])
    axes.set(ylabel="ms", title=f"{figures['workload']}: cost by adapter, what its waves compute anew included")


def _reuse(axes: Any, figures: Figures) -> None:
    """Tokens of all prompts: saved by each kind of sharing, and decoded."""
    reuse = figures["reuse"]
    parts = {
        "decoded": figures["tokens_decoded_per_item"] * figures["items"],
        "item shared by stages": reuse["saved_by_item"],
        "group header shared": reuse["saved_by_group"],
        "task prefix shared": reuse["saved_by_task"],
    }
    bars = axes.barh(list(parts), list(parts.values()))
    axes.bar_label(bars, [f"{value / reuse['asked']:.0%}" for value in parts.values()])
    axes.set(xlabel="tokens", title=f"{figures['workload']}: of {reuse['asked']} tokens of all prompts")


def _waves(axes: Any, figures: Figures) -> None:
    """Tokens per second of waves by their size, beside llama.cpp's best."""
    for adapter in dict.fromkeys(wave["adapter"] for wave in figures["waves"]):
        own = [wave for wave in figures["waves"] if wave["adapter"] == adapter]
        rates = [1_000 * wave["tokens"] / wave["elapsed_ms"] for wave in own]
        axes.plot([wave["tokens"] for wave in own], rates, "o", label=adapter)
    axes.axhline(figures["best_rate"], linestyle=":", color="grey", label="llama.cpp on one plain prompt")
    axes.set(xscale="log", xlabel="tokens of a wave", ylabel="tokens/s", title=f"{figures['workload']}: throughput")
    axes.legend()


def _prediction(axes: Any, figures: Figures) -> None:
    """What waves took over what was predicted; on the diagonal the two are equal."""
    predicted, actual = zip(*figures["predictions"], strict=True)
    ends = min(*predicted, *actual), max(*predicted, *actual)
    axes.plot(ends, ends, linestyle=":", color="grey")
    axes.plot(predicted, actual, ".", alpha=0.5)
    title = f"{figures['workload']}: what waves take, median error {figures['prediction_error']['p50']:.1%}"
    axes.set(xscale="log", yscale="log", xlabel="predicted ms", ylabel="ms", title=title)


def _baselines(axes: Any, figures: Figures) -> None:
    """Wall time of each baseline over ours."""
    ratios = {baseline["setting"]: baseline["ratio"] for baseline in figures["baselines"].values()}
    bars = axes.barh(list(ratios), list(ratios.values()))
    axes.bar_label(bars, [f"{value:.1f}x" for value in ratios.values()])
    axes.axvline(1, linestyle=":", color="grey")
    axes.set(xlabel="wall time over ours", title=f"{figures['workload']}: what a user would pick instead")


def _anytime(axes: Any, figures: Figures) -> None:
    """Accuracy and recall over rows of either cascade by budget."""
    for name in dict.fromkeys(entry["cascade"] for entry in figures["anytime"]):
        own = [entry for entry in figures["anytime"] if entry["cascade"] == name]
        shares = [entry["share"] for entry in own]
        (line,) = axes.plot(shares, [entry["accuracy"] for entry in own], "o-", label=f"{name}: accuracy")
        recalls = [
            (entry["share"], entry["recall_over_rows"]) for entry in own if entry["recall_over_rows"] is not None
        ]
        axes.plot(
            *zip(*recalls, strict=True), "o--", color=line.get_color(), label=f"{name}: {Figure.RECALL_OVER_ROWS.words}"
        )
    axes.axvline(1, linestyle=":", color="grey")
    axes.set(xlabel="budget over the time in full", ylim=(0, 1.02), title="quality by budget, requests alone")
    axes.legend()


def _overshoot(axes: Any, figures: Figures) -> None:
    """Requests by milliseconds over budget; those far off stand at the borders."""
    clipped = [min(max(value, -_WINDOW_MS), _WINDOW_MS) for value in figures["over_ms"]]
    axes.hist(clipped, bins=100, range=(-_WINDOW_MS, _WINDOW_MS))
    axes.axvline(0, linestyle=":", color="grey")
    late = figures["overshoot"]
    title = f"over budget: {late['over']:.1%}, by more than 10 ms: {late['over_10_ms']:.1%}"
    axes.set(xlabel=f"ms over budget, cut at {_WINDOW_MS:.0f}", ylabel="requests", yscale="symlog", title=title)

"""Pictures of a comparison: latency, cost by stage, what sharing saves, throughput by wave, predictions, peers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from cascade.audit.html.draw import prepare
from cascade.files import write_whole

Figures = Mapping[str, Any]
"""What ``compare`` returns."""

Draw = Callable[[Any, Figures], None]
"""Draws figures on axes of matplotlib."""


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
        drawings["prediction"] = prediction
    if figures["peers"]:
        drawings["peers"] = _peers
    return draw_all(figures, folder, figures["workload"], drawings)


def draw_all(figures: Figures, folder: Path, name: str, drawings: Mapping[str, Draw]) -> list[Path]:
    """Write one PNG file a drawing into a folder, which is made if absent; returns their paths.

    Args:
        figures: What is drawn.
        folder: Where.
        name: What the files' names begin with.
        drawings: What they go on with, and what draws each.

    Raises:
        MachineError: There is no matplotlib, or the folder cannot be written.
    """
    figure_class = prepare(folder)
    paths = []
    for title, draw in drawings.items():
        figure = figure_class(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        draw(axes, figures)
        axes.spines[["top", "right"]].set_visible(False)
        paths.append(folder / f"{name}-{title}.png")
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


def prediction(axes: Any, figures: Figures) -> None:
    """What waves took over what was predicted; on the diagonal the two are equal."""
    predicted, actual = zip(*figures["predictions"], strict=True)
    ends = min(*predicted, *actual), max(*predicted, *actual)
    axes.plot(ends, ends, linestyle=":", color="grey")
    axes.plot(predicted, actual, ".", alpha=0.5)
    title = f"{figures['workload']}: what waves take, median error {figures['prediction_error']['p50']:.1%}"
    axes.set(xscale="log", yscale="log", xlabel="predicted ms", ylabel="ms", title=title)


def _peers(axes: Any, figures: Figures) -> None:
    """Wall time of each peer over ours."""
    ratios = {peer["setting"]: peer["ratio"] for peer in figures["peers"].values()}
    bars = axes.barh(list(ratios), list(ratios.values()))
    axes.bar_label(bars, [f"{value:.1f}x" for value in ratios.values()])
    axes.axvline(1, linestyle=":", color="grey")
    axes.set(xlabel="wall time over ours", title=f"{figures['workload']}: what a user would pick instead")

"""The charts of the report, one function each: what it shows, its numbers as a table, and how matplotlib draws it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from cascade.audit.errors import SliceErrors, slices, slices_of
from cascade.audit.html.draw import Chart, Table, cell_colours, colour, name_ticks, scale
from cascade.audit.html.subject import SHARES, Bin, Calibration, Subject, cost_of
from cascade.audit.questions import question_name
from cascade.audit.rates import LEVEL, Rate, rate
from cascade.config.figures import Figure
from cascade.errors import counted
from cascade.evaluation.metrics import accuracy, macro_f1
from cascade.evaluation.replay import Outcome
from cascade.tuning.objective import Cost

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RECALL, _F1 = Figure.RECALL_PER_TASK.words, Figure.MACRO_F1_OVER_ROWS.words
_DASHES = (0, (3, 2))
_COSTS = {Cost.CALLS: ("calls", "calls per item"), Cost.FALSE_POSITIVES: ("false alarms", "false positives per item")}
_MOST_SLICES = 14
_ENDS = (0.1, 0.2, 0.5, 1.0)  # of the axes of a calibration: rare answers need a closer look


def pareto_fronts(subject: Subject, guaranteed: float | None = None) -> list[Chart]:
    """Each cost that thresholds change against recall; none where they decide nothing or nothing matters.

    Args:
        subject: What it is about.
        guaranteed: The recall per task that the thresholds were tuned for; None where they were not.
    """
    own = subject.outcome
    if own is None:
        return []
    found = {cost: subject.front(cost) for cost in _COSTS}
    return [_front(cost, outcomes, own, guaranteed) for cost, outcomes in found.items() if len(outcomes) > 1]


def _front(cost: Cost, outcomes: Sequence[Outcome], own: Outcome, guaranteed: float | None) -> Chart:
    name, unit = _COSTS[cost]
    least = min(own.recall_per_task, *(found.recall_per_task for found in outcomes), guaranteed or 1.0)
    caption = (
        f"The thresholds in use come to a {_RECALL} of {own.recall_per_task:.3f} at {cost_of(cost, own):.2f} {unit}. "
    )
    if guaranteed is not None:
        caption += f"Guaranteed was a {_RECALL} of {guaranteed:g}. "

    def draw(axes: Axes) -> None:
        if guaranteed is not None:
            axes.axhline(guaranteed, color=colour("quiet"), linestyle=_DASHES, label="guaranteed")
        costs, recalls = [cost_of(cost, at) for at in outcomes], [at.recall_per_task for at in outcomes]
        axes.plot(costs, recalls, color=colour("first"), label="cheapest thresholds")
        place = [cost_of(cost, own)], [own.recall_per_task]
        axes.plot(*place, "o", color=colour("second"), markersize=9, label="in use", clip_on=False)
        axes.set_xlim(left=max(0.0, axes.get_xlim()[0]))
        axes.set_ylim(np.floor(least * 10) / 10, 1)
        axes.set(xlabel=unit, title=_RECALL)
        scale(axes.xaxis)
        scale(axes.yaxis, is_share=True)

    rows = [("in use", own), *(("cheapest", outcome) for outcome in outcomes[::-3])]
    return Chart(
        name=f"front-{name.replace(' ', '-')}",
        title=f"What missing little costs in {name}",
        caption=f"{caption}The line is found and measured on the same tasks, so it flatters a little.",
        draw=draw,
        table=Table(
            head=("thresholds", _RECALL, "calls per item", "false positives per item"),
            rows=tuple(
                (kind, f"{at.recall_per_task:.3f}", f"{at.calls:.3f}", f"{at.false_positives:.3f}") for kind, at in rows
            ),
        ),
    )


def anytime(subject: Subject) -> Chart:
    """Share of the calls that are made against what they find: items in the order of the prior, and depth by depth."""
    depths, found = subject.depths(), subject.recall_by_share()
    rows = [(f"depth {at}", f"{share:.0%}", "-", f"{f1:.3f}") for at, (share, f1) in enumerate(depths, 1)]
    caption = "All items get the first question before some get the next: each point is one depth. "
    if found is not None:
        half = float(np.interp(0.5, SHARES, found[0]) / max(found[0][-1], 1e-9))
        caption += (
            "The lines ask items one after the other to their end, likeliest by the prior first: half of the calls "
            f"find {half:.0%} of what all of them find."
        )
        recalls = zip(SHARES[::2], found[0][::2], strict=True)
        rows += [("likeliest first", f"{share:.0%}", f"{recall:.3f}", "-") for share, recall in recalls]

    def draw(axes: Axes) -> None:
        axes.plot(*zip(*depths, strict=True), "o", color=colour("second"), label=f"{_F1} after depth", clip_on=False)
        if found is not None:
            likeliest, any_order = found
            axes.plot(SHARES, likeliest, color=colour("first"), label=f"{_RECALL}, likeliest first")
            axes.plot(SHARES, any_order, color=colour("quiet"), linestyle=_DASHES, label=f"{_RECALL}, any order")
        axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="share of the calls of a full run")
        for axis in (axes.xaxis, axes.yaxis):
            scale(axis, is_share=True)

    return Chart(
        name="anytime",
        title="What is found before all calls are made",
        caption=caption,
        draw=draw,
        table=Table(head=("order", "calls", _RECALL, _F1), rows=tuple(rows)),
    )


def confusion(subject: Subject) -> Chart:
    """True labels against those given."""
    labels, truths, every = subject.cascade.labels, subject.cascade.answers, subject.confusion
    counts = every[[labels.index(truth) for truth in truths]]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)

    def draw(axes: Axes) -> None:
        for (row, column), share in np.ndenumerate(shares):
            fill, ink = cell_colours(float(share))
            axes.bar(column, 0.94, width=0.96, bottom=row - 0.47, color=fill)
            axes.text(column, row, f"{share:.0%}\n{counts[row, column]:,}", color=ink, ha="center", va="center")
        name_ticks(axes.xaxis, labels)
        name_ticks(axes.yaxis, truths)
        if sum(map(len, labels)) > 40 - 5 * len(labels):
            axes.tick_params(axis="x", labelrotation=30)
            for text in axes.get_xticklabels():
                text.set(ha="right", rotation_mode="anchor")
        axes.set(
            xlim=(-0.5, len(labels) - 0.5), ylim=(len(truths) - 0.5, -0.5), xlabel="label given", title="true label"
        )

    rows = [
        (label, *(f"{n:,} ({share:.1%})" for share, n in zip(*pair, strict=True)))
        for label, *pair in zip(truths, shares.tolist(), counts.tolist(), strict=True)
    ]
    return Chart(
        name="confusion",
        title="What is taken for what",
        caption=(
            "Each row is a true label: the share of its items that each label was given to, and how many they are. "
            f"Accuracy {accuracy(every):.3f}, {_F1} {macro_f1(every):.3f}."
        ),
        draw=draw,
        height=100 + 44 * len(truths),
        table=Table(head=("true label", *labels), rows=tuple(rows)),
    )


def calls_per_item(subject: Subject) -> Chart:
    """How many questions items are asked."""
    calls = subject.calls
    counts = np.bincount(calls)
    shares = counts / calls.size

    def draw(axes: Axes) -> None:
        bars = axes.bar(np.arange(counts.size), shares, width=0.7, color=colour("first"))
        axes.bar_label(bars, [f"{share:.0%}" for share in shares], padding=2, color=colour("soft"))
        axes.margins(y=0.1)
        axes.set(xlabel="calls", title="share of the items")
        name_ticks(axes.xaxis, [str(n) for n in range(counts.size)])
        scale(axes.yaxis, is_share=True)

    return Chart(
        name="calls",
        title="Calls per item",
        caption=f"{calls.mean():.2f} on average, {calls.max()} at most; {shares[0]:.0%} of the items take none.",
        draw=draw,
        table=Table(
            head=("calls", "items", "share"),
            rows=tuple((str(n), f"{counts[n]:,}", f"{share:.1%}") for n, share in enumerate(shares)),
        ),
    )


def reliability(number: int, calibration: Calibration) -> Chart:
    """What came true against what p(yes) said.

    Args:
        number: Of the chart among those of calibration, from 1 on; it makes the chart's name.
        calibration: Of the question.
    """
    name, n_rows = question_name(calibration.question.key), calibration.question.p.size
    n_bins = len(calibration.raw_bins)
    by_kind = {"raw": calibration.raw_bins, "calibrated": calibration.calibrated_bins}
    high = next(end for end in _ENDS if max(max(p, share) for bins in by_kind.values() for p, share, _ in bins) <= end)

    def draw(axes: Axes) -> None:
        axes.plot([0, high], [0, high], color=colour("quiet"), linestyle=_DASHES)
        styles = {"raw": ("second", _DASHES, "card"), "calibrated": ("first", "-", "first")}
        for kind, (tone, dashes, face) in styles.items():
            p, shares, _ = zip(*by_kind[kind], strict=True)
            (line,) = axes.plot(p, shares, color=colour(tone), linestyle=dashes, label=kind, clip_on=False)
            line.set(marker="o", markerfacecolor=colour(face))
        axes.set(xlim=(0, high), ylim=(0, high), xlabel="mean p(yes) of the bin", title="share where yes is true")
        axes.set_aspect("equal")
        for axis in (axes.xaxis, axes.yaxis):
            scale(axis, is_share=True)

    return Chart(
        name=f"reliability-{number}",
        title=f"{name}: p(yes) against what is true",
        caption=(
            f"{counted(n_bins, 'bin')} of about {n_rows / n_bins:,.0f} of {counted(n_rows, 'row')}. On the dashed grey "
            "line p(yes) comes true as often as it says. Expected calibration error: raw "
            f"{calibration.raw.ece:.3f}, calibrated {calibration.calibrated.ece:.3f} (curves of other tasks)."
        ),
        draw=draw,
        height=325,
        table=_bins_table(by_kind),
    )


def _bins_table(by_kind: dict[str, tuple[Bin, ...]]) -> Table:
    rows = [(kind, f"{p:.3f}", f"{share:.3f}", f"{n:,}") for kind, bins in by_kind.items() for p, share, n in bins]
    return Table(head=("p(yes)", "mean of the bin", "share true", "rows"), rows=tuple(rows))


def error_slices(subject: Subject) -> list[Chart]:
    """Error rates by tier, kind and repository: of each question that has slices, and each stage that asks by tier."""
    found: dict[tuple[str, str], list[SliceErrors]] = {}
    for part in slices_of(subject.questions, slices(subject.scored, subject.tasks)):
        found.setdefault((part.stage, part.tier), []).append(part)
    overall = {rows.key: rate(rows.wrong, rows.tasks) for rows in subject.questions if rows.p.size}
    stages = [stage.name for stage in subject.cascade.stages]
    in_order = sorted(found, key=lambda key: (stages.index(key[0]), key[1]))  # what is about all of a stage first
    return [_slices(at, question_name(key), found[key], overall.get(key)) for at, key in enumerate(in_order, 1)]


def _slices(number: int, question: str, parts: Sequence[SliceErrors], overall: Rate | None) -> Chart:
    largest = sorted(parts, key=lambda part: -part.errors.error.n)[:_MOST_SLICES]
    shown = [part for part in parts if part in largest]
    rates = [(part.value, part.errors.error) for part in shown]
    if overall is not None:
        rates.insert(0, ("all", overall))

    def draw(axes: Axes) -> None:
        places, values = np.arange(len(rates)), np.array([each.value or 0.0 for _, each in rates])
        ends = np.abs([(each.low, each.high) for _, each in rates] - values[:, None]).T
        if overall is not None and overall.value is not None:
            axes.axvline(overall.value, color=colour("quiet"), linestyle=_DASHES, linewidth=1.5)
        axes.errorbar(values, places, xerr=ends, fmt="o", color=colour("first"), clip_on=False)
        name_ticks(axes.yaxis, [name for name, _ in rates])
        high = min(1.0, 1.08 * max(each.high for _, each in rates))
        axes.set(xlim=(0, high), ylim=(len(rates) - 0.5, -0.5), xlabel="error rate")
        scale(axes.xaxis, is_share=True)

    more = f" The {len(shown)} largest of {len(parts)} slices." if len(shown) < len(parts) else ""
    return Chart(
        name=f"errors-{number}",
        title=f"{question}: where it errs",
        caption=f"Share of answers at the threshold that are wrong, with {LEVEL:.0%} intervals by task.{more}",
        draw=draw,
        height=50 + 25 * len(rates),
        table=_slices_table(shown),
    )


def _slices_table(shown: Sequence[SliceErrors]) -> Table:
    rows = [
        (
            f"{part.dimension} {part.value}",
            str(part.errors.error),
            "-" if part.rest.error.value is None else f"{part.rest.error.value:.1%}",
            part.p_text,
            f"{part.errors.error.n:,}",
            f"{part.errors.error.n_tasks:,}",
        )
        for part in shown
    ]
    return Table(head=("slice", "error (interval)", "the rest", "p", "rows", "tasks"), rows=tuple(rows))

"""How well p(yes) is calibrated: what came true against what was said, a chart for each question. Pure numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cascade.audit.html.chart import Axis, Chart, Dots, Line, Point, Table, Tone
from cascade.audit.html.subject import Subject
from cascade.audit.label_noise import cross_fitted_p
from cascade.audit.questions import QuestionRows, question_name
from cascade.audit.rates import Array
from cascade.evaluation.metrics import CalibrationMetrics, counted, equal_mass_bins

_N_BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliability:
    """One question's honesty.

    Attributes:
        chart: What it looks like.
        raw: Of the raw p(yes).
        calibrated: Of the calibrated one, each task by curves of other tasks.
    """

    chart: Chart
    raw: CalibrationMetrics
    calibrated: CalibrationMetrics


def reliabilities(subject: Subject) -> list[Reliability]:
    """Of every question that has a row."""
    cross_fitted = cross_fitted_p(subject.cascade, subject.scored)
    return [
        _reliability(at, rows, cross_fitted[rows.key][rows.rows])
        for at, rows in enumerate(subject.questions, 1)
        if rows.p.size
    ]


def _reliability(number: int, rows: QuestionRows, calibrated: Array) -> Reliability:
    truths = rows.truths.astype(float)
    before, after = (
        CalibrationMetrics.of(rows.p, truths, rows.tasks),
        CalibrationMetrics.of(calibrated, truths, rows.tasks),
    )
    raw_bins, own_bins = _bins(rows.p, truths), _bins(calibrated, truths)
    caption = (
        f"{_N_BINS} bins of about {rows.p.size / _N_BINS:,.0f} of {counted(rows.p.size, 'row')}. On the dashed grey "
        f"line p(yes) comes true as often as it says. Expected calibration error: raw {before.ece:.3f}, calibrated "
        f"{after.ece:.3f} (curves of other tasks)."
    )
    high = _end([each for each, *_ in raw_bins + own_bins] + [share for _, share, _ in raw_bins + own_bins])
    marks = (
        Line(points=((0.0, 0.0), (high, high)), tone=Tone.QUIET, is_dashed=True),
        Line(points=_points(raw_bins), tone=Tone.SECOND, is_dashed=True),
        Dots(points=_points(raw_bins), texts=_texts(raw_bins), name="raw", tone=Tone.SECOND, is_hollow=True),
        Line(points=_points(own_bins)),
        Dots(points=_points(own_bins), texts=_texts(own_bins), name="calibrated"),
    )
    chart = Chart(
        name=f"reliability-{number}",
        title=f"{question_name(rows.key)}: p(yes) against what is true",
        caption=caption,
        x=Axis.of_shares("mean p(yes) of the bin", 0.0, high),
        y=Axis.of_shares("share where yes is true", 0.0, high),
        marks=marks,
        table=_table({"raw": raw_bins, "calibrated": own_bins}),
    )
    return Reliability(chart=chart, raw=before, calibrated=after)


def _end(values: list[float]) -> float:
    """Where the axes end: rare answers need a closer look."""
    return next(end for end in (0.1, 0.2, 0.5, 1.0) if max(values) <= end)


_Bin = tuple[float, float, int]  # mean p, share of yes, rows


def _bins(p: Array, truths: Array) -> list[_Bin]:
    numbers = equal_mass_bins(p, _N_BINS)
    parts = [numbers == number for number in np.unique(numbers)]
    return [(float(p[part].mean()), float(truths[part].mean()), int(part.sum())) for part in parts]


def _points(bins: list[_Bin]) -> tuple[Point, ...]:
    return tuple((p, share) for p, share, _ in bins)


def _texts(bins: list[_Bin]) -> tuple[str, ...]:
    return tuple(f"said {p:.1%}, true {share:.1%}, {counted(n, 'row')}" for p, share, n in bins)


def _table(by_kind: dict[str, list[_Bin]]) -> Table:
    rows = [(kind, f"{p:.3f}", f"{share:.3f}", f"{n:,}") for kind, bins in by_kind.items() for p, share, n in bins]
    return Table(head=("p(yes)", "mean of the bin", "share true", "rows"), rows=tuple(rows))

"""Where questions err: error rates by tier, kind and repository, with intervals that know tasks."""

from __future__ import annotations

from collections.abc import Sequence

from cascade.audit.errors import SliceErrors, slices, slices_of
from cascade.audit.html.chart import Axis, Chart, Dots, Line, Mark, Table, Tone
from cascade.audit.html.subject import Subject
from cascade.audit.questions import question_name
from cascade.audit.rates import LEVEL, Rate, rate

_MOST_SLICES = 14


def error_slices(subject: Subject) -> list[Chart]:
    """A chart for each question that has slices, and for each stage that asks by tier."""
    found: dict[tuple[str, str], list[SliceErrors]] = {}
    for part in slices_of(subject.questions, slices(subject.scored, subject.tasks)):
        found.setdefault((part.stage, part.tier), []).append(part)
    overall = {rows.key: rate(rows.wrong, rows.tasks) for rows in subject.questions if rows.p.size}
    in_order = sorted(found.items(), key=lambda pair: _order(subject, pair[0]))
    return [
        _chart(f"errors-{at}", question_name(key), parts, overall.get(key))
        for at, (key, parts) in enumerate(in_order, 1)
    ]


def _order(subject: Subject, key: tuple[str, str]) -> tuple[int, str]:
    """Stages in the cascade's order; what is about all of a stage first."""
    return [stage.name for stage in subject.cascade.stages].index(key[0]), key[1]


def _chart(name: str, question: str, parts: Sequence[SliceErrors], overall: Rate | None) -> Chart:
    largest = sorted(parts, key=lambda part: -part.errors.error.n)[:_MOST_SLICES]
    shown = [part for part in parts if part in largest]
    rates: list[tuple[str, Rate]] = [(f"{part.dimension} {part.value}", part.errors.error) for part in shown]
    names = [part.value for part in shown]
    if overall is not None:
        rates.insert(0, ("all", overall))
    high = min(1.0, 1.08 * max(each.high for _, each in rates))
    marks: list[Mark] = [
        Line(points=((each.low, float(at)), (each.high, float(at)))) for at, (_, each) in enumerate(rates)
    ]
    points = tuple((each.value or 0.0, float(at)) for at, (_, each) in enumerate(rates))
    marks.append(Dots(points=points, texts=tuple(f"{text}: {each}" for text, each in rates)))
    if overall is not None and overall.value is not None:
        end = len(rates) - 0.5
        marks.insert(0, Line(points=((overall.value, -0.5), (overall.value, end)), tone=Tone.QUIET, is_dashed=True))
    more = f" The {len(shown)} largest of {len(parts)} slices." if len(shown) < len(parts) else ""
    return Chart(
        name=name,
        title=f"{question}: where it errs",
        caption=f"Share of answers at the threshold that are wrong, with {LEVEL:.0%} intervals by task.{more}",
        x=Axis.of_shares("error rate", 0.0, high),
        y=Axis.of_names("", ["all", *names] if overall is not None else names),
        marks=tuple(marks),
        table=_table(shown),
    )


def _table(shown: Sequence[SliceErrors]) -> Table:
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

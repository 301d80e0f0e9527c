"""How ``cascade bench --workload budget`` shows its figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cascade.cli.output import results
from cascade.cli.sheet import Sheet
from cascade.metrics import Figure, counted


def show_budgets(figures: dict[str, Any]) -> None:
    """Print the figures as two tables: of all requests, and quality by budget."""
    sheet = Sheet(("",), ("",), has_heads=False)
    for title, text in _rows(figures):
        sheet.add(title, text)
    console = results()
    console.print(
        f"budget, {counted(figures['requests'], 'request')} with random budgets, {counted(figures['items'], 'item')}"
    )
    sheet.show(console)
    console.print("\nquality by budget, requests alone")
    _curve(figures["anytime"]).show(console)


def _rows(figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, who in (("overshoot", "all"), ("overshoot_alone", "alone"), ("overshoot_in_company", "in company")):
        if late := figures[key]:
            spread = " / ".join(f"{late[name]:.1f}" for name in ("p50_ms", "p95_ms", "p99_ms", "max_ms"))
            yield f"ms over budget, {who}: p50 / p95 / p99 / most of {late['n']}", spread
            shares = " / ".join(f"{late[name]:.1%}" for name in ("over", "over_10_ms", "over_30_ms"))
            yield f"over budget, {who}: at all / by 10 ms / by 30 ms", shares
    if figures["abort_ms"]["n"]:
        abort = figures["abort_ms"]
        yield (
            f"abort to the wave's end, ms: p50 / p99 / most of {abort['n']}",
            f"{abort['p50']:.2f} / {abort['p99']:.2f} / {abort['max']:.2f}",
        )
    yield (
        "items decided / cut at a depth / by the deadline",
        " / ".join(f"{share:.1%}" for share in figures["statuses"].values()),
    )
    yield "items without a label or status", f"{figures['violations']}"
    error = figures["prediction_error"]
    if error["n"]:
        title = f"error of predicted over actual time, p50 / p95 of {counted(error['n'], 'wave')}"
        yield title, f"{error['p50']:.1%} / {error['p95']:.1%}"
    pairs, rounds = figures["unbinding_over_none"], figures["at_once_over_sequence"]
    yield f"time with a budget of an hour over none, {counted(pairs['n'], 'pair')}", f"{pairs['p50']:.3f}"
    yield (
        f"throughput of {counted(rounds['callers'], 'caller')} over one, {counted(rounds['n'], 'round')}",
        f"{rounds['p50']:.3f}",
    )


def _curve(anytime: list[dict[str, Any]]) -> Sheet:
    heads = ("budget over full time", "accuracy", Figure.RECALL_OVER_ROWS.words, "decided", "requests")
    sheet = Sheet(("cascade",), heads)
    for entry in anytime:
        recall = "" if entry["recall_over_rows"] is None else f"{entry['recall_over_rows']:.1%}"
        shown = (f"{entry['share']:.2f}", f"{entry['accuracy']:.1%}", recall, f"{entry['decided']:.1%}")
        sheet.add(entry["cascade"], *shown, str(entry["requests"]))
    return sheet

"""What a run says, as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cascade.cli.output import note, results
from cascade.cli.tables import Sheet
from cascade.config.figures import Figure
from cascade.errors import counted

_ROWS = (
    ("items", "items", "{:.0f}"),
    ("calls per item", "calls_per_item", "{:.2f}"),
    ("tokens decoded per item", "tokens_decoded_per_item", "{:.1f}"),
    ("tokens reused per item", "tokens_reused_per_item", "{:.1f}"),
    ("decode calls", "decode_calls", "{:.0f}"),
    ("adapter swaps", "adapter_swaps", "{:.0f}"),
    ("wall time, ms", "wall_ms", "{:.0f}"),
    ("processor time, ms", "cpu_ms", "{:.0f}"),
    ("tokens decoded over the trie's least", "tokens_over_least", "{:.3f}"),
    ("tokens/s over llama.cpp's best rate", "rate_over_best", "{:.3f}"),
    ("wall time outside the model", "outside_model", "{:.1%}"),
    ("all stages over the first alone", "stages_over_first", "{:.3f}"),
    ("peak memory, MiB", "peak_memory_mib", "{:.0f}"),
    ("FLOP/s in the layers' matrices", "flops", "{:.3g}"),
    ("FLOP/s of torch's best BF16 product here", "best_flops", "{:.3g}"),
)


def show_rounds(figures: dict[str, Any]) -> None:
    """Print the figures of a workload as a table, with the baselines, and a note for each that was skipped."""
    sheet = Sheet(("",), ("",), has_heads=False)
    for title, key, form in _ROWS:
        if figures[key] is not None:
            sheet.add(title, form.format(figures[key]))
    for key in ("decision_ms", "request_ms"):
        spread = " / ".join(f"{figures[key][at]:.0f}" for at in ("p50", "p95", "p99"))
        sheet.add(f"{key.removesuffix('_ms')} latency p50 / p95 / p99, ms", spread)
    error = figures["prediction_error"]
    if error["n"]:
        title = f"error of predicted over actual time, p50 / p95 of {counted(error['n'], 'wave')}"
        sheet.add(title, f"{error['p50']:.1%} / {error['p95']:.1%}")
    for baseline in figures["baselines"].values():
        for name, found in baseline["settings"].items():
            is_best = name == baseline["setting"] and len(baseline["settings"]) > 1
            sheet.add(f"{name}{' (its best)' * is_best}: times our wall time", f"{found['ratio']:.2f}")
    console = results()
    console.print(f"{figures['workload']}, median of {counted(figures['rounds'], 'round')}")
    sheet.show(console)
    for name, reason in figures["skipped"].items():
        note(f"{name} was skipped: {reason}")


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

"""``cascade bench``: what a workload costs here, and how far that is from what it must cost."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.speed.budget_plots import write_budget_plots
from benchmarks.speed.budget_trials import BUDGET
from benchmarks.speed.choice import ALL, PEERS, PeerChoice
from benchmarks.speed.plots import write_plots
from benchmarks.speed.workload import WORKLOADS
from cascade.audit.html.draw import prepare
from cascade.cli.output import ConfigOption, JsonOption, note, print_json, progress, results
from cascade.cli.tables import Sheet
from cascade.config.figures import Figure
from cascade.config.schema import Config, read_config, shipped_config
from cascade.config.toml import meant
from cascade.errors import InputError, counted
from cascade.machine import n_cores, processor_name


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


def bench(  # noqa: PLR0913 - the command line's options
    *,
    workload: Annotated[str, typer.Option(help=f"One of {', '.join(WORKLOADS)}, or {BUDGET}.")] = "precision-100",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds whose median is shown; one more warms up.")] = 5,
    requests: Annotated[int, typer.Option(min=1, help=f"Requests of the workload {BUDGET}.")] = 200,
    model: Annotated[Path | None, typer.Option(help="A GGUF file in place of the config's base model.")] = None,
    peer: Annotated[
        list[str] | None, typer.Option(help=f"Ask a peer the same, in turns: {', '.join(PEERS)} or {ALL}; repeatable.")
    ] = None,
    llama_server: Annotated[Path | None, typer.Option(help="The program that the peer llama-server runs.")] = None,
    peer_rounds: Annotated[
        int | None, typer.Option(min=1, help="Rounds in which peers take part; every round if absent.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Folder for pictures: latency, stages, reuse, waves, prediction, peers.")
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Run a workload with known answers; read the ratios, times are this machine's alone."""
    names = (*WORKLOADS, BUDGET)
    if workload not in names:
        msg = f"Unknown workload {workload!r}. {meant(workload, names)}Allowed are {', '.join(names)}."
        raise InputError(msg)
    choice = PeerChoice.of(peer or (), llama_server, peer_rounds)
    if workload == BUDGET and choice.names:
        msg = f"--peer {choice.names[0]} with --workload {BUDGET}; no peer knows budgets. Leave one of the two out."
        raise InputError(msg)
    if plot is not None:
        prepare(plot)  # a run that takes minutes must not end in an import error
    settings = _with_model(read_config(config or shipped_config()), model)
    figures = _budgets(settings, requests) if workload == BUDGET else _rounds(settings, workload, rounds, choice)
    figures["machine"] = {
        "processor": processor_name(),
        "cores": n_cores(),
        "system": platform.platform(),
        "llama_cpp_python": version("llama-cpp-python"),
    }
    if plot is not None:
        for path in (write_budget_plots if workload == BUDGET else write_plots)(figures, plot):
            note(f"wrote {path}")
    if json:
        print_json(figures)
    else:
        (show_budgets if workload == BUDGET else _show)(figures)


def _rounds(config: Config, workload: str, n: int, choice: PeerChoice) -> dict[str, Any]:
    from benchmarks.speed.compare import compare  # noqa: PLC0415 - loads llama_cpp

    with progress() as bar:
        line = bar.add_task("rounds", total=n + 1)
        return compare(config, workload, n, choice=choice, advance=lambda: bar.advance(line))


def _budgets(config: Config, n: int) -> dict[str, Any]:
    from benchmarks.speed.budgets import Counts, measure_budgets  # noqa: PLC0415 - loads llama_cpp

    counts = Counts.of(n)
    with progress() as bar:
        line = bar.add_task("requests", total=counts.steps)
        return measure_budgets(config, counts, advance=lambda: bar.advance(line))


def _with_model(config: Config, path: Path | None) -> Config:
    if path is None:
        return config
    model = config.model.model_copy(update={"path": path.resolve(), "repo_id": None, "filename": None})
    return config.model_copy(update={"model": model})


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


def _show(figures: dict[str, Any]) -> None:
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
    for peer in figures["peers"].values():
        for name, found in peer["settings"].items():
            is_best = name == peer["setting"] and len(peer["settings"]) > 1
            sheet.add(f"{name}{' (its best)' * is_best}: times our wall time", f"{found['ratio']:.2f}")
    console = results()
    console.print(f"{figures['workload']}, median of {counted(figures['rounds'], 'round')}")
    sheet.show(console)
    for name, reason in figures["skipped"].items():
        note(f"{name} was skipped: {reason}")

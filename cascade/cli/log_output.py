"""How ``cascade log`` shows what a log has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from cascade.cli.output import plain
from cascade.cli.tables import Sheet
from cascade.errors import counted
from cascade.log.entries import LoggedCall, LoggedDecision, LoggedRequest
from cascade.log.outcomes import LABEL, LoggedOutcome, latest
from cascade.log.prune import Pruned
from cascade.log.summary import Summary

_ID = 12  # characters of a task's id
_TEXT = 40  # characters of a task


def show_summary(console: Console, path: Path, found: Summary) -> None:
    """Print what a log has."""
    times = f", {_time(found.first)} to {_time(found.last)}" if found.first is not None else ""
    console.print(plain(f"{path}: {_bytes(found.bytes)}{times}"))
    failed = f", {found.failed:,} of them failed" if found.failed else ""
    about = f"{counted(found.decisions, 'decision')} about {counted(found.tasks, 'task')}"
    console.print(f"{counted(found.requests, 'request')}{failed}; {about}")
    console.print(
        f"{counted(found.calls, 'call')}, {found.reused:,} of them answered from the log ({found.reuse_rate:.0%}); "
        f"{counted(found.answers, 'answer')} kept for that"
    )
    kinds = ", ".join(f"{n:,} {plain(what)}" for what, n in found.outcomes.items())
    n_outcomes = counted(sum(found.outcomes.values()), "outcome")
    console.print(f"{n_outcomes}{f': {kinds}' if kinds else ''}; {found.judged:,} of the decisions have one")
    if found.lost:
        console.print(f"{counted(found.lost, 'entry', 'entries')} could not be written and are missing")
    _show_labels(console, found)
    if found.stages:
        sheet = Sheet(["cascade", "stage", "tier", "adapter"], ["calls", "mean p(yes)"])
        for one in found.stages:
            mean_p = "" if one.mean_p is None else f"{one.mean_p:.3f}"
            sheet.add(one.cascade, one.stage, one.tier, one.adapter, f"{one.calls:,}", mean_p)
        console.print()
        sheet.show(console)


def _show_labels(console: Console, found: Summary) -> None:
    if not found.labels:
        return
    sheet = Sheet(["cascade", "label"], ["decisions", "share"])
    total = Counter[str]()
    for (cascade, _), n in found.labels.items():
        total[cascade] += n
    for (cascade, label), n in found.labels.items():
        sheet.add(cascade, label, f"{n:,}", f"{n / total[cascade]:.1%}")
    console.print()
    sheet.show(console)
    console.print(", ".join(f"{n:,} {status}" for status, n in found.statuses.items()))


def show_requests(console: Console, requests: Sequence[LoggedRequest]) -> None:
    """Print requests, a line each."""
    sheet = Sheet(["when", "task", "cascade"], ["items", "calls", "ms"], ["labels"])
    for one in requests:
        stats = one.stats
        ms = f"{stats['elapsed_ms']:.0f}" if "elapsed_ms" in stats else ""
        calls = f"{stats['calls']:,}" if "calls" in stats else ""
        sheet.add(_time(one.at), one.task[:_ID], one.cascade, f"{len(one.decisions):,}", calls, ms, _came(one))
    console.print()
    sheet.show(console)


def _came(request: LoggedRequest) -> str:
    """What came of a request, in a few words."""
    if request.error:
        return request.error
    if request.is_scoring:
        return "scores alone"
    return ", ".join(f"{n} {label}" for label, n in Counter(one.label for one in request.decisions).most_common())


def show_task(
    console: Console, task: str, requests: Sequence[LoggedRequest], outcomes: Sequence[LoggedOutcome]
) -> None:
    """Print all that a log has about one task."""
    told = next((one.task_body.value for one in requests if one.task_body.json is not None), None)
    text = f": {plain(str(told.get('text', '')))[:_TEXT]}" if told else ""
    console.print(f"task {plain(task)}{text}")
    known = {(one.item, one.what): one for one in latest(outcomes)}
    for request in requests:
        answered = f"answers of {request.provenance.hash[:_ID]}"
        console.print()
        console.print(plain(f"{_time(request.at)}  {request.cascade}, {_came(request)}; {answered}"))
        if request.decisions:
            _show_decisions(console, request.decisions, known)
    decided = {decision.item for request in requests for decision in request.decisions}
    others = [one for one in outcomes if one.item not in decided]
    if others:
        console.print()
        console.print("outcomes of items without a decision")
        sheet = Sheet(["item", "outcome"])
        for one in others:
            sheet.add(one.item, _outcome(one))
        sheet.show(console)


def _show_decisions(
    console: Console, decisions: Sequence[LoggedDecision], known: Mapping[tuple[str, str], LoggedOutcome]
) -> None:
    sheet = Sheet(["item", "label", "status", "outcomes"], [], ["answers"])
    for decision in decisions:
        own = [_outcome(one) for (item, _), one in known.items() if item == decision.item]
        answers = ", ".join(map(_answer, decision.calls))
        sheet.add(decision.item, decision.label, decision.status, ", ".join(own), answers)
    sheet.show(console)


def _outcome(one: LoggedOutcome) -> str:
    """What an outcome says, and who does."""
    what = one.label if one.what == LABEL else one.what
    value = "" if one.value == 1 else f" {one.value:g}"
    return f"{what}{value}{f' ({one.source})' if one.source else ''}"


def _answer(call: LoggedCall) -> str:
    name = f"{call.stage} {call.tier}".strip()
    if call.p_yes is not None:
        return f"{name} {call.p_yes:.2f}"
    return f"{name} {'uncertain' if call.answer is None else call.answer}"


def show_pruned(console: Console, path: Path, found: Pruned, freed: int, *, is_dry: bool) -> None:
    """Print what was taken out of a log."""
    parts = [
        f"{counted(found.requests, 'request')} with {counted(found.decisions, 'decision')}",
        counted(found.answers, "answer") + " kept for reuse",
        counted(found.outcomes, "outcome"),
        counted(found.bodies, "text, question or tree", "texts, questions and trees"),
    ]
    what = "would be taken out" if is_dry else f"taken out; the file is {_bytes(freed)} shorter"
    console.print(plain(f"{path}: {', '.join(parts)} {what}"))


def told_request(request: LoggedRequest) -> dict[str, Any]:
    """A request as JSON lists it, its decisions counted."""
    counts = {"items": len(request.decisions), "labels": Counter(one.label for one in request.decisions if one.label)}
    names = ("id", "at", "cascade", "task", "is_scoring", "error")
    return {name: getattr(request, name) for name in names} | counts | {"stats": dict(request.stats)}


def task_dict(task: str, requests: Sequence[LoggedRequest], outcomes: Sequence[LoggedOutcome]) -> dict[str, Any]:
    """All that a log has about one task, as JSON."""
    told = next((one.task_body.value for one in requests if one.task_body.json is not None), None)
    return {
        "task_id": task,
        "task": told,
        "requests": [
            told_request(request)
            | {"provenance": request.provenance.value, "decisions": list(map(_decision_dict, request.decisions))}
            for request in requests
        ],
        "outcomes": [asdict(one) for one in outcomes],
    }


def _decision_dict(decision: LoggedDecision) -> dict[str, Any]:
    found = {name: getattr(decision, name) for name in ("item", "label", "status", "p_label", "cause")}
    calls = [asdict(call) | {"question": call.question.value} for call in decision.calls]
    return found | {"details": decision.body.value, "calls": calls}


def _time(at: float | None) -> str:
    """A time as the user's clock shows it."""
    return "" if at is None else datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M")


def _bytes(n: int) -> str:
    return f"{n / 2**20:,.1f} MiB" if n >= 2**20 else f"{n / 2**10:,.0f} KiB"

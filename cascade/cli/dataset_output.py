"""How ``cascade dataset`` shows datasets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

from rich.console import Console

from cascade.cli.output import plain
from cascade.cli.tables import Hanging, Sheet
from cascade.dataset.oracle import Labels
from cascade.dataset.picking import Why
from cascade.dataset.rates import Rates
from cascade.dataset.review import Shown
from cascade.errors import counted
from cascade.log.judged import JudgedCall

_ID = 12  # characters of a task's id
_LONGEST = 400  # characters of an item's text
_WHY = {Why.RANDOM: "drawn at random", Why.WRONG: "sure, and said to be wrong", Why.UNCERTAIN: "uncertain"}


def show_dataset(console: Console, folder: Path, manifest: Mapping[str, Any]) -> None:
    """Print what a dataset has."""
    of = f"cascade {manifest['cascade']}"
    of = f"adapter {manifest['adapter']} of {of}" if manifest.get("adapter") else of
    console.print(plain(f"{folder}: labelled tasks for {of}, made {manifest['made']}"))
    console.print()
    _show_parts(console, manifest)
    _show_answers(console, manifest)
    left = manifest.get("left_out", {})
    lines = [f"{counted(n, 'item')} left out: {why}" for why, n in left.items()]
    for label, n in manifest.get("strange_labels", {}).items():
        lines.append(f"{counted(n, 'outcome')} left out: the label {label!r} is none of the cascade")
    if manifest.get("conflicts"):
        n = counted(manifest["conflicts"], "conflict")
        lines.append(f"{n} between sources or equal items, listed in conflicts.jsonl")
    if lines:
        console.print()
        for line in lines:
            console.print(plain(line))


def _show_parts(console: Console, manifest: Mapping[str, Any]) -> None:
    sheet = Sheet(["part"], ["tasks", "items", *manifest["labels"]], ["tasks from"])
    for name, part in manifest["parts"].items():
        counts = [f"{part.get('labels', {}).get(label, 0):,}" for label in manifest["labels"]]
        times = f"{part['first'][:10]} to {part['last'][:10]}" if part.get("first") else ""
        sheet.add(name, f"{part['tasks']:,}", f"{part['items']:,}", *counts, times)
    sheet.show(console)


def _show_answers(console: Console, manifest: Mapping[str, Any]) -> None:
    sheet = Sheet(["adapter"], list(manifest["parts"]), [])
    adapters = dict.fromkeys(name for part in manifest["parts"].values() for name in part.get("answers", {}))
    for adapter in adapters:
        sheet.add(adapter, *(_told(part.get("answers", {}).get(adapter, {})) for part in manifest["parts"].values()))
    if sheet.n_rows:
        console.print()
        sheet.show(console)


def _told(answers: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {answer}" for answer, n in answers.items()) or "none"


def show_picks(console: Console, path: Path, n: int, chosen: Sequence[Shown]) -> None:
    """Print items that are worth a look, a line each."""
    console.print(plain(f"{path}: {counted(len(chosen), 'item')} of {n:,} are worth a look"))
    sheet = Sheet(["why", "task", "item", "given", "known"], ["log odds"], ["answers"])
    for one in chosen:
        candidate = one.pick.candidate
        decision = candidate.decision
        answers = ", ".join(map(_answer, decision.calls))
        sheet.add(
            str(one.pick.why), decision.task[:_ID], decision.item, decision.label, candidate.label,
            f"{candidate.sureness:.2f}", answers,
        )  # fmt: skip
    if sheet.n_rows:
        console.print()
        sheet.show(console)


def show_one(console: Console, one: Shown, number: int, of: int) -> None:
    """Print an item for somebody who will say what it is."""
    decision, item = one.pick.candidate.decision, one.item
    console.print()
    console.print(plain(f"{number} of {of}, {_WHY[one.pick.why]}"))
    console.print(Hanging(one.task or f"task {decision.task[:_ID]}, whose text the log does not keep", 2))
    where = f" in {one.place}" if one.place else ""
    console.print(Hanging(f"{item.get('kind', 'item')} {one.name}{where}", 2))
    for text in (item.get("signature"), item.get("doc"), shorten(str(item.get("text", "")), _LONGEST)):
        if text:
            console.print(Hanging(str(text), 4))
    if one.evidence:
        console.print(Hanging(f"evidence: {', '.join(one.evidence)}", 4))
    console.print(Hanging(f"given {decision.label} after {', '.join(map(_answer, decision.calls)) or 'nothing'}", 4))
    if one.pick.candidate.label:
        console.print(Hanging(f"{one.pick.candidate.source or 'somebody'} says {one.pick.candidate.label}", 4))


def show_rates(console: Console, found: Rates) -> None:
    """Print what the items that were drawn at random say of all of them."""
    if not found.drawn:
        return
    by = f", {found.by_oracle:,} of these by an oracle" if found.by_oracle else ""
    console.print()
    console.print(f"{counted(found.drawn, 'item')} drawn at random, {found.labelled:,} of them labelled{by}")
    if found.wrong is not None:
        console.print(f"of all items {found.wrong} have a wrong label; truly are")
    sheet = Sheet(["label"], ["share"])
    for label, share in found.labels.items():
        sheet.add(label, str(share))
    if sheet.n_rows:
        sheet.show(console)


def _answer(call: JudgedCall) -> str:
    name = f"{call.stage} {call.tier}".strip()
    if call.p_yes is not None:
        return f"{name} {call.p_yes:.2f}"
    return f"{name} {'uncertain' if call.answer is None else call.answer}"


def show_labels(console: Console, path: Path, oracle: str, said: Labels) -> None:
    """Print what an oracle has said."""
    n = sum(said.given.values())
    console.print(plain(f"{path}: {counted(n, 'label')} of oracle {oracle} recorded"))
    for label, each in said.given.most_common():
        console.print(plain(f"  {each:,} {label}"))
    if said.unsure:
        console.print(f"{counted(said.unsure, 'item')} without a label that it holds for likelier than not")
    if said.failed:
        console.print(f"{counted(said.failed, 'item')} that a server did not answer")
    if said.checked:
        console.print(f"it agrees with {said.agreed:,} of {counted(said.checked, 'label')} that were known before")
    console.print(f"{counted(said.calls, 'call')}, {said.ms:,.0f} ms")

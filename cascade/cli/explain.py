"""``cascade explain``: all that is known of one candidate, and what would have changed its label."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cascade.cli.candidates import (
    AlsoOption,
    FromOption,
    TaskFileOption,
    TaskOption,
    candidates_of,
    check_also,
    read_task,
)
from cascade.cli.output import ConfigOption, JsonOption, ThresholdsOption, note, print_json, results
from cascade.cli.tables import Hanging, Sheet, threshold_text
from cascade.config.schema import read_config, shipped_config
from cascade.engine.engine import Engine
from cascade.engine.ranking import p_shown
from cascade.errors import InputError
from cascade.evidence.records import SymbolRecord
from cascade.files import check_readable
from cascade.items import Item, Task
from cascade.report import Decision, Status, Step
from cascade.repository.candidates import labels_symbols
from cascade.repository.find import MOST_SYMBOLS
from cascade.repository.places import Places
from cascade.repository.texts import with_texts
from cascade.stages import in_words
from cascade.tree import Cascade

_MOST_SHOWN = 5


def explain(  # noqa: PLR0913 - the command line's options
    name: Annotated[
        str, typer.Argument(help="A symbol, such as render, Flask.render or flask.helpers.url_for, or its id.")
    ],
    *,
    task: TaskOption = None,
    task_file: TaskFileOption = None,
    repo: Annotated[Path, typer.Option(help="Folder of a repository.")] = Path(),
    from_: FromOption = None,
    also: AlsoOption = None,
    cascade: Annotated[str, typer.Option(help="Name of a cascade that labels symbols.")] = "precision",
    thresholds: ThresholdsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show all evidence of a symbol, each stage with its threshold, and what would have changed the answer."""
    check_readable([task_file, thresholds, config])
    text, beside = read_task(task, task_file), check_also(also or ())
    with Engine.open(read_config(config or shipped_config(), {cascade: thresholds})) as engine:
        tree = engine.cascade(cascade)
        labels_symbols(engine.cascades, cascade)  # refuses one that labels something else
        found, _ = candidates_of(repo, Task(text=text, seeds=tuple(from_ or ())), tree, also=beside)
        corpus = found.evidence.signals.corpus
        place = {int(at): order for order, at in enumerate(found.evidence.best_symbols(len(corpus.symbols)), 1)}
        meant = _meant(name, corpus.symbols, place)
        items = found.symbol_items(meant)
        items = with_texts(found, items) if tree.text_limits() else items
        report = engine.classify(found.task, items, cascade)
    if len(meant) == _MOST_SHOWN:
        note(f"{name!r} fits {_MOST_SHOWN} symbols or more; give more of its name, such as {items[0].id}")
    places = Places(found, meant)
    rows = [
        _explained(item, decision, tree, places, (place[at], len(corpus.symbols)))
        for at, item, decision in zip(meant, items, report.decisions, strict=True)
    ]
    if json:
        print_json({"symbols": rows, "repository": found.reading()})
        return
    for row in rows:
        _show(row)


def _meant(name: str, symbols: Sequence[SymbolRecord], place: Mapping[int, int]) -> list[int]:
    """Numbers of the symbols that a name may mean, the likeliest five at most.

    Raises:
        InputError: There is none.
    """
    name = name.strip().removesuffix("()")
    ways: tuple[Callable[[SymbolRecord], bool], ...] = (
        lambda one: one.id == name,
        lambda one: one.qualname == name or one.id.endswith((f"/{name}", f".{name}")) or one.name == name,
        lambda one: f".{_dotted(one)}".endswith(f".{name}"),
        lambda one: one.qualname.lower() == name.lower() or one.name.lower() == name.lower(),
    )
    for fits in ways:
        found = [at for at, one in enumerate(symbols) if fits(one)]
        if found:
            return sorted(found, key=place.__getitem__)[:_MOST_SHOWN]
    near = difflib.get_close_matches(name, sorted({one.qualname for one in symbols}), 3)
    hint = f"Close to it are {', '.join(near)}" if near else "`cascade classify --all` lists the likeliest"
    msg = f"No symbol {name!r} was read. {hint}."
    raise InputError(msg)


def _dotted(symbol: SymbolRecord) -> str:
    """Its name behind that of its module, such as flask.helpers.url_for."""
    module = re.sub(r"(/__init__)?\.\w+$", "", symbol.path).replace("/", ".")
    return f"{module}.{symbol.qualname}"


def _explained(
    item: Item, decision: Decision, cascade: Cascade, places: Places, order: tuple[int, int]
) -> dict[str, Any]:
    group = item.group.evidence if item.group is not None else ()
    return {
        **decision.as_dict(),
        "kind": item.kind,
        "where": places.where(item.id),
        "p": round(p_shown(decision, cascade, item.prior), 6),
        "order": {"place": order[0], "of": order[1], "is_candidate": order[0] <= MOST_SYMBOLS},
        "prior": item.prior,
        "reasons": places.why(item.id),
        "evidence": list(item.evidence),
        "evidence_of_file": list(group),
        "would_change": would_change(decision, order[0]),
    }


def would_change(decision: Decision, place: int) -> list[str]:
    """What would have led to another label, in words."""
    found = []
    if place > MOST_SYMBOLS:
        found.append(f"it is asked nothing by `classify`, which takes the {MOST_SYMBOLS} likeliest: --most {place}")
    for step in decision.steps:
        if step.probabilities:
            found.append(_other_value(step))
            continue
        where = f"stage {step.stage}" + (f", tier {step.tier}" if step.tier else "")
        found.append(f"{where} {_says(step)} with p {step.p_yes:.3f}; {_else(step)}")
    return found


def _says(step: Step) -> str:
    return "is uncertain" if step.answer is None else f"says {in_words(step.answer)}"


def _else(step: Step) -> str:
    """What another p would have said."""
    no_below, yes_from = step.limits
    lower, upper = (threshold_text(value, ".3f") for value in step.limits)
    no, yes = f"a p below {lower} says no", f"a p of at least {upper} says yes"
    if step.answer is None:
        return f"{no}, {yes}"
    if no_below == yes_from:
        return no if step.answer else yes
    return f"{no if step.answer else yes}, and between {lower} and {upper} it is uncertain"


def _other_value(step: Step) -> str:
    """What would have changed the answer of a choice or score."""
    said = f"stage {step.stage} says "
    sure = f" with a confidence of {step.confidence:.3f}"
    if step.answer is None:
        return f"{said}nothing{sure}; one of at least {step.threshold:.3f} says {step.choice or f'{step.score:.2f}'}"
    if step.score is not None:
        return f"{said}{step.score:.2f}{sure}; a score beyond the next cut point leads elsewhere"
    (first, p), (second, q) = sorted(step.probabilities.items(), key=lambda pair: -pair[1])[:2]
    return f"{said}{first} with p {p:.3f}{sure}; the next is {second} with p {q:.3f}"


def _show(row: dict[str, Any]) -> None:
    console = results()
    order = row["order"]
    console.print(Hanging(f"{row['id']}  ({row['kind']}, {row['where']})"))
    place = f"place {order['place']:,} of {order['of']:,} before any question"
    status = "" if row["status"] == Status.DECIDED else f" ({row['status']})"
    console.print(Hanging(f"label {row['label']}{status}, p {row['p']:.3f}; {place}"))
    parts = (
        ("why", row["reasons"] or ["little ties it to the task"]),
        ("what would change it", row["would_change"] or ["nothing here: it was asked no question"]),
    )
    for head, lines in parts:
        console.print(f"{head}:")
        for line in lines:
            console.print(Hanging(line, 2))
    sheet = Sheet(["stage", "answer"], ["p(yes)", "no below", "yes from"])
    for step in row["steps"]:
        sheet.add(*_cells(step))
    if sheet.n_rows:
        sheet.show(console)
    console.print(Hanging(f"evidence: {' '.join(row['evidence'])}"))
    console.print(Hanging(f"evidence of its file: {' '.join(row['evidence_of_file']) or 'none'}"))
    console.print()


def _cells(step: dict[str, Any]) -> tuple[str, ...]:
    name = f"{step['stage']} {step.get('tier', '')}".strip()
    if "probabilities" in step:
        said = "uncertain" if step["answer"] is None else step.get("choice") or f"{step['score']:.2f}"
        return name, said, f"confidence {step['confidence']:.3f}", f"{step.get('least_confidence', 0):.3f}", ""
    limits = (step.get("no_below", step["threshold"]), step["threshold"])
    return name, in_words(step["answer"]), f"{step['p_yes']:.3f}", *(threshold_text(value, ".3f") for value in limits)

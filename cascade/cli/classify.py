"""``cascade classify``: label the candidates of a repository, or the items of a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from cascade.budget import BudgetLike
from cascade.cli.candidates import (
    AlsoOption,
    FromOption,
    MostOption,
    TaskFileOption,
    TaskOption,
    candidates_of,
    check_also,
    read_task,
)
from cascade.cli.decisions import show_decisions
from cascade.cli.kept_log import KeptLogOption, with_log
from cascade.cli.output import (
    ConfigOption,
    ExitCode,
    JsonOption,
    ThresholdsOption,
    budget_option,
    note,
    print_json,
    results,
)
from cascade.config.schema import read_config, shipped_config
from cascade.engine.engine import Engine
from cascade.engine.ranking import p_shown, ranked
from cascade.engine.request import with_evidence
from cascade.errors import InputError, counted
from cascade.evaluation.dataset import read_items
from cascade.files import check_readable, name_of
from cascade.items import Item, Task
from cascade.report import Decision, Report, Status
from cascade.repository.candidates import labels_files
from cascade.repository.find import MOST_SYMBOLS, Candidates
from cascade.repository.fitting import fitting, n_tokens, tokens_of
from cascade.repository.places import Places
from cascade.tree import Cascade, ItemKind


def classify(  # noqa: PLR0913 - the command line's options
    *,
    task: TaskOption = None,
    task_file: TaskFileOption = None,
    repo: Annotated[Path | None, typer.Option(help="Folder of a repository.")] = None,
    from_: FromOption = None,
    also: AlsoOption = None,
    most: MostOption = MOST_SYMBOLS,
    items: Annotated[
        Path | None, typer.Option(help="JSON lines, one item each, instead of a repository; - for stdin.")
    ] = None,
    cascade: Annotated[str | None, typer.Option(help="Name of the cascade; precision if absent.")] = None,
    files: Annotated[bool, typer.Option("--files", help="Label files in place of symbols.")] = False,
    budget: Annotated[
        float | None, typer.Option(help="Milliseconds it may take; then candidates get the likeliest label so far.")
    ] = None,
    depth: Annotated[int | None, typer.Option(min=1, help="Most stages that a candidate passes.")] = None,
    fit: Annotated[
        int | None,
        typer.Option(min=1, help="Show what fits into so many tokens, the likeliest first, whatever its label."),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Show only the N that matter most.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="Show what is dropped as well.")] = False,
    log: KeptLogOption = None,
    thresholds: ThresholdsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> ExitCode:
    """Label every candidate and show those that matter, the likeliest first, with the reasons.

    `cascade explain NAME` shows everything that is known of one of them.
    """
    if (repo is None) == (items is None):
        msg = "Give exactly one of --repo and --items."
        raise InputError(msg)
    check_readable([task_file, items, thresholds, config])
    text, beside = read_task(task, task_file), check_also(also or ())
    limit: BudgetLike = "config" if budget is None and depth is None else budget_option(budget, depth)
    name = _cascade(config, cascade, most, files=files)
    with Engine.open(with_log(read_config(config or shipped_config(), {name: thresholds}), log)) as engine:
        tree = engine.cascade(name)
        request, candidates, places = Task(text=text, seeds=tuple(from_ or ())), None, None
        if items is not None:
            found = with_evidence(tree, request, read_items(items, tree))
            if not found:
                note(f"{name_of(items)}: has no items, so there is nothing to label")
        else:
            candidates, asked = candidates_of(repo or Path(), request, tree, also=beside, most=most)
            found, places = asked.items, Places(candidates, reasons=asked.reasons)
        sizes = _sizes(found, tree, candidates) if fit is not None else {}
        report = engine.classify(candidates.task if candidates else request, found, name, budget=limit)
    _tell_cut(report, reads_all=candidates is not None or tree.makes_evidence)
    by_id = {item.id: item for item in found}
    # a caller's own items are all shown: it is a list that somebody made
    with_dropped = all_ or candidates is None or fit is not None
    order = _fitting(ranked(report.decisions, tree, by_id, with_dropped=with_dropped), sizes, fit)[:top]
    if json:
        rows = _rows(order if top or all_ or fit else report.decisions, report, tree, by_id, places)
        reading = {"repository": candidates.reading()} if candidates else {}
        print_json(report.as_dict() | {"decisions": rows} | reading)
    else:
        _show(report, order, tree, by_id, places, candidates.task.seeds if candidates else ())
    return ExitCode.FAILURE if candidates and not candidates.n_read else ExitCode.DONE


def _cascade(config: Path | None, name: str | None, most: int, *, files: bool) -> str:
    """The cascade that is asked.

    Raises:
        InputError: --files is given with a cascade or with --most, or no cascade labels files.
    """
    if not files:
        return name or "precision"
    if name is not None:
        msg = "Give one of --files and --cascade: --files asks the cascade that labels files."
        raise InputError(msg)
    if most != MOST_SYMBOLS:
        msg = f"--most {most} is about symbols, and --files labels the files that were found. Leave --most away."
        raise InputError(msg)
    return labels_files(read_config(config or shipped_config()).cascades())


def _sizes(items: Sequence[Item], cascade: Cascade, candidates: Candidates | None) -> dict[str, int]:
    """About how many tokens each item has: those of its file, or of its own text.

    Raises:
        InputError: An item has neither.
    """
    if candidates is not None and cascade.items is ItemKind.FILES:
        return tokens_of(candidates.root, (item.id for item in items))
    without = next((item.id for item in items if not item.text), None)
    if without is not None:
        what = f"item {without!r} has no text" if candidates is None else f"{cascade.items} have no size of their own"
        msg = f"--fit needs to know how large each candidate is, and {what}. Give files, or items with their text."
        raise InputError(msg)
    return {item.id: n_tokens(len(item.text.encode("utf-8", "surrogatepass"))) for item in items}


def _fitting(order: Sequence[Decision], sizes: Mapping[str, int], most: int | None) -> Sequence[Decision]:
    """The decisions whose items fit into so many tokens together; a note says how many do."""
    if most is None:
        return order
    taken = set(fitting([one.id for one in order], sizes, most))
    room = sum(sizes[id_] for id_ in taken)
    note(f"{len(taken)} of {counted(len(order), 'candidate')} fit into {most:,} tokens, with about {room:,}")
    return [one for one in order if one.id in taken]


def _rows(
    chosen: Sequence[Decision], report: Report, cascade: Cascade, items: Mapping[str, Item], places: Places | None
) -> list[Mapping[str, Any]]:
    """Decisions as JSON has them, each with its place among all."""
    order = {one.id: at for at, one in enumerate(ranked(report.decisions, cascade, items, with_dropped=True), 1)}
    return [_row(one, items[one.id], cascade, places, order[one.id]) for one in chosen]


def _row(decision: Decision, item: Item, cascade: Cascade, places: Places | None, order: int) -> Mapping[str, Any]:
    """A decision as JSON has it."""
    found = decision.as_dict() | {
        "order": order,
        "p": round(p_shown(decision, cascade, item.prior), 6),
        "kind": item.kind,
        "evidence": [*(item.group.evidence if item.group is not None else ()), *item.evidence],
    }
    if places is None:
        return found
    lines = places.lines(decision.id)
    span = {"span": {"first": lines[0], "last": lines[1]}} if lines is not None else {}
    return found | span | {"reasons": places.why(decision.id)}


def _tell_cut(report: Report, *, reads_all: bool) -> None:
    """Say once what the limits of a prompt cut off.

    Args:
        report: What came of the request.
        reads_all: Whether evidence was made from the whole of the task.
    """
    stats, read = report.stats, []
    if stats.task_tokens_cut:
        n = stats.task_tokens_read + stats.task_tokens_cut
        of = f"more than {n:,}" if stats.task_is_longer else f"{n:,}"
        read.append(f"the first {stats.task_tokens_read:,} of {of} tokens of the task")
    if stats.items_cut:
        items, n_texts = counted(stats.items_cut, "candidate"), stats.texts_cut
        if n_texts == stats.items_cut:
            read.append(f"the beginning of the text of {items}")
        else:
            of_texts = f" (of {n_texts:,} of them that of the text)" if n_texts else ""
            read.append(f"the beginning of {items}{of_texts}")
    if read:
        note(f"the model reads {' and '.join(read)}" + ("; evidence is made from all of it" if reads_all else ""))


def _more_to_go_by(cascade: Cascade, seeds: Sequence[str]) -> str:
    """What a user can still say, beside the files that the work starts from."""
    if cascade.items is ItemKind.PAIRS:
        return "name other parts of the change with --from" if seeds else "name the parts of the change with --from"
    if not seeds:
        return "say more in the task, or name a file that the work starts from with --from"
    named = "that file" if len(seeds) == 1 else f"those {len(seeds)} files"
    return f"say more in the task, or name another file with --from, as nothing seems to go with {named}"


def _show(
    report: Report,
    decisions: Sequence[Decision],
    cascade: Cascade,
    items: Mapping[str, Item],
    places: Places | None,
    seeds: Sequence[str],
) -> None:
    console = results()
    if decisions:
        show_decisions(console, decisions, cascade, items, places)
        console.print()
    elif report.decisions:
        what = counted(len(report.decisions), "candidate")
        note(f"None of {what} is likely enough to matter. --all shows them; {_more_to_go_by(cascade, seeds)}.")
    counts = report.labels()
    stats = report.stats
    console.print(
        f"{counted(stats.items, 'candidate')}: "
        + ", ".join(f"{counts.get(label, 0)} {label}" for label in cascade.labels)
    )
    cut = report.statuses()
    del cut[Status.DECIDED]
    n_uncertain = cut.pop(Status.UNCERTAIN, 0)
    if n_uncertain:
        console.print(f"{counted(n_uncertain, 'candidate is', 'candidates are')} uncertain and handed on, not decided")
    if cut:
        console.print(
            "time or depth was too short for all: "
            + ", ".join(f"{n} {status}" for status, n in sorted(cut.items()))
            + ", with the likeliest label that is left to them"
        )
    for cause, n in Counter(decision.cause for decision in report.decisions if decision.cause).most_common():
        note(f"{n} of these: {cause}")
    reused = f", {stats.calls_reused:,} of them answered from the log" if stats.calls_reused else ""
    console.print(
        f"{counted(stats.calls, 'call')}{reused}, {stats.calls_per_item:.2f} per candidate; "
        f"{counted(stats.decode_calls, 'decode call')}, {counted(stats.adapter_swaps, 'adapter swap')}; "
        f"{counted(stats.tokens_decoded, 'token')} decoded, {stats.tokens_reused:,} reused; "
        f"{stats.elapsed_ms:.0f} ms"
    )

"""``cascade dataset label``: a model or server of the config labels items of a log, within a budget of labels."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cascade.cli.dataset_options import (
    CascadeOption,
    KindOption,
    RenameOption,
    SinceOption,
    TrustOption,
    cascade_of,
    reading_of,
)
from cascade.cli.dataset_output import show_labels
from cascade.cli.dataset_review import scanned
from cascade.cli.log_file import LogOption, opened, since_option
from cascade.cli.output import ConfigOption, ExitCode, JsonOption, note, print_json, progress, results
from cascade.config.schema import read_config, shipped_config
from cascade.dataset.candidates import Candidate
from cascade.dataset.known import is_oracles
from cascade.dataset.oracle import Asking, Labels, label, oracle_cascade, with_texts
from cascade.dataset.picking import Pick, Picked, Why, pick, place_of
from cascade.dataset.review import Shown, record, sampled, shown
from cascade.engine.engine import Engine
from cascade.errors import InputError, counted


def label_(  # noqa: PLR0913 - the command line's options
    *,
    cascade: CascadeOption,
    oracle: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Who labels: an adapter of the config, of a server too, a base model such as big/base, or a cascade "
            "with the same labels.",
        ),
    ],
    labels: Annotated[int, typer.Option(min=1, help="The label budget: how many items it is asked about at most.")],
    check: Annotated[int, typer.Option(min=0, help="Ask it as well about so many items whose label is known.")] = 0,
    random: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the budget for items that are drawn at random.")
    ] = 0.25,
    log: LogOption = None,
    outcome: KindOption = None,
    rename: RenameOption = None,
    trust: TrustOption = None,
    since: SinceOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> ExitCode:
    """Let a model label items of a log that nobody has labelled: some at random, the rest the most uncertain.

    Its labels are outcomes whose source is oracle:NAME, which count half and are never tested on.
    """
    read = read_config(config or shipped_config())
    tree = cascade_of(read, cascade)
    asked = oracle_cascade(read, tree, oracle)
    reading = reading_of(tree, outcome, "", rename, trust)
    with opened(log, config) as (database, path):
        found = scanned(database, path, tree, reading, since_option(since))
        picked = pick(found, labels, random, with_wrong=False)
        chosen = _readable(path, shown(database, picked.picks))
        known = with_texts(shown(database, _known(found, check)))
        with Engine.open(read, cascades={asked.name: asked}, log=None) as engine, progress() as bar:
            line = bar.add_task("items", total=len(chosen) + len(known))
            asking = Asking(engine=engine, cascade=asked, name=oracle, advance=lambda n: bar.advance(line, n))
            said = _label(database, asking, chosen, picked)
            said.checked, said.agreed = _agreement(asking, known)
    figures = {"log": str(path), "cascade": cascade, "oracle": oracle, **said.as_dict()}
    if json:
        print_json(figures)
    else:
        show_labels(results(), path, oracle, said)
    for cause, n in said.causes.most_common():
        note(f"{counted(n, 'item')} without an answer: {cause}")
    if not chosen:
        note("nothing is left to label: every item has a label")
    return ExitCode.FAILURE if said.failed and not said.given else ExitCode.DONE


def _label(database: sqlite3.Connection, asking: Asking, chosen: Sequence[Shown], picked: Picked) -> Labels:
    """Ask about items, and record what is said of each task at once."""
    found, is_first = Labels(), True
    for outcomes in label(asking, chosen, found):
        if outcomes:
            record(database, [*(sampled(picked, outcomes[0].source) if is_first else ()), *outcomes])
            is_first = False
    return found


def _agreement(asking: Asking, known: Sequence[Shown]) -> tuple[int, int]:
    """Of how many items with a known label the oracle was sure, and of how many of them it gave that label."""
    truths = {one.pick.candidate.name: one.pick.candidate.label for one in known}
    said = [one for outcomes in label(asking, known, Labels()) for one in outcomes]
    return len(said), sum(one.label == truths[one.task, one.item] for one in said)


def _known(found: Sequence[Candidate], n: int) -> list[Pick]:
    """Items that a person or a commit has labelled, as good as drawn at random."""
    own = [one for one in found if one.label and not is_oracles(one.source)]
    return [Pick(one, Why.RANDOM) for one in sorted(own, key=place_of)[:n]]


def _readable(path: Path, chosen: list[Shown]) -> list[Shown]:
    """The items that the log keeps the texts of.

    Raises:
        InputError: It keeps none.
    """
    told = with_texts(chosen)
    n = len(chosen) - len(told)
    if n and not told:
        msg = (
            f"{path}: the log keeps the text of none of {counted(n, 'item')}, only hashes, so nobody can be asked "
            'about them. Set texts = "full" under [log] of the config: what is asked from then on can be labelled.'
        )
        raise InputError(msg)
    if n:
        note(f"{counted(n, 'item is', 'items are')} left out, because the log keeps no text of theirs")
    return told

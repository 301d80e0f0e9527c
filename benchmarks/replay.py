"""What the life cycle gains: commits of a repository in time order, asked, logged, learned from, and asked again.

    python -m benchmarks.replay FILE [--tasks N] [--adapter NAME] [--shares 1/4,1/2,1] [--steps N] [--fresh]
                               [--work DIR] [--json]

FILE has labelled tasks with dates, such as `cascade dataset mine` writes. The latest N are put to the engine in time
order with the log on; the outcomes are what each commit changed. `cascade improve`'s own steps make the dataset, whose
later half is the test part, and train the adapter, each time on the first tasks of the other half, and more of them.
Each one and the live adapter answer the test part. Needs the extra `train`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.script import count, run_script
from cascade import Engine, Outcome
from cascade.cli.improve_steps import Aim, Learning, build
from cascade.cli.labelled_data import labelled_scores
from cascade.cli.train import trained
from cascade.cli.tune import to_score
from cascade.config.extends import SHIPPED
from cascade.config.schema import AdapterConfig, Config, read_config, read_untuned
from cascade.dataset.folder import MANIFEST
from cascade.dataset.known import Reading
from cascade.dataset.manifest import Dataset, read_dataset
from cascade.dataset.rows import asked_of
from cascade.dataset.splitting import Part, Shares
from cascade.errors import InputError
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.paired import Paired, paired
from cascade.evaluation.score_file import LabelledScores, labelled_tasks
from cascade.files import sha256_of
from cascade.training.prepare import Wishes

CASCADE = "precision"
TEST, VALID = 0.5, 0.1
Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Replay, train and print; see the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--tasks", type=count, default=200)
    parser.add_argument("--adapter", default="relevant")
    parser.add_argument("--shares", type=_shares, default=_shares("1/4,1/2,1"))
    parser.add_argument("--steps", type=count, default=None)
    parser.add_argument("--fresh", action="store_true", help="train from nothing, and not on from the live adapter")
    parser.add_argument("--work", type=Path, default=None, help="keep what is made here, and go on with it")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        work = options.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        found = replay(options, work)
    if options.json:
        sys.stdout.write(f"{json.dumps(found, indent=2)}\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in table(found))


def _shares(text: str) -> list[Fraction]:
    try:
        found = [Fraction(each) for each in text.split(",")]
    except (ValueError, ZeroDivisionError) as error:
        msg = f"{text!r} is given; give shares such as 1/4,1/2,1"
        raise argparse.ArgumentTypeError(msg) from error
    if not all(0 < each <= 1 for each in found):
        msg = f"{text!r} is given; give shares above 0, up to 1"
        raise argparse.ArgumentTypeError(msg)
    return found


def replay(options: argparse.Namespace, work: Path) -> Row:
    """The life cycle on a file, with what it came to for each share of the first half."""
    config = work / "cascade.toml"
    config.write_text(f'extends = "{SHIPPED}"\n[log]\npath = "log.sqlite3"\ntexts = "full"\nredact = false\n')
    tree = read_config(config).cascades()[CASCADE]
    found = labelled_tasks([options.file], tree).tasks
    if any(one.at is None for one in found):
        msg = f"{options.file}: a task has no date, so there is no order of time. Give tasks that have one."
        raise InputError(msg)
    tasks = sorted(found, key=lambda one: one.at or 0.0)[-options.tasks :]
    aim = Aim(
        config=config,
        tree=tree,
        log=work / "log.sqlite3",
        work=work,
        reading=Reading(labels=tree.answers),
        shares=Shares(test=TEST, valid=VALID),
        adapter=options.adapter,
        learning=Learning(is_fresh=options.fresh, steps=options.steps),
    )
    asking_s = _ask(aim, tasks) if not aim.log.exists() else None
    build(aim)
    data = read_dataset(aim.data)
    before = _scores(read_untuned(config, CASCADE).config, data)
    rows = []
    for share in options.shares:
        n = round(share * data.manifest.parts[Part.TRAIN].tasks)
        rows.append({"tasks": n, **_learned(aim, data, n, before)})
    counts = {name: getattr(data.manifest.parts[Part.TEST], name) for name in ("tasks", "items")}
    return {"file": options.file.name, "adapter": options.adapter, "replayed": len(tasks), "asking_s": asking_s,
            "test": counts, "rows": rows}  # fmt: skip


def _ask(aim: Aim, tasks: Sequence[Labelled]) -> float:
    """Put the tasks to the engine with the log on, and tell it what became of the items; seconds it took."""
    began = time.monotonic()
    with Engine.open(aim.config) as engine:
        for one in tasks:
            if one.items:
                report = engine.classify(one.task, list(one.items), CASCADE, budget=None)
                pairs = zip(one.items, one.labels, strict=True)
                engine.record_outcome(
                    Outcome(task=report.task_id, item=item.id, label=label, source="commit") for item, label in pairs
                )
    return time.monotonic() - began


def _learned(aim: Aim, data: Dataset, n: int, before: LabelledScores) -> Row:
    """An adapter trained on the first tasks, against the live one on the test part; why not, where that cannot be."""
    out, config = aim.work / f"trained-{n}", read_config(aim.config)
    start = None if aim.learning.is_fresh else aim.adapter
    folder = _first(data, n, aim.work / f"first-{n}")
    wishes = Wishes(adapter=aim.adapter, data=[folder], out=out, cascade=CASCADE, start=start, steps=aim.learning.steps)
    began = time.monotonic()
    try:
        prepared, version = trained(config, wishes)
    except InputError as error:
        return {"why": str(error)}
    seconds = time.monotonic() - began
    entry = AdapterConfig(path=(out / f"{aim.adapter}.gguf").absolute())
    untuned = read_untuned(aim.config, CASCADE).config
    new = _scores(untuned.model_copy(update={"adapters": {**config.adapters, aim.adapter: entry}}), data)
    found = _paired(aim, before, new)
    return {
        "items": sum(len(example.asks) for example in prepared.train), "steps": version["figures"]["steps"],
        "seconds": seconds, **found.as_dict(), "gain": found.gain,
    }  # fmt: skip


def _first(data: Dataset, n: int, folder: Path) -> Path:
    """A dataset with the first tasks alone of its part for training."""
    shutil.copytree(data.folder, folder, dirs_exist_ok=True)
    part = data.manifest.parts[Part.TRAIN]
    (folder / part.file).write_bytes(b"".join(data.path(Part.TRAIN).read_bytes().splitlines(keepends=True)[:n]))
    told = {**data.told["parts"][Part.TRAIN], "tasks": n, "sha256": sha256_of(folder / part.file)}
    whole = {**data.told, "parts": {**data.told["parts"], Part.TRAIN: told}}
    (folder / MANIFEST).write_text(json.dumps(whole), encoding="utf-8")
    return folder


def _scores(config: Config, data: Dataset) -> LabelledScores:
    return labelled_scores(to_score(config, CASCADE), CASCADE, [data.path(Part.TEST)], None, refuse=lambda *_: None)


def _paired(aim: Aim, before: LabelledScores, after: LabelledScores) -> Paired:
    """Two adapters at their first question, and what each answers right at the thresholds that are live."""
    asked = next(one for one in asked_of(aim.tree) if one.adapter == aim.adapter)
    key = asked.stage, asked.tier
    truths = before.scored.truths(aim.tree, asked.stage)
    p = before.scored.p[key], after.scored.p[key]
    threshold = aim.tree.stage(asked.stage).limits[asked.tier].yes_from
    right = tuple(np.asarray((each >= threshold) == (truths == 1)) for each in p)
    return paired(*p, truths, before.scored.tasks, (right[0], right[1]))


def table(found: Row) -> Iterator[str]:
    """A line for each share, below what it is about."""
    test = found["test"]
    how = "replayed before" if found["asking_s"] is None else f"replayed in {found['asking_s']:.0f} s"
    yield (
        f"{found['file']}: {found['replayed']} tasks {how}; {found['adapter']} judged on the latest {test['tasks']} "
        f"tasks with {test['items']:,} items"
    )
    yield f"{'tasks':>6} {'items':>7} {'steps':>6} {'s':>6} {'live':>7} {'new':>7} {'gain':>8}  95 % of it"
    for row in found["rows"]:
        if "why" in row:
            yield f"{row['tasks']:>6} {row['why']}"
            continue
        figures = f"{row['before']:>7.4f} {row['after']:>7.4f} {row['gain']:>+8.4f}"
        yield (
            f"{row['tasks']:>6} {row['items']:>7,} {row['steps']:>6} {row['seconds']:>6.0f} {figures}  "
            f"{row['low']:+.4f} to {row['high']:+.4f}"
        )


if __name__ == "__main__":
    run_script(main)

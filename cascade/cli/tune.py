"""``cascade tune``: thresholds of a whole cascade that carry a guarantee."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cascade.cli.few_tasks_output import show_few_tasks
from cascade.cli.labelled_data import DataOption, FilesArgument, data_files, labelled_scores
from cascade.cli.output import ConfigOption, JsonOption, note, print_json, progress
from cascade.cli.outputs import ForceOption, check_distinct, refuse_others, scores_output, thresholds_output
from cascade.cli.tune_output import as_dict, file_of, guarantee, kept_little, show, written
from cascade.config.figures import GUARANTEED, Figure, Metric, Unit
from cascade.config.schema import Config, read_untuned, shipped_config
from cascade.config.stages import PriorStageConfig
from cascade.config.thresholds import InputsConfig, write_thresholds
from cascade.errors import InputError
from cascade.evaluation.calibration import calibrate
from cascade.evaluation.prior_fit import priors_of, with_prior_scores
from cascade.evaluation.repeats import fingerprint
from cascade.evaluation.score_file import LabelledScores, in_use, with_stages
from cascade.tree import Cascade
from cascade.tuning.free_thresholds import free_keys
from cascade.tuning.objective import Cost
from cascade.tuning.search import TuningResult
from cascade.tuning.search import tune as search
from cascade.tuning.shift import inputs_of
from cascade.tuning.target import TuningTarget

_MORE = "--no-guarantee, which guarantees nothing, takes macro_f1 without a number as well."
"""What ``--target`` takes here, and in no other command."""


def tune(  # noqa: PLR0913 - the command line's options
    *,
    cascade: Annotated[str, typer.Option(help="Name of the cascade.")],
    target: Annotated[
        str,
        typer.Option(
            metavar="NAME=X",
            help="What to guarantee: recall=0.95, precision=0.8 or macro_f1=0.6, per task or by --unit over rows, or "
            "by its whole name, such as recall_per_task=0.95. Of a cascade that hands items on also "
            "recall_or_handed_on=0.95, what is handed on counted in, or accuracy_among_answered=0.95, what is handed "
            "on left out. With --no-guarantee also macro_f1 without a number: that over all rows, as high as can be.",
        ),
    ],
    files: FilesArgument = None,
    data: DataOption = None,
    delta: Annotated[float, typer.Option(help="The chance that the guarantee may be wrong.")] = 0.05,
    minimise: Annotated[
        Cost | None,
        typer.Option(
            metavar="COST",
            help=f"What to make small under the guarantee: {', '.join(Cost)}. If absent, misses for a precision, what "
            "is handed on where the target is about that, else calls.",
        ),
    ] = None,
    false_positive: Annotated[
        float | None,
        typer.Option(
            help="How many calls (or ms, or items handed on) a false positive is worth; absent, it breaks ties, but is "
            "worth 2 items handed on under a recall."
        ),
    ] = None,
    handed_on: Annotated[
        float | None, typer.Option(help="How many calls (or ms) an item handed on is worth; absent, it is free.")
    ] = None,
    unit: Annotated[
        Unit | None, typer.Option(help="Whether it is meant per task or over all rows; per task if nothing says so.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the thresholds, for a cascade's key `thresholds`.")] = None,
    no_guarantee: Annotated[
        bool,
        typer.Option("--no-guarantee", help="Guarantee nothing: the best thresholds from as few as 5 to 30 tasks."),
    ] = False,
    scores: Annotated[Path | None, typer.Option(help="Keep scores in this .npz file, and use those it has.")] = None,
    force: ForceOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Choose all thresholds at once, the cheapest for which a recall, precision or the like can be guaranteed."""
    is_highest = no_guarantee and target.strip() in {Metric.MACRO_F1, Figure.MACRO_F1_OVER_ROWS}
    tuning_target = (
        None
        if is_highest
        else replace(
            read_target(target, unit, delta, minimise, _MORE), false_positive=false_positive, handed_on=handed_on
        )
    )
    paths = data_files(files, data)
    untuned = read_untuned(config or shipped_config(), cascade)
    settings = untuned.config
    tuning_target = tuning_target and _of_cascade(tuning_target, settings, cascade)
    cache, output = scores_output(scores, force=force), thresholds_output(out, force=force)
    check_distinct([cache, output], paths)
    labelled = labelled_scores(to_score(settings, cascade), cascade, paths, cache, refuse=refuse_others(output))
    before, origin = in_use(untuned, cascade, labelled.origin, note), labelled.origin
    if no_guarantee or tuning_target is None:
        show_few_tasks(before, labelled, tuning_target, out, json=json)
        return
    tree = to_tune(settings.cascade[cascade].cascade(cascade), before, tuning_target.metric)
    prices = labelled.prices if tuning_target.minimised is Cost.LATENCY else None
    with progress() as bar:
        line = bar.add_task("search, test: percent", total=100)
        tuned = search(
            tree,
            labelled.scored,
            tuning_target,
            prices=prices,
            advance=lambda done: bar.update(line, completed=int(100 * done)),
        )
    curves = calibrate(tree, labelled.scored)
    if out is not None:
        file = file_of(before, tuning_target, tuned, curves, origin)
        file = file.model_copy(update={"inputs": inputs(tree, labelled, tuned)})
        write_thresholds(file, out, guarantee(tuning_target, tuned))
        note(written(out, cascade, has_guarantee=True))
    if little := kept_little(tuning_target, tuned.held_out, float(labelled.scored.is_positive(tree).mean())):
        note(little)
    if json:
        print_json(as_dict(before, tuning_target, tuned, curves, origin) | {"repeated_tasks": labelled.n_repeated})
    else:
        show(before, tuning_target, tuned, curves)


def to_tune(tree: Cascade, before: Cascade, metric: Metric) -> Cascade:
    """The config's own cascade, with the thresholds in use where the metric does not depend on them.

    Of the others the search must know nothing: they may have been chosen by the tasks that test what it finds.
    """
    free = {key.stage for key in free_keys(tree, metric)}
    return with_stages(tree, before, {stage.name for stage in tree.stages} - free)


def inputs(tree: Cascade, labelled: LabelledScores, tuned: TuningResult) -> InputsConfig:
    """What the file keeps of the tasks, with what the tuned prior stage says of them."""
    if tree.prior_stage is not None:
        tree = replace(tree, prior_stage=replace(tree.prior_stage, prior=tuned.prior))
    items = [item for task in labelled.tasks for item in task.items]
    inputs = inputs_of(tree, with_prior_scores(tree, labelled.scored, priors_of(tree, items)))
    return InputsConfig.of(inputs, {fingerprint(task) for task in labelled.tasks if task.items})


def read_target(target: str, unit: Unit | None, delta: float, cost: Cost | None, more: str = "") -> TuningTarget:
    """What ``--target`` and the options beside it ask for.

    Args:
        target: The figure and its least value.
        unit: Whether it is meant per task or over all rows; None if nobody says.
        delta: The chance that it may be missed.
        cost: What is made small under it; None for what suits the figure.
        more: What else the command takes, for the refusal; empty for nothing.

    Raises:
        InputError: It cannot be guaranteed.
    """
    name, _, value = (part.strip() for part in target.partition("="))
    try:
        metric, meant = GUARANTEED[Figure(name)] if name in GUARANTEED else (Metric(name), unit or Unit.TASK)
        level = float(value)
    except ValueError as error:
        msg = (
            f"--target {target!r} cannot be guaranteed. Give one of {', '.join((*Metric, *GUARANTEED))} and the least "
            f"that it is to be, such as recall=0.95.{more and f' {more}'}"
        )
        raise InputError(msg) from error
    if unit not in {None, meant}:
        msg = f"--target {target!r} is not meant over --unit {unit}. Leave --unit out, or name the other figure."
        raise InputError(msg)
    return TuningTarget(level=level, metric=metric, unit=meant, delta=delta, cost=cost)


def _of_cascade(target: TuningTarget, config: Config, name: str) -> TuningTarget:
    """What to aim for in a cascade; an unknown one is refused later."""
    return target.of(config.cascade[name].cascade(name)) if name in config.cascade else target


def to_score(config: Config, name: str) -> Config:
    """The config with the questions of one cascade alone: what has to be tuned first must not stand in the way."""
    if name not in config.cascade:
        return config
    found = config.cascade[name]
    stages = tuple(stage for stage in found.stages if not isinstance(stage, PriorStageConfig))
    alone = found.model_copy(update={"stages": stages, "prior_source": None})
    return config.model_copy(update={"cascade": {name: alone}})

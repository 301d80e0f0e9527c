"""``cascade depth``: where to stop decomposing, and what labelled tasks teach of a cascade."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cascade.audit.html.depth_charts import depth_pictures, picture_names
from cascade.audit.html.draw import check_libraries, write_pngs
from cascade.cli.labelled_data import DataOption, FilesArgument, data_files
from cascade.cli.output import (
    ConfigOption,
    JsonOption,
    ThresholdsOption,
    budget_option,
    note,
    print_json,
    progress,
    results,
)
from cascade.cli.outputs import ForceOption, check_distinct, profile_output, refuse_others, refuse_pictures
from cascade.cli.tables import Sheet
from cascade.config.figures import Figure
from cascade.config.profile import MadeForConfig, write_profile
from cascade.config.schema import Config, read_config, shipped_config
from cascade.engine.engine import Engine
from cascade.errors import ConfigError, ServerError, counted
from cascade.evaluation.depth import DepthStudy, Findings
from cascade.evaluation.depth_choice import DepthChoice, Level
from cascade.evaluation.metrics import QUALITY
from cascade.evaluation.output_file import Output
from cascade.evaluation.score_file import labelled_tasks, origin_of
from cascade.evaluation.single_call import SingleCall, is_single_call
from cascade.files import check_folder, check_readable
from cascade.report import Origin


def depth(  # noqa: PLR0913 - the command line's options
    *,
    cascade: Annotated[str, typer.Option(help="Name of the cascade.")],
    files: FilesArgument = None,
    data: DataOption = None,
    f1_points_per_100ms: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="POINTS",
            help="Points of macro F1 over all rows that 100 ms are worth; the config's if absent.",
        ),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="Milliseconds a request may take; chooses the deepest depth that fits.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write what was learned, for a cascade's key `profile`.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Folder for pictures: depth and anytime.")] = None,
    force: ForceOption = False,
    thresholds: ThresholdsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show what each question more gains for its time, and what a budget buys."""
    paths = data_files(files, data)
    check_readable([*paths, thresholds, config])
    settings = read_config(config or shipped_config(), {cascade: thresholds})
    budget_option(budget)
    choice = DepthChoice.of(f1_points_per_100ms, budget, settings.engine.f1_points_per_100ms)
    output = profile_output(out, force=force)
    check_distinct([output], paths)
    if plot is not None:
        check_libraries("matplotlib")
        check_folder(plot, "Name a folder that can be.")
        refuse_pictures([plot / name for name in picture_names(cascade)], force=force)
    found = _study(settings, cascade, paths, output)
    figures = found.findings.as_dict(choice, found.zero)
    figures |= {
        "depth_0_by": found.single_call or None,
        "no_depth_0": found.refusal,
        "repeated_tasks": found.n_repeated,
    }
    if out is not None:
        n_tasks, n_items = counted(figures["tasks"], "labelled task"), counted(figures["items"], "item")
        source = f"From {n_tasks} with {n_items}, by `cascade depth`."
        write_profile(found.findings.profile, out, source, MadeForConfig(**asdict(found.origin)))
        note(f"wrote {out}")
    if plot is not None:
        for path in write_pngs(depth_pictures(figures), plot):
            note(f"wrote {path}")
    if json:
        print_json(figures)
    else:
        _show(figures)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Studied:
    """What was found.

    Attributes:
        findings: Of every depth from 1 on, and of budgets.
        zero: Depth 0; None where the model cannot do it.
        single_call: Name of the cascade that is depth 0; empty where the first stage's adapter is asked.
        refusal: Why it cannot.
        origin: What all of it depends on.
        n_repeated: Tasks that were given again, and are left out.
    """

    findings: Findings
    zero: Level | None
    single_call: str
    refusal: str | None
    origin: Origin
    n_repeated: int


def _study(config: Config, name: str, paths: Sequence[Path], output: Output | None) -> _Studied:
    with progress() as bar:
        line = bar.add_task("requests", total=None)
        with Engine.open(config, log=None) as engine:
            tree = engine.cascade(name)
            given = labelled_tasks(paths, tree, note=note)
            tasks = [labelled for labelled in given.tasks if labelled.items]
            origin = origin_of(config, engine, tree, tasks)
            refuse_others(output)(tasks, origin)
            study = DepthStudy(engine, tree, tasks, lambda: bar.advance(line))
            bar.update(line, total=study.n_requests + len(tasks))
            findings = study.run()
        single_call, zero, refusal = SingleCall(config, tree, lambda: bar.advance(line)), None, None
        if is_single_call(tree):
            refusal = f"Cascade {name!r} is that call itself."
        else:
            try:
                zero = single_call.level(tasks)
            except (ConfigError, ServerError) as error:
                refusal = str(error)
    return _Studied(
        findings=findings,
        zero=zero,
        single_call=single_call.name,
        refusal=refusal,
        origin=origin,
        n_repeated=len(given.repeated),
    )


def _show(figures: dict[str, Any]) -> None:
    console = results()
    keys = _keys(figures)
    heads = tuple(keys.values())
    depths = Sheet((), ("depth", *heads, "calls per item", "predicted ms", "measured ms", "points per ms"))
    for row in figures["depths"]:
        quality = (_shown(row[key]) for key in keys)
        times = (f"{row['predicted_ms']:.0f}", f"{row['elapsed_ms']:.0f}", _shown(row["points_per_ms"]))
        depths.add(str(row["depth"]), *quality, f"{row['calls_per_item']:.2f}", *times)
    depths.show(console)
    console.print(choice_in_words(figures))
    if figures["choice"]["verdict"] == "unclear" and len(figures["depths"]) > 1:
        console.print(_doubt(figures))
    if not figures["no_depth_0"]:
        console.print(_of_one_call(figures))
    if figures["no_depth_0"]:
        console.print(f"There is no depth 0, one call that tells all labels apart: {figures['no_depth_0']}")
    console.print()
    budgets = Sheet((), ("budget", "ms", *heads, "measured ms"))
    for row in figures["anytime"]:
        quality = (_shown(row[key]) for key in keys)
        budgets.add(f"{row['share']:.0%}", f"{row['budget_ms']:.0f}", *quality, f"{row['elapsed_ms']:.0f}")
    budgets.show(console)
    if better := better_in_less_time(figures):
        console.print(better)
    console.print()
    console.print(
        f"{counted(figures['tasks'], 'task')}, {counted(figures['items'], 'item')}: {_learned(figures['learned'])}"
    )


def _keys(figures: dict[str, Any]) -> dict[str, str]:
    """What each depth and budget is judged by, with what is handed on where something may be."""
    may_hand_on = any(row["handed_on"] is not None for row in figures["depths"])
    return QUALITY | ({"handed_on": "handed on", "error_among_answered": "error among answered"} if may_hand_on else {})


def _of_one_call(figures: dict[str, Any]) -> str:
    """Who is depth 0, whether it is as good as all questions, and then what to do."""
    name, (zero, *_, deepest) = figures["depth_0_by"], figures["depths"]
    key = Figure.MACRO_F1_OVER_ROWS
    is_as_good = zero[key] >= deepest[key]
    told, remedy = f"Depth 0 is cascade {name!r}, one choice among all labels.", f"ask with --cascade {name}"
    if name is None:
        told = "Depth 0 is one choice among all labels by the first stage's adapter, which nobody trained for it."
        remedy = "make it a cascade of its own, one stage with the labels as its `values`"
    how = "no lower" if is_as_good else "lower"
    compared = f"Its {key.words} of {zero[key]:.3f} is {how} than that of all questions"
    if is_as_good:
        return f"{told} {compared}: {remedy}."
    if figures["choice"]["depth"] == 0:
        why = "fits the budget" if figures["choice"]["by"] == "budget" else "pays, by its time"
        return f"{told} {compared}, but it {why}: {remedy}."
    return f"{told} {compared}."


def _learned(learned: dict[str, Any]) -> str:
    parts = [f"pass rates, with half an item added to each answer: {', '.join(_rates(learned)) or 'none'}"]
    if learned["unreached"]:
        parts.append(f"nothing is learned of {', '.join(learned['unreached'])}, which no item reached")
    if learned["prior_features"]:
        skill = f"{Figure.AUC_PER_TASK.words} of {_shown(learned['prior_auc_per_task'])}"
        parts.append(
            f"a prior from {counted(learned['prior_features'], 'feature')} ranks what the cascade keeps with an "
            f"{skill}, on tasks left out of its fit"
        )
    else:
        why = "the cascade keeps all, or none" if learned["prior_features"] is None else "no evidence is common enough"
        parts.append(f"there is no prior to learn, as {why}")
    return "; ".join(parts)


def _rates(learned: dict[str, Any]) -> Iterator[str]:
    """How often each stage says what: yes, or each value of a choice or part of a score that it is sure of."""
    doubts = {stage: f" ({rate:.1%} uncertain)" for stage, rate in learned["uncertain_rates"].items()}
    for stage, rate in learned["pass_rates"].items():
        yield f"{stage} {rate:.1%}{doubts.get(stage, '')}"
    for stage, rates in learned["answer_rates"].items():
        shares = " and ".join(f"{answer} {rate:.1%}" for answer, rate in rates.items())
        yield f"{stage} {shares}{doubts.get(stage, '')}"


def choice_in_words(figures: dict[str, Any]) -> str:
    """Where to stop, or that there is nothing to stop before."""
    choice, deepest = figures["choice"], figures["depths"][-1]["depth"]
    is_last = choice["depth"] == deepest
    if choice["by"] == "budget":
        limit = f"a budget of {choice['budget_ms']:g} ms"
        if choice["depth"] is None:
            return f"No depth fits {limit}."
        if is_last:
            return f"Go to the last depth, {deepest}, which fits {limit}."
        return f"Stop at depth {choice['depth']}, the deepest that fits {limit}."
    points = choice["f1_points_per_100ms"]
    unit = "point" if points == 1 else "points"
    f1_points_per_100ms = f"{points:g} {unit} of {Figure.MACRO_F1_OVER_ROWS.words} for 100 ms"
    if is_last and len(figures["depths"]) == 1:
        return f"Depth {deepest} is all there is."
    if is_last:
        return f"Go to the last depth, {deepest}: at {f1_points_per_100ms}, stopping earlier does not pay."
    if choice["depth"] == 0:
        return f"Ask one call in place of the cascade: at {f1_points_per_100ms}, no question of its own pays."
    return f"Stop at depth {choice['depth']}: at {f1_points_per_100ms}, no more pays."


def better_in_less_time(figures: dict[str, Any]) -> str:
    """Why a budget comes to a higher macro F1 than the depth that was chosen; empty where none does."""
    key, choice = Figure.MACRO_F1_OVER_ROWS, figures["choice"]
    chosen = next((row for row in figures["depths"] if row["depth"] == choice["depth"]), None)
    best = max(figures["anytime"], key=lambda row: row[key], default=None)
    if chosen is None or best is None or round(best[key], 3) <= round(chosen[key], 3):
        return ""
    return (
        f"A budget of {best['budget_ms']:.0f} ms has a higher {key.words} ({best[key]:.3f}) than depth "
        f"{choice['depth']} ({chosen[key]:.3f}), since items that it cuts short get their likeliest label and not the "
        "one that the thresholds lead to: `cascade tune` may find better thresholds."
    )


def _doubt(figures: dict[str, Any]) -> str:
    needed, n_tasks = figures["choice"]["tasks_needed"], figures["tasks"]
    if needed is None:
        told = f"{counted(n_tasks, 'task')}, or more, do not tell"
        return f"That is a matter of chance: two depths are so near each other that {told}."
    return f"Too few tasks to be sure of that: {n_tasks} here, and it takes about {needed}."


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

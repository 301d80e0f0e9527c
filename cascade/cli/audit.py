"""``cascade audit``: how often each question errs, where, how sure that is, and what to do about it."""

from __future__ import annotations

from pathlib import Path
from textwrap import shorten
from typing import Annotated

import typer

from cascade.audit.audit import Audit, AuditOptions, QuestionAudit
from cascade.audit.audit import audit as audit_scores
from cascade.audit.coherence import Coherence, coherence, opposite
from cascade.audit.html import Known, check_report, write_report
from cascade.audit.learning_curve import n_audits
from cascade.audit.questions import question_name
from cascade.audit.rates import MIN_ERRORS, MIN_TASKS
from cascade.cli.guarantees import guarantee_in_words
from cascade.cli.labelled_data import DataOption, FilesArgument, data_files, labelled_scores
from cascade.cli.output import ConfigOption, JsonOption, ThresholdsOption, note, plain, print_json, progress, results
from cascade.cli.outputs import ForceOption, check_distinct, refuse_others, report_output, scores_output
from cascade.cli.tables import Sheet
from cascade.config.figures import Figure
from cascade.config.schema import Config, read_config, shipped_config
from cascade.config.thresholds import ThresholdsFile
from cascade.engine.engine import Engine
from cascade.errors import InputError, counted
from cascade.evaluation.score_file import LabelledScores
from cascade.evaluation.scored import Key

_TASK_WIDTH = 90


def audit(  # noqa: PLR0913 - the command line's options
    *,
    cascade: Annotated[str, typer.Option(help="Name of the cascade.")],
    files: FilesArgument = None,
    data: DataOption = None,
    within: Annotated[
        float, typer.Option(help="How well error rates should be known: half of their interval's length.")
    ] = 0.02,
    worst: Annotated[int, typer.Option(min=0, help="Examples of confident and wrong answers, for each question.")] = 5,
    seed: Annotated[int, typer.Option(help="Of sub-samples and resamples.")] = 0,
    scores: Annotated[Path | None, typer.Option(help="Keep scores in this .npz file, and use those it has.")] = None,
    html: Annotated[Path | None, typer.Option(help="Folder for an HTML report, index.html.")] = None,
    force: ForceOption = False,
    thresholds: ThresholdsOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Say where a cascade errs, how sure that is, and what to split, label, drop or merge."""
    if html is not None:
        check_report()
    if not 0 < within < 1 / 2:
        msg = f"--within {within:g} was given; it must lie between 0 and 0.5. Give one such as 0.02."
        raise InputError(msg)
    read = read_config(config or shipped_config(), {cascade: thresholds})
    cache, report = scores_output(scores, force=force), report_output(html, force=force)
    paths = data_files(files, data)
    check_distinct([cache, report], paths)
    labelled = labelled_scores(read, cascade, paths, cache, refuse=refuse_others(report), may_contradict=True)
    found = audited(
        labelled, AuditOptions(within=within, n_worst=worst, seed=seed, coherence=_coherence(read, labelled, seed))
    )
    if html is not None:
        known = _known(read, labelled, found)
        with progress() as bar:
            bar.add_task("HTML report", total=None)
            paths = write_report(labelled.cascade, labelled.scored, labelled.tasks, html, known)
        for path in paths:
            note(f"wrote {path}")
    if json:
        print_json(found.as_dict() | {"repeated_tasks": labelled.n_repeated})
    else:
        _show(found)


def audited(labelled: LabelledScores, options: AuditOptions) -> Audit:
    """Audit scored tasks, with a bar that shows the sub-samples; see ``audit.audit.audit``."""
    with progress() as bar:
        line = bar.add_task("sub-samples", total=n_audits())
        return audit_scores(labelled.cascade, labelled.scored, labelled.tasks, options, lambda: bar.advance(line))


def _known(config: Config, labelled: LabelledScores, found: Audit) -> Known:
    """What the report shows besides scores."""
    file = config.cascade[labelled.cascade.name].thresholds
    if not isinstance(file, ThresholdsFile):
        return Known(origin=labelled.origin, advice=found.advice)
    guarantee = file.guarantee
    if guarantee is None:
        return Known(
            origin=labelled.origin, advice=found.advice, guarantee=file.no_guarantee.text if file.no_guarantee else ""
        )
    words, recall = guarantee_in_words(guarantee), guarantee.recall_per_task
    return Known(origin=labelled.origin, advice=found.advice, guarantee=words, guaranteed_recall=recall)


def _coherence(config: Config, labelled: LabelledScores, seed: int) -> dict[Key, Coherence]:
    """What the negated forms add up to; nothing where no question has one."""
    cascade = labelled.cascade
    other = opposite(cascade)
    if other is None:
        return {}
    with progress() as bar, Engine.open(config, cascades={cascade.name: other}, log=None) as engine:
        line = bar.add_task("negated questions", total=None)
        return coherence(engine, cascade, labelled.scored, labelled.tasks, seed, lambda: bar.advance(line))


def _show(found: Audit) -> None:
    console = results()
    console.print(
        f"{counted(found.n_tasks, 'task')}, {counted(found.n_items, 'item')}; errors at the thresholds, 95 % intervals "
        "by task."
    )
    if found.prior is not None:
        console.print(plain(str(found.prior)))
    if found.handed_on is not None:
        console.print(plain(str(found.handed_on)))
        for stage in found.handed_on.stages:
            told = f"{stage.uncertain} of the items that come to it, {stage.of_mattering} of those that matter"
            console.print(plain(f"{stage.stage}: uncertain of {told}."))
    for advice in found.advice:
        console.print(f"{advice.act}: {plain(advice.text)}")
    if not found.advice:
        console.print(_nothing(found))
    if any(value.handed_on or value.handed_on_without for value in found.stages):
        name = Figure.MACRO_F1_OVER_ROWS.words
        console.print(f"The {name} counts what is handed on as wrong, so no stage is advised to be dropped by it.")
    for sheet in (_questions(found), _values(found), _labels(found), _slices(found), _stages(found), _worst(found)):
        if sheet.n_rows:
            console.print()
            sheet.show(console)
    again = found.duplicates
    console.print()
    stand = counted(again.n, "item stands", "items stand")
    console.print(f"{stand} more than once; {again.n_differing:,} of them with labels that differ.")


def _nothing(found: Audit) -> str:
    """Why there is nothing to advise."""
    if found.slices and all(part.p_value is None for part in found.slices):
        return (
            "Every error rate is known well enough. Too few tasks to say whether a slice errs more than the rest: that "
            f"takes {MIN_TASKS} on either side, and {MIN_ERRORS} errors to be expected there."
        )
    if not found.questions:
        return "Nothing to advise. Slices, and how many tasks are needed, are looked at for yes/no questions alone."
    return "Nothing to advise: no slice errs more than the rest, and every error rate is known well enough."


def _questions(found: Audit) -> Sheet:
    rates = ("base rate", "error", "false yes", "false no", "balanced")
    sheet = Sheet(("question", "adapter"), ("rows", "tasks", *rates, "tasks needed"))
    for question in found.questions:
        errors = question.errors
        counts = (str(errors.error.n), str(errors.error.n_tasks), _share(errors.base_rate))
        shares = (str(errors.error), str(errors.false_yes), str(errors.false_no), _share(errors.balanced))
        sheet.add(_name(question), question.adapter, *counts, *shares, str(question.curve.tasks_needed))
    return sheet


def _values(found: Audit) -> Sheet:
    """Choices and scores, each with its commonest mistake."""
    sheet = Sheet(("question", "kind", "adapter"), ("rows", "tasks", "uncertain", "error"), ("commonest mistake",))
    for each in found.values:
        counts = (str(each.uncertain.n), str(each.uncertain.n_tasks), str(each.uncertain), str(each.error))
        mistake = str(each.mistakes[0]) if each.mistakes else "-"
        sheet.add(each.stage, str(each.kind), each.adapter, *counts, mistake)
    return sheet


def _labels(found: Audit) -> Sheet:
    sheet = Sheet(("question",), ("labels held wrong", "at most", "p(X) + p(not X) - 1", "its size"))
    for question in found.questions:
        noise, sums = question.noise, question.coherence
        labels = ("-", "-")
        if noise is not None:
            interval = f"({100 * noise.wrong_low:.1f} to {100 * noise.wrong_high:.1f})"
            labels = (f"{noise.wrong:.1%} {interval}", _share(noise.at_most))
        gaps = (str(sums.gap), str(sums.size)) if sums is not None else ("-", "-")
        sheet.add(_name(question), *labels, *gaps)
    return sheet


def _slices(found: Audit) -> Sheet:
    figures = ("rows", "tasks", "base rate", "error", "rest", "p", "balanced", "rest")
    sheet = Sheet(("question", "slice"), figures)
    for part in found.slices:
        errors, rest = part.errors, part.rest
        counts = (str(errors.error.n), str(errors.error.n_tasks), _share(errors.base_rate))
        name = question_name((part.stage, part.tier))
        cells = (
            str(errors.error),
            _share(rest.error.value),
            part.p_text,
            _share(errors.balanced),
            _share(rest.balanced),
        )
        sheet.add(name, f"{part.dimension} {part.value}", *counts, *cells)
    return sheet


def _stages(found: Audit) -> Sheet:
    name = Figure.MACRO_F1_OVER_ROWS.words
    recall = Figure.RECALL_OVER_ROWS.words
    hands_on = any(value.handed_on or value.handed_on_without for value in found.stages)
    heads = (f"{name} with it", "without", "gain", f"{recall} with it", "without", "calls with it", "without")
    sheet = Sheet(("stage",), (*heads, *("handed on with it", "without") * hands_on))
    for value in found.stages:
        f1s = (f"{value.macro_f1_over_rows:.3f}", f"{value.macro_f1_over_rows_without:.3f}")
        gain = f"{value.gain:+.3f} ({value.gain_low:+.3f} to {value.gain_high:+.3f})"
        calls = (f"{value.calls_per_item:.2f}", f"{value.calls_per_item_without:.2f}")
        recalls = (_share(value.recall_over_rows), _share(value.recall_over_rows_without))
        handed_on = (_share(value.handed_on), _share(value.handed_on_without)) * hands_on
        sheet.add(value.stage, *f1s, gain, *recalls, *calls, *handed_on)
    return sheet


def _worst(found: Audit) -> Sheet:
    sheet = Sheet(("question", "p(yes)", "true label", "item"), sentences=("task",))
    for question in found.questions:
        for example in question.worst:
            item, task = f"{example.kind} {example.name}", shorten(plain(example.task), _TASK_WIDTH)
            sheet.add(_name(question), f"{example.p_yes:.3f}", example.label, item, task)
    return sheet


def _name(question: QuestionAudit) -> str:
    return question_name((question.stage, question.tier))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"

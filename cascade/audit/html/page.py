"""The HTML report of an audit: how good a cascade is on labelled tasks, in one file that needs nothing else.

The template escapes whatever it is given, charts are built from elements, and the report forbids itself scripts and
anything from elsewhere: text of tasks and items comes from outside. Equal input makes equal bytes.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import unescape
from importlib.resources import files
from pathlib import Path
from typing import Any

from cascade.audit.advice import Advice
from cascade.audit.html.charts import anytime, calls_per_item, confusion, error_slices, pareto_fronts, reliability
from cascade.audit.html.depth_charts import budgets
from cascade.audit.html.draw import COLOURS, Chart, Table, check_libraries, make_folder, svg, write_pngs
from cascade.audit.html.examples import worst_examples
from cascade.audit.html.subject import Subject
from cascade.audit.questions import question_name
from cascade.audit.values import value_audits
from cascade.config.figures import Figure
from cascade.config.profile import MadeForConfig
from cascade.errors import InputError
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.metrics import auc_per_task, macro_f1
from cascade.evaluation.scored import ScoredTasks
from cascade.files import write_whole
from cascade.report import Origin
from cascade.tree import Cascade

PAGE = "index.html"
"""Name of the report in its folder."""

_MADE_BY = '<meta name="generator" content="binary-cascade">'
_HEAD = 16_384  # bytes in which a report says what made it, and of what


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known besides scores; everything may be absent.

    Attributes:
        origin: What the scores came from.
        guarantee: What was guaranteed of the thresholds in use, in words; empty where nothing was.
        guaranteed_recall: The recall of that guarantee; None where it was none, or of something else.
        advice: What an audit advises.
        anytime: Quality under each budget, as ``Findings.anytime`` of a depth study has it.
    """

    origin: Origin | None = None
    guarantee: str = ""
    guaranteed_recall: float | None = None
    advice: Sequence[Advice] = ()
    anytime: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the report.

    Attributes:
        name: The id of its heading, unique in the report.
        title: What it is about.
        charts: Its charts.
    """

    name: str
    title: str
    charts: tuple[Chart, ...]


def write_report(
    cascade: Cascade, scored: ScoredTasks, tasks: Sequence[Labelled], folder: Path, known: Known | None = None
) -> list[Path]:
    """Write the HTML report, and its charts as PNG files beside it, into a folder, which is made if absent.

    Args:
        cascade: The cascade, at the thresholds in use.
        scored: Its scores.
        tasks: The tasks that were scored, in their order.
        folder: Where.
        known: What is known besides.

    Returns:
        The paths of what was written, the report first.

    Raises:
        InputError: There is nothing to show, or the scores are of other tasks.
        MachineError: The extra ``report`` is not installed, or the folder cannot be written.
    """
    check_report()
    subject, known = Subject.of(cascade, scored, tasks), known or Known()
    sections = _sections(subject, known)
    text, path = _html(subject, sections, known), folder / PAGE
    make_folder(folder)
    write_whole(path, text.encode())
    return [path, *write_pngs([chart for section in sections for chart in section.charts], folder)]


def check_report() -> None:
    """Check that a report can be made; call it before work that takes long.

    Raises:
        MachineError: The extra ``report`` is not installed; it says what installs it.
    """
    check_libraries("jinja2", "matplotlib")


def report_origin(path: Path) -> Origin | None:
    """What the scores of an HTML report came from; None where it does not say.

    Raises:
        InputError: It is no report that ``write_report`` wrote.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD).decode("utf-8", "replace")
        if _MADE_BY not in head:
            msg = f"{path}: is no report that `cascade audit --html` wrote."
            raise InputError(msg)
        found = re.search(r'<meta name="made-for" content="([^"]*)">', head)
        return MadeForConfig.model_validate_json(unescape(found[1])).origin() if found else None
    except (OSError, ValueError) as error:
        msg = f"{path}: cannot be read ({error})."
        raise InputError(msg) from error


def _sections(subject: Subject, known: Known) -> list[Section]:
    costs = [*pareto_fronts(subject, known.guaranteed_recall), anytime(subject)]
    if known.anytime:
        costs.append(budgets(known.anytime))
    calibrations = [reliability(at, each) for at, each in enumerate(subject.calibrations, 1)]
    parts = (
        ("costs", "What it finds, and what that costs", costs),
        ("answers", "What it answers", [confusion(subject), calls_per_item(subject)]),
        ("calibration", "How well p(yes) is calibrated", calibrations),
        ("slices", "Where it errs", error_slices(subject)),
    )
    return [Section(name=name, title=title, charts=tuple(charts)) for name, title, charts in parts if charts]


def _html(subject: Subject, sections: Sequence[Section], known: Known) -> str:
    from jinja2 import Environment, StrictUndefined  # noqa: PLC0415 - the extra `report` may be absent

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(
        files("cascade.audit.html").joinpath("template.html").read_text(encoding="utf-8")
    )
    return (
        template.render(
            cascade=subject.cascade,
            n_tasks=len(subject.tasks),
            n_items=len(subject.items),
            figures=_figures(subject),
            questions=_questions(subject),
            values=_values(subject),
            sections=sections,
            examples=worst_examples(subject),
            known=known,
            made_by=_MADE_BY,
            made_for=json.dumps(asdict(known.origin), sort_keys=True) if known.origin else "",
            svg=svg,
            colours=COLOURS,
        )
        + "\n"
    )


def _figures(subject: Subject) -> list[tuple[str, str]]:
    """What matters most, each with its name."""
    recall = subject.recall(subject.predicted_positive)
    handed_on = [(name, "-" if share is None else f"{share:.1%}") for name, share in subject.handed_on]
    return [
        (Figure.RECALL_PER_TASK.words, "-" if recall is None else f"{recall:.3f}"),
        (Figure.MACRO_F1_OVER_ROWS.words, f"{macro_f1(subject.confusion):.3f}"),
        ("calls per item", f"{subject.calls.mean():.2f}"),
        ("false positives per item", f"{(subject.predicted_positive & ~subject.matters).mean():.2f}"),
        *handed_on,
    ]


def _questions(subject: Subject) -> Table:
    cells = []
    for found in subject.calibrations:
        rows = found.question
        skill = auc_per_task(rows.p, rows.truths, rows.tasks)
        pairs = ((found.raw.ece, found.calibrated.ece), (found.raw.brier, found.calibrated.brier))
        loss = (found.raw.log_loss, found.calibrated.log_loss)
        cells.append(
            (
                question_name(rows.key),
                rows.question.adapter,
                " to ".join(f"{limit:.3g}" for limit in dict.fromkeys(rows.question.limits)),
                f"{rows.p.size:,}",
                f"{rows.truths.mean():.1%}",
                "-" if math.isnan(skill) else f"{skill:.3f}",
                *(f"{raw:.3f} → {calibrated:.3f}" for raw, calibrated in (*pairs, loss)),
            )
        )
    names = ("question", "adapter", "threshold", "rows", "base rate", Figure.AUC_PER_TASK.words)
    return Table(head=(*names, "ECE", "Brier", "log loss"), rows=tuple(cells))


def _values(subject: Subject) -> Table:
    """Choices and scores, each with its commonest mistake."""
    cells = [
        (
            each.stage,
            str(each.kind),
            each.adapter,
            f"{each.least_confidence:.3g}",
            f"{each.uncertain.n:,}",
            str(each.uncertain),
            str(each.error),
            str(each.mistakes[0]) if each.mistakes else "-",
        )
        for each in value_audits(subject.run)
    ]
    names = ("question", "kind", "adapter", "least confidence", "rows", "uncertain", "error", "commonest mistake")
    return Table(head=names, rows=tuple(cells))

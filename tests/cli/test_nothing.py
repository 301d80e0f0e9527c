"""Labelled tasks that lack something: no figure is made up of nothing, and what is missing is said."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.guarantee import simulated, two_stages
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.cli.tune_output import file_of, show
from cascade.config.figures import Metric
from cascade.config.thresholds import read_thresholds, write_thresholds
from cascade.tuning.search import tune
from cascade.tuning.target import TuningTarget
from tests.helpers.shipped import write_shipped
from tests.tuning.test_search import ORIGIN

pytestmark = pytest.mark.slow

STAGES = ("relevant", "primary", "supporting")
NAMES = ("read_config", "open_socket", "close_it")
TARGETS = ("recall=0.5", "macro_f1=0.1")


def write(folder: Path, *labels: str, n: int = 6) -> list[str]:
    """Tasks whose items have these labels, and the options for them."""
    items = [
        {"id": NAMES[at], "kind": "function", "name": NAMES[at], "label": label} for at, label in enumerate(labels)
    ]
    rows = [{"task": f"read the config file {at}", "items": items} for at in range(n)]
    path = folder / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, [*rows, {"task": "nothing", "items": []}])), encoding="utf-8")
    return ["--cascade", "precision", "--data", str(path), "--config", str(write_shipped(folder / "my.toml"))]


@pytest.mark.parametrize(
    ("labels", "missing"),
    [
        (("excluded",) * 3, "no item matters, all are 'excluded'"),
        (("primary",) * 3, "every item matters, none is 'excluded'"),
        (("type_context", "excluded"), "the true answer to 'supporting' is never yes"),
    ],
)
def test_no_figure_is_made_of_nothing(
    labels: tuple[str, ...], missing: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command on labels of which some are missing: refused in words, or done without NaN, texts and JSON."""
    data = write(tmp_path, *labels)
    scores = ["--scores", str(tmp_path / "s.npz")]
    commands = [
        ["evaluate", *data],
        ["audit", *data, *scores, "--html", str(tmp_path / "page")],
        *(["tune", *data, *scores, "--delta", "0.3", "--target", target] for target in TARGETS),
        *(["tune", *data, *scores, "--no-guarantee", "--target", target] for target in ("macro_f1", "precision=0.1")),
    ]
    for command in commands:
        codes = []
        for options in ([], ["--json"]):
            codes.append(main([*command, *options]))
            shown = capsys.readouterr()
            assert codes[-1] in {ExitCode.DONE, ExitCode.BAD_INPUT}, (command, shown.err)
            assert missing in " ".join(shown.err.split()), command
            assert not re.search(r"\bnan\b", shown.out, re.IGNORECASE), (command, shown.out)
            assert "unexpected" not in shown.err
        assert codes[0] == codes[1], command
    assert not re.search(r"\bnan\b", (tmp_path / "page" / "index.html").read_text(encoding="utf-8"), re.IGNORECASE)


def test_what_cannot_be_measured_is_no_zero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing matters there is no recall and no F1 of yes, and nothing can be guaranteed."""
    data = write(tmp_path, *["excluded"] * 3, n=8)
    assert main(["evaluate", *data, "--json"]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert (found["recall_over_rows"], found["recall_per_task"]) == (None, None)
    assert [found["stages"]["relevant"][key] for key in ("auc_over_rows", "auc_per_task", "f1_over_rows")] == [None] * 3
    assert found["stages"]["primary"]["n"] == 0
    for target in TARGETS:
        assert main(["tune", *data, "--target", target]) == ExitCode.BAD_INPUT
        assert "No item matters, all of them are 'excluded'" in capsys.readouterr().err
    assert main(["audit", *data, "--json"]) == ExitCode.DONE
    assert {row["recall_over_rows"] for row in json.loads(capsys.readouterr().out)["stages"]} == {None}


def test_tasks_held_out_may_have_nothing_to_find(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a macro F1 they are tested all the same: the file and the text have no recall of them."""
    cascade, scored, tuning_target = two_stages(), simulated(1, 120), TuningTarget(level=0.5, metric=Metric.MACRO_F1)
    tuned = tune(cascade, scored, tuning_target)
    nothing = replace(tuned, held_out=replace(tuned.held_out, recall_per_task=float("nan"), misses=0.0))
    file = file_of(cascade, tuning_target, nothing, {}, ORIGIN)
    write_thresholds(file, tmp_path / "x.toml", "From a test.")
    held_out = read_thresholds(tmp_path / "x.toml").held_out
    assert held_out is not None
    assert (held_out.recall_per_task, held_out.misses) == (None, None)
    show(cascade, tuning_target, nothing, {})
    assert "recall per task -, recall over all rows -;" in " ".join(capsys.readouterr().out.split())


def test_a_depth_of_nothing_says_what_it_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No recall; stages that no item reached taught nothing, and without anything kept there is no prior."""
    data = write(tmp_path, "excluded", "excluded", n=2)
    assert main(["depth", *data]) == ExitCode.DONE
    shown = " ".join(capsys.readouterr().out.split())
    assert "there is no prior to learn" in shown
    assert " nan " not in shown
    assert main(["depth", *data, "--json"]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert {row["recall_over_rows"] for row in found["depths"]} == {None}
    assert set(found["learned"]["unreached"]) == set(STAGES) - set(found["learned"]["pass_rates"])

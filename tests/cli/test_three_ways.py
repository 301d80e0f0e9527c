"""Commands on a cascade with a prior stage, stages that may be uncertain, a choice and a score, on the real model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.config.schema import shipped_config
from cascade.config.threshold_entry import LimitsConfig, ScoreLimitsConfig
from cascade.config.thresholds import read_thresholds
from tests.helpers.terminal import on_terminal

pytestmark = pytest.mark.slow

FOLDER = shipped_config().parent
CONFIG = f"""
[model]
path = "{FOLDER / "embedded.gguf"}"
format = "embedded"
[adapters]
relevant = "{FOLDER / "relevant.gguf"}"
primary = "{FOLDER / "primary.gguf"}"

[cascade.ways]
instructions = "Which code symbols matter for the task?"
labels = ["excluded", "changed", "used", "review"]
[[cascade.ways.stages]]
kind = "prior"
source = "caller"
no_below = 0.02
yes_from = 0.98
yes = {{ stage = "primary" }}
no = {{ label = "excluded" }}
[[cascade.ways.stages]]
name = "relevant"
question = "does this symbol matter at all?"
negated = "can this symbol be left aside?"
adapter = "relevant"
no_below = 0.1
yes_from = 0.5
yes = {{ stage = "primary" }}
no = {{ label = "excluded" }}
uncertain = {{ stage = "again" }}
[[cascade.ways.stages]]
name = "again"
question = "does it matter?"
adapter = "base"
no_below = 0.2
yes_from = 0.8
yes = {{ stage = "primary" }}
no = {{ label = "excluded" }}
uncertain = {{ label = "review" }}
[[cascade.ways.stages]]
name = "primary"
question = "must it be changed?"
adapter = "primary"
yes = {{ label = "changed" }}
no = {{ label = "used" }}

[cascade.values]
instructions = "Which code symbols matter for the task?"
labels = ["excluded", "changed", "used", "review"]
[[cascade.values.stages]]
name = "urgency"
question = "how much does it matter?"
adapter = "relevant"
levels = ["not at all", "a little", "much"]
cuts = [0.9]
least_confidence = 0.001
next = [{{ label = "excluded" }}, {{ stage = "kind" }}]
uncertain = {{ label = "review" }}
[[cascade.values.stages]]
name = "kind"
question = "what is it?"
adapter = "primary"
values = {{ changed = "must be changed", used = "is used" }}

[cascade.one]
instructions = "Which code symbols matter for the task?"
labels = ["excluded", "changed", "used"]
[[cascade.one.stages]]
name = "which"
question = "which is it?"
adapter = "relevant"
values = ["excluded", "changed", "used"]
"""
EVIDENCE = (
    ["matters21", "changes18", "body9", "title8"],
    ["matters17", "changes9", "body6"],
    ["matters13", "changes13", "body4"],
    ["matters9", "body2"],
    ["matters3", "apart"],
)
LABELS = ("changed", "used", "used", "excluded", "excluded")
OTHERWISE = ("changed", "used", "excluded", "used", "excluded")
UNITS = ("changed", "changed", "used", "excluded", "excluded")


def tasks(n: int, start: int = 0) -> list[dict[str, Any]]:
    """Labelled tasks of five items; the labels of those in the middle differ from task to task."""
    return [
        {
            "task": f"fix how the parser reads the option {at}",
            "items": [
                {
                    "id": f"{at}.{place}",
                    "kind": ("function", "class")[place % 2],
                    "name": f"{('parse', 'option', 'read', 'draw', 'send')[place]}_{at}",
                    "evidence": evidence,
                    "label": (LABELS, OTHERWISE, UNITS)[at % 3][place],
                    **({"prior": 0.01} if at % 5 == 0 and place == len(EVIDENCE) - 1 else {}),
                }
                for place, evidence in enumerate(EVIDENCE)
            ],
        }
        for at in range(start, start + n)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A config, tasks to tune with, and new ones."""
    found = tmp_path_factory.mktemp("ways")
    (found / "my.toml").write_text(CONFIG, encoding="utf-8")
    for name, rows in (("old", tasks(36)), ("new", tasks(9, 36))):
        (found / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return found


def command(folder: Path, name: str, cascade: str, data: str = "new") -> list[str]:
    """A command on a cascade of the config."""
    named = [cascade] if name == "check" else ["--cascade", cascade]
    return [name, *named, "--data", str(folder / f"{data}.jsonl"), "--config", str(folder / "my.toml")]


def tuned(folder: Path, cascade: str, *options: str) -> Path:
    """The file of thresholds that `cascade tune` writes; scores are kept from one call to the next."""
    out = folder / f"{cascade}.thresholds.toml"
    scores = ["--scores", str(folder / f"{cascade}.npz"), "--out", str(out), "--force"]
    told = ["--delta", "0.2", *options]
    assert main([*command(folder, "tune", cascade, "old"), *told, *scores]) == ExitCode.DONE
    return out


def said(text: str) -> str:
    """Text on one line."""
    return " ".join(text.split())


@pytest.mark.parametrize(
    ("options", "figure", "minimised"),
    [
        (["recall_or_handed_on=0.7"], "recall_or_handed_on_per_task", "handed_on + 2 false_positives"),
        (["accuracy_among_answered=0.8"], "accuracy_among_answered_per_task", "handed_on"),
        (
            ["accuracy_among_answered=0.7", "--minimise", "calls", "--handed-on", "3", "--unit", "row"],
            "accuracy_among_answered_over_rows",
            "calls + 3 handed_on",
        ),
        (["recall=0.5", "--minimise", "handed_on"], "recall_per_task", "handed_on + 2 false_positives"),
    ],
)
def test_tune_writes_both_thresholds_and_a_run_goes_by_them(
    options: list[str], figure: str, minimised: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every target and price of what is handed on: the file has both thresholds, and what lies between is handed on."""
    path = tuned(folder, "ways", "--target", *options)
    shown = said(capsys.readouterr().out)
    assert "Handed on: " in shown
    file = read_thresholds(path)
    assert file.guarantee is not None
    assert (file.guarantee.figure, file.guarantee.minimised) == (figure, minimised)
    assert file.held_out is not None
    assert file.held_out.handed_on_per_item is not None
    limits = {stage: file.limits()[stage, ""] for stage in ("relevant", "again", "prior")}
    both = {stage for stage, by_tier in file.thresholds.items() if isinstance(by_tier[""], LimitsConfig)}
    assert both & {"relevant", "again"}
    items = folder / "items.jsonl"
    rows = [{key: value for key, value in row.items() if key != "label"} for row in tasks(6, 36)[0]["items"]]
    items.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    run = ["classify", "--cascade", "ways", "--config", str(folder / "my.toml"), "--items", str(items), "--json"]
    run += ["--task", tasks(6, 36)[0]["task"], "--thresholds", str(path)]
    assert main(run) == ExitCode.DONE
    decisions = json.loads(capsys.readouterr().out)["decisions"]
    assert len(decisions) == len(rows)
    for decision in decisions:
        for step in decision["steps"]:
            if step["stage"] in limits:
                no_below, yes_from = limits[step["stage"]]
                p = step["p_yes"]
                assert step["answer"] is (True if p >= yes_from else False if p < no_below else None)
        last = decision["steps"][-1]
        is_handed_on = last["stage"] == "again" and last["answer"] is None
        assert (decision["label"] == "review", decision["status"] == "uncertain") == (is_handed_on, is_handed_on)


def test_tune_writes_cut_points_and_a_run_goes_by_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are chosen with the least confidence, held out, locked to what is asked, and shown; `check` goes by them."""
    path = tuned(folder, "values", "--target", "recall=0.6")
    shown = said(capsys.readouterr().out)
    entry = read_thresholds(path).thresholds["urgency"][""]
    assert isinstance(entry, ScoreLimitsConfig)
    (cut,) = entry.cuts
    assert 0 < cut < 2
    assert cut != 0.9
    assert f"urgency cuts {cut:.4g}; " in shown
    assert "cuts 0.9; sure from 0.001" in shown
    items = folder / "items.jsonl"
    rows = [{key: value for key, value in row.items() if key != "label"} for row in tasks(6, 36)[0]["items"]]
    items.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    run = ["classify", "--cascade", "values", "--config", str(folder / "my.toml"), "--items", str(items), "--json"]
    run += ["--task", tasks(6, 36)[0]["task"], "--thresholds", str(path)]
    assert main(run) == ExitCode.DONE
    steps = [decision["steps"][0] for decision in json.loads(capsys.readouterr().out)["decisions"]]
    assert len(steps) == len(rows)
    for step in steps:
        is_sure = step["confidence"] >= entry.least_confidence
        assert step["answer"] == (str(int(step["score"] >= cut)) if is_sure else None)
    assert main([*command(folder, "check", "values"), "--thresholds", str(path)]) == ExitCode.DONE
    assert main([*command(folder, "evaluate", "values"), "--thresholds", str(path)]) == ExitCode.DONE
    assert f"from {cut:g}" in said(capsys.readouterr().out)
    config = (folder / "my.toml").read_text(encoding="utf-8")
    for old, new, code in (
        ("cuts = [0.9]", "cuts = [1.1]", ExitCode.DONE),
        ('"much"]', '"very"]', ExitCode.BAD_INPUT),
        ("cuts = [0.9]", "cuts = [0.9, 1.2]", ExitCode.BAD_INPUT),
    ):
        other = config.replace(old, new)
        if new.count(",") == 1:
            other = other.replace(
                'next = [{ label = "excluded" }, ', 'next = [{ label = "excluded" }, { label = "used" }, '
            )
        (folder / "other.toml").write_text(other, encoding="utf-8")
        assert main([part.replace("my.toml", "other.toml") for part in run]) == code
    assert "has 1 cut point for 'urgency', and the stage needs 2" in said(capsys.readouterr().err)


def test_tune_says_what_a_least_confidence_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has it beside the cut points, and a choice that is never uncertain is refused."""
    tuned(folder, "values", "--target", "recall_or_handed_on=0.6", "--json")
    found = json.loads(capsys.readouterr().out)["thresholds"]["urgency"]
    assert {*found} == {"least_confidence", "cuts"}
    assert main([*command(folder, "tune", "one", "old"), "--target", "recall=0.5"]) == ExitCode.BAD_INPUT
    told = said(capsys.readouterr().err)
    assert "No threshold of cascade 'one' changes its recall: which is never uncertain" in told


def test_evaluate_names_every_column(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is handed on has a head, though it is no truth; parts of a scale are named by their cut points."""
    assert main(command(folder, "evaluate", "ways")) == ExitCode.DONE
    lines = capsys.readouterr().out.splitlines()
    head = next(at for at, line in enumerate(lines) if line.startswith("truth / answer"))
    assert lines[head].split()[3:] == ["excluded", "changed", "used", "review"]
    assert [line.split()[0] for line in lines[head + 1 : head + 4]] == ["excluded", "changed", "used"]
    assert main(command(folder, "evaluate", "values")) == ExitCode.DONE
    shown = capsys.readouterr().out
    assert "urgency: truth / answer  below 0.9  from 0.9" in shown
    assert main([*command(folder, "evaluate", "values"), "--json"]) == ExitCode.DONE
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert stages["urgency"]["parts"] == {"0": "below 0.9", "1": "from 0.9"}
    assert "parts" not in stages["kind"]


def test_depth_knows_values_and_single_calls(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rates of every kind of stage; who is depth 0; and a cascade that is one call has no depth 0."""
    for cascade in ("ways", "values"):
        assert main([*command(folder, "depth", cascade), "--f1-points-per-100ms", "0"]) == ExitCode.DONE
        shown = said(capsys.readouterr().out)
        assert "Depth 0 is cascade 'one', one choice among all labels. Its macro F1 over all rows of " in shown
        assert "handed on" in shown
        assert "% uncertain)" in shown.split("each answer: ")[1]
    assert "urgency 0 " in shown
    assert main(command(folder, "depth", "one")) == ExitCode.DONE
    shown = said(capsys.readouterr().out)
    assert "There is no depth 0, one call that tells all labels apart: Cascade 'one' is that call itself." in shown
    assert "nothing is learned of" not in shown


def test_audit_knows_choices_and_scores(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Table, JSON and page have their error, doubt and commonest mistake; one call alone can be audited as well."""
    page = folder / "page"
    for cascade in ("ways", "values", "one"):
        assert main([*command(folder, "audit", cascade), "--html", str(page), "--force"]) == ExitCode.DONE
        shown, text = capsys.readouterr().out, (page / "index.html").read_text(encoding="utf-8")
        assert "nan" not in shown.lower().split()
        assert "nan" not in text.lower().replace("instance", "").split()
        hands_on = "The macro F1 over all rows counts what is handed on as wrong" in shown
        assert hands_on == ("handed on with it" in said(shown)) == (cascade != "one")
        assert not (hands_on and "drop: " in shown)
        assert ("commonest mistake" in shown) == ("commonest mistake" in text) == (cascade != "ways")
    assert "Slices, and how many tasks are needed, are looked at for yes/no questions alone." in said(shown)
    assert main([*command(folder, "audit", "values"), "--json"]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert [(each["stage"], each["kind"]) for each in found["values"]] == [("urgency", "score"), ("kind", "choice")]
    for each in found["values"]:
        n_wrong = sum(mistake["n"] for mistake in each["mistakes"])
        assert n_wrong == round((each["error"]["value"] or 0) * each["error"]["n"])


@pytest.mark.parametrize("cascade", ["ways", "values"])
def test_check_goes_by_what_was_guaranteed(cascade: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A guarantee with what is handed on counted in, measured on new tasks, with the share that is handed on."""
    path = tuned(folder, cascade, "--target", "recall_or_handed_on=0.6")
    capsys.readouterr()
    main([*command(folder, "check", cascade), "--thresholds", str(path), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["guarantee"]["guaranteed"]["figure"] == "recall_or_handed_on_per_task"
    assert found["guarantee"]["handed_on"] is not None
    main([*command(folder, "check", cascade), "--thresholds", str(path)])
    assert "Handed on as uncertain: " in said(capsys.readouterr().out)


@pytest.mark.parametrize(("name", "cascade"), [("evaluate", "values"), ("audit", "values")])
def test_tables_fit_80_columns(name: str, cascade: str, folder: Path) -> None:
    """On a terminal no line is wider, and no cell lacks its head."""
    code, shown = on_terminal(80, command(folder, name, cascade))
    assert code == ExitCode.DONE
    assert max(map(len, shown.splitlines())) <= 80

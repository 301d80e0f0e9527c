"""``cascade check``: guarantees on new tasks, shifts of inputs, what a thresholds file keeps, and the command."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from math import ceil, sqrt
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from benchmarks.guarantee import question, simulated, two_stages
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.config.figures import Metric, Unit
from cascade.config.thresholds import InputsConfig, ThresholdsFile, read_thresholds, write_thresholds
from cascade.errors import ConfigError
from cascade.evaluation.scored import ScoredTasks
from cascade.probability import logit, p_yes
from cascade.profile import ITEMS, MATTERS
from cascade.stages import Limits, Stage, Target
from cascade.tree import Cascade
from cascade.tuning.check import Guarantee, GuaranteeCheck, Verdict, check_guarantee, judged
from cascade.tuning.risk import tasks_needed as tasks_to_confirm
from cascade.tuning.shift import (
    LARGE,
    N_KEPT,
    POWER,
    ShiftVerdict,
    inputs_of,
    pairs_needed,
    shifts,
    tasks_needed,
    two_samples,
)
from tests.helpers.shipped import write_shipped
from tests.helpers.terminal import on_terminal
from tests.tuning.test_search import write_data

pytestmark = pytest.mark.slow

CASCADE = two_stages()


def moved(scored: ScoredTasks, by: float) -> ScoredTasks:
    """The same tasks, the first question's log odds higher."""
    first = ("a", "")
    return replace(scored, p={**scored.p, first: p_yes(logit(scored.p[first]) + by)})


def of_recalls(recalls: np.ndarray[tuple[int], np.dtype[np.float64]], alpha: float) -> GuaranteeCheck:
    """A guarantee of 0.9 on recalls of tasks."""
    mean = float(recalls.mean()) if recalls.size else None
    return judged(lambda _: 1 - recalls, mean, Guarantee(level=0.9), alpha)


def test_the_permutation_test_is_exact() -> None:
    """2,000 pairs from one source, discrete and with ties: a share of at most u is below u; far ones are told apart."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(2_000):
        values = rng.integers(0, 4, 30).astype(float)
        found.append(two_samples(values[:12], values[12:], 99, rng)[0])
    for level in (0.01, 0.05, 0.2, 0.5):
        share = (np.array(found) <= level).mean()
        assert abs(share - level) <= 3 * np.sqrt(level * (1 - level) / len(found)) + 0.05 * level
    p_value, distance = two_samples(np.arange(20.0), np.arange(10.0) + 100, 999, rng)
    assert p_value == 1 / 1_000
    assert distance == 1.0


def test_false_alarms_are_rare() -> None:
    """100 halves of one source against each other: one statistic or more is held to be shifted in at most alpha."""
    alpha, n_alarms = 0.1, 0
    for seed in range(100):
        both = simulated(seed, 120, 8)
        inputs = inputs_of(CASCADE, both.take(np.arange(60)), seed)
        found = shifts(inputs, CASCADE, both.take(np.arange(60, 120)), alpha, seed)
        n_alarms += any(shift.is_shifted for shift in found)
    assert n_alarms <= 100 * alpha + 2 * np.sqrt(100 * alpha * (1 - alpha))


def test_enough_tasks_find_a_large_shift() -> None:
    """At the number that is named four of five large shifts are found; of one task in any number none can be."""
    level, n_cached = 0.02, 60
    n, rng = tasks_needed(n_cached, level), np.random.default_rng(7)
    assert n is not None
    by = sqrt(2) * NormalDist().inv_cdf(LARGE)
    tried = [two_samples(rng.normal(0, 1, n_cached), rng.normal(by, 1, n), 500, rng)[0] <= level for _ in range(150)]
    assert abs(np.mean(tried) - POWER) <= 3 * sqrt(POWER * (1 - POWER) / len(tried))
    assert tasks_needed(1, 0.05) is None
    assert tasks_needed(10**9, level) == ceil(pairs_needed(level))


def test_what_no_new_task_has_is_unclear() -> None:
    """A tier that is asked of none: nothing is measured of it, and no zero is made up."""
    plain = simulated(5, 300, 4)
    inputs = inputs_of(CASCADE, plain)
    new = simulated(6, 300, 4)
    new = replace(new, p={**new.p, ("b", ""): np.full(new.tasks.size, np.nan)})
    found = {shift.statistic: shift for shift in shifts(inputs, CASCADE, new, 0.05)}
    none = found["mean", "b", ""]
    assert (none.n, none.now, none.p_value, none.effect) == (0, None, None, None)
    assert none.verdict is ShiftVerdict.UNCLEAR
    assert found[ITEMS].verdict is ShiftVerdict.AS_BEFORE
    assert ShiftVerdict.of_all(list(found.values())) is ShiftVerdict.UNCLEAR


@pytest.mark.parametrize("planted", ["scores", "items", "base rate"])
def test_a_planted_shift_is_found_and_named(planted: str) -> None:
    """Higher log odds, fewer items, fewer that matter: each is found, and what did not change is not named."""
    inputs = inputs_of(CASCADE, simulated(1, 300))
    new = simulated(2, 150)
    if planted == "scores":
        new = moved(new, 1.0)
    elif planted == "items":
        keep = np.arange(new.tasks.size) % 12 < 6
        new = ScoredTasks(
            tasks=new.tasks[keep],
            labels=new.labels[keep],
            p={key: values[keep] for key, values in new.p.items()},
            n_tasks=new.n_tasks,
        )
    else:
        lost = np.random.default_rng(3).random(new.labels.size) < 0.4
        new = replace(new, labels=np.where(lost, 0, new.labels))
    found = {shift.statistic for shift in shifts(inputs, CASCADE, new, 0.05) if shift.is_shifted}
    expected = {"scores": ("mean", "a", ""), "items": ITEMS, "base rate": MATTERS}[planted]
    assert expected in found
    assert ("mean", "b", "") not in found
    assert (ITEMS in found) == (planted == "items")


def test_trifles_are_no_shift_however_many_tasks() -> None:
    """A little higher log odds on 6,000 tasks: far beyond chance, and too small to be named."""
    inputs = inputs_of(CASCADE, simulated(1, 6_000, 4))
    found = {shift.statistic: shift for shift in shifts(inputs, CASCADE, moved(simulated(2, 6_000, 4), 0.3), 0.1)}
    shift = found["mean", "a", ""]
    assert shift.p_value is not None
    assert shift.effect is not None
    assert shift.p_value < 0.01
    assert 0 < shift.effect < 0.1
    assert not shift.is_shifted


def test_what_is_kept_comes_back_from_a_file(tmp_path: Path) -> None:
    """Tiers that some tasks lack, and no more tasks than are needed; the same data are never shifted."""
    stage = Stage(
        name="s",
        questions={"x": question("x"), "y": question("y")},
        yes=Target("keep", is_label=True),
        no=Target("drop", is_label=True),
    )
    cascade = Cascade(name="c", instructions="i", labels=("drop", "keep"), stages=(stage,))
    plain = simulated(5, 600, 4)
    is_without = plain.tasks % 3 == 0
    scored = replace(
        plain, p={("s", "x"): plain.p["a", ""], ("s", "y"): np.where(is_without, np.nan, plain.p["b", ""])}
    )
    inputs = inputs_of(cascade, scored)
    assert inputs.n_tasks == 600
    assert len(inputs.tasks[ITEMS]) == N_KEPT
    assert 0 < len(inputs.tasks["mean", "s", "y"]) < N_KEPT
    assert not any(shift.is_shifted for shift in shifts(inputs, cascade, scored, 0.05))
    file = ThresholdsFile.model_validate(
        {
            "guarantee": {
                "recall_per_task": 0.9, "delta": 0.05, "p_value": 0.01, "tasks": 100, "minimised": "calls",
            },
            "held_out": {"recall_per_task": 0.93, "calls_per_item": 1.2, "false_positives_per_item": 0.2},
            "made_for": {"model": "m", "data": "d", "questions": "q"},
            "thresholds": {"s": {"x": 0.5, "y": 0.5}},
            "inputs": InputsConfig.of(inputs),
        }
    )  # fmt: skip
    path = tmp_path / "c.thresholds.toml"
    write_thresholds(file, path, "From a test.")
    again = read_thresholds(path).inputs
    assert again
    assert again.inputs() == inputs
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("bounds = [", "bounds = [99.0, ", 1), encoding="utf-8")
    with pytest.raises(ConfigError, match="bounds must rise"):
        read_thresholds(path)


def test_verdicts_on_a_guarantee() -> None:
    """Far above, far below, too few, none at all; the interval agrees with the verdict and holds what was measured."""
    rng = np.random.default_rng(2)
    cases = [(0.97, 400, Verdict.HOLDS), (0.75, 400, Verdict.BROKEN), (0.9, 400, Verdict.UNCLEAR)]
    cases += [(0.75, 3, Verdict.UNCLEAR), (0.5, 0, Verdict.UNCLEAR)]
    for mean, n, verdict in cases:
        found = of_recalls(rng.beta(mean * 8, (1 - mean) * 8, n), 0.05)
        assert found.verdict is verdict, (mean, n)
        assert (found.high < 0.9) == (verdict is Verdict.BROKEN)
        assert (found.low > 0.9) == (verdict is Verdict.HOLDS)
        assert found.measured is None or found.low <= found.measured <= found.high
    assert (found.low, found.high) == (0.0, 1.0)
    best, worst = (of_recalls(np.full(60, share), 0.05) for share in (1.0, 0.0))
    assert (best.verdict, best.measured, best.high) == (Verdict.HOLDS, 1.0, 1.0)
    assert (worst.verdict, worst.measured, worst.low) == (Verdict.BROKEN, 0.0, 0.0)
    assert best.low > 0.9
    assert best.n_needed is None
    few, near = of_recalls(np.ones(3), 0.05), of_recalls(rng.beta(0.9 * 8, 0.1 * 8, 400), 0.05)
    assert few.n_needed == tasks_to_confirm(0.9, 0.025) > 3
    assert of_recalls(np.ones(few.n_needed), 0.05).verdict is Verdict.HOLDS
    assert near.n_needed is None or near.n_needed > 400
    assert of_recalls(np.full(400, 0.9), 0.05).n_needed is None
    assert worst.high < 0.1


def test_a_guarantee_says_what_it_rests_on() -> None:
    """By row it holds for tasks as large as those given alone."""
    assert str(Guarantee(level=0.6, metric=Metric.MACRO_F1)) == "a macro F1 per task of at least 0.6"
    by_row = Guarantee(level=0.9, unit=Unit.ROW, largest=12)
    assert str(by_row) == "a recall over all rows of at least 0.9, if no task has more than 12 that count"


def test_a_guarantee_that_is_kept_is_seldom_called_broken() -> None:
    """200 samples whose mean is just what was guaranteed: broken in at most half of alpha, but for chance."""
    rng = np.random.default_rng(4)
    draws = rng.beta(0.9 * 2, 0.1 * 2, (200, 40))
    n_broken = sum(of_recalls(row, 0.2).verdict is Verdict.BROKEN for row in draws)
    assert 0 < n_broken <= 200 * 0.1 + 3 * np.sqrt(200 * 0.1 * 0.9)


@pytest.mark.parametrize("unit", Unit)
@pytest.mark.parametrize("metric", [Metric.RECALL, Metric.PRECISION])
def test_what_is_measured_is_what_was_guaranteed(metric: Metric, unit: Unit) -> None:
    """At the cascade's own thresholds, against the mean written out; levels far above are broken, those below hold."""
    scored = simulated(3, 300)
    kept = (scored.p["a", ""] >= 0.5) & (scored.p["b", ""] >= 0.5)
    hits, of = kept & (scored.labels == 1), (scored.labels == 1) if metric is Metric.RECALL else kept
    n_hits, n_of = (np.bincount(scored.tasks, rows, scored.n_tasks) for rows in (hits, of))
    mean = n_hits.sum() / n_of.sum()
    if unit is Unit.TASK:
        mean = np.divide(n_hits, n_of, out=np.ones(n_of.size), where=n_of > 0).mean()
    for level, verdict in ((mean - 0.15, Verdict.HOLDS), ((mean + 2) / 3, Verdict.BROKEN), (mean, Verdict.UNCLEAR)):
        guaranteed = Guarantee(level=float(level), metric=metric, unit=unit, largest=12)
        found = check_guarantee(CASCADE, scored, guaranteed, 0.05)
        assert not found.is_outgrown
        assert check_guarantee(CASCADE, scored, replace(guaranteed, largest=2), 0.05).is_outgrown is (unit is Unit.ROW)
        assert found.measured == pytest.approx(mean)
        assert found.low < mean < found.high
        assert found.verdict is verdict


@pytest.fixture
def tuned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A config whose `precision` was tuned with sixty tasks of two symbols."""
    command = write_data(tmp_path / "labelled.jsonl", 60)
    out = tmp_path / "p.thresholds.toml"
    assert main([*command, "--target", "recall=0.5", "--out", str(out)]) == ExitCode.DONE
    capsys.readouterr()
    return write_shipped(tmp_path / "my.toml", precision=out)


def new_tasks(tuned: Path, n: int, *lines: str) -> list[str]:
    """The command that checks tasks like those of the tuning, which end with a full stop now, and more of them."""
    like = re.sub(r"(config file \d+)", r"\1.", (tuned.parent / "labelled.jsonl").read_text(encoding="utf-8"))
    data = tuned.parent / "new.jsonl"
    data.write_text("\n".join((*like.splitlines()[:n], *lines)), encoding="utf-8")
    return ["check", "precision", "--data", str(data), "--config", str(tuned)]


def test_the_command_finds_nothing_where_nothing_changed(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As many new tasks like those of the tuning: exit code 0, with the guarantee's verdict; words and JSON."""
    command = [*new_tasks(tuned, 60), "--scores", str(tuned.parent / "new.npz")]
    assert main([*command, "--json"]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert found["guarantee"]["verdict"] in {"holds", "unclear"}
    assert found["guarantee"]["guaranteed"] == {
        "figure": "recall_per_task", "level": 0.5, "metric": "recall", "unit": "task", "largest": 1,
    }  # fmt: skip
    assert (found["shifted"], found["inputs_verdict"]) == (False, "as_before")
    assert {row["statistic"] for row in found["inputs"]} == {"items", "matters", "mean", "spread"}
    assert {row["verdict"] for row in found["inputs"]} == {"as_before"}
    assert main(command) == ExitCode.DONE
    assert "The inputs are as they were" in capsys.readouterr().out


def test_the_table_of_a_check_fits_80_columns(tuned: Path) -> None:
    """Each figure is a row below the name of its question, in columns."""
    command = [*new_tasks(tuned, 60), "--scores", str(tuned.parent / "new.npz")]
    code, out = on_terminal(80, command)
    assert code == ExitCode.DONE
    lines = [line.rstrip() for line in out.splitlines()]
    assert any(re.fullmatch(r"of a task +then +now +tasks +p-value +effect +shifted", line) for line in lines)
    assert "relevant" in lines
    assert any(re.fullmatch(r"  spread of log odds( +\S+){4} +PSI \S+ +no", line) for line in lines)


def test_few_tasks_are_said_to_be_few(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One task: neither the guarantee nor the inputs are judged, and the numbers needed are named; exit code 0."""
    command = [*new_tasks(tuned, 1), "--scores", str(tuned.parent / "new.npz")]
    assert main([*command, "--json"]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert (found["guarantee"]["verdict"], found["inputs_verdict"]) == ("unclear", "unclear")
    assert found["guarantee"]["n_needed"] > 1
    assert found["inputs"][0]["n_needed"] == tasks_needed(60, 0.025 / 8)
    assert main(command) == ExitCode.DONE
    shown = capsys.readouterr().out
    assert f"It takes about {found['guarantee']['n_needed']} of them." in shown
    assert f"whether the inputs have shifted: 1 here, and {found['inputs'][0]['n_needed']} are needed" in shown
    assert "as they were" not in shown


def test_tasks_of_the_tuning_prove_nothing(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Alone they are refused, in any order and with other labels too; among others they are left out."""
    data = tuned.parent / "labelled.jsonl"
    lines = data.read_text(encoding="utf-8").splitlines()
    command = ["check", "precision", "--config", str(tuned), "--data"]
    again = tuned.parent / "again.jsonl"
    again.write_text("\n".join(lines[10:4:-1]).replace("excluded", "supporting"), encoding="utf-8")
    for file in (data, again):
        assert main([*command, str(file)]) == ExitCode.BAD_INPUT
        assert "the tasks that the thresholds were tuned with, so a check" in " ".join(capsys.readouterr().err.split())
    assert main([*new_tasks(tuned, 4, *lines[:3]), "--json"]) == ExitCode.DONE
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert (found["tasks"], found["known_tasks"]) == (4, 3)
    assert "3 of 7 tasks are left out: the thresholds were tuned with them" in told.err


def test_the_command_fails_where_inputs_or_labels_changed(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Tasks of other symbols, with labels that the thresholds miss: exit code 1, by shift and by guarantee."""
    items = [{"id": str(at), "kind": "class", "name": f"Unlike{at}", "label": "excluded"} for at in range(5)]
    items[0]["label"] = "primary"
    lines = [json.dumps({"task": f"draw a circle {at}", "items": items}) for at in range(40)]
    command = new_tasks(tuned, 0, *lines)
    assert main([*command, "--json"]) == ExitCode.FAILURE
    found = json.loads(capsys.readouterr().out)
    assert found["shifted"] is True
    assert next(row for row in found["inputs"] if row["statistic"] == "items")["is_shifted"] is True
    assert main(command) == ExitCode.FAILURE
    assert "The inputs have shifted." in capsys.readouterr().out


def test_the_command_refuses(tuned: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Cascades that are not there, that guarantee nothing, and an alpha out of range."""
    data = ["--data", str(tuned.parent / "labelled.jsonl"), "--config", str(tuned)]
    assert main(["check", "absent", *data]) == ExitCode.BAD_INPUT
    assert f"{tuned}: Unknown cascade 'absent'" in capsys.readouterr().err
    plain = tuned.parent / "plain.toml"
    text = tuned.read_text(encoding="utf-8")
    plain.write_text("\n".join(line for line in text.splitlines() if "thresholds =" not in line), encoding="utf-8")
    assert main(["check", "scope", *data[:2], "--config", str(plain)]) == ExitCode.BAD_INPUT
    told = capsys.readouterr().err
    assert f"{plain}: cascade.scope.thresholds: there are none" in told
    assert "nothing was guaranteed" in told
    assert main(["check", "precision", *data, "--alpha", "1"]) == ExitCode.BAD_INPUT
    assert "must lie between 0 and 1" in capsys.readouterr().err


def test_a_check_says_what_is_handed_on() -> None:
    """Its share of the new items, and of those of them that matter; nothing of a cascade that hands nothing on."""
    scored = simulated(4, 60)
    first, second = CASCADE.stages
    limits = {"": Limits(0.3, 0.6)}
    unsure = replace(first.with_limits(limits), uncertain=Target("review", is_label=True))
    cascade = replace(CASCADE, labels=("drop", "keep", "review"), stages=(unsure, second))
    p, matters = scored.p["a", ""], scored.labels == 1
    found = check_guarantee(cascade, scored, Guarantee(level=0.5, metric=Metric.RECALL_OR_HANDED_ON), 0.05)
    rows = (p >= 0.3) & (p < 0.6)
    assert found.handed_on == pytest.approx(rows.mean())
    assert found.mattering_handed_on == pytest.approx(rows[matters].mean())
    kept = (p >= 0.6) & (scored.p["b", ""] >= second.question("").threshold)
    tasks = [scored.tasks[matters] == task for task in np.unique(scored.tasks[matters])]
    assert found.measured == pytest.approx(np.mean([(kept | rows)[matters][task].mean() for task in tasks]))
    assert check_guarantee(CASCADE, scored, Guarantee(level=0.5), 0.05).handed_on is None

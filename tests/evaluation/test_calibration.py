"""Calibration: which curve is chosen, by what is left out, what it leans on, and where its p shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.guarantee import question, two_stages
from cascade import Engine, Item, ScriptedBackend
from cascade.cli.calibration_output import calibration_rows, show_calibration
from cascade.cli.output import results
from cascade.evaluation.calibration import Calibrated, calibrate
from cascade.evaluation.metrics import calibration_error, calibration_error_beyond_chance
from cascade.evaluation.scored import ScoredTasks
from cascade.probability import KNOTS, Curve, p_yes
from cascade.stages import Target
from cascade.tree import Cascade

FIRST = replace(two_stages().first, yes=Target("keep", is_label=True))
ONE = replace(two_stages(), stages=(FIRST,))


def drawn(slope: float, shifts: list[float], n_tasks: int = 300, seed: int = 1) -> ScoredTasks:
    """Tasks of as many repositories as there are shifts; the raw log odds are off by a slope, the truth by a shift."""
    rng = np.random.default_rng(seed)
    tasks = np.repeat(np.arange(n_tasks), 20)
    which = tasks % len(shifts)
    honest = rng.normal(-0.5, 1.2, tasks.size)
    labels = (rng.random(tasks.size) < p_yes(honest + np.array(shifts)[which])).astype(np.int64)
    repositories = np.array([f"r{number}" for number in range(len(shifts))])[which]
    kinds = np.where(rng.random(tasks.size) < 0.5, "method", "class")
    return ScoredTasks(
        tasks=tasks,
        labels=labels,
        p={("a", ""): p_yes(slope * honest)},
        n_tasks=n_tasks,
        slices={"kind": kinds, "repository": repositories},
    )


def found(scored: ScoredTasks) -> Calibrated:
    """What becomes of the one question."""
    return calibrate(ONE, scored)["a", ""]


def test_a_slope_is_mended_by_a_temperature() -> None:
    """Twice as sure as it should be: the curve is near that of the slope, whatever its kind, and does not shift."""
    curve = found(drawn(2.0, [0.0])).curve
    assert curve.kind != "raw"
    np.testing.assert_allclose(curve(KNOTS), p_yes(np.linspace(-4, 4, KNOTS.size)), atol=0.04)
    assert (np.diff(curve.values) >= 0).all()


def test_what_is_honest_stays_raw_or_nearly() -> None:
    """Nothing to mend: no kind is better than raw by more than chance."""
    calibrated = found(drawn(1.0, [0.0, 0.0, 0.0]))
    np.testing.assert_allclose(calibrated.curve(KNOTS), KNOTS, atol=0.04)
    assert calibrated.after.ece_beyond_chance < 0.015


def test_repositories_left_out_have_a_say() -> None:
    """One of three has far more of them: the shift that is best for these is worse for the next, so less is made."""
    scored = drawn(1.0, [2.0, 0.0, 0.0])
    calibrated, alone = found(scored), found(replace(scored, slices={}))
    assert alone.curve(0.5) > 0.6
    assert calibrated.curve(0.5) < alone.curve(0.5) - 0.05
    assert calibrated.unseen
    assert alone.unseen is None
    assert found(drawn(1.0, [2.0, 0.0])).unseen is None


def test_slices_are_parts_of_the_whole() -> None:
    """By kind and by repository the rows add up, and so do squared errors; only repositories can be unseen."""
    calibrated = found(drawn(2.0, [0.2, 0.0, -0.2]))
    for name in ("kind", "repository"):
        parts = [part for part in calibrated.slices if part.name == name]
        assert sum(part.n for part in parts) == calibrated.n
        whole = sum(part.n * part.after.brier for part in parts) / calibrated.n
        assert whole == pytest.approx(calibrated.after.brier)
        assert all((part.unseen is not None) == (name == "repository") for part in parts)


def test_the_table_shows_the_worst_slices(capsys: pytest.CaptureFixture[str]) -> None:
    """Of sixteen slices twelve are shown, those with the most error; the rest are counted, and JSON has all."""
    scored = drawn(1.0, [0.0] * 13 + [2.0])
    curves = calibrate(ONE, scored)
    show_calibration(results(), curves)
    shown = capsys.readouterr().out
    assert "repository r13" in shown
    assert shown.count("repository r") + shown.count("kind ") == 12
    assert "Left out: 4 slices with less error beyond chance" in shown
    (row,) = calibration_rows(curves)
    assert len(row["slices"]) == 16
    assert row["unseen"]["ece"] > 0
    assert {"ece", "ece_beyond_chance", "brier", "log_loss"} == set(row["after"])


def test_few_tasks_lean_on_the_raw_p() -> None:
    """Four tasks that a threshold parts without fault: no curve makes them certain."""
    rng = np.random.default_rng(2)
    p = np.concatenate((rng.uniform(0.05, 0.45, 20), rng.uniform(0.55, 0.95, 20)))
    scored = ScoredTasks(
        tasks=np.arange(40) % 4, labels=(p > 0.5).astype(np.int64), p={("a", ""): p}, n_tasks=4
    )  # fmt: skip
    curve = found(scored).curve
    assert 0.15 < curve(0.2) < 0.3
    assert 0.7 < curve(0.8) < 0.85


@pytest.mark.parametrize(("n_rows", "off"), [(400, 0.0), (400, 0.1), (8_000, 0.1)])
def test_chance_is_taken_off_the_error(n_rows: int, off: float) -> None:
    """What is true lies between the error that is seen and that beyond chance; with many rows both are near it."""
    rng = np.random.default_rng(3)
    seen, beyond = [], []
    for _ in range(40):
        p, tasks = rng.uniform(0.2, 0.8, n_rows), np.arange(n_rows) // 4
        truths = rng.random(n_rows) < p - off
        seen.append(calibration_error(p, truths))
        beyond.append(calibration_error_beyond_chance(p, truths, tasks))
    assert np.mean(beyond) < np.mean(seen)
    assert np.mean(seen) > off - 0.001
    if off:
        assert np.mean(beyond) < off + 0.002
    else:
        assert np.mean(beyond) < 0.6 * np.mean(seen)
    if n_rows > 1_000:
        assert np.mean(beyond) > off - 0.005


def test_no_rows_have_no_error() -> None:
    """Neither figure of nothing is a number."""
    assert np.isnan(calibration_error([], []))
    assert np.isnan(calibration_error_beyond_chance([], [], []))


def test_reports_show_the_calibrated_p() -> None:
    """A question with a curve: its steps have both, and answers go by the raw one; without a curve only the raw one."""
    half = Curve(kind="platt", values=tuple((KNOTS / 2).tolist()))
    asked = {"": replace(question("a", 0.5), curve=half)}
    cascade: Cascade = replace(ONE, stages=(replace(FIRST, questions=asked),))
    item = Item(id="1", kind="method", name="x")
    with Engine(ScriptedBackend({"base": 0.6}, frozenset()), {"two": cascade}) as engine:
        (decision,) = engine.classify("t", [item], "two").decisions
    (step,) = decision.steps
    assert step.answer
    assert step.p_calibrated == pytest.approx(0.3, abs=1e-6)
    assert decision.as_dict()["steps"][0]["p_calibrated"] == step.p_calibrated
    with Engine(ScriptedBackend({"base": 0.6}, frozenset()), {"two": ONE}) as engine:
        (decision,) = engine.classify("t", [item], "two").decisions
    assert "p_calibrated" not in decision.as_dict()["steps"][0]

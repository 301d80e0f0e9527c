"""Guarantees on precision, macro F1 and rows; latency as a cost; the command with each of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.guarantee import measured, simulated, two_stages
from cascade import Engine, Item, ScriptedBackend, Task
from cascade.arguments import HIGHEST_PRICE
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.config.figures import Metric, Unit
from cascade.config.thresholds import read_thresholds
from cascade.errors import ConfigError, InputError
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.latency import prices_of
from cascade.evaluation.replay import Prices, Replay
from cascade.evaluation.scored import ScoredTasks
from cascade.evaluation.targets import TaskMetric
from cascade.stages import ANY_TIER
from cascade.tuning.objective import Cost, Objective
from cascade.tuning.search import tune
from cascade.tuning.target import TuningTarget
from tests.helpers.shipped import CASCADES, reading, shipped_text, write_shipped

pytestmark = pytest.mark.slow

PRICES = Prices(item=10.0, questions={("a", ANY_TIER): 1.0, ("b", ANY_TIER): 30.0})


def labelled(tasks: list[int], labels: list[int]) -> ScoredTasks:
    """Rows with labels and scores of no matter."""
    p = {(name, ANY_TIER): np.full(len(tasks), 0.5) for name in "ab"}
    return ScoredTasks(tasks=np.array(tasks), labels=np.array(labels), p=p, n_tasks=max(tasks) + 1)


def values(metric: Metric, scored: ScoredTasks, answers: list[int]) -> list[float]:
    """The measure of each task."""
    task_metric = TaskMetric(two_stages(), scored, metric)
    return [float(value) for value in task_metric.values(task_metric.counts(np.array(answers, np.int16)))[:, 0]]


def test_measures_are_those_of_tasks() -> None:
    """By hand: a task with two of three found and one too many, one that keeps nothing, one with nothing to find."""
    scored = labelled([0, 0, 0, 0, 1, 1, 2, 2], [1, 1, 1, 0, 1, 0, 0, 0])
    answers = [1, 1, 0, 1, 0, 0, 1, 0]
    assert values(Metric.RECALL, scored, answers) == pytest.approx([2 / 3, 0])
    assert values(Metric.PRECISION, scored, answers) == pytest.approx([2 / 3, 1, 0])
    # Task 0: dropped 0 of 2 (one true, one answered), kept 2 of 3 and 3; 1: dropped 1 of 1 and 2, kept none of one.
    f1 = [(0 + 2 * 2 / 6) / 2, (2 * 1 / 3 + 0) / 2, (2 * 1 / 3 + 0) / 2]
    assert values(Metric.MACRO_F1, scored, answers) == pytest.approx(f1)
    assert values(Metric.MACRO_F1, labelled([0], [0]), [0]) == [1]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.booleans()), min_size=1, max_size=40), st.floats(0.05, 0.95)
)
@settings(deadline=None)
def test_losses_of_rows_say_whether_the_level_is_reached(rows: list[tuple[int, bool, bool]], level: float) -> None:
    """They lie in [0, 1], and their mean is at most what is allowed just where the share of all rows is the level."""
    rows = [*sorted(rows), (5, True, True)]
    scored = labelled([task for task, _, _ in rows], [int(matters) for _, matters, _ in rows])
    answers = np.array([kept for _, _, kept in rows], np.int16)
    for metric in (Metric.RECALL, Metric.PRECISION):
        task_metric = TaskMetric(two_stages(), scored, metric, Unit.ROW)
        counts = task_metric.counts(answers)
        losses, mean = task_metric.losses(counts, level, task_metric.largest), float(task_metric.means(counts)[0])
        hits = sum(matters and kept for _, matters, kept in rows)
        of = sum(matters if metric is Metric.RECALL else kept for _, matters, kept in rows)
        assert mean == pytest.approx(hits / of)
        assert 0 <= losses.min() <= losses.max() <= 1
        assert abs(mean - level) < 1e-6 or (float(losses.mean()) <= 1 - level) == (mean >= level)


@pytest.mark.parametrize(
    ("metric", "unit", "level"),
    [
        (Metric.PRECISION, Unit.TASK, 0.8),
        (Metric.MACRO_F1, Unit.TASK, 0.85),
        (Metric.RECALL, Unit.ROW, 0.9),
    ],
)
def test_other_guarantees_hold(metric: Metric, unit: Unit, level: float) -> None:
    """30 draws of 250 tasks, truth from 3,000: missed at most delta and chance, and by no more than 5 points above."""
    tuning_target = TuningTarget(level=level, metric=metric, unit=unit, delta=0.1)
    population, cascade = simulated(0, 3_000), two_stages()
    found = [
        measured(cascade, population, tune(cascade, simulated(seed + 1, 250), tuning_target, seed), tuning_target)
        for seed in range(30)
    ]
    assert np.mean(np.array(found) < level) <= tuning_target.delta + 2 * np.sqrt(
        tuning_target.delta * (1 - tuning_target.delta) / len(found)
    )
    assert 0 < np.mean(found) - level <= 0.05


def test_what_is_made_small_is_small() -> None:
    """Each cost is no higher where it is asked for than where another is; misses are the precision's own."""
    cascade, scored = two_stages(), simulated(5, 1_000)
    found = {
        cost: tune(cascade, scored, TuningTarget(level=0.8, cost=cost), prices=PRICES).held_out
        for cost in (Cost.CALLS, Cost.FALSE_POSITIVES, Cost.LATENCY)
    }
    assert found[Cost.CALLS].calls == min(outcome.calls for outcome in found.values())
    assert found[Cost.LATENCY].ms == min(outcome.ms for outcome in found.values()) < found[Cost.FALSE_POSITIVES].ms
    assert found[Cost.FALSE_POSITIVES].false_positives == min(outcome.false_positives for outcome in found.values())
    tuning_target = TuningTarget(level=0.8, metric=Metric.PRECISION)
    assert tuning_target.minimised is Cost.MISSES
    strict = tune(cascade, scored, replace(tuning_target, level=0.9)).held_out
    assert 0 < tune(cascade, scored, tuning_target).held_out.misses < strict.misses < 1


def test_a_false_positive_has_a_price() -> None:
    """The higher, the fewer there are and the more calls; it needs calls or milliseconds to stand beside."""
    cascade, scored = two_stages(), simulated(5, 1_000)
    found = [tune(cascade, scored, TuningTarget(level=0.8, false_positive=price)).held_out for price in (0, 1, 100)]
    false, calls = ([getattr(outcome, name) for outcome in found] for name in ("false_positives", "calls"))
    assert false == sorted(false, reverse=True)
    assert calls == sorted(calls)
    assert false[0] > false[-1]
    assert str(TuningTarget(level=0.8, false_positive=5).objective) == "calls + 5 false_positives"
    assert str(TuningTarget(level=0.8).objective) == "calls"
    with pytest.raises(InputError, match="a number from 0 to"):
        TuningTarget(level=0.8, false_positive=float("nan"))
    with pytest.raises(InputError, match="Minimise calls or latency or handed on, or give no price"):
        TuningTarget(level=0.8, cost=Cost.FALSE_POSITIVES, false_positive=1)


@pytest.mark.parametrize("price", [1e308, 1.1e9, np.inf, np.nan, -1.0, 10**400, True, "5"])
@pytest.mark.parametrize("name", ["false_positive", "handed_on"])
def test_a_price_is_a_number_that_can_be_summed(name: str, price: Any) -> None:
    """Whatever is beyond, or is no number, is refused with what is allowed."""
    words = r"The price of .* is .*; a number from 0 to 1,000,000,000 is needed"
    given: dict[str, Any] = {name: price}
    with pytest.raises(InputError, match=words):
        TuningTarget(level=0.8, **given)
    with pytest.raises(InputError, match=words):
        Objective(Cost.CALLS, **given)


def test_the_highest_price_is_one_that_a_search_bears() -> None:
    """A false positive of 1e9 calls leaves no more of them than one of 100 calls, and the target is still reached."""
    cascade, scored = two_stages(), simulated(5, 1_000)
    targets = (TuningTarget(level=0.8, false_positive=price) for price in (100.0, HIGHEST_PRICE))
    dear, high = (tune(cascade, scored, target).held_out for target in targets)
    assert high.recall_per_task >= 0.8
    assert high.false_positives <= dear.false_positives


@pytest.mark.parametrize("option", ["--false-positive", "--handed-on"])
def test_the_command_refuses_a_price_beyond_all_sense(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before any data is read; the message says what is allowed."""
    arguments = ["tune", "absent.jsonl", "--cascade", "precision", "--target", "recall=0.5", "--minimise", "calls"]
    assert main([*arguments, option, "1e308"]) == ExitCode.BAD_INPUT
    assert "is 1e+308; a number from 0 to 1,000,000,000 is needed, such as 5." in capsys.readouterr().err


def test_what_nothing_reaches_is_refused() -> None:
    """With the best there is; a precision by keeping nothing is none, and a macro F1 is no mean over rows."""
    cascade, scored = two_stages(), simulated(1, 200)
    with pytest.raises(InputError, match=r"No thresholds reach a macro F1 per task of 0\.97: the best on 40 tasks"):
        tune(cascade, scored, TuningTarget(level=0.97, metric=Metric.MACRO_F1, delta=0.2))
    blind = replace(scored, p={key: np.full(p.size, 0.5) for key, p in scored.p.items()})
    with pytest.raises(InputError, match="keeps nothing, and that helps nobody"):
        tune(cascade, blind, TuningTarget(level=0.9, metric=Metric.PRECISION))
    with pytest.raises(InputError, match="is no mean, so none can be guaranteed"):
        tune(cascade, scored, TuningTarget(level=0.9, metric=Metric.MACRO_F1, unit=Unit.ROW))
    with pytest.raises(InputError, match=r"About \d+ tasks held out would do"):
        tune(cascade, simulated(1, 60), TuningTarget(level=0.9, metric=Metric.MACRO_F1))


def test_prices_are_those_of_tokens() -> None:
    """An item is read once for the base model's questions, and once more by an adapter that computes it by itself."""
    cascade = CASCADES["precision"]
    task = Labelled(task=Task(text="t"), items=(Item(id="1", kind="function", name="f"),), labels=("primary",))
    adapters = frozenset(cascade.adapters())
    found = {}
    for name, prefix_adapters in (("plain", {}), ("activated", dict.fromkeys(adapters, "base"))):
        with Engine(
            ScriptedBackend({}, adapters, prefix_adapters=prefix_adapters, slowdown=1.0), {"precision": cascade}
        ) as engine:
            found[name] = prices_of(cascade, [task], engine.info)
            costs, sizes = engine.info.main.costs, engine.info.main.sizes
    per_token = costs.per_token_ms + costs.per_call_ms / sizes.n_batch
    read = per_token * len("<|item|>function f")
    asked = (costs.per_token_ms + costs.per_call_ms / sizes.n_batch_questions) * len(
        "<|ask|>primary"
    ) + costs.per_output_ms
    assert found["activated"].item == pytest.approx(read)
    assert found["activated"].questions["primary", ANY_TIER] == pytest.approx(asked)
    assert found["plain"].item == 0
    assert found["plain"].questions["primary", ANY_TIER] == pytest.approx(asked + read)


def test_a_text_costs_its_tokens_where_it_is_read_first() -> None:
    """A question pays for what it reads of a text beyond those before it under the same prefix adapter."""
    cascade = reading(CASCADES["precision"], {"primary": 10, "supporting": 30})
    texts = ("x" * 50, "x" * 20, "")
    items = tuple(Item(id=str(at), name="f", text=text) for at, text in enumerate(texts))
    task = Labelled(task=Task(text="t"), items=items, labels=("primary",) * 3)
    adapters = frozenset(cascade.adapters())
    found = {}
    for name, tree in (("reads", cascade), ("plain", CASCADES["precision"])):
        backend = ScriptedBackend({}, adapters, prefix_adapters=dict.fromkeys(adapters, "base"), slowdown=1.0)
        with Engine(backend, {"precision": tree}) as engine:
            found[name] = prices_of(tree, [task], engine.info)
            per_token = (
                engine.info.main.costs.per_token_ms
                + engine.info.main.costs.per_call_ms / engine.info.main.sizes.n_batch
            )
    more = {
        key: found["reads"].questions[key, ANY_TIER] - found["plain"].questions[key, ANY_TIER]
        for key in ("relevant", "primary", "supporting")
    }
    head = len("\n")
    assert more["relevant"] == 0
    assert more["primary"] == pytest.approx(per_token * 2 * (head + 10) / 3)
    assert more["supporting"] == pytest.approx(per_token * (20 + 10) / 3)


def test_a_replay_adds_prices_up() -> None:
    """What is asked anything pays for being read; what a prior stage settled pays nothing."""
    scored = labelled([0, 0], [1, 0])
    scored.p["a", ANY_TIER][:] = [0.9, 0.1]
    outcome = Replay(two_stages(), scored, prices=PRICES).outcome({("a", ANY_TIER): 0.5, ("b", ANY_TIER): 0.5})
    assert outcome.ms == pytest.approx((10 + 1 + 30 + 10 + 1) / 2)


def with_prior_stage(tmp_path: Path, thresholds: Path) -> Path:
    """The shipped config without a profile, with a prior stage, and with thresholds that need not be there."""
    text = shipped_text(profile=False)
    text = text.replace("[cascade.precision]\n", f'[cascade.precision]\nthresholds = "{thresholds}"\n')
    stage = '[[cascade.precision.stages]]\nkind = "prior"\nyes = { stage = "primary" }\nno = { label = "excluded" }\n\n'
    at = text.index('[[cascade.precision.stages]]\nname = "relevant"')
    path = tmp_path / "my.toml"
    path.write_text(text[:at] + stage + text[at:], encoding="utf-8")
    return path


def data(path: Path, n_tasks: int = 20) -> Path:
    """Tasks of two symbols."""
    rows = [("read_config", "primary", ["match"]), ("open_socket", "excluded", [])]
    items = [{"id": name, "kind": "function", "name": name, "label": label, "evidence": ev} for name, label, ev in rows]
    lines = [json.dumps({"task": f"read the config file {at}", "items": items}) for at in range(n_tasks)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_the_command_tunes_a_config_that_waits_for_its_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before, the config cannot be read; the file has what weighs the evidence, and then an engine runs with it."""
    out = tmp_path / "precision.thresholds.toml"
    config = with_prior_stage(tmp_path, out)
    with pytest.raises(ConfigError, match=r"precision\.thresholds\.toml: cannot be read"):
        Engine.open(config)
    command = ["tune", "--cascade", "precision", "--config", str(config), "--delta", "0.3"]
    command += ["--target", "recall=0.5", "--out", str(out), "--json", "--data"]
    assert main([*command, str(data(tmp_path / "few.jsonl"))]) == ExitCode.BAD_INPUT
    assert "5 tasks were searched, and they show no way to weigh it" in capsys.readouterr().err
    assert main([*command, str(data(tmp_path / "rows.jsonl", 80))]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert found["prior"]["weights"]["match"] > 1
    assert set(found["thresholds"]["prior"]) == {"no_below", "yes_from"}
    with Engine.open(config) as engine:
        stage = engine.cascade("precision").prior_stage
        assert stage
        assert stage.prior
        report = engine.classify("read", [Item(id="1", kind="function", name="f", evidence=("match",))])
    assert report.stats.items == 1


@pytest.mark.parametrize(
    ("options", "guaranteed"),
    [
        (["precision=0.4"], "a precision per task of at least 0.4"),
        (["macro_f1=0.2", "--minimise", "false_positives"], "a macro F1 per task of at least 0.2"),
        (
            ["recall=0.5", "--unit", "row"],
            "a recall over all rows of at least 0.5, if no task has more than 1 that count",
        ),
        (["recall=0.5", "--minimise", "latency"], "ms per item"),
    ],
)
def test_the_command_guarantees_what_it_is_asked(
    options: list[str], guaranteed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In words, in JSON and in the file."""
    out, scores = tmp_path / "p.thresholds.toml", tmp_path / "s.npz"
    command = ["tune", "--cascade", "precision", "--data", str(data(tmp_path / "rows.jsonl")), "--delta", "0.3"]
    config = write_shipped(tmp_path / "questions.toml")
    command += ["--scores", str(scores), "--config", str(config), "--target", *options]
    assert main(command) == ExitCode.DONE
    assert guaranteed in " ".join(capsys.readouterr().out.split())
    assert main([*command, "--out", str(out), "--json"]) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    metric, _, level = options[0].partition("=")
    figure = f"{metric}_{'over_rows' if 'row' in options else 'per_task'}"
    assert found["guarantee"][figure] == float(level)
    text = out.read_text(encoding="utf-8")
    assert f"{figure} = {level}" in text
    read = read_thresholds(out).guarantee
    assert read
    assert (read.figure, read.level) == (figure, float(level))
    other = "recall_per_task" if metric == "precision" else "precision_per_task"
    out.write_text(text.replace("[guarantee]", f"[guarantee]\n{other} = 0.5", 1), encoding="utf-8")
    with pytest.raises(ConfigError, match="give exactly one of recall_per_task, recall_over_rows"):
        read_thresholds(out)

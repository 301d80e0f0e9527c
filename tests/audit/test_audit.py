"""Audits: intervals by task, slices that err more, label noise, learning curves, stages' worth, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from math import pi, sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.guarantee import question, two_stages
from benchmarks.guarantee import simulated as two_stage_scores
from benchmarks.planted_audit import Plan, covers, is_planted, named, one_question, simulated
from benchmarks.wire_server import Script, ScriptedServer
from cascade import Engine, Item, ScriptedBackend, Task
from cascade.audit.advice import Act, what_needs_data, what_to_drop, what_to_merge, where_it_errs
from cascade.audit.audit import AuditOptions, audit
from cascade.audit.coherence import coherence, opposite
from cascade.audit.errors import KIND, REPOSITORY, TIER, slices_of
from cascade.audit.label_noise import cross_fitted_p, label_noise
from cascade.audit.learning_curve import learning_curves
from cascade.audit.likeness import likenesses
from cascade.audit.questions import Duplicates, QuestionRows, duplicates, question_rows, worst
from cascade.audit.rates import contrast, mean, rate
from cascade.audit.stage_value import stage_values
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.config.schema import CascadeConfig
from cascade.errors import ConfigError, InputError
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.distributions import t_quantile, t_tail
from cascade.evaluation.replay import Replay, own_thresholds
from cascade.evaluation.scored import ScoredTasks
from cascade.evaluation.scoring import score_tasks
from cascade.probability import Bools, Ints
from cascade.stages import ANY_TIER, Limits, Source, Stage, Target
from cascade.tree import Cascade
from tests.helpers.server_configs import LABELS, config, p_yes
from tests.helpers.shipped import CASCADES, questions_alone, shipped_text


def rows_of(p: list[float], truths: list[bool], tasks: list[int]) -> QuestionRows:
    """The rows of a question with threshold 0.5."""
    return QuestionRows(
        stage="relevant",
        tier=ANY_TIER,
        question=question("relevant"),
        rows=np.arange(len(p)),
        tasks=np.array(tasks, np.int64),
        p=np.array(p),
        truths=np.array(truths, np.bool_),
    )


def clustered(seed: int, n_tasks: int, n_rows: int) -> tuple[Bools, Ints]:
    """Errors at 20 % that come by the task: most tasks have hardly any."""
    rng = np.random.default_rng(seed)
    tasks = np.repeat(np.arange(n_tasks), n_rows)
    return np.asarray(rng.random(tasks.size) < rng.beta(0.4, 1.6, n_tasks)[tasks]), tasks


@pytest.mark.slow
@given(st.floats(0, 50), st.integers(1, 3))
def test_the_t_distribution_is_exact(t: float, df: int) -> None:
    """Against the closed forms of few degrees of freedom; and the quantiles that tables have."""
    written_out = {
        1: 1 - 2 / pi * np.arctan(t),
        2: 1 - t / sqrt(2 + t * t),
        3: 1 - 2 / pi * (np.arctan(t / sqrt(3)) + t / sqrt(3) / (1 + t * t / 3)),
    }
    assert t_tail(-t, df) == pytest.approx(written_out[df], abs=1e-12)
    tables = {1: 12.706, 4: 2.776, 9: 2.262, 30: 2.042, 1_000: 1.962}
    assert {df: round(t_quantile(0.95, df), 3) for df in tables} == tables


def test_intervals_know_that_rows_of_a_task_are_alike() -> None:
    """Every row given five times tells nothing more; rows that are independent have Wilson's interval."""
    wrong, tasks = clustered(1, 40, 6)
    once, often = rate(wrong, tasks), rate(np.repeat(wrong, 5), np.repeat(tasks, 5))
    assert often.value == once.value
    assert often.half_width == pytest.approx(once.half_width, rel=1e-6)
    independent = np.tile(np.arange(10) < 2, 400)
    found = rate(independent, np.arange(4_000))
    assert (found.low, found.high) == pytest.approx((0.1879, 0.2127), abs=5e-4)
    assert once.half_width > 1.5 * rate(wrong, np.arange(wrong.size)).half_width


@pytest.mark.slow
def test_intervals_hold_the_true_rate() -> None:
    """200 samples of tasks that differ much, and 60 of the benchmark's: about 95 % of intervals do."""
    held = []
    for seed in range(200):
        found = rate(*clustered(seed, 30, 8))
        held.append(found.low <= 0.2 <= found.high)
    assert np.mean(held) >= 0.91
    assert np.mean([covers(Plan(n_tasks=40, n_items=12), seed) for seed in range(60)]) >= 0.9


def test_little_is_not_taken_for_much() -> None:
    """No rows, rows of one task, and no errors: none of them gives an interval without width."""
    none = rate(np.empty(0, np.bool_), np.empty(0, np.int64))
    assert (none.value, none.low, none.high, none.n, str(none)) == (None, 0.0, 1.0, 0, "-")
    one = rate(np.array([True, False]), np.zeros(2, np.int64))
    assert (one.value, one.low, one.high, one.n_tasks) == (0.5, 0.0, 1.0, 1)
    spotless = rate(np.zeros(60, np.bool_), np.repeat(np.arange(20), 3))
    assert spotless.value == spotless.low == 0
    assert 0.05 < spotless.high < 0.2
    assert mean(np.array([0.1, 0.3]), np.zeros(2, np.int64)).low is None


@pytest.mark.slow
@pytest.mark.parametrize("by_tier", [False, True])
def test_a_planted_tier_is_named_and_nothing_else(*, by_tier: bool) -> None:
    """30 % error among 5 %: found in every one of 15 simulations; where all err alike, hardly ever is any named."""
    plan = Plan(n_tasks=60, n_items=18, by_tier=by_tier)
    runs = [named(plan, seed) for seed in range(15)]
    assert all(any(map(is_planted, advice)) for advice in runs)
    assert {advice.act for run in runs for advice in run if is_planted(advice)} == {Act.TRAIN if by_tier else Act.SPLIT}
    null = replace(plan, planted=plan.rate)
    assert np.mean([bool(named(null, seed)) for seed in range(40)]) <= 0.05


def test_a_contrast_counts_tasks_not_rows() -> None:
    """Every row given five times leaves the p-value where it was; too few tasks or errors have none."""
    wrong, tasks = clustered(3, 40, 6)
    inside = tasks % 2 == 0
    once = contrast(wrong, tasks, inside)
    often = contrast(np.repeat(wrong, 5), np.repeat(tasks, 5), np.repeat(inside, 5))
    assert once is not None
    assert often == pytest.approx(once)
    alone = contrast(np.repeat(wrong, 5), np.arange(5 * wrong.size), np.repeat(inside, 5))
    assert alone is not None
    assert alone < once / 2
    assert contrast(wrong, tasks, tasks < 9) is None
    assert contrast(np.arange(wrong.size) < 10, tasks, inside) is None
    assert contrast(wrong, tasks, np.ones(wrong.size, np.bool_)) is None


def sliced(p: float, base_rates: tuple[float, float], wrong: tuple[float, float], dimension: str) -> ScoredTasks:
    """Two slices, told apart as badly as ``wrong`` says, with base rates of their own."""
    rng = np.random.default_rng(5)
    tasks = np.repeat(np.arange(80), 20)
    is_first = np.arange(tasks.size) % 2 == 0 if dimension == KIND else tasks % 2 == 0
    truths = rng.random(tasks.size) < np.where(is_first, *base_rates)
    is_wrong = rng.random(tasks.size) < np.where(is_first, *wrong) * np.where(truths, 1, p)
    return ScoredTasks(
        tasks=tasks,
        labels=truths.astype(np.int64),
        p={("relevant", ANY_TIER): np.where(truths ^ is_wrong, 0.8, 0.2)},
        n_tasks=80,
        slices={dimension: np.where(is_first, "first", "second")},
    )


@pytest.mark.parametrize(
    ("base_rates", "wrong", "dimension", "act"),
    [
        ((0.3, 0.3), (0.4, 0.1), KIND, Act.SPLIT),
        ((0.3, 0.3), (0.4, 0.1), REPOSITORY, Act.TRAIN),
        ((0.7, 0.1), (0.4, 0.42), KIND, Act.THRESHOLD),
    ],
)
def test_what_a_slice_needs(
    base_rates: tuple[float, float], wrong: tuple[float, float], dimension: str, act: Act
) -> None:
    """One that is told apart worse an adapter, or data; one that errs by its base rate alone a threshold."""
    cascade, scored = one_question(), sliced(0.1, base_rates, wrong, dimension)
    masks = {(dimension, value): scored.slices[dimension] == value for value in ("first", "second")}
    (advice,) = where_it_errs(cascade, slices_of(question_rows(cascade, scored), masks))
    assert (advice.act, advice.dimension, advice.value) == (act, dimension, "first")
    assert advice.numbers["error"] > advice.numbers["error_rest"] + 0.05


def test_the_worst_rows_are_the_surest_wrong_ones() -> None:
    """By log odds from the threshold, on either side; right ones never, and no more than are asked for."""
    items = [Item(id=f"i{at}", kind="function", name=f"f{at}") for at in range(3)]
    labels = ("irrelevant", "relevant", "irrelevant")
    tasks = [
        Labelled(task=Task(text="first\nsecond"), items=tuple(items), labels=labels),
        Labelled(task=Task(text="other"), items=tuple(items), labels=labels, repository="r"),
    ]
    rows = rows_of([0.9, 0.999, 0.1, 0.7, 0.01, 0.2], [False, True, False] * 2, [0, 0, 0, 1, 1, 1])
    found = worst(rows, tasks, 2)
    assert [(example.item, example.p_yes, example.truth) for example in found] == [
        ("i1", 0.01, True),
        ("i0", 0.9, False),
    ]
    assert (found[0].task, found[0].repository, found[1].task) == ("other", "r", "first")
    assert len(worst(rows, tasks, 9)) == 3


def test_flipped_labels_are_estimated() -> None:
    """10 % of yeses and 2 % of noes flipped under a good model: both are found; the bound is above the truth."""
    rng = np.random.default_rng(6)
    tasks = np.repeat(np.arange(200), 20)
    yes = rng.random(tasks.size) < 0.4
    p = 1 / (1 + np.exp(-np.where(yes, 3, -3) - rng.normal(0, 1, tasks.size)))
    given_yes = np.where(yes, rng.random(tasks.size) >= 0.1, rng.random(tasks.size) < 0.02)
    cascade = one_question()
    scored = ScoredTasks(tasks=tasks, labels=given_yes.astype(np.int64), p={("relevant", ""): p}, n_tasks=200)
    (rows,) = question_rows(cascade, scored)
    found = label_noise(rows, cross_fitted_p(cascade, scored)["relevant", ""])
    assert found is not None
    true = {"yes_no": float((given_yes & ~yes).mean()), "no_yes": float((~given_yes & yes).mean())}
    assert {name: found.joint[name] for name in true} == pytest.approx(true, abs=0.01)
    assert sum(found.joint.values()) == pytest.approx(1)
    assert found.wrong_low <= sum(true.values()) <= found.wrong_high
    assert sum(true.values()) <= found.at_most < 0.2
    assert label_noise(replace(rows, truths=np.ones_like(rows.truths)), rows.p) is None


def test_a_poor_model_is_no_noise() -> None:
    """Labels without a fault: where the model errs with confidence, the bound holds the estimate down."""
    rng = np.random.default_rng(7)
    truths = rng.random(4_000) < 0.5
    p = np.where(
        rng.random(4_000) < 0.25,
        rng.uniform(0.35, 0.65, 4_000),
        np.where(truths, 0.97, 0.03) + rng.uniform(-0.02, 0.02, 4_000),
    )
    p = np.where(rng.random(4_000) < 0.1, 1 - rng.uniform(0.85, 0.9, 4_000), p)
    rows = rows_of(p.tolist(), truths.tolist(), (np.arange(4_000) // 20).tolist())
    found = label_noise(rows, p)
    assert found is not None
    assert found.yes_wrong.value is not None
    assert found.wrong <= found.at_most < 0.04 < found.yes_wrong.value
    assert found.wrong < float(truths.mean()) * found.yes_wrong.value


def test_duplicates_are_counted() -> None:
    """The same item under the same task and seeds; of three labels the odd one is wrong."""

    def labelled(label: str, *, seeds: tuple[str, ...] = (), item: str = "i") -> Labelled:
        return Labelled(task=Task(text="t", seeds=seeds), items=(Item(id=item, kind="k", name="n"),), labels=(label,))

    tasks = [labelled("a"), labelled("b"), labelled("a"), labelled("b", seeds=("s",)), labelled("a", item="j")]
    assert duplicates(tasks) == Duplicates(n=1, n_differing=1, n_wrong=1)
    assert duplicates([*tasks, labelled("a", item="j")]) == Duplicates(n=2, n_differing=1, n_wrong=1)


@pytest.mark.slow
def test_intervals_narrow_as_tasks_come_in() -> None:
    """Half the tasks have an interval about 1.4 times as wide; what is wanted says how many more it takes."""
    cascade, scored, _ = simulated(Plan(n_tasks=160, n_items=12), 1)
    curve = learning_curves(cascade, scored, 0.01, 0)["relevant", ANY_TIER]
    assert [point.n_tasks for point in curve.points] == [20, 40, 80, 160]
    ratios = [one.half_width / other.half_width for one, other in zip(curve.points, curve.points[1:], strict=False)]
    assert all(1.2 < ratio < 1.8 for ratio in ratios)
    assert curve.tasks_needed == pytest.approx(160 * (curve.points[-1].half_width / 0.01) ** 2, abs=1)
    (advice,) = what_needs_data({("relevant", ANY_TIER): curve}, 0.01)
    assert advice.numbers["tasks_needed"] == curve.tasks_needed > 160
    enough = learning_curves(cascade, scored, 0.2, 0)
    assert not what_needs_data(enough, 0.2)


def test_a_stage_that_gains_nothing_may_go() -> None:
    """One that always says yes; one that tells apart stays. The whole cascade is what a replay makes of it."""
    cascade, scored = two_stages(), two_stage_scores(2, 200)
    idle = replace(scored, p={**scored.p, ("b", ANY_TIER): np.full(scored.tasks.size, 0.9)})
    drop = Target("drop", is_label=True)
    third = Target("other", is_label=True)
    first, second = cascade.stages
    wide = replace(cascade, labels=("drop", "keep", "other"), stages=(first, replace(second, no=third)))
    idle = replace(idle, labels=np.where(idle.labels == 0, np.arange(idle.labels.size) % 9 // 8 * 2, 1))
    assert first.no == drop
    values = {value.stage: value for value in stage_values(Replay(wide, idle), 0)}
    thresholds = {("a", ANY_TIER): 0.5, ("b", ANY_TIER): 0.5}
    outcome = Replay(wide, idle).outcome(thresholds)
    assert values["a"].calls_per_item == outcome.calls
    assert values["b"].calls_per_item_without == 1.0
    assert values["b"].gain == 0
    assert values["a"].gain_low > 0.01
    assert [advice.stage for advice in what_to_drop(values.values())] == ["b"]
    assert values["b"].recall_over_rows == values["b"].recall_over_rows_without
    assert values["b"].recall_over_rows is not None
    assert not what_to_drop([replace(values["b"], recall_over_rows_without=values["b"].recall_over_rows - 0.02)])
    assert values["b"].handed_on == values["b"].handed_on_without == 0
    assert not what_to_drop([replace(values["b"], handed_on=0.2)])
    assert not what_to_drop([replace(values["b"], handed_on_without=0.2)])
    few = idle.take(np.arange(8))
    assert not what_to_drop(stage_values(Replay(wide, few), 0))


@pytest.mark.slow
def test_what_a_prior_stage_settles_is_audited() -> None:
    """Its own errors on either side, by a count of the rows; a stage's worth is that behind it, as an engine asks."""
    scored = two_stage_scores(5, 60)
    priors = np.array([(None, 0.1, 0.5, 0.9)[at % 4] for at in range(scored.tasks.size)], float)
    tasks = []
    for task in range(scored.n_tasks):
        rows = np.flatnonzero(scored.tasks == task).tolist()
        known = [None if np.isnan(priors[row]) else float(priors[row]) for row in rows]
        items = tuple(Item(id=str(at), kind="k", name=f"n{at}", prior=prior) for at, prior in enumerate(known))
        labels = tuple(("drop", "keep")[scored.labels[row]] for row in rows)
        tasks.append(Labelled(task=Task(text=f"task {task}"), items=items, labels=labels))
    stage = Stage(
        name="known",
        no_below=0.2,
        yes_from=0.8,
        yes=Target("b", is_label=False),
        no=Target("drop", is_label=True),
        source=Source.CALLER,
    )
    cascade = replace(two_stages(), prior_stage=stage)
    found = audit(cascade, scored, tasks, AuditOptions(n_worst=0))
    assert audit(two_stages(), scored, tasks, AuditOptions(n_worst=0)).prior is None
    assert found.prior
    matters = scored.labels == 1
    no, yes = priors == 0.1, priors == 0.9
    assert (found.prior.settled.value, found.prior.settled.n) == (0.5, priors.size)
    assert (found.prior.wrong_no.value, found.prior.wrong_no.n) == (matters[no].mean(), no.sum())
    assert (found.prior.wrong_yes.value, found.prior.wrong_yes.n) == ((~matters[yes]).mean(), yes.sum())
    assert f"{found.prior.wrong_yes.value:.1%}" in str(found.prior)
    outcome = Replay(cascade, scored, priors).outcome(own_thresholds(cascade))
    assert {value.calls_per_item for value in found.stages} == {outcome.calls}
    alone = next(value for value in found.stages if value.stage == "a").calls_per_item_without
    assert alone == np.where(no, 0, 1).mean()


def test_adapters_that_answer_alike_may_be_one() -> None:
    """Two tiers with nearly the same scores; one with scores of its own stays by itself."""
    rng = np.random.default_rng(8)
    tiers = ("near", "next", "far")
    stage = Stage(
        name="relevant",
        questions={tier: replace(question(tier), adapter=tier) for tier in tiers},
        yes=Target("keep", is_label=True),
        no=Target("drop", is_label=True),
    )
    cascade = Cascade(name="c", instructions="i", labels=("drop", "keep"), stages=(stage,))
    near = rng.random(2_000)
    p = {"near": near, "next": np.clip(near + rng.normal(0, 0.01, 2_000), 0, 1), "far": rng.random(2_000)}
    scored = ScoredTasks(
        tasks=np.arange(2_000) // 20,
        labels=(rng.random(2_000) < near).astype(np.int64),
        p={("relevant", tier): values for tier, values in p.items()},
        n_tasks=100,
    )
    rows = question_rows(cascade, scored)
    pairs = likenesses(rows)
    assert [(pair.first, pair.second) for pair in pairs] == [
        (("relevant", one), ("relevant", other)) for one, other in combinations(tiers, 2)
    ]
    (advice,) = what_to_merge(pairs)
    assert "near and relevant next give" in advice.text
    assert not likenesses([replace(one, question=question("x")) for one in rows])


def with_negated(wording: str | dict[str, str]) -> CascadeConfig:
    """The shipped scope cascade with the opposite of its questions."""
    config = questions_alone().cascade["scope"]
    (stage,) = config.stages
    return config.model_copy(update={"stages": (stage.model_copy(update={"negated": wording}),)})


def test_a_question_and_its_opposite_add_up_or_not() -> None:
    """The negated wording stands in the prompt in place of the question; the gap is what the two sum to, less 1."""
    cascade = with_negated("does it not matter?").cascade("scope")
    other = opposite(cascade)
    assert other is not None
    assert opposite(CASCADES["scope"]) is None
    items = tuple(Item(id=str(at), kind="file", name="f", tiers=("metadata", "dependency")) for at in range(3))
    tasks = [Labelled(task=Task(text=f"t{at}"), items=items, labels=("relevant",) * 3) for at in range(4)]
    tasks.insert(1, Labelled(task=Task(text="empty"), items=(), labels=()))

    def script(adapter: str, prompt: str) -> float:
        if adapter == "dependency":
            return 0.4
        return 0.5 if "does it not matter?" in prompt else 0.7

    adapters = frozenset(cascade.adapters())
    with Engine(ScriptedBackend(script, adapters), {"scope": cascade}) as engine:
        scored = score_tasks(engine, cascade, tasks)
    with Engine(ScriptedBackend(script, adapters), {"scope": other}) as engine:
        found = coherence(engine, cascade, scored, tasks)
    assert set(found) == {("relevant", "metadata"), ("relevant", "dependency")}
    assert found["relevant", "metadata"].gap.value == pytest.approx(0.2)
    assert found["relevant", "dependency"].gap.value == pytest.approx(-0.2)
    assert found["relevant", "dependency"].size.value == pytest.approx(0.2)
    assert (found["relevant", "metadata"].n, found["relevant", "metadata"].n_tasks) == (12, 4)


def test_negated_questions_are_checked() -> None:
    """A table needs every tier, as those of other keys do."""
    with pytest.raises(ConfigError, match=r"stages\.relevant\.negated: tier 'co_change' has none"):
        with_negated({"dependency": "not?", "metadata": "not?"}).cascade("scope")


@pytest.mark.slow
def test_an_audit_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    """All of it can be written as JSON, with None where there is no figure; tasks without items do not count."""
    cascade, scored, tasks = simulated(Plan(n_tasks=40, by_tier=True), 2)
    tasks.append(Labelled(task=Task(text="empty"), items=(), labels=()))
    found = audit(cascade, replace(scored, n_tasks=41), tasks, AuditOptions(n_worst=2))
    shown = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert (shown["n_tasks"], shown["n_items"]) == (40, 960)
    assert [len(question["worst"]) for question in shown["questions"]] == [2, 2, 2]
    assert {part["dimension"] for part in shown["slices"]} == {TIER, KIND}
    assert shown["advice"][0]["act"] == "train"
    with pytest.raises(InputError, match="No task has an item"):
        audit(cascade, scored.take(np.empty(0, np.int64)), [])
    assert not capsys.readouterr().out


def write_data(path: Path, n_tasks: int) -> list[str]:
    """A file of tasks of three symbols, and the command that audits it."""
    names = {"read_config": "primary", "open_socket": "excluded", "Config": "type_context"}
    items = [{"id": name, "kind": "function", "name": name, "label": label} for name, label in names.items()]
    lines = [json.dumps({"task": f"read the config file {at}", "items": items}) for at in range(n_tasks)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return ["audit", "--cascade", "precision", "--data", str(path)]


@pytest.mark.slow
def test_the_command_audits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The embedded model, JSON and words, with a negated question, from kept scores."""
    text = shipped_text()
    config = tmp_path / "my.toml"
    config.write_text(
        text.replace('adapter = "primary"\n', 'adapter = "primary"\nnegated = "may it stay as it is?"\n', 1),
        encoding="utf-8",
    )
    assert main(["config", "show", "precision", "--config", str(config), "--json"]) == ExitCode.DONE
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [entry["questions"][0].get("negated") for entry in stages] == [None, "may it stay as it is?", None]
    command = write_data(tmp_path / "labelled.jsonl", 12)
    command += ["--config", str(config), "--scores", str(tmp_path / "s.npz"), "--seed", "3"]
    assert main([*command, "--json"]) == ExitCode.DONE
    shown = json.loads(capsys.readouterr().out)
    assert shown["duplicates"] == {"n": 0, "n_differing": 0, "n_wrong": 0}
    sums = {entry["stage"]: entry["coherence"] for entry in shown["questions"]}
    assert [stage for stage, entry in sums.items() if entry] == ["primary"]
    assert sums["primary"]["n"] == 36
    assert main(command) == ExitCode.DONE
    out = capsys.readouterr().out
    assert "12 tasks, 36 items" in out
    assert "read the config file" in out
    said = " ".join(out.split())
    assert "recall" in said
    values = {entry["stage"]: entry for entry in shown["stages"]}
    assert f"{values['primary']['recall_over_rows_without']:.1%}" in said


@pytest.mark.slow
def test_negated_questions_are_put_to_servers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The opposite goes to the server that answers the question, where nothing is in this process."""

    def p(adapter: str, prompt: str) -> float:
        return 0.4 if "may it stay?" in prompt else p_yes(adapter, prompt)

    rows = [{"id": str(at), "name": f"file_{at}_{label}", "label": label} for at, label in enumerate(LABELS)]
    data = tmp_path / "labelled.jsonl"
    data.write_text("\n".join(json.dumps({"task": f"fix {at}", "items": rows}) for at in range(12)), encoding="utf-8")
    with ScriptedServer(Script(p=p, adapters=("one", "two"), owner="vllm")) as server:
        config(tmp_path, f'kind = "completions"\nurl = "{server.url}"')
        path = tmp_path / "servers.toml"
        text = path.read_text(encoding="utf-8").replace('edited?"\n', 'edited?"\nnegated = "may it stay?"\n')
        path.write_text(text, encoding="utf-8")
        command = ["audit", "--cascade", "files", "--data", str(data), "--config", str(path), "--json"]
        assert main(command) == ExitCode.DONE
    sums = {entry["stage"]: entry["coherence"] for entry in json.loads(capsys.readouterr().out)["questions"]}
    assert sums["first"] is None
    assert sums["second"]["n"] == 36
    assert sums["second"]["gap"]["value"] == pytest.approx((0.2 + 0.2 + 0.9) / 3 + 0.4 - 1)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--within", "0.5", "must lie between 0 and 0.5"),
        ("--within", "0", "must lie between 0 and 0.5"),
        ("--worst", "-1", "greater than or equal to 0"),
    ],
)
def test_the_command_refuses(
    option: str, value: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Terms that are not allowed, before anything is scored."""
    command = write_data(tmp_path / "labelled.jsonl", 2)
    assert main([*command, option, value]) == ExitCode.BAD_INPUT
    assert words in capsys.readouterr().err


def test_what_is_handed_on_is_audited() -> None:
    """Its share, what of what matters is in it, the error of the rest, by a count; an uncertain answer is no error."""
    scored = two_stage_scores(5, 60)
    first, second = two_stages().stages
    limits = {ANY_TIER: Limits(0.3, 0.6)}
    cascade = replace(
        two_stages(),
        labels=("drop", "keep", "review"),
        stages=(replace(first.with_limits(limits), uncertain=Target("review", is_label=True)), second),
    )
    tasks = []
    for task in range(scored.n_tasks):
        rows = np.flatnonzero(scored.tasks == task).tolist()
        items = tuple(Item(id=str(row), kind="k", name=f"n{row}") for row in rows)
        tasks.append(
            Labelled(
                task=Task(text=f"{task}"), items=items, labels=tuple(("drop", "keep")[scored.labels[r]] for r in rows)
            )
        )
    found = audit(cascade, scored, tasks, AuditOptions(n_worst=0))
    p, matters = scored.p["a", ANY_TIER], scored.labels == 1
    unsure = (p >= 0.3) & (p < 0.6)
    kept = (p >= 0.6) & (scored.p["b", ANY_TIER] >= second.question(ANY_TIER).threshold)
    assert found.handed_on
    assert found.handed_on.share.value == pytest.approx(unsure.mean())
    assert found.handed_on.of_mattering.value == pytest.approx(unsure[matters].mean())
    assert found.handed_on.error_among_answered.value == pytest.approx((kept != matters)[~unsure].mean())
    (stage,) = found.handed_on.stages
    assert stage.stage == "a"
    assert stage.uncertain.value == pytest.approx(unsure.mean())
    asked = found.questions[0]
    assert (asked.no_below, asked.threshold) == (0.3, 0.6)
    assert asked.uncertain == pytest.approx(unsure[matters].mean())
    assert asked.errors.error.value == pytest.approx((p < 0.3)[matters].mean())  # "drop" does not tell its true answer
    assert "Handed on as uncertain" in str(found.handed_on)
    first_value = next(value for value in found.stages if value.stage == "a")
    assert first_value.handed_on == pytest.approx(unsure.mean())
    assert first_value.handed_on_without == 0
    assert audit(two_stages(), scored, tasks, AuditOptions(n_worst=0)).handed_on is None

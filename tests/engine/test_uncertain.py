"""A third way: what is uncertain goes to another stage, or is handed on with a status of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from cascade import Budget, Cascade, Decision, Engine, Item, Profile, ScriptedBackend, Status
from cascade.engine.online_profile import OnlineProfile
from cascade.report import Report
from cascade.stages import ANY_TIER, BASE, Combine, Limits, Question, Source, Stage, Target
from tests.helpers.shipped import CASCADES, write_shipped

BIG = "big"


def to(name: str) -> Target:
    """A stage's name stands in angle brackets, a label's plain."""
    return Target(name.strip("<>"), is_label=not name.startswith("<"))


def stage(name: str, adapter: str, uncertain: str, **by_tier: Limits) -> Stage:
    """A stage that keeps, drops or is uncertain."""
    questions = {
        tier: Question(marker=f"{name}{tier}", wording="q", adapter=adapter, threshold=0.5).with_limits(limits)
        for tier, limits in (by_tier or {ANY_TIER: Limits(0.3, 0.7)}).items()
    }
    return Stage(name=name, questions=questions, yes=to("keep"), no=to("drop"), uncertain=to(uncertain))


ESCALATION = Cascade(
    name="c",
    instructions="i",
    labels=("drop", "keep", "review"),
    stages=(stage("small", BASE, "<large>"), stage("large", BIG, "review")),
)
ITEMS = tuple(Item(id=str(at), kind="function", name=f"f{at}") for at in range(60))


def p_of(adapter: str, prompt: str) -> float:
    """An answer by chance for each adapter and prompt."""
    return int.from_bytes(hashlib.sha256(f"{adapter} {prompt}".encode()).digest()[:4]) / 2**32


def backend() -> ScriptedBackend:
    """Answers of every kind from both adapters."""
    return ScriptedBackend(p_of, frozenset({BIG}))


def by_steps(decision: Decision) -> tuple[str, Status]:
    """Label and status that follow from the steps of a decision."""
    kinds = [None if 0.3 <= step.p_yes < 0.7 else step.p_yes >= 0.7 for step in decision.steps]
    assert [step.answer for step in decision.steps] == kinds
    assert kinds[:-1] == [None] * (len(kinds) - 1)
    if kinds[-1] is None:
        return "review", Status.UNCERTAIN
    return ("keep" if kinds[-1] else "drop"), Status.DECIDED


def test_what_is_uncertain_is_asked_further_and_handed_on_last() -> None:
    """The larger model is asked what the smaller one leaves open and nothing else; its own doubts go to review."""
    with Engine(backend(), {"c": ESCALATION}) as engine:
        report = engine.classify("t", ITEMS, "c")
    assert [(one.label, one.status) for one in report.decisions] == [by_steps(one) for one in report.decisions]
    asked = [[step.stage for step in one.steps] for one in report.decisions]
    assert report.stats.calls == sum(map(len, asked)) == len(ITEMS) + asked.count(["small", "large"])
    assert {*map(tuple, asked)} == {("small",), ("small", "large")}
    assert set(report.statuses()) == {Status.DECIDED, Status.UNCERTAIN}
    assert all(one.p_label is None for one in report.decisions)


def test_an_item_that_a_further_stage_decides_is_decided() -> None:
    """How it came there does not matter: an uncertain answer on the way is no uncertain end."""
    with Engine(ScriptedBackend({BASE: 0.5, BIG: 0.9}, frozenset({BIG})), {"c": ESCALATION}) as engine:
        (decision,) = engine.classify("t", ITEMS[:1], "c").decisions
    assert (decision.label, decision.status) == ("keep", Status.DECIDED)
    steps = decision.as_dict()["steps"]
    assert [(step["answer"], step["threshold"], step["no_below"]) for step in steps] == [
        (None, 0.7, 0.3),
        (True, 0.7, 0.3),
    ]


def test_a_cut_is_no_doubt() -> None:
    """A depth cap and a deadline keep their status, and get a label that an answer could have, never that of review."""
    with Engine(ScriptedBackend({BASE: 0.5, BIG: 0.5}, frozenset({BIG})), {"c": ESCALATION}) as engine:
        cut = engine.classify("t", ITEMS, "c", budget=Budget(depth=1))
        late = engine.classify("t", ITEMS, "c", budget=Budget(ms=1e-6))
        whole = engine.classify("t", ITEMS, "c")
    assert cut.statuses() == {Status.DEPTH_CAP: len(ITEMS)}
    assert late.statuses() == {Status.DEADLINE: len(ITEMS)}
    assert whole.statuses() == {Status.UNCERTAIN: len(ITEMS)}
    assert not {one.label for one in (*cut.decisions, *late.decisions)} & {*ESCALATION.handed_on}
    assert all(0 < (one.p_label or 0) <= 1 for one in (*cut.decisions, *late.decisions))


def test_tiers_are_uncertain_together() -> None:
    """Under ``any`` a yes of one tier decides; all must be below their lower threshold for a no."""
    tiers = {"x": Limits(0.3, 0.7), "y": Limits(0.1, 0.9)}
    first = stage("s", BASE, "review", **tiers)
    tree = Cascade(name="c", instructions="i", labels=("drop", "keep", "review"), stages=(first,))
    items = tuple(replace(item, tiers=("x", "y")) for item in ITEMS)
    found: dict[Combine, Report] = {}
    for rule in (Combine.ANY, Combine.MEAN):
        with Engine(backend(), {"c": replace(tree, stages=(replace(first, combine=rule),))}) as engine:
            found[rule] = engine.classify("t", items, "c")
    for one in found[Combine.ANY].decisions:
        p = {step.tier: step.p_yes for step in one.steps}
        is_yes = p["x"] >= 0.7 or p["y"] >= 0.9
        assert one.label == ("keep" if is_yes else "review" if p["x"] >= 0.3 or p["y"] >= 0.1 else "drop")
    for one in found[Combine.MEAN].decisions:
        mean = sum(step.p_yes for step in one.steps) / 2
        assert one.label == ("keep" if mean >= 0.8 else "review" if mean >= 0.2 else "drop")


def test_questions_of_the_third_way_are_asked_ahead() -> None:
    """Where the uncertain go is one of the stages that an item may be asked next, as likely as it is uncertain."""
    same = replace(ESCALATION, stages=(stage("small", BASE, "<large>"), stage("large", BASE, "review")))
    with Engine(ScriptedBackend(p_of, frozenset()), {"c": same}) as engine:
        report = engine.classify("t", ITEMS, "c")
    assert [(one.label, one.status) for one in report.decisions] == [by_steps(one) for one in report.decisions]


def test_a_prior_stage_hands_on_what_it_does_not_know() -> None:
    """With a label of its own for them, items between its thresholds, or without a p, are asked nothing."""
    prior = Stage(name="prior", source=Source.CALLER, no_below=0.2, yes_from=0.8, yes=to("<small>"), no=to("drop"))
    priors = (0.1, 0.5, None, 0.9)
    items = [replace(item, prior=p) for item, p in zip(ITEMS, priors, strict=False)]
    tree = replace(ESCALATION, labels=(*ESCALATION.labels, "later"), prior_stage=replace(prior, uncertain=to("later")))
    with Engine(ScriptedBackend({BASE: 0.9, BIG: 0.9}, frozenset({BIG})), {"c": tree}) as engine:
        report = engine.classify("t", items, "c")
    assert [(one.label, one.status.value) for one in report.decisions] == [
        ("drop", "decided"),
        ("later", "uncertain"),
        ("later", "uncertain"),
        ("keep", "decided"),
    ]
    assert [[(step.stage, step.answer) for step in one.steps] for one in report.decisions] == [
        [("prior", False)],
        [("prior", None)],
        [],
        [("prior", True), ("small", True)],
    ]


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.7, 0.9])
def test_rounding_makes_no_share_negative(rate: float) -> None:
    """A stage that says yes or is uncertain, and never no, has shares from 0 on, however many answers were learned."""
    profile = Profile(pass_rates={"small": rate}, uncertain_rates={"small": 1 - rate})
    expected = OnlineProfile(replace(ESCALATION, profile=profile))
    for at in range(300):
        assert all(share >= 0 for _, share in expected.shares(ESCALATION.first))
        assert all(entry.probability >= 0 for entry in expected.reach(ESCALATION.first))
        expected.learn(ESCALATION.first, answer=True if at % 3 else None)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped questions as a config."""
    return write_shipped(tmp_path_factory.mktemp("shipped") / "my.toml")


def widest_gap(p: Sequence[float], low: float, high: float) -> float:
    """The middle of the widest gap between scores in a range of their order, so that rounding decides none."""
    ordered = sorted(p)[int(low * len(p)) : int(high * len(p))]
    gaps = [(above - below, (above + below) / 2) for below, above in pairwise(ordered)]
    return max(gaps)[1]


def doubting(scores: Mapping[str, Sequence[float]]) -> Cascade:
    """The shipped precision cascade with a third way at two of its stages, such that all ways are taken."""
    tree = CASCADES["precision"]
    ways = {"relevant": to("<supporting>"), "primary": to("review")}
    stages = []
    for each in tree.stages:
        if each.name in ways:
            limits = Limits(widest_gap(scores[each.name], 0.1, 0.4), widest_gap(scores[each.name], 0.5, 0.7))
            stages.append(replace(each.with_limits({ANY_TIER: limits}), uncertain=ways[each.name]))
        else:
            stages.append(each)
    return replace(tree, labels=(*tree.labels, "review"), stages=tuple(stages))


@pytest.mark.slow
def test_on_the_shipped_model_it_is_a_walk_by_hand(shipped: Path) -> None:
    """What ``classify`` decides is what a walk over the scores of every question comes to, by p, label and status."""
    task, kinds = "retry uploads that time out", ("upload", "timeout", "cache")
    items = [
        Item(id=f"{word}_{kind}", kind="function", name=f"{word}_{kind}", doc=f"{word} the {kind}")
        for word in ("retry", "parse", "render", "close", "merge", "open", "split", "route")
        for kind in kinds
    ]
    with Engine.open(shipped) as engine:
        scored = [{step.stage: step.p_yes for step in steps} for steps in engine.score(task, items, "precision")]
    tree = doubting({name: [p[name] for p in scored] for name in scored[0]})
    with Engine.open(shipped, cascades={"precision": tree}) as engine:
        report = engine.classify(task, items)
    for decision, p in zip(report.decisions, scored, strict=True):
        here, way = to("<relevant>"), list[tuple[str, bool | None]]()
        while not here.is_label:
            no_below, yes_from = tree.stage(here.name).limits[ANY_TIER]
            answer = True if p[here.name] >= yes_from else False if p[here.name] < no_below else None
            way.append((here.name, answer))
            here = tree.stage(here.name).target(answer=answer)
        assert (decision.label, [(step.stage, step.answer) for step in decision.steps]) == (here.name, way)
        assert decision.status is (Status.UNCERTAIN if way[-1][1] is None else Status.DECIDED)
        assert [step.p_yes for step in decision.steps] == pytest.approx([p[name] for name, _ in way], abs=5e-3)
    answers = {(step.stage, step.answer) for decision in report.decisions for step in decision.steps}
    assert {("relevant", True), ("relevant", False), ("relevant", None), ("primary", None)} <= answers
    assert {decision.status for decision in report.decisions} == {Status.DECIDED, Status.UNCERTAIN}


@pytest.mark.slow
def test_two_equal_thresholds_give_the_report_of_one(shipped: Path) -> None:
    """On the shipped model, to the last digit and without another key."""
    tree = CASCADES["precision"]
    same = {name: Limits(*[tree.stage(name).question(ANY_TIER).threshold] * 2) for name in ("relevant", "primary")}
    stages = tuple(
        replace(each.with_limits({ANY_TIER: same[each.name]}), uncertain=to("<supporting>"))
        if each.name in same
        else each
        for each in tree.stages
    )
    found = []
    for cascade in (tree, replace(tree, stages=stages)):
        with Engine.open(shipped, cascades={"precision": cascade}) as engine:
            found.append(engine.classify("retry uploads that time out", ITEMS[:12]).as_dict()["decisions"])
    assert found[0] == found[1]

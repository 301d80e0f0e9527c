"""Cascades: where answers lead, what a true label decides, and what is no cascade."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cascade.errors import ConfigError, ItemError
from cascade.items import Item
from cascade.stages import ANY_TIER, BASE, Combine, Question, Stage, Target
from cascade.tree import Cascade


def question(marker: str, threshold: float = 0.5, adapter: str = BASE) -> Question:
    """A question whose wording does not matter."""
    return Question(marker=marker, wording=f"is it {marker}?", adapter=adapter, threshold=threshold)


def target(name: str) -> Target:
    """A stage's name stands in angle brackets, a label's plain."""
    return Target(name.strip("<>"), is_label=not name.startswith("<"))


def stage(name: str, yes: str, no: str, **questions: Question) -> Stage:
    """A stage; without questions by tier it has one under its own name."""
    asked: Mapping[str, Question] = questions or {ANY_TIER: question(name)}
    return Stage(name=name, questions=asked, yes=target(yes), no=target(no))


def cascade(*stages: Stage, labels: str = "no yes", dropped: str = "") -> Cascade:
    """A cascade with the labels that stand in a text."""
    return Cascade(name="c", instructions="", labels=tuple(labels.split()), stages=stages, dropped=dropped)


PRECISION = cascade(
    stage("relevant", "<primary>", "excluded"),
    stage("primary", "primary", "<supporting>"),
    stage("supporting", "supporting", "type_context"),
    labels="excluded primary supporting type_context",
)


Way = tuple[tuple[str, bool], ...]
"""Names of stages and their answers, from the first stage to a label."""


def ways_of(tree: Cascade, start: str = "") -> list[tuple[str, Way]]:
    """Every way to a label, walked one by one, yes before no."""
    here = tree.stage(start) if start else tree.first
    found: list[tuple[str, Way]] = []
    for answer in (True, False):
        end = here.target(answer=answer)
        further: list[tuple[str, Way]] = [(end.name, ())] if end.is_label else ways_of(tree, end.name)
        found += [(label, ((here.name, answer), *way)) for label, way in further]
    return found


def steps_to(tree: Cascade) -> dict[str, list[tuple[str, bool]]]:
    """Label -> names and answers on the way, for trees in which every label is one leaf."""
    return {label: list(way) for label, way in ways_of(tree)}


def test_the_ways_of_precision() -> None:
    """The precision cascade reaches its four labels by one, two and three answers."""
    assert steps_to(PRECISION) == {
        "primary": [("relevant", True), ("primary", True)],
        "supporting": [("relevant", True), ("primary", False), ("supporting", True)],
        "type_context": [("relevant", True), ("primary", False), ("supporting", False)],
        "excluded": [("relevant", False)],
    }


@pytest.mark.parametrize("label", PRECISION.labels)
def test_truths_of_one_path(label: str) -> None:
    """A label that one path leads to decides every stage on that path and no other."""
    found = [(stage.name, answer) for stage, answer in PRECISION.truths(label)]
    assert found == steps_to(PRECISION)[label]


def test_truths_of_several_paths() -> None:
    """A label that several paths lead to decides only what they agree on."""
    tree = cascade(stage("a", "<b>", "<c>"), stage("b", "yes", "no"), stage("c", "yes", "no"))
    assert tree.truths("yes") == []
    chain = cascade(stage("a", "<b>", "no"), stage("b", "<c>", "yes"), stage("c", "yes", "no"))
    assert [(stage.name, answer) for stage, answer in chain.truths("yes")] == [("a", True)]


def test_truths_of_an_unknown_label() -> None:
    """A label that no path leads to decides nothing."""
    assert PRECISION.truths("other") == []


def test_the_first_label_is_dropped_unless_said() -> None:
    """Recall leaves out the first label, or the one that is named."""
    assert PRECISION.dropped == "excluded"
    assert cascade(stage("a", "yes", "no"), dropped="yes").dropped == "yes"


def test_stages_by_name() -> None:
    """A stage is found by its name; another name is a KeyError."""
    assert PRECISION.stage("primary").yes == Target("primary", is_label=True)
    assert PRECISION.first.name == "relevant"
    with pytest.raises(KeyError):
        PRECISION.stage("excluded")


def test_adapters_each_once_without_base() -> None:
    """The list of adapters leaves out the base model and names each once."""
    tree = cascade(
        stage("a", "<b>", "no", x=question("x", adapter="one"), y=question("y", adapter=BASE)),
        stage("b", "yes", "no", x=question("z", adapter="two"), y=question("w", adapter="one")),
    )
    assert tree.adapters() == ["one", "two"]
    assert [asked.marker for asked in tree.questions()] == ["x", "y", "z", "w"]


@pytest.mark.parametrize(
    ("combine", "scores", "answer"),
    [
        (Combine.ANY, {"low": 0.2, "high": 0.1}, True),
        (Combine.ANY, {"low": 0.19, "high": 0.79}, False),
        (Combine.ANY, {"high": 0.8}, True),
        (Combine.MEAN, {"low": 0.2, "high": 0.8}, True),
        (Combine.MEAN, {"low": 0.2, "high": 0.7}, False),
        (Combine.MEAN, {"low": 0.2}, True),
        (Combine.MAX, {"low": 0.5, "high": 0.7}, False),
        (Combine.MAX, {"low": 0.75, "high": 0.7}, True),
        (Combine.MAX, {"low": 0.1, "high": 0.8}, True),
        (Combine.MAX, {"low": 0.6, "high": 0.6}, True),  # of equals the lowest threshold counts
        (Combine.MAX, {"high": 0.6, "low": 0.6}, True),
    ],
)
def test_combining_tiers(combine: Combine, scores: Mapping[str, float], *, answer: bool) -> None:
    """Tiers with thresholds 0.2 and 0.8 make one answer as their stage says; a threshold itself is yes."""
    asked = Stage(
        name="s",
        questions={"low": question("a", 0.2), "high": question("b", 0.8)},
        yes=target("yes"),
        no=target("no"),
        combine=combine,
    )
    assert asked.answer(scores) is answer


def test_an_answer_leads_on() -> None:
    """Yes and no lead where the stage says."""
    assert PRECISION.first.target(answer=True) == Target("primary", is_label=False)
    assert PRECISION.first.target(answer=False) == Target("excluded", is_label=True)


def test_tiers_of_an_item() -> None:
    """A stage by tier asks an item under each of its tiers; another stage asks every item once."""
    item = Item(id="i", kind="file", name="a.py", tiers=("y",))
    tiered = stage("s", "yes", "no", x=question("x"), y=question("y"))
    assert tiered.is_tiered
    assert tiered.tiers_of(item) == ("y",)
    assert tiered.question("y").marker == "y"
    assert not PRECISION.first.is_tiered
    assert PRECISION.first.tiers_of(item) == (ANY_TIER,)


@pytest.mark.parametrize("tiers", [(), ("z",), ("x", "z")])
def test_an_item_without_a_known_tier_is_refused(tiers: tuple[str, ...]) -> None:
    """An item that a stage by tier cannot ask is refused with its id, the stage and the tiers it may have."""
    tiered = stage("s", "yes", "no", x=question("x"), y=question("y"))
    with pytest.raises(ItemError, match=r"'i'.*stage 's'.*knows x, y\. Give the item"):
        tiered.tiers_of(Item(id="i", kind="file", name="a.py", tiers=tiers))


def test_a_cascade_cannot_be_changed() -> None:
    """Cascades and stages are frozen."""
    with pytest.raises(FrozenInstanceError):
        PRECISION.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("stages", "labels", "key", "problem", "remedy"),
    [
        pytest.param((), "no yes", "stages", "there is none", "Add at least one", id="no stage"),
        pytest.param(
            (stage("a", "yes", "no"), stage("b", "yes", "no")),
            "no yes",
            "stages.b",
            "no answer leads to it",
            "Lead one to it or remove it",
            id="unreachable stage",
        ),
        pytest.param(
            (stage("a", "<b>", "no"), stage("b", "<a>", "yes")),
            "no yes",
            "stages.b",
            "a -> b -> a",
            "Lead one of them to a label",
            id="cycle",
        ),
        pytest.param(
            (stage("a", "<a>", "no"),), "no yes", "stages.a", "a -> a", "Lead one of them to a label", id="self"
        ),
        pytest.param(
            (stage("a", "<b>", "no"),), "no yes", "stages.a.yes", "unknown stage 'b'", "Known are a", id="no such stage"
        ),
        pytest.param(
            (stage("a", "yes", "maybe"),),
            "no yes",
            "stages.a.no",
            "unknown label 'maybe'",
            "Known are no, yes",
            id="no such label",
        ),
        pytest.param(
            (stage("a", "yes", "no"),), "no yes other", "labels", "no answer leads to 'other'", "Lead one", id="unused"
        ),
        pytest.param(
            (stage("a", "yes", "yes"),), "yes", "labels", "fewer than two", "List every label", id="one label"
        ),
        pytest.param((stage("a", "yes", "no"),), "", "labels", "fewer than two", "List every label", id="no label"),
        pytest.param((stage("a", "yes", "no"),), "no yes no", "labels", "'no' stands there twice", "once", id="twice"),
        pytest.param(
            (stage("a", "<a>", "no"), stage("a", "yes", "no")),
            "no yes",
            "stages",
            "'a' stands there twice",
            "Name each once",
            id="two stages of one name",
        ),
        pytest.param(
            (stage("a", "yes", "no", x=question("m"), y=question("m")),),
            "no yes",
            "stages",
            "two questions have the marker 'm'",
            "a marker of its own",
            id="marker twice",
        ),
        pytest.param(
            (stage("a", "yes", "no", x=question("m", adapter="")),),
            "no yes",
            "stages.a.adapter.x",
            "there is none",
            'Name one, or "base"',
            id="no adapter",
        ),
        pytest.param(
            (Stage(name="a", questions={}, yes=target("yes"), no=target("no")),),
            "no yes",
            "stages.a.question",
            "there is none",
            "Give a wording",
            id="no question",
        ),
        pytest.param(
            (
                Stage(
                    name="a",
                    questions={"": question("m"), "x": question("n")},
                    yes=target("yes"),
                    no=target("no"),
                ),
            ),
            "no yes",
            "stages.a.question",
            "a tier has an empty name",
            "Name every tier",
            id="empty tier",
        ),
    ],
)
def test_refused(stages: tuple[Stage, ...], labels: str, key: str, problem: str, remedy: str) -> None:
    """What is no cascade is refused with the key, the problem and a remedy."""
    with pytest.raises(ConfigError) as caught:
        cascade(*stages, labels=labels)
    message = str(caught.value)
    assert message.startswith(f"cascade.c.{key}: ")
    assert problem in message
    assert remedy in message


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1, 1.1, float("nan"), float("inf")])
def test_a_threshold_outside_0_1_is_refused(threshold: float) -> None:
    """A threshold that is not strictly between 0 and 1 would make a question pointless."""
    with pytest.raises(ConfigError, match=r"^cascade\.c\.stages\.\{a\}\.threshold: .* is outside \(0, 1\)\. Give"):
        cascade(stage("{a}", "yes", "no", **{ANY_TIER: question("m", threshold)}))


def test_an_unknown_dropped_label_is_refused() -> None:
    """The dropped label must be one of the labels."""
    with pytest.raises(ConfigError, match=r"cascade\.c\.dropped: 'other' is not a label\. Choose one of no, yes"):
        cascade(stage("a", "yes", "no"), dropped="other")


def diamond(n_stages: int) -> Cascade:
    """Both answers of every stage but the last lead to the next one."""
    last = n_stages - 1
    rungs = [stage(f"s{i}", f"<s{i + 1}>", f"<s{i + 1}>") for i in range(last)]
    return cascade(*rungs, stage(f"s{last}", "yes", "no"))


def test_stages_may_be_shared() -> None:
    """Two answers may lead to one stage, and checking a ladder of such stages takes no time."""
    assert diamond(61).stage("s60").yes.is_label


@st.composite
def trees(draw: st.DrawFn) -> Cascade:
    """Any cascade of up to seven stages; stages and labels may be shared."""
    labels = ("l0", "l1", "l2")
    n_stages = draw(st.integers(1, 7))
    ends: dict[str, list[str]] = {}
    reached = ["<s0>"]
    for i in range(n_stages):
        if f"<s{i}>" in reached:
            later = st.sampled_from((*labels, *(f"<s{j}>" for j in range(i + 1, n_stages))))
            ends[f"s{i}"] = [draw(later), draw(later)]
            reached += ends[f"s{i}"]
    used = [label for label in labels if label in reached]
    assume(len(used) > 1)
    return cascade(*(stage(name, *pair) for name, pair in ends.items()), labels=" ".join(used))


@given(tree=trees())
def test_ways_are_counted_without_walking_them(tree: Cascade) -> None:
    """Counts of ways, shares of them, ends and truths are those of walking every way."""
    for label in tree.labels:
        to_label = [way for name, way in ways_of(tree) if name == label]
        counts = {at.name: sum(name == label for name, _ in ways_of(tree, at.name)) for at in tree.stages}
        assert {at.name: n for at, n in tree.n_ways(label).items() if not at.is_label} == counts
        for key, share in tree.shares(label).items():
            assert share == Fraction(sum(key in way for way in to_label), len(to_label))
        everywhere = set.intersection(*map(set, to_label))
        assert {(at.name, answer) for at, answer in tree.truths(label)} == everywhere
        assert tree.true_answers()[label] == dict(everywhere)
    ends = dict.fromkeys((way[-1], label) for label, way in ways_of(tree))
    assert [((at.name, answer), label) for at, answer, label in tree.ends()] == list(ends)


@given(tree=trees())
def test_stages_in_order(tree: Cascade) -> None:
    """Every stage comes after all that may lead to it, and none is left out."""
    names = [at.name for at in tree.in_order()]
    assert sorted(names) == sorted(at.name for at in tree.stages)
    for at in tree.stages:
        assert all(names.index(later.name) > names.index(at.name) for later in tree.after(at))


def test_a_long_diamond_is_counted_at_once() -> None:
    """Where both answers of 63 stages lead to the next one, 2 ** 62 ways lead to each label."""
    tree = diamond(63)
    assert tree.n_ways("yes")[Target("s0", is_label=False)] == 2**62
    assert tree.shares("yes")["s0", True] == Fraction(1, 2)
    assert [(at.name, answer) for at, answer in tree.truths("yes")] == [("s62", True)]

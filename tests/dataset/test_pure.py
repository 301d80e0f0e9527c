"""What decides a dataset, without files: who counts, how tasks are split, what items weigh, and rates."""

from __future__ import annotations

import random

import pytest

from cascade.dataset.examples import Example, Gathered, key_of
from cascade.dataset.known import Reading, known
from cascade.dataset.merging import Family
from cascade.dataset.rates import rates
from cascade.dataset.splitting import Part, Seen, Shares, split
from cascade.dataset.tally import Drawn
from cascade.dataset.weighing import selection, weights
from cascade.errors import InputError
from cascade.items import Task
from cascade.log.outcomes import LoggedOutcome


def _family(name: str, at: float | None, place: int = 0, source: str = "ann") -> Family:
    example = Example(id="1", item="{}", read=b"", tiers=(), label="a", weight=1.0, source=source)
    task = Gathered(task=Task(text=name), id=name, at=at, examples=[example])
    return Family(key=key_of(name), ids={name}, at=at, place=place, tasks={name: task})


def _texts(families: list[Family], parts: dict[str, Part], part: Part) -> list[str]:
    return [name for one in families if parts.get(one.key) is part for name in one.ids]


def test_split_goes_by_time() -> None:
    """The latest are tested on, those before them are the valid part, and tasks without a time come first."""
    families = [_family(f"t{at}", float(at)) for at in range(8)] + [_family("u", None), _family("v", None)]
    random.Random(1).shuffle(families)
    parts = split(families, Shares(test=0.2, valid=0.2), Seen())
    assert sorted(_texts(families, parts, Part.TEST)) == ["t6", "t7"]
    assert sorted(_texts(families, parts, Part.VALID)) == ["t4", "t5"]
    assert {"u", "v"} < set(_texts(families, parts, Part.TRAIN))


@pytest.mark.parametrize("n", range(1, 12))
def test_small_sets_keep_something_to_train_on(n: int) -> None:
    """However few tasks there are, one at least is trained on, and from two on one is tested on."""
    families = [_family(f"t{at}", float(at)) for at in range(n)]
    parts = list(split(families, Shares(), Seen()).values())
    assert parts.count(Part.TRAIN) >= 1
    assert parts.count(Part.TEST) >= (n > 1)
    assert len(parts) == n


def test_builds_over_time_never_mix() -> None:
    """Through builds with ever more tasks no task that was trained on is tested on later, nor the other way round."""
    rng = random.Random(3)
    trained, tested = frozenset[str](), frozenset[str]()
    families: list[Family] = []
    for _ in range(20):
        families += [_family(f"t{len(families) + at}", rng.random()) for at in range(rng.randint(1, 9))]
        shares = Shares(test=rng.choice((0.0, 0.2, 0.5)), valid=0.1, is_frozen=rng.random() < 0.3)
        parts = split(families, shares, Seen(trained=trained, tested=tested), len(tested))
        now_tested = frozenset(_texts(families, parts, Part.TEST))
        now_trained = frozenset(_texts(families, parts, Part.TRAIN) + _texts(families, parts, Part.VALID))
        assert tested <= now_tested
        assert not now_tested & (trained | now_trained)
        trained, tested = trained | now_trained, now_tested


def test_shares_that_leave_nothing() -> None:
    """Shares outside [0, 1), or that leave nothing to train on, are refused."""
    with pytest.raises(InputError, match="--test 1 was given"):
        Shares(test=1.0)
    with pytest.raises(InputError, match="leave nothing to train on"):
        Shares(test=0.6, valid=0.4)


def _outcome(label: str, source: str, at: float, what: str = "label", value: float = 1.0) -> LoggedOutcome:
    return LoggedOutcome(f"{at}", at, "t", "i", what, label, value, source)


def test_who_counts() -> None:
    """Trust comes before the kind, the kind before time; a weak label tells nothing; wrong tells the other of two."""
    two = Reading(labels=("a", "b"), trust={"ann": 1.0, "bot": 0.2}, kinds={"used": ("a", "b")})
    said = [_outcome("a", "ann", 1), _outcome("b", "bot:2", 2)]
    found = known(said, "", two)
    assert found.claim is not None
    assert (found.claim.label, [one.label for one in found.against]) == ("a", ["b"])
    weak = known([_outcome("a", "ann", 1, value=0.5)], "", two)
    assert weak.claim is None
    wrong = known([_outcome("", "ann", 1, "wrong")], "a", two)
    assert wrong.claim is not None
    assert wrong.claim.label == "b"
    several = known([_outcome("", "ann", 1, "used", 0.25), _outcome("", "ben", 2, "wrong")], "b", two)
    assert several.claim is not None
    assert several.claim.label == "a"
    assert known([_outcome("c", "ann", 1)], "", two).strange == ("c",)


def test_selection_is_held_within_bounds() -> None:
    """Seldom labelled items count more, ten times at most, with a mean of 1 over what is labelled."""
    found = selection({"kept": 100, "dropped": 1_000, "never": 5}, {"kept": 50, "dropped": 20})
    assert found["dropped"] / found["kept"] == pytest.approx(10.0)
    assert (50 * found["kept"] + 20 * found["dropped"]) / 70 == pytest.approx(1.0)
    assert "never" not in found
    even = selection({"kept": 100, "dropped": 300}, {"kept": 50, "dropped": 50})
    assert even["dropped"] / even["kept"] == pytest.approx(3.0)


def test_weights_balance_whatever_is_trusted() -> None:
    """All classes weigh the same together, and the heaviest item counts 1."""
    rng = random.Random(5)
    examples = [
        Example(id=f"{at}", item="{}", read=b"", tiers=(), label=rng.choice("aaab"), weight=rng.random(), source="")
        for at in range(40)
    ]
    found = weights(examples, {"": 1.0}, lambda one: one.label)
    totals = {label: sum(w for w, one in zip(found, examples, strict=True) if one.label == label) for label in "ab"}
    assert totals["a"] == pytest.approx(totals["b"], rel=1e-3)
    assert max(found) == 1.0
    assert min(found) > 0


def test_rates_of_a_random_share() -> None:
    """Items count by one over their probability of being drawn; what is not labelled yet is told."""
    drawn = [Drawn(p=0.5, given="a", label="a", source="ann")] * 3
    drawn += [Drawn(p=0.1, given="a", label="b", source="oracle:x")]
    drawn += [Drawn(p=0.1, given="a", label="", source="")]
    found = rates(drawn)
    assert (found.drawn, found.labelled, found.by_oracle) == (5, 4, 1)
    assert found.wrong is not None
    assert found.wrong.value == pytest.approx(10 / 16)
    assert 0 <= found.wrong.low < found.wrong.value < found.wrong.high <= 1
    assert found.labels["a"].value == pytest.approx(6 / 16)
    assert rates([]).wrong is None


def test_the_interval_holds_the_rate() -> None:
    """Of 300 random shares drawn from one log, at least 90 % have an interval with the true rate in it."""
    rng = random.Random(7)
    truths = [rng.random() < 0.08 for _ in range(5_000)]
    true = sum(truths) / len(truths)
    held = 0
    for _ in range(300):
        chosen = rng.sample(truths, 60)
        wrong = rates([Drawn(p=60 / 5_000, given="a", label="b" if hit else "a", source="") for hit in chosen]).wrong
        assert wrong is not None
        held += wrong.low <= true <= wrong.high
    assert held / 300 >= 0.9

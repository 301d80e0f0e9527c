"""Where to stop decomposing: figures worked out by hand, and the command with the shipped model."""

from __future__ import annotations

import json
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
import pytest

from cascade import Engine, Item, ScriptedBackend, Task
from cascade.cli import main
from cascade.cli.depth import better_in_less_time, choice_in_words
from cascade.cli.output import ExitCode
from cascade.config.profile import read_profile
from cascade.errors import InputError
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.depth import SHARES, DepthStudy
from cascade.evaluation.depth_choice import Certainty, DepthChoice, Level, Runs, points_per_ms
from cascade.evaluation.metrics import macro_f1
from cascade.profile import Profile
from tests.helpers.shipped import ADAPTERS, CASCADES, write_shipped

PRECISION = replace(CASCADES["precision"], profile=Profile())
SYMBOLS = {"read_config": "primary", "Config": "type_context", "open_socket": "excluded", "find": "supporting"}


def level(depth: int, f1: float, elapsed_ms: float) -> Level:
    """A level of which only quality and time matter."""
    return Level(
        depth=depth,
        accuracy=0.5,
        macro_f1_over_rows=f1,
        recall_over_rows=None,
        calls_per_item=1.0,
        predicted_ms=elapsed_ms,
        elapsed_ms=elapsed_ms,
    )


LEVELS = (level(1, 0.30, 100), level(2, 0.30, 150), level(3, 0.40, 200), level(4, 0.41, 400))


@pytest.mark.parametrize(
    ("f1_points_per_100ms", "depth"), [(0.0, 4), (0.4, 4), (1.0, 3), (9.9, 3), (10.1, 1), (1e6, 1)]
)
def test_under_a_price_time_must_be_worth_its_points(f1_points_per_100ms: float, depth: int) -> None:
    """Depth 3 gains 10 points for 100 ms although depth 2 gains none on the way; depth 4 gains 1 for 200."""
    chosen = DepthChoice(f1_points_per_100ms=f1_points_per_100ms).choose(LEVELS)
    assert chosen is not None
    assert chosen.depth == depth


@pytest.mark.parametrize(("budget_ms", "depth"), [(99.0, None), (100.0, 1), (399.0, 3), (1e9, 4)])
def test_a_budget_takes_the_deepest_that_fits(budget_ms: float, depth: int | None) -> None:
    """Whatever the price; nothing where not even the first depth fits."""
    chosen = DepthChoice(f1_points_per_100ms=1e6, budget_ms=budget_ms).choose(LEVELS)
    assert (chosen.depth if chosen else None) == depth


def of_runs(depth: int, confusions: np.ndarray, elapsed_ms: np.ndarray) -> Level:
    """A level of requests whose confusions and times are given."""
    whole = level(depth, macro_f1(confusions.sum(axis=0)), float(np.median(elapsed_ms)))
    return replace(whole, runs=Runs(confusions=confusions, elapsed_ms=elapsed_ms))


def right(shares: np.ndarray) -> np.ndarray:
    """Confusions of two labels; of ten items of each, a share is given its label."""
    n = np.round(10 * shares).astype(np.int64)
    return np.stack([np.stack([n, 10 - n], axis=1), np.stack([10 - n, n], axis=1)], axis=1)


def test_a_choice_says_how_sure_it_is() -> None:
    """A lead that all tasks share is clear, one that is mostly chance is not; it takes as many as narrow it enough."""
    rng, times, free = np.random.default_rng(3), np.full(24, 100.0), DepthChoice(f1_points_per_100ms=0.0)
    base = rng.uniform(0.4, 0.6, 24)
    steady = of_runs(1, right(base), times), of_runs(2, right(base + 0.2), times)
    assert free.certainty(steady) == Certainty(is_clear=True)
    shaky = of_runs(1, right(base), times), of_runs(2, right(base + rng.normal(0.03, 0.2, 24)), times)
    found = free.certainty(shaky)
    assert not found.is_clear
    assert found.n_needed is not None
    assert found.n_needed > 24

    def again(n: int) -> list[Level]:
        parts = [each.runs for each in shaky if each.runs is not None]
        pairs = [(np.tile(part.confusions, (n, 1, 1)), np.tile(part.elapsed_ms, n)) for part in parts]
        return [of_runs(depth, *pair) for depth, pair in enumerate(pairs, 1)]

    assert not free.certainty(again(int(0.6 * found.n_needed / 24))).is_clear
    assert free.certainty(again(ceil(1.2 * found.n_needed / 24))).is_clear
    few = [of_runs(depth, right(base[:5] + depth / 10), times[:5]) for depth in (1, 2)]
    assert free.certainty(few) == Certainty(is_clear=False, n_needed=6)
    same = of_runs(1, right(base), times), of_runs(2, right(base[::-1]), times)
    assert free.certainty(same) == Certainty(is_clear=False)


def test_a_budget_says_how_sure_it_is() -> None:
    """By how many requests fit: all or none is clear, half is never, in between it takes as many as tell."""
    labels = right(np.full(10, 0.5))

    def of_fits(*n_fits: int) -> Certainty:
        levels = [
            of_runs(depth, labels, np.where(np.arange(10) < n_fit, 50.0, 150.0))
            for depth, n_fit in enumerate(n_fits, 1)
        ]
        return DepthChoice(f1_points_per_100ms=1.0, budget_ms=100.0).certainty(levels)

    assert of_fits(10, 10) == of_fits(10, 0) == of_fits(0, 0) == Certainty(is_clear=True)
    assert of_fits(10, 5) == Certainty(is_clear=False)
    assert of_fits(10, 4) == of_fits(6) == of_fits(4, 0) == Certainty(is_clear=False, n_needed=97)


def test_gains_are_points_for_each_millisecond_more() -> None:
    """There is none before the first depth, or where no time was added."""
    assert points_per_ms(LEVELS[2], LEVELS[1]) == pytest.approx(10 / 50)
    assert points_per_ms(LEVELS[0], None) is None
    assert points_per_ms(LEVELS[0], LEVELS[0]) is None


@pytest.mark.parametrize(
    ("f1_points_per_100ms", "budget_ms", "words"),
    [
        (1.0, 2.0, "Give one of"),
        (-1.0, None, "f1_points_per_100ms is -1.0"),
        (1e308, None, "a number from 0 to 1,000,000,000"),
        (None, 0.0, "budget"),
    ],
)
def test_terms_that_cannot_be_meant_are_refused(
    f1_points_per_100ms: float | None, budget_ms: float | None, words: str
) -> None:
    """Both at once, a price out of range, a budget of nothing; the config's price holds where nothing is given."""
    with pytest.raises(InputError, match=words):
        DepthChoice.of(f1_points_per_100ms, budget_ms, 1.0)
    assert DepthChoice.of(None, None, 2.5) == DepthChoice(f1_points_per_100ms=2.5)


def _script(adapter: str, prompt: str) -> float:
    """Each stage says yes to the items whose names hold its own."""
    return 0.9 if adapter in prompt.split("<|item|>")[1].split("<|ask|>", maxsplit=1)[0] else 0.1


def test_a_study_runs_every_depth() -> None:
    """Quality, calls and what was learned of four items, by hand."""
    names = {"relevant primary": "primary", "relevant supporting": "supporting", "relevant": "excluded", "x": "primary"}
    labelled = Labelled(
        task=Task(text="a task"),
        items=tuple(Item(id=str(at), kind="k", name=name) for at, name in enumerate(names)),
        labels=tuple(names.values()),
    )
    n_told: list[None] = []
    with Engine(ScriptedBackend(_script, ADAPTERS), {"precision": PRECISION}) as engine:
        study = DepthStudy(engine, PRECISION, [labelled], lambda: n_told.append(None))
        found = study.run()
    assert len(n_told) == study.n_requests == 3 + len(SHARES)
    assert [entry.calls_per_item for entry in found.levels] == [1.0, 7 / 4, 9 / 4]
    assert [entry.accuracy for entry in found.levels][1:] == [2 / 4, 2 / 4]
    assert [entry.recall_over_rows for entry in found.levels] == pytest.approx([2 / 3] * 3)
    assert all(entry.predicted_ms > 0 for entry in found.levels)
    assert found.profile.pass_rates == {"relevant": 3.5 / 5, "primary": 1.5 / 4, "supporting": 1.5 / 3}
    assert found.profile.label_shares["primary"] == {
        "excluded": 1.5 / 5, "primary": 1.5 / 5, "supporting": 1.5 / 5, "type_context": 0.5 / 5,
    }  # fmt: skip
    rows = found.as_dict(DepthChoice(f1_points_per_100ms=0.0), level(0, 0.0, 1.0))["depths"]
    assert [row["depth"] for row in rows] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("depths", "choice", "words"),
    [
        ((1,), {"by": "f1_points_per_100ms", "f1_points_per_100ms": 1.0, "depth": 1}, "Depth 1 is all there is."),
        (
            (1, 2),
            {"by": "f1_points_per_100ms", "f1_points_per_100ms": 1.0, "depth": 1},
            "Stop at depth 1: at 1 point of",
        ),
        (
            (1, 2),
            {"by": "f1_points_per_100ms", "f1_points_per_100ms": 1.0, "depth": 2},
            "Go to the last depth, 2: at 1 point of",
        ),
        ((1, 2), {"by": "budget", "budget_ms": 9.0, "depth": 1}, "Stop at depth 1, the deepest that fits"),
        ((1, 2), {"by": "budget", "budget_ms": 9.0, "depth": 2}, "Go to the last depth, 2, which fits"),
        ((1, 2), {"by": "budget", "budget_ms": 9.0, "depth": None}, "No depth fits a budget of 9 ms."),
    ],
)
def test_nothing_stops_where_nothing_is_left(depths: tuple[int, ...], choice: dict[str, object], words: str) -> None:
    """Only a depth before the last one is a place to stop at."""
    assert choice_in_words({"depths": [{"depth": depth} for depth in depths], "choice": choice}).startswith(words)


@pytest.mark.parametrize(("f1", "is_told"), [(0.41, True), (0.3, False), (0.2, False)])
def test_a_budget_that_is_better_than_the_depth_is_explained(f1: float, is_told: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """A sentence says why a budget has a higher macro F1 than the depth that is advised; none where it has not."""
    figures = {
        "depths": [{"depth": 1, "macro_f1_over_rows": 0.2}, {"depth": 2, "macro_f1_over_rows": 0.3}],
        "anytime": [{"budget_ms": 415.0, "macro_f1_over_rows": f1}, {"budget_ms": 830.0, "macro_f1_over_rows": 0.1}],
        "choice": {"by": "f1_points_per_100ms", "f1_points_per_100ms": 1.0, "depth": 2},
    }
    told = better_in_less_time(figures)
    assert bool(told) == is_told
    if is_told:
        start = "A budget of 415 ms has a higher macro F1 over all rows (0.410) than depth 2 (0.300), since items"
        assert told.startswith(start)


def test_a_study_needs_items() -> None:
    """Tasks without items measure nothing."""
    empty = Labelled(task=Task(text="a task"), items=(), labels=())
    with (
        Engine(ScriptedBackend(_script, ADAPTERS), {"precision": PRECISION}) as engine,
        pytest.raises(InputError, match="No task has an item"),
    ):
        DepthStudy(engine, PRECISION, [empty])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two labelled tasks of four symbols."""
    items = [{"id": name, "kind": "function", "name": name, "label": label} for name, label in SYMBOLS.items()]
    path = tmp_path / "labelled.jsonl"
    lines = [json.dumps({"task": f"read the config file {at}", "items": items}) for at in range(2)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.slow
def test_the_command_measures_and_learns(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Depths 0 to 3 and every budget as JSON; what it writes is a profile that fits the cascade."""
    out = tmp_path / "precision.profile.toml"
    config = write_shipped(tmp_path / "questions.toml")  # a prior stage might settle every item
    command = ["depth", "--cascade", "precision", "--data", str(data), "--out", str(out), "--json"]
    command += ["--config", str(config)]
    assert main(command) == ExitCode.DONE
    found = json.loads(capsys.readouterr().out)
    assert [row["depth"] for row in found["depths"]] == [0, 1, 2, 3]
    assert found["depths"][0]["calls_per_item"] == 1.0
    assert (found["tasks"], found["items"], found["no_depth_0"]) == (2, 8, None)
    assert [row["share"] for row in found["anytime"]] == list(SHARES)
    assert found["choice"]["f1_points_per_100ms"] == 1.0
    assert (found["choice"]["verdict"], found["choice"]["tasks_needed"]) == ("unclear", 6)
    learned = read_profile(out)
    assert learned.pass_rates["relevant"] == pytest.approx(found["learned"]["pass_rates"]["relevant"], abs=1e-4)
    assert sum(learned.label_shares["relevant"].values()) == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
def test_the_command_names_the_depth(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In words, and with pictures."""
    config = write_shipped(tmp_path / "questions.toml")
    command = ["depth", "--cascade", "precision", "--data", str(data), "--config", str(config)]
    command += ["--budget", "1e9", "--plot", str(tmp_path / "p")]
    assert main(command) == ExitCode.DONE
    shown = capsys.readouterr()
    assert {path.name for path in (tmp_path / "p").iterdir()} == {"precision-depth.png", "precision-anytime.png"}
    assert "Go to the last depth, 3, which fits a budget of 1e+09 ms." in shown.out
    said = " ".join(shown.out.split())
    assert "pass rates, with half an item added to each answer: relevant " in said
    assert "on tasks left out of its fit" in said or "there is no prior to learn" in said
    assert "Too few tasks to be sure of that: 2 here, and it takes about 6." in shown.out


def test_the_command_refuses_before_it_runs(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both terms, or a file in a folder that is not there."""
    command = ["depth", "--cascade", "precision", "--data", str(data)]
    assert main([*command, "--f1-points-per-100ms", "1", "--budget", "1"]) == ExitCode.BAD_INPUT
    assert main([*command, "--out", str(tmp_path / "absent" / "x.toml")]) == ExitCode.BAD_INPUT
    assert "there is no folder" in capsys.readouterr().err

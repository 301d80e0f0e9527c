"""Figures of an evaluation, against numbers worked out by hand on a scripted backend."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cascade import Engine, Item, ScriptedBackend, Task
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.evaluate import Evaluation
from cascade.stages import ANY_TIER, Combine, Limits, Target
from tests.helpers.shipped import ADAPTERS, CASCADES


def _script(adapter: str, prompt: str) -> float:
    """p(yes) stands in the item's own name: relevant90_primary20 and so on."""
    name = prompt.split("<|item|>")[1].split()[1].split("<", maxsplit=1)[0]
    found = [part for part in name.split("_") if part.startswith(adapter.replace("_", ""))]
    return float(found[0].lstrip("abcdefghijklmnopqrstuvwxyz")) / 100 if found else 0.5


def _labelled(*items: tuple[str, str], tiers: tuple[str, ...] = ()) -> Labelled:
    return Labelled(
        task=Task(text="a task"),
        items=tuple(Item(id=str(at), kind="function", name=name, tiers=tiers) for at, (name, _) in enumerate(items)),
        labels=tuple(label for _, label in items),
    )


def test_every_stage_is_scored_on_all_items_with_a_truth_for_it() -> None:
    """An item that an earlier stage stopped still counts for the later ones; calls count the path only."""
    labelled = _labelled(
        ("relevant99_primary99", "primary"),
        ("relevant01_primary80", "primary"),
        ("relevant98_primary01_supporting99", "supporting"),
        ("relevant97_primary03_supporting02", "type_context"),
        ("relevant02", "excluded"),
    )
    with Engine(ScriptedBackend(_script, ADAPTERS), CASCADES) as engine:
        evaluation = Evaluation(engine, CASCADES["precision"])
        evaluation.add(labelled)
        found = evaluation.as_dict()
    stages = found["stages"]
    assert [stages[name]["n"] for name in ("relevant", "primary", "supporting")] == [5, 4, 2]
    assert stages["relevant"]["base_rate"] == pytest.approx(0.8)
    assert stages["relevant"]["auc_over_rows"] == pytest.approx(0.75)
    assert stages["primary"]["auc_over_rows"] == 1.0
    assert stages["supporting"]["auc_per_task"] == 1.0
    assert found["confusion"]["primary"] == {"excluded": 1, "primary": 1, "supporting": 0, "type_context": 0}
    assert found["recall_over_rows"] == found["recall_per_task"] == pytest.approx(0.75)
    assert found["calls_per_item"] == pytest.approx((2 + 1 + 3 + 3 + 1) / 5)
    assert (found["tasks"], found["items"]) == (1, 5)


def test_tiers_are_scored_apart_and_together() -> None:
    """A tiered stage has its own figures and those of each tier."""
    labelled = _labelled(
        ("dependency99_cochange01", "relevant"),
        ("dependency01_cochange02", "irrelevant"),
        tiers=("dependency", "co_change"),
    )
    with Engine(ScriptedBackend(_script, ADAPTERS), CASCADES) as engine:
        evaluation = Evaluation(engine, CASCADES["scope"])
        evaluation.add(labelled)
        evaluation.add(labelled)
        stage = evaluation.as_dict()["stages"]["relevant"]
    assert (stage["n"], stage["auc_per_task"]) == (4, 1.0)
    assert stage["by_tier"]["dependency"]["auc_over_rows"] == 1.0
    assert stage["by_tier"]["co_change"]["auc_over_rows"] == 0.0
    assert (stage["by_tier"]["metadata"]["n"], stage["by_tier"]["metadata"]["auc_over_rows"]) == (0, None)


def test_no_task_gives_no_figures() -> None:
    """Without data every figure is None, and none is a number made up."""
    with Engine(ScriptedBackend(_script, ADAPTERS), CASCADES) as engine:
        found = Evaluation(engine, CASCADES["precision"]).as_dict()
    assert [found[key] for key in ("macro_f1_over_rows", "recall_over_rows", "recall_per_task")] == [None] * 3
    assert found["calls_per_item"] is None
    assert set(found) == {
        "cascade", "tasks", "items", "prior_stage", "stages", "confusion", "macro_f1_over_rows", "recall_over_rows",
        "recall_per_task", "statuses", "handed_on", "calls_per_item",
        "tokens_per_item", "elapsed_ms",
    }  # fmt: skip


def test_tiers_with_thresholds_of_their_own_are_ranked_as_they_are_answered() -> None:
    """0.3 passes a threshold of 0.2 and 0.7 misses one of 0.8: the stage ranks the first higher, as it answers yes."""
    scope = CASCADES["scope"]
    limits = {"dependency": 0.2, "co_change": 0.8}
    questions = {tier: replace(asked, threshold=limits.get(tier, 0.5)) for tier, asked in scope.first.questions.items()}
    first = replace(scope.first, questions=questions, combine=Combine.ANY)
    cascade = replace(scope, stages=(first, *scope.stages[1:]), prior_stage=None)
    labelled = _labelled(
        ("dependency30_cochange70", "relevant"),
        ("dependency10_cochange75", "irrelevant"),
        tiers=("dependency", "co_change"),
    )
    with Engine(ScriptedBackend(_script, ADAPTERS), {"scope": cascade}) as engine:
        evaluation = Evaluation(engine, cascade)
        evaluation.add(labelled)
        stage = evaluation.as_dict()["stages"]["relevant"]
    assert stage["f1_over_rows"] == stage["auc_over_rows"] == 1.0
    assert stage["ece"] == pytest.approx((abs(0.3 - 1) + 0.75) / 2)


def test_what_is_handed_on_is_counted_apart() -> None:
    """It is neither kept nor dropped nor wrong: its share, what of what matters is in it, and the error of the rest."""
    tree = CASCADES["precision"]
    first = replace(tree.first.with_limits({ANY_TIER: Limits(0.3, 0.7)}), uncertain=Target("review", is_label=True))
    tree = replace(tree, labels=(*tree.labels, "review"), stages=(first, *tree.stages[1:]))
    labelled = _labelled(
        ("relevant99_primary99", "primary"),
        ("relevant50_primary99", "primary"),
        ("relevant10_primary99", "primary"),
        ("relevant50", "excluded"),
        ("relevant02", "excluded"),
        ("relevant01", "excluded"),
    )
    with Engine(ScriptedBackend(_script, ADAPTERS), {"precision": tree}) as engine:
        evaluation = Evaluation(engine, tree)
        evaluation.add(labelled)
        found = evaluation.as_dict()
    assert found["statuses"] == {"decided": 4, "uncertain": 2, "depth_cap": 0, "deadline": 0}
    assert found["recall_over_rows"] == found["recall_per_task"] == pytest.approx(1 / 3)
    assert found["handed_on"] == pytest.approx(
        {
            "share": 2 / 6,
            "of_mattering": 1 / 3,
            "recall_or_handed_on_over_rows": 2 / 3,
            "error_among_answered": 1 / 4,
        }
    )
    assert found["confusion"]["primary"]["review"] == 1
    assert "review" not in found["confusion"]

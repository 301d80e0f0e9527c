"""A cascade of three labels, and scored tasks for it that are made and not measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.guarantee import question
from cascade import Item, Task
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.scored import ScoredTasks
from cascade.evaluation.scoring import scored_tasks
from cascade.profile import Prior, Profile
from cascade.stages import ANY_TIER, Stage, Target
from cascade.tree import Cascade


def labelled(n_tasks: int, cascade: Cascade, truths: np.ndarray, words: tuple[str, ...] = ("plain",)) -> list[Labelled]:
    """Tasks of items in turn of four kinds, with texts made of the words."""
    n_items = truths.size // n_tasks
    return [
        Labelled(
            task=Task(text=f"{words[at % len(words)]} number {at}\nsecond line"),
            items=tuple(
                Item(
                    id=f"{at}.{place} {words[place % len(words)]}",
                    kind=("method", "class", words[0])[place % 3],
                    name=words[place % len(words)],
                    evidence=("match",) if truths[at * n_items + place] else (),
                )
                for place in range(n_items)
            ),
            labels=tuple(cascade.labels[truth] for truth in truths[at * n_items : (at + 1) * n_items]),
            repository=words[at % len(words)],
        )
        for at in range(n_tasks)
    ]


def three_labels() -> Cascade:
    """What does not matter leaves at the first stage; the second tells the other two labels apart."""
    drop, read, change = (Target(label, is_label=True) for label in ("drop", "read", "change"))
    stages = (
        Stage(name="a", questions={ANY_TIER: question("a")}, yes=Target("b", is_label=False), no=drop),
        Stage(name="b", questions={ANY_TIER: question("b")}, yes=change, no=read),
    )
    profile = Profile(prior=Prior(bias=-1.0, weights={"match": 3.0}))
    return Cascade(name="three", instructions="i", labels=("drop", "read", "change"), stages=stages, profile=profile)


def three_label_run(
    n_tasks: int = 60, words: tuple[str, ...] = ("plain",)
) -> tuple[Cascade, ScoredTasks, list[Labelled]]:
    """Scores of two stages that are too sure of themselves, and tasks of twelve items for them."""
    cascade, rng = replace(three_labels(), instructions=words[0]), np.random.default_rng(3)
    labels = rng.choice(3, 12 * n_tasks, p=(0.7, 0.2, 0.1))
    tasks = labelled(n_tasks, cascade, labels, words)
    p = {
        (stage, ANY_TIER): 1 / (1 + np.exp(-2 * (3 * (labels >= least) - 2 + rng.normal(0, 1, labels.size))))
        for stage, least in (("a", 1), ("b", 2))
    }
    return cascade, scored_tasks(cascade, tasks, p), tasks

"""A model of labels from few labelled tasks: P of each label for any scored item. Pure numpy.

Thirty tasks have a handful of rows of a rare label, and thresholds chosen on those follow their accidents. So each row
counts towards every label, by the probability that its scores give to it: the product of its stages' p(yes) along the
label's path, each through a beta curve of three parameters. How far a curve may leave the raw p(yes) is decided by
tasks left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from cascade.evaluation.calibration import N_FOLDS, pulled_beta
from cascade.evaluation.scored import ScoredTasks
from cascade.probability import Array, Curve, Ints
from cascade.profile import Profile
from cascade.stages import Answer, Stage, Target, joined_p
from cascade.tree import Cascade

Answers = Mapping[tuple[str, Answer], Array]
"""(stage, answer) -> one value for each row."""

_PULLS = (1.0, 10.0, 100.0, 1_000.0, 10_000.0)
_TINY = 1e-9
_N_ROUNDS = 8  # where a label has several ways; the curves hardly move after that


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelModel:
    """P of each label from scores.

    Attributes:
        curves: Stage -> its curve; of several tiers' p(yes) it takes the highest, or the mean where the stage does.
        pull: How strongly the curves were drawn towards the raw p(yes).
        loss: Mean log loss on tasks left out, in nats a row; NaN where nobody measured it.
    """

    curves: Mapping[str, Curve]
    pull: float
    loss: float = float("nan")

    @classmethod
    def fit(cls, cascade: Cascade, scored: ScoredTasks) -> LabelModel:
        """The strongest pull whose loss on tasks left out is within one standard error of the least.

        Source: Breiman, Friedman, Olshen and Stone (1984), Classification and regression trees, the 1 SE rule; the
        error is that of the difference, over tasks.
        """
        tasks = np.unique(scored.tasks)
        folds = np.random.default_rng(0).permutation(tasks.size) % N_FOLDS
        losses = np.zeros((len(_PULLS), tasks.size))
        for fold in np.unique(folds):
            out, left = (scored.take(tasks[part]) for part in (folds == fold, folds != fold))
            for at, pull in enumerate(_PULLS):
                rows = _losses(cls.pulled(cascade, left, pull).p_labels(cascade, out), out.labels)
                losses[at, folds == fold] = np.bincount(out.tasks, weights=rows, minlength=out.n_tasks)
        more = losses - losses[int(losses.sum(axis=1).argmin())]
        is_near = more.sum(axis=1) <= more.std(axis=1) * np.sqrt(tasks.size)
        best = int(np.flatnonzero(is_near)[-1])
        model = cls.pulled(cascade, scored, _PULLS[best])
        return replace(model, loss=float(losses[best].sum() / scored.labels.size))

    @classmethod
    def pulled(cls, cascade: Cascade, scored: ScoredTasks, pull: float) -> LabelModel:
        """The likeliest curves under a pull, by EM where a label does not tell which way it was reached.

        A stage whose answer is the same on all paths of all labels seen has nothing to learn from, and keeps nearly its
        raw p(yes). Source: Dempster, Laird and Rubin (1977).
        """
        axes = _Ways.to_labels(cascade, scored.labels)
        raw = {stage.name: _p_stage(stage, scored) for stage in cascade.stages}
        p_yes: dict[str, Array] = dict(raw)
        curves: dict[str, Curve] = {}
        for _ in range(_N_ROUNDS if axes.are_several else 1):
            shares = axes.weighed(p_yes)
            for stage in cascade.stages:
                yes, no = (shares[stage.name, answer] for answer in (True, False))
                curves[stage.name] = pulled_beta(
                    raw[stage.name], yes, no, pull if yes.any() and no.any() else _PULLS[-1]
                )
                p_yes[stage.name] = curves[stage.name](raw[stage.name])
        return cls(curves=curves, pull=pull)

    def p_labels(self, cascade: Cascade, scored: ScoredTasks) -> Array:
        """P of each label for each row, from its scores and not from its label; (n_rows, n_labels), rows sum to 1."""
        p_yes = {stage.name: self.curves[stage.name](_p_stage(stage, scored)) for stage in cascade.stages}
        return np.stack(np.broadcast_arrays(*cascade.p_labels(p_yes).values()), axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ways:
    """The ways to the true label of each row.

    Attributes:
        cascade: The cascade.
        is_label: (n_rows, n_labels), 1.0 for the row's label.
        shares: (stage, answer) -> share of the ways that take it.
        ends: Answers that end at the label.
        are_several: Whether several ways lead to some label.
    """

    cascade: Cascade
    is_label: Array
    shares: Answers
    ends: Array
    are_several: bool

    @classmethod
    def to_labels(cls, cascade: Cascade, labels: Ints) -> _Ways:
        """The ways to each row's label, which is given as its place in the cascade's labels."""
        by_label = [cascade.shares(label) for label in cascade.labels]
        shares = {key: np.array([float(of[key]) for of in by_label]) for key in by_label[0]}
        ends = [label for _, _, label in cascade.ends()]
        return cls(
            cascade=cascade,
            is_label=np.eye(len(cascade.labels))[labels],
            shares={key: of_labels[labels] for key, of_labels in shares.items()},
            ends=np.array([float(ends.count(label)) for label in cascade.labels])[labels],
            are_several=any(share not in (0, 1) for of in by_label for share in of.values()),
        )

    def weighed(self, p_yes: Mapping[str, Array]) -> Answers:
        """(stage, answer) -> P that a row took it on the way to its label, given p(yes) of each stage.

        Where all ways are impossible they count alike.
        """
        onward = self._onward(p_yes)
        total = onward[Target(self.cascade.first.name, is_label=False)] + _TINY * self.ends
        along = self.cascade.p_answers(p_yes)
        found = {}
        for stage in self.cascade.stages:
            for answer, target in stage.sure_ways.items():
                key = stage.name, answer
                taken = along[key] * onward[target] + _TINY * self.ends * self.shares[key]
                found[key] = np.where(self.shares[key] == 1, 1.0, taken / total)
        return found

    def _onward(self, p_yes: Mapping[str, Array]) -> dict[Target, Array]:
        """Stage or label -> P that a row goes on from there to its label."""
        found = {Target(name, is_label=True): self.is_label[:, at] for at, name in enumerate(self.cascade.labels)}
        for stage in self.cascade.in_order()[::-1]:
            p = p_yes[stage.name]
            found[Target(stage.name, is_label=False)] = p * found[stage.yes] + (1 - p) * found[stage.no]
        return found


def gone_further(cascade: Cascade) -> list[Cascade]:
    """The cascade in which what may be uncertain always goes on to the stage that is asked then.

    Returns:
        Nothing where no uncertain way leads to a stage, or where some label is then reached no more.
    """
    moved = [
        replace(stage, yes=stage.uncertain, no=stage.uncertain)
        if stage.uncertain is not None and not stage.uncertain.is_label
        else stage
        for stage in cascade.stages
    ]
    by_name, reached, open_ = {stage.name: stage for stage in moved}, set[str](), [moved[0]]
    labels = set[str]()
    while open_:
        here = open_.pop()
        reached.add(here.name)
        labels |= {target.name for target in here.ways.values() if target.is_label}
        names = {target.name for target in here.ways.values() if not target.is_label} - reached
        open_ += [by_name[name] for name in names]
    if moved == list(cascade.stages) or labels != {*cascade.labels}:
        return []
    stages = tuple(stage for stage in moved if stage.name in reached)
    return [replace(cascade, stages=stages, prior_stage=None, profile=Profile())]


def with_drawn_labels(scored: ScoredTasks, p_labels: Array, n_draws: int, seed: int = 0) -> ScoredTasks:
    """The same tasks ``n_draws`` times, their labels drawn anew each time.

    Args:
        scored: The tasks.
        p_labels: P of each label for each row; (n_rows, n_labels).
        n_draws: How often.
        seed: Of the draws.
    """
    rows = np.tile(np.arange(scored.labels.size), n_draws)
    levels = np.cumsum(p_labels, axis=1)[rows]
    drawn = (np.random.default_rng(seed).random(rows.size)[:, None] * levels[:, -1:] >= levels[:, :-1]).sum(axis=1)
    return replace(
        scored.at(rows),
        tasks=scored.tasks[rows] + scored.n_tasks * np.repeat(np.arange(n_draws), scored.labels.size),
        labels=drawn.astype(np.int64),
        n_tasks=scored.n_tasks * n_draws,
    )


def _p_stage(stage: Stage, scored: ScoredTasks) -> Array:
    """One p(yes) for each row from those of its tiers."""
    p = np.stack([scored.p[stage.name, tier] for tier in stage.questions], axis=1)
    one_for_all = np.full(len(stage.questions), 1 / 2)  # the model must not depend on thresholds that are still sought
    return np.nan_to_num(joined_p(stage.combine, p, one_for_all)[0])


def _losses(p_labels: Array, labels: Ints) -> Array:
    """Log loss of each row's label, in nats."""
    return np.asarray(-np.log(np.maximum(p_labels[np.arange(labels.size), labels], _TINY)))

"""Calibrated probabilities from raw p(yes): four kinds of curve, chosen on tasks and repositories left out. Numpy only.

SciPy and scikit-learn have no fit with a ridge towards the identity and slopes of at least 0, which few rows need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade.evaluation.logistic import fit_logistic
from cascade.evaluation.metrics import CalibrationMetrics, Slice, log_loss
from cascade.evaluation.scored import Key, ScoredTasks
from cascade.probability import KNOTS, TINY, Array, Bools, Curve, Ints, finite_logit, p_yes
from cascade.stages import ANY_TIER
from cascade.tree import Cascade

N_FOLDS = 5
RAW = "raw"
_HALFWAY = " halfway"
_LEAST_REPOSITORIES = 3
_SHRINKAGE = 20  # tasks after which a question's own curve counts as much as what it leans on
_RIDGE = 1e-3
_BETA_START = np.array([1.0, 1.0, 0.0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """One question's curve, with what it does for tasks that it was not fitted to.

    Attributes:
        curve: Fitted to all tasks.
        n: Rows.
        before: Of the raw p(yes).
        after: Of the calibrated one, every task by curves of the other folds. The kind was chosen on the same folds, so
            it flatters by as much as the best of nine does.
        unseen: Likewise for every repository by curves of the others: the mean over repositories, by rows. None with
            fewer than three.
        slices: The same by kind of item and by repository, where there are several.
    """

    curve: Curve
    n: int
    before: CalibrationMetrics
    after: CalibrationMetrics
    unseen: CalibrationMetrics | None
    slices: tuple[Slice, ...]


def calibrate(cascade: Cascade, scored: ScoredTasks) -> dict[Key, Calibrated]:
    """A curve for every yes/no question that has both answers.

    The kind is that with the least log loss on tasks left out and, where there are three repositories or more, on
    repositories left out, both counting alike: the next task comes from one of these repositories, or from another.
    """
    found: dict[Key, Calibrated] = {}
    folds = [(np.random.default_rng(0).permutation(scored.n_tasks) % N_FOLDS)[scored.tasks]]
    repositories = scored.slices.get("repository", np.empty(0, np.str_))
    names, numbers = np.unique(repositories, return_inverse=True)
    if names.size >= _LEAST_REPOSITORIES:
        folds.append(numbers.astype(np.int64))
    for stage in (stage for stage in cascade.stages if not stage.has_values):
        truths = scored.truths(cascade, stage.name)
        rows = {tier: _rows(scored, (stage.name, tier), truths) for tier in stage.questions}
        for tier in stage.questions:
            sets = _Sets(own=rows[tier], stage=_Rows.joined(list(rows.values())), is_shared=tier != ANY_TIER)
            if len(np.unique(sets.own.truths)) > 1:
                found[stage.name, tier] = _best(sets, folds, scored.slices)
    return found


@dataclass(frozen=True, slots=True)
class _Rows:
    p: Array
    truths: Array
    tasks: Ints
    at: Ints

    @classmethod
    def joined(cls, parts: list[_Rows]) -> _Rows:
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))

    def where(self, mask: Bools) -> _Rows:
        return _Rows(self.p[mask], self.truths[mask], self.tasks[mask], self.at[mask])

    def values(self, fit: Callable[[Array, Array], Array], leans_on: Array) -> Array:
        """A fitted curve that leans on another one the more, the fewer its tasks are."""
        n = len(np.unique(self.tasks))
        return np.asarray((n * fit(self.p, self.truths) + _SHRINKAGE * leans_on) / (n + _SHRINKAGE))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sets:
    """A tier's own rows, and those of all tiers of its stage."""

    own: _Rows
    stage: _Rows
    is_shared: bool

    def without(self, folds: Ints, fold: int) -> _Sets:
        own, stage = (rows.where(folds[rows.at] != fold) for rows in (self.own, self.stage))
        return _Sets(own=own, stage=stage, is_shared=self.is_shared)

    def curves(self) -> dict[str, Curve]:
        """One of each kind. A tier's leans on that of its stage, and that one on the raw p."""
        found = {RAW: KNOTS}
        for kind, fit in _FITS.items():
            values = self.stage.values(fit, KNOTS)
            if self.is_shared:
                values = self.own.values(fit, values)
            found[kind], found[kind + _HALFWAY] = values, (values + KNOTS) / 2
        return {kind: Curve(kind=kind, values=tuple(values.tolist())) for kind, values in found.items()}

    def left_out(self, folds: Ints) -> dict[str, Array]:
        """Kind -> calibrated p of the own rows, each by a curve of the other folds."""
        own, out = self.own, dict[str, Array]()
        for fold in np.unique(folds[own.at]):
            left = folds[own.at] == fold
            for kind, curve in self.without(folds, fold).curves().items():
                out.setdefault(kind, np.empty_like(own.p))[left] = curve(own.p[left])
        return out


def _rows(scored: ScoredTasks, key: Key, truths: Ints) -> _Rows:
    at = np.flatnonzero((truths >= 0) & ~np.isnan(scored.p[key]))
    return _Rows(scored.p[key][at], truths[at].astype(float), scored.tasks[at], at)


def _best(sets: _Sets, folds: list[Ints], slices: Mapping[str, NDArray[np.str_]]) -> Calibrated:
    own, outs = sets.own, [sets.left_out(each) for each in folds]
    kind = min(outs[0], key=lambda name: sum(log_loss(out[name], own.truths) for out in outs))
    unseen = outs[1][kind] if len(outs) > 1 else None
    parts = _slices(own, outs[0][kind], unseen, slices)
    others = [part for part in parts if part.unseen is not None]
    return Calibrated(
        curve=sets.curves()[kind],
        n=own.p.size,
        before=CalibrationMetrics.of(own.p, own.truths, own.tasks),
        after=CalibrationMetrics.of(outs[0][kind], own.truths, own.tasks),
        unseen=CalibrationMetrics.mean([part.unseen for part in others if part.unseen], [part.n for part in others])
        if others
        else None,
        slices=tuple(parts),
    )


def _slices(own: _Rows, after: Array, unseen: Array | None, slices: Mapping[str, NDArray[np.str_]]) -> list[Slice]:
    found = []
    for name, values in slices.items():
        present = np.unique(values[own.at])
        for value in present if present.size > 1 else ():
            rows = values[own.at] == value

            def calibrations(p: Array, rows: Bools = rows) -> CalibrationMetrics:
                return CalibrationMetrics.of(p[rows], own.truths[rows], own.tasks[rows])

            found.append(
                Slice(
                    name=name,
                    value=str(value),
                    n=int(rows.sum()),
                    before=calibrations(own.p),
                    after=calibrations(after),
                    unseen=calibrations(unseen) if unseen is not None and name == "repository" else None,
                )
            )
    return found


def pool_adjacent_violators(values: Array, weights: Array) -> Array:
    """The never falling sequence nearest to ``values`` in weighted squares.

    Source: Ayer, Brunk, Ewing, Reid and Silverman (1955).
    """
    blocks: list[list[float]] = []  # mean, weight, length
    for value, weight in zip(values, weights, strict=True):
        blocks.append([float(value), float(weight), 1])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            mean, heavy, length = blocks.pop()
            total = blocks[-1][1] + heavy
            blocks[-1] = [(blocks[-1][0] * blocks[-1][1] + mean * heavy) / total, total, blocks[-1][2] + length]
    return np.repeat([block[0] for block in blocks], [int(block[2]) for block in blocks])


def _isotonic(p: Array, truths: Array) -> Array:
    """At the knots, from at most 200 bins of equal mass; half a yes and half a no keep it off 0 and 1."""
    if not p.size:
        return KNOTS.copy()
    order = np.argsort(p, kind="stable")
    parts = np.array_split(order, min(200, p.size))
    places = np.array([p[part].mean() for part in parts])
    sizes = np.array([part.size for part in parts], float)
    means = np.array([truths[part].mean() for part in parts])
    smooth = pool_adjacent_violators(means, sizes)
    return np.asarray((np.interp(KNOTS, places, smooth) * p.size + 0.5) / (p.size + 1))


def _temperature(p: Array, truths: Array) -> Array:
    """A slope of 1 / T on the raw log odds, and no shift. Source: Guo, Pleiss, Sun and Weinberger (2017)."""

    def features(values: Array) -> Array:
        log_odds = finite_logit(values)
        return np.stack((log_odds, np.zeros_like(log_odds)), axis=1)  # nothing for the shift to act on, so it stays 0

    return _logistic(features, p, truths, np.ones_like(p), np.array([1.0, 0.0]), _RIDGE * p.size**0.5)


def _platt(p: Array, truths: Array) -> Array:
    """Logistic in the raw log odds. Source: Platt (1999)."""

    def features(values: Array) -> Array:
        return np.stack((finite_logit(values), np.ones_like(values)), axis=1)

    return _logistic(features, p, truths, np.ones_like(p), np.array([1.0, 0.0]), _RIDGE * p.size**0.5)


def _beta(p: Array, truths: Array) -> Array:
    """Source: Kull, Silva Filho and Flach (2017), Beta calibration; slopes below 0 are held at 0."""
    return _logistic(_beta_features, p, truths, np.ones_like(p), _BETA_START, _RIDGE * p.size**0.5)


def pulled_beta(p: Array, yes: Array, no: Array, pull: float) -> Curve:
    """A beta curve for few rows, whose answers need not be known for certain.

    Args:
        p: Raw p(yes) of each row.
        yes: What each row counts as a yes, at least 0.
        no: What it counts as a no, at least 0.
        pull: How strongly its parameters are drawn to those that leave p as it is; half their squared distance from
            them times this is added to the log loss.
    """
    values = _logistic(_beta_features, p, yes, yes + no, _BETA_START, pull)
    return Curve(kind="beta", values=tuple(values.tolist()))


def _beta_features(values: Array) -> Array:
    low = np.clip(values, TINY, 1 - TINY)
    return np.stack((np.log(low), -np.log1p(-low), np.ones_like(low)), axis=1)


def _logistic(
    features: Callable[[Array], Array], p: Array, yes: Array, count: Array, start: Array, ridge: float
) -> Array:
    """Values at the knots of the likeliest curve; the ridge draws it to the identity, and slopes are at least 0."""
    penalty = np.full(start.size, ridge)
    weights = fit_logistic(features(p), yes, count, start=start, penalty=penalty, least=0.0)
    return p_yes(np.clip(features(KNOTS) @ weights, -30, 30))


_FITS: Mapping[str, Callable[[Array, Array], Array]] = {
    "temperature": _temperature,
    "platt": _platt,
    "beta": _beta,
    "isotonic": _isotonic,
}

"""Honest probabilities from raw p(yes): Platt, beta and isotonic curves, chosen by tasks left out. Pure numpy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade.metrics import calibration_error
from cascade.scoring import logit, p_yes
from cascade.stage import ANY_TIER
from cascade.tree import Cascade
from cascade.tuning.scored import Key, ScoredTasks

Array = NDArray[np.float64]

N_FOLDS = 5
_SHRINKAGE = 20  # tasks after which a tier's own curve counts as much as its stage's
_TINY = 1e-6
_N_STEPS = 30
_RIDGE = 1e-3
_KNOTS = p_yes(np.linspace(-8, 8, 65))
_BETA_START = np.array([1.0, 1.0, 0.0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A map from raw to calibrated p(yes), never falling, linear between its knots.

    Attributes:
        kind: ``platt``, ``beta`` or ``isotonic``.
        values: Calibrated p at the knots, which lie evenly in log odds from -8 to 8; (65,).
    """

    kind: str
    values: tuple[float, ...]

    def __call__(self, p: Array) -> Array:
        """Calibrated p(yes)."""
        return np.asarray(np.interp(p, _KNOTS, np.array(self.values)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Honesty:
    """How honest probabilities are; each is better the lower.

    Attributes:
        ece: Expected calibration error over bins of equal mass, in [0, 1].
        brier: Mean squared error, in [0, 1].
        log_loss: Mean of -log p of what was true, in nats.
    """

    ece: float
    brier: float
    log_loss: float

    @classmethod
    def of(cls, p: Array, truths: Array) -> Honesty:
        """Of at least one row."""
        return cls(ece=calibration_error(p, truths), brier=float(((p - truths) ** 2).mean()), log_loss=_loss(p, truths))


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """One question's curve, with what it does for tasks that it was not fitted to.

    Attributes:
        curve: Fitted to all tasks.
        n: Rows.
        before: Of the raw p(yes).
        after: Of the calibrated one, every task by curves of the other folds. The kind was chosen on the same folds, so
            it flatters by as much as the best of three does.
    """

    curve: Curve
    n: int
    before: Honesty
    after: Honesty


def calibrate(cascade: Cascade, scored: ScoredTasks) -> dict[Key, Calibrated]:
    """A curve for every question that has both answers; folds are made of whole tasks."""
    found: dict[Key, Calibrated] = {}
    folds = np.random.default_rng(0).permutation(scored.n_tasks) % N_FOLDS
    for stage in cascade.stages:
        truths = scored.truths(cascade, stage.name)
        rows = {tier: _rows(scored, (stage.name, tier), truths) for tier in stage.questions}
        for tier in stage.questions:
            sets = _Sets(own=rows[tier], stage=_Rows.joined(list(rows.values())), is_shared=tier != ANY_TIER)
            if len(np.unique(sets.own.truths)) > 1:
                found[stage.name, tier] = _best(sets, folds, _FITS)
    return found


@dataclass(frozen=True, slots=True)
class _Rows:
    p: Array
    truths: Array
    tasks: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: list[_Rows]) -> _Rows:
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("p", "truths", "tasks")))

    def where(self, mask: NDArray[np.bool_]) -> _Rows:
        return _Rows(self.p[mask], self.truths[mask], self.tasks[mask])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sets:
    """A tier's own rows, and those of all tiers of its stage."""

    own: _Rows
    stage: _Rows
    is_shared: bool

    def without(self, folds: NDArray[np.int64], fold: int) -> _Sets:
        own, stage = (rows.where(folds[rows.tasks] != fold) for rows in (self.own, self.stage))
        return _Sets(own=own, stage=stage, is_shared=self.is_shared)

    def curve(self, kind: str, fit: Callable[[Array, Array], Array]) -> Curve:
        values = fit(self.own.p, self.own.truths)
        if self.is_shared:
            n = len(np.unique(self.own.tasks))
            values = (n * values + _SHRINKAGE * fit(self.stage.p, self.stage.truths)) / (n + _SHRINKAGE)
        return Curve(kind=kind, values=tuple(values.tolist()))


def _rows(scored: ScoredTasks, key: Key, truths: NDArray[np.int64]) -> _Rows:
    known = (truths >= 0) & ~np.isnan(scored.p[key])
    return _Rows(scored.p[key][known], truths[known].astype(float), scored.tasks[known])


def _best(sets: _Sets, folds: NDArray[np.int64], fits: Mapping[str, Callable[[Array, Array], Array]]) -> Calibrated:
    own, out = sets.own, {}
    for kind, fit in fits.items():
        p = np.empty_like(own.p)
        for fold in range(N_FOLDS):
            left = folds[own.tasks] == fold
            if left.any():
                p[left] = sets.without(folds, fold).curve(kind, fit)(own.p[left])
        out[kind] = p
    kind = min(out, key=lambda name: _loss(out[name], own.truths))
    return Calibrated(
        curve=sets.curve(kind, fits[kind]),
        n=own.p.size,
        before=Honesty.of(own.p, own.truths),
        after=Honesty.of(out[kind], own.truths),
    )


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
        return _KNOTS.copy()
    order = np.argsort(p, kind="stable")
    parts = np.array_split(order, min(200, p.size))
    places = np.array([p[part].mean() for part in parts])
    sizes = np.array([part.size for part in parts], float)
    means = np.array([truths[part].mean() for part in parts])
    smooth = pool_adjacent_violators(means, sizes)
    return np.asarray((np.interp(_KNOTS, places, smooth) * p.size + 0.5) / (p.size + 1))


def _platt(p: Array, truths: Array) -> Array:
    """Logistic in the raw log odds; a slope of 1 / T and no shift is temperature scaling. Source: Platt (1999)."""

    def facts(values: Array) -> Array:
        return np.stack((logit(np.clip(values, _TINY, 1 - _TINY)), np.ones_like(values)), axis=1)

    return _logistic(facts, p, truths, np.ones_like(p), np.array([1.0, 0.0]), _RIDGE * p.size**0.5)


def _beta(p: Array, truths: Array) -> Array:
    """Source: Kull, Silva Filho and Flach (2017), Beta calibration; slopes below 0 are held at 0."""
    return _logistic(_beta_facts, p, truths, np.ones_like(p), _BETA_START, _RIDGE * p.size**0.5)


def pulled_beta(p: Array, yes: Array, no: Array, pull: float) -> Curve:
    """A beta curve for few rows, whose answers need not be known for certain.

    Args:
        p: Raw p(yes) of each row.
        yes: What each row counts as a yes, at least 0.
        no: What it counts as a no, at least 0.
        pull: How strongly its parameters are drawn to those that leave p as it is; half their squared distance from
            them times this is added to the log loss.
    """
    values = _logistic(_beta_facts, p, yes, yes + no, _BETA_START, pull)
    return Curve(kind="beta", values=tuple(values.tolist()))


def _beta_facts(values: Array) -> Array:
    low = np.clip(values, _TINY, 1 - _TINY)
    return np.stack((np.log(low), -np.log1p(-low), np.ones_like(low)), axis=1)


def _logistic(facts: Callable[[Array], Array], p: Array, yes: Array, count: Array, start: Array, ridge: float) -> Array:
    """Newton's method from the identity, to which the ridge draws; slopes never fall below 0."""
    x, weights = facts(p), start.copy()
    for _ in range(_N_STEPS if p.size else 0):
        honest = p_yes(np.clip(x @ weights, -30, 30))
        slope = x.T @ (count * honest - yes) + ridge * (weights - start)
        bend = (x * (count * honest * (1 - honest))[:, None]).T @ x + ridge * np.eye(start.size)
        step = np.linalg.solve(bend, slope)
        weights = weights - step / max(1.0, float(np.abs(step).max()))
        weights[:-1] = np.maximum(weights[:-1], 0)
    return p_yes(np.clip(facts(_KNOTS) @ weights, -30, 30))


def _loss(p: Array, truths: Array) -> float:
    low = np.clip(p, _TINY, 1 - _TINY)
    return float(-(truths * np.log(low) + (1 - truths) * np.log1p(-low)).mean())


_FITS: Mapping[str, Callable[[Array, Array], Array]] = {"platt": _platt, "beta": _beta, "isotonic": _isotonic}

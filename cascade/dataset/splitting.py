"""Families of tasks into parts: by time, never by row, and none that was ever in the test part into another. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from cascade.dataset.known import is_oracles
from cascade.dataset.merging import Family
from cascade.errors import InputError


class Part(StrEnum):
    """Parts of a dataset."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How large parts are.

    Attributes:
        test: Share of all tasks in the test part, in [0, 1).
        valid: Share in the part that training looks at to know when to stop, likewise.
        is_frozen: Whether a test part that is there takes no further task.

    Raises:
        InputError: They leave nothing to train on.
    """

    test: float = 0.2
    valid: float = 0.1
    is_frozen: bool = False

    def __post_init__(self) -> None:
        for name in ("test", "valid"):
            if not 0 <= getattr(self, name) < 1:
                msg = f"--{name} {getattr(self, name):g} was given. Give a share from 0 on and below 1, such as 0.2."
                raise InputError(msg)
        if self.test + self.valid >= 1:
            msg = f"--test {self.test:g} and --valid {self.valid:g} leave nothing to train on. Give smaller shares."
            raise InputError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """Tasks of earlier builds, by key and by id.

    Attributes:
        trained: Those that were ever in the parts for training.
        tested: Those of the test part.
        kept_out: Those that may be in no part, such as the test tasks of another dataset.
    """

    trained: frozenset[str] = frozenset()
    tested: frozenset[str] = frozenset()
    kept_out: frozenset[str] = frozenset()


def split(families: Sequence[Family], shares: Shares, seen: Seen, n_tested: int = 0) -> dict[str, Part]:
    """Key of each family -> its part; one that may be in none is left out.

    The latest tasks that nobody has trained on become the test part, up to its share; before them lie those of the
    valid part. Tasks without a time count as older than all others, in their order. A task whose labels are an oracle's
    alone is never tested on.

    Args:
        families: All of them.
        shares: How large parts are.
        seen: Tasks of earlier builds.
        n_tested: How many tasks the test part has already.
    """
    open_ = [one for one in families if not _is_in(one, seen.kept_out)]
    found = {one.key: Part.TEST for one in open_ if _is_in(one, seen.tested)}
    rest = sorted((one for one in open_ if one.key not in found), key=lambda one: one.when)
    total = n_tested + len(rest)
    n_test = 0 if shares.is_frozen and seen.tested else _n(shares.test, total) - n_tested
    n_test = min(n_test, len(rest) - 1)
    new = [one for one in rest if not _is_in(one, seen.trained) and may_test(one)]
    found |= dict.fromkeys((one.key for one in (new[-n_test:] if n_test > 0 else [])), Part.TEST)
    rest = [one for one in rest if one.key not in found]
    n_valid = min(_n(shares.valid, total), len(rest) - 1)
    return found | {one.key: Part.VALID if at >= len(rest) - n_valid else Part.TRAIN for at, one in enumerate(rest)}


def may_test(family: Family) -> bool:
    """Whether some item of a family has a label that is no oracle's."""
    return any(not is_oracles(example.source) for example in family.examples)


def _n(share: float, total: int) -> int:
    """How many tasks a share comes to; at least one where any is wanted."""
    return max(1, round(share * total)) if share else 0


def _is_in(family: Family, names: Collection[str]) -> bool:
    return family.key in names or any(id_ in names for id_ in family.ids)


def names_of(families: Sequence[Family], parts: Mapping[str, Part], wanted: Collection[Part]) -> frozenset[str]:
    """Keys and ids of the families of some parts."""
    chosen = [one for one in families if parts.get(one.key) in wanted]
    return frozenset(name for one in chosen for name in (one.key, *one.ids))

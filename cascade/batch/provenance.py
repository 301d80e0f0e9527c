"""What answers the rows of a job, in short: equal provenance means that rows of two runs belong together. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Self

from cascade.config.lock import questions_at_hand, questions_fingerprint
from cascade.engine.engine import Engine
from cascade.files import sha256_of_json

_DIGITS = 12  # of a hash in hex, of which two are the same by chance once in 2 ** 48 pairs
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class RunProvenance:
    """What a row's answer depends on besides the row. Hashes are the first 12 hexadecimal digits of a SHA-256.

    Attributes:
        cascade: Name of the cascade.
        model: Hash of the base model's file, or of what a server says of its own.
        adapters: Adapter that the cascade asks -> hash of its file, or of what its server says.
        questions: Hash over what is asked: questions, what they read, prompt format, token limits, adapters' scales.
        thresholds: Hash over the tree: thresholds, where answers lead, and the profile.
        depth: Most stages that an item passes; None for no limit.
    """

    cascade: str
    model: str
    adapters: Mapping[str, str] = field(default_factory=dict)
    questions: str
    thresholds: str
    depth: int | None = None

    @classmethod
    def of(cls, engine: Engine, cascade: str, depth: int | None = None) -> Self:
        """What an engine answers a cascade with.

        Args:
            engine: The engine.
            cascade: Name of one of its cascades.
            depth: Most stages that an item passes; None for no limit.

        Raises:
            InputError: There is no such cascade.
        """
        tree, config = engine.cascade(cascade), engine.config
        known = engine.info.provenance_of(tree)
        if config is None:
            limits = {name: asdict(each) for name, each in engine.info.limits.items()}
            questions = questions_fingerprint(tree, [known.prompt_format, known.label_tokens, limits])
        else:
            questions = questions_at_hand(config, tree, known)
        return cls(
            cascade=cascade,
            model=_short(known.model),
            adapters={name: _short(made_by) for name, made_by in sorted(known.adapters.items())},
            questions=_short(questions),
            thresholds=_hash([tree.as_dict(), asdict(tree.profile)]),
            depth=depth,
        )

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Self:
        """What ``as_dict`` wrote.

        Raises:
            KeyError: Something is missing.
        """
        names = ("cascade", "model", "adapters", "questions", "thresholds")
        return cls(**{name: told[name] for name in names}, depth=told.get("depth"))

    def as_dict(self) -> dict[str, Any]:
        """JSON form, as it stands in every row of results."""
        told = {
            "cascade": self.cascade,
            "model": self.model,
            "adapters": dict(self.adapters),
            "questions": self.questions,
            "thresholds": self.thresholds,
        }
        return told if self.depth is None else told | {"depth": self.depth}

    @cached_property
    def digest(self) -> str:
        """Hash over all of it, for ``Row.key``."""
        return _hash(self.as_dict())

    def differences(self, other: RunProvenance) -> list[str]:
        """What is not the same in another one, in words; nothing where the two are equal."""
        if self.cascade != other.cascade:
            return ["the cascade"]
        found = ["the model"] if self.model != other.model else []
        names = sorted({*self.adapters, *other.adapters})
        found += [f"adapter {name!r}" for name in names if self.adapters.get(name) != other.adapters.get(name)]
        if self.questions != other.questions:
            found.append("what is asked (questions, prompt format, token limits or an adapter's scale)")
        elif self.thresholds != other.thresholds:  # a change of questions changes the tree as well
            found.append("the thresholds, or where answers lead")
        return [*found, "the depth"] if self.depth != other.depth else found


def _short(told: str) -> str:
    return told[:_DIGITS] if _HASH.fullmatch(told) else hashlib.sha256(told.encode()).hexdigest()[:_DIGITS]


def _hash(value: object) -> str:
    return sha256_of_json(value)[:_DIGITS]

"""Typed questions and their answers, whatever the wire format that they came in. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, NamedTuple

from cascade.prompt import one_line
from cascade.service.http_errors import UNFIT, Place, RefusedError, dotted
from cascade.stages import Kind, Value

NAMES = {Kind.YES_NO: "yes/no question", Kind.CHOICE: "choice", Kind.SCORE: "score"}
"""What kinds of questions are called in sentences."""


class Option(NamedTuple):
    """An option of a choice, or a level of a score.

    Attributes:
        name: What it is called.
        description: What it means; empty for nothing.
    """

    name: str
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A question.

    Attributes:
        place: Keys and numbers that lead to it in its request's body.
        kind: What is asked.
        wording: The question; empty where criteria alone say what is asked.
        criteria: What counts as yes, and as no, in words; empty for nothing.
        options: The options of a choice, or the levels of a score, the lowest first; empty for yes/no.
    """

    place: Place
    kind: Kind
    wording: str
    criteria: str = ""
    options: tuple[Option, ...] = ()

    @property
    def values(self) -> tuple[Value, ...]:
        """The options as values, each with a name that can be read and that no other has."""
        found: dict[str, Value] = {}
        for option in self.options:
            name = _readable(option.name)
            same = sum(other == name or other.startswith(f"{name} (") for other in found)
            name = f"{name} ({same + 1})" if name in found else name
            found[name] = Value(name, one_line(option.description))
        return tuple(found.values())

    def refused(self, key: str, why: str) -> RefusedError:
        """The error for something about it.

        Args:
            key: The key at fault; empty for the whole question.
            why: What is wrong, and what to do.
        """
        place = (*self.place, key) if key else self.place
        return RefusedError(UNFIT, f"{dotted(place)}: {why}", place=place)


def _readable(name: str) -> str:
    """A name in one line of printable characters."""
    line = "".join(letter if letter.isprintable() or letter in _JOINERS else " " for letter in one_line(name))
    return " ".join(line.split()) or "(empty)"


_JOINERS = "\u200c\u200d"  # parts of words in Persian or Hindi, and of emoji


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The answer to a question.

    Attributes:
        p: Of a yes/no question p(yes); otherwise the probabilities of the options, in their order.
        chosen: Place of the option that is the answer, where it is not simply the likeliest.
        more: What this service says beside the format; keys begin with ``x_``.
    """

    p: float | Sequence[float]
    chosen: int | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def p_yes(self) -> float:
        """That of a yes/no question."""
        assert isinstance(self.p, float)  # noqa: S101 - it is one
        return self.p

    @property
    def shares(self) -> Sequence[float]:
        """Those of any other."""
        assert not isinstance(self.p, float)  # noqa: S101 - as above
        return self.p


def unknown_model(name: str, known: Sequence[str]) -> RefusedError:
    """The error for a model that is not there."""
    detail = f"model: there is no {name!r}; there are {', '.join(known)}."
    return RefusedError(HTTPStatus.NOT_FOUND, detail, "model", kind="model_not_found")


def too_long(place: Place, detail: str) -> RefusedError:
    """The error for what does not fit into the model's context."""
    return RefusedError(UNFIT, f"{dotted(place)}: {detail}", place=place, kind="context_length_exceeded")

"""What Python callers give, checked: an error names the argument, what was given and what is allowed. Pure."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping
from math import isfinite
from numbers import Integral, Real
from typing import NoReturn, TypeVar

from cascade.errors import InputError

_T = TypeVar("_T")

HIGHEST_PRICE = 1e9
"""The most that one thing may be worth in another; beyond, sums of costs lose what is beside it or overflow."""


def given(value: object) -> str:
    """A value in short, however large it is."""
    try:
        return reprlib.repr(value)
    except ValueError:  # Python does not write integers of more than 4,300 digits
        return "a number of very many digits"


def refuse(name: str, value: object, allowed: str, error: type[InputError] = InputError) -> NoReturn:
    """Refuse an argument.

    Raises:
        InputError: Always; of the class given.
    """
    msg = f"{name} is {given(value)}; {allowed}."
    raise error(msg)


def one_of(name: str, value: object, kind: type[_T] | tuple[type[_T], ...], allowed: str) -> _T:
    """A value of a type.

    Raises:
        InputError: It is of another.
    """
    if not isinstance(value, kind):
        refuse(name, value, allowed)
    return value


def text(name: str, value: object, error: type[InputError] = InputError) -> str:
    """A text.

    Raises:
        InputError: It is none; of the class given.
    """
    if not isinstance(value, str):
        refuse(name, value, "a text is needed", error)
    return value


def texts(name: str, value: object, error: type[InputError] = InputError) -> tuple[str, ...]:
    """Several texts; one alone is refused, as its characters would pass for them.

    Raises:
        InputError: They are none; of the class given.
    """
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        refuse(name, value, "a tuple of texts is needed", error)
    found = tuple(value)
    for at, each in enumerate(found):
        if not isinstance(each, str):
            refuse(f"{name}[{at}]", each, "a text is needed", error)
    return found


def is_real(value: object) -> bool:
    """Whether a value is a number, of whichever library; a truth value is none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def finite(value: object) -> float | None:
    """A finite number, as a float; None for anything else, truth values included."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if isfinite(found) else None


def number(name: str, value: object, allowed: str, error: type[InputError] = InputError) -> float:
    """A finite number.

    Raises:
        InputError: It is no number, or no finite one; of the class given.
    """
    found = finite(value)
    return refuse(name, value, allowed, error) if found is None else found


def price(name: str, value: object) -> float:
    """What one thing is worth in another: a number from 0 to ``HIGHEST_PRICE``.

    Raises:
        InputError: It is none.
    """
    found = finite(value)
    if found is None or not 0 <= found <= HIGHEST_PRICE:
        refuse(name, value, f"a number from 0 to {HIGHEST_PRICE:,.0f} is needed, such as 5")
    return found


NAME_NEEDED = "one line of printable characters without white space around it is needed"


_JOINERS = {0x200C: None, 0x200D: None}  # parts of words in Persian or Hindi, and of emoji


def is_name(value: str) -> bool:
    """Whether a text can be a name that users read, such as that of a stage or a label.

    It is one line that is not empty, without control characters, marks that turn the direction of writing, or white
    space around it.
    """
    return value.translate(_JOINERS).isprintable() and value.strip() == value != ""


def readable_name(name: str, value: object, error: type[InputError] = InputError) -> str:
    """A name that users read; see ``is_name``.

    Raises:
        InputError: It is none; of the class given.
    """
    found = text(name, value, error)
    return found if is_name(found) else refuse(name, found, NAME_NEEDED, error)


def whole(value: object, least: int = 1) -> int | None:
    """A whole number that is at least so much; None for anything else, truth values included."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        return None
    return int(value)

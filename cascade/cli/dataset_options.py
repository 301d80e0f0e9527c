"""What commands on datasets share: options, and how outcomes are to be read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated

import typer

from cascade.config.schema import Config
from cascade.dataset.known import Reading
from cascade.errors import InputError
from cascade.tree import Cascade

CascadeOption = Annotated[str, typer.Option(help="Name of the cascade.")]
TrustOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="SOURCE=X",
        help="How much labels of a source count, in [0, 1]; 0 leaves it out. oracle has 0.5, others 1; may be "
        "repeated.",
    ),
]
KindOption = Annotated[
    list[str] | None,
    typer.Option(
        "--outcome",
        metavar="KIND=YES[,NO]",
        help="The label that an outcome of a kind means, and the one where its value is below 0.5, such as "
        "changed=primary or kept=primary,excluded. The first that applies counts; may be repeated.",
    ),
]
RenameOption = Annotated[
    list[str] | None,
    typer.Option(metavar="OLD=NEW", help="What a label of old outcomes is called now; may be repeated."),
]
RestOption = Annotated[
    str,
    typer.Option(
        metavar="LABEL", help="The label of items without an outcome, of tasks in which some item has one; if absent, "
        "they are left out.",
    ),
]  # fmt: skip
SinceOption = Annotated[
    str | None, typer.Option(metavar="AGE|DATE", help="Only what the log has from then on, such as 90d or 2026-09-01.")
]


def cascade_of(config: Config, name: str) -> Cascade:
    """A cascade of a config.

    Raises:
        InputError: There is none of that name.
    """
    known = config.cascades()
    if name not in known:
        msg = f"--cascade {name!r}: there is no such cascade. The config has {', '.join(known)}."
        raise InputError(msg)
    return known[name]


def reading_of(
    cascade: Cascade,
    kinds: Iterable[str] | None,
    rest: str,
    renamed: Iterable[str] | None,
    trust: Iterable[str] | None,
) -> Reading:
    """How outcomes are read, from the command's options.

    Raises:
        InputError: One is wrong; names the option.
    """
    found: dict[str, tuple[str, str]] = {}
    for kind, value in _pairs("--outcome", kinds, "changed=primary").items():
        yes, _, no = value.partition(",")
        for label in filter(None, (yes, no)):
            _check_label("--outcome", label, cascade)
        found[kind] = yes, no
    names = _pairs("--rename", renamed, "needed=primary")
    for label in [*names.values(), *filter(None, [rest])]:
        _check_label("--rename" if label in names.values() else "--rest", label, cascade)
    trusted = {source: _share_of(source, value) for source, value in _pairs("--trust", trust, "oracle=0.5").items()}
    return Reading(labels=cascade.answers, kinds=found, renamed=names, trust=trusted, rest=rest)


def _pairs(option: str, given: Iterable[str] | None, example: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for each in given or ():
        name, sign, value = each.rpartition("=")
        if not sign or not name or not value.strip(","):
            msg = f"{option} {each!r}: a name and a value are needed, such as {option} {example}."
            raise InputError(msg)
        if name in found:
            msg = f"{option} {each!r}: {name!r} is given twice. Give it once."
            raise InputError(msg)
        found[name] = value
    return found


def _check_label(option: str, label: str, cascade: Cascade) -> None:
    if label not in cascade.answers:
        known = ", ".join(cascade.answers)
        msg = f"{option}: {label!r} is no label of cascade {cascade.name!r}. Its labels are {known}."
        raise InputError(msg)


def _share_of(source: str, value: str) -> float:
    try:
        found = float(value)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 1:
        msg = f"--trust {source}={value}: a number in [0, 1] is needed, such as --trust {source}=0.5."
        raise InputError(msg)
    return found

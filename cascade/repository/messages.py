"""What was left out or degraded on the way, told once per reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from cascade.repository.languages import language_of, suffix_of
from cascade.repository.reasons import Reason

_EXAMPLES = 3
_LANGUAGES = 6
_LONGEST = 200  # characters of a path in a line


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """What was left out, or read in part, for one reason.

    Attributes:
        reason: The reason's key, which stays the same from version to version.
        unit: What is counted, in the singular: ``file``, ``folder``, ``link``, ``submodule`` or ``repository``.
        count: How many, at least 1.
        examples: Paths of at most three, in printable characters.
        languages: Language -> its files, most first; empty where the reason is not about languages.
        message: All of it in one line.
    """

    reason: str
    unit: str
    count: int
    examples: tuple[str, ...]
    languages: Mapping[str, int]
    message: str

    def as_dict(self) -> dict[str, object]:
        """As JSON has it under the reason's key; languages are there where the reason is about them."""
        named = {"languages": dict(self.languages)} if self.languages else {}
        examples = list(self.examples)
        return {"unit": self.unit, "count": self.count, "examples": examples, **named, "message": self.message}


@dataclass(slots=True)
class _Cases:
    """The paths of one reason with what there is to say of each, and what to do about them."""

    details: dict[str, str] = field(default_factory=dict)
    advice: dict[str, None] = field(default_factory=dict)


class Messages:
    """Collects what there is to tell: lines of their own, and reasons with the paths that they concern."""

    def __init__(self) -> None:
        self._told: dict[str | Reason, _Cases] = {}

    def add(self, line: str) -> None:
        """Notes a line that is no path's."""
        self._told.setdefault(line, _Cases())

    def leave_out(self, reason: Reason, path: str, detail: str = "", advice: str = "") -> None:
        """Notes a reason with a path that it concerns; a path counts once.

        Args:
            reason: Why it is left out.
            path: From the root, as the file system has it.
            detail: What is true of this path alone, in a few words.
            advice: What to do about it, in a sentence, where the reason itself does not say.
        """
        cases = self._told.setdefault(reason, _Cases())
        cases.details.setdefault(path, detail)
        if advice or reason.advice:
            cases.advice.setdefault(advice or reason.advice)

    def lines(self) -> tuple[str, ...]:
        """One line per reason, in the order in which they first came up."""
        lines = (told if isinstance(told, str) else _line(told, cases) for told, cases in self._told.items())
        return tuple(map(_printable, lines))

    def left_out(self) -> tuple[LeftOut, ...]:
        """One record per reason, in the same order."""
        return tuple(_record(told, cases) for told, cases in self._told.items() if isinstance(told, Reason))


def _record(reason: Reason, cases: _Cases) -> LeftOut:
    languages = Counter(map(language_of, cases.details)) if reason.is_by_language else Counter[str]()
    return LeftOut(
        reason=reason.key,
        unit=reason.unit,
        count=len(cases.details),
        examples=tuple(map(_printable, list(cases.details)[:_EXAMPLES])),
        languages=dict(languages.most_common()),
        message=_printable(_line(reason, cases)),
    )


def _line(reason: Reason, cases: _Cases) -> str:
    shown = _languages(cases.details) if reason.is_by_language else _examples(cases.details)
    line = f"{reason.counted(len(cases.details))}: {shown}"
    advice = list(cases.advice)[:_EXAMPLES]
    return " ".join([line if line.endswith("...") else f"{line}.", *advice]) if advice else line


def _examples(details: Mapping[str, str]) -> str:
    shown = [
        f"{_short(path)} ({_short(detail)})" if detail else _short(path)
        for path, detail in list(details.items())[:_EXAMPLES]
    ]
    return ", ".join([*shown, *(["..."] if len(details) > _EXAMPLES else [])])


def _languages(details: Mapping[str, str]) -> str:
    """Languages with their numbers of files and the suffixes that these have, such as ``Ruby 2 (.rb)``."""
    suffixes: dict[str, Counter[str]] = {}
    for path in details:
        suffixes.setdefault(language_of(path), Counter())[suffix_of(path)] += 1
    ordered = sorted(suffixes.items(), key=lambda item: -item[1].total())
    shown = [
        f"{name} {found.total()} ({' '.join(suffix for suffix, _ in found.most_common(_EXAMPLES))})"
        for name, found in ordered[:_LANGUAGES]
    ]
    faults = sorted({detail for detail in details.values() if detail})[:_EXAMPLES]
    line = ", ".join([*shown, *(["..."] if len(ordered) > _LANGUAGES else [])])
    return f"{line} ({'; '.join(map(_short, faults))})" if faults else line


def _short(text: str) -> str:
    """A text in printable characters, its middle cut where it is very long."""
    shown = _printable(text)
    return shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST // 2]}...{shown[-_LONGEST // 2 :]}"


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)

"""What matters for a task in a repository, as an answer to a coding agent. Pure but for the models' own checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel, Field

from cascade.engine.ranking import p_shown, ranked
from cascade.errors import counted
from cascade.items import Item
from cascade.report import Decision, Report, Status
from cascade.repository.find import Candidates
from cascade.repository.kinds import Asked
from cascade.repository.places import Places
from cascade.tree import Cascade

_REASONS = 3  # of one match, the strongest first

_WORDS = {
    "`--also tests` reads them.": "`also: ['tests']` reads them.",
    "`--also docs` reads what is code in them.": "`also: ['docs']` reads what is code in them.",
    "`--also generated` reads it.": "`also: ['generated']` reads it.",
    " with --from": " in starting_points",
    "The seed ": "The starting point ",
    "name files as seeds, or give items of your own": "or name files in starting_points",
}
"""What messages call options of the command line -> what a caller of the tools has in their place."""


class Match(BaseModel):
    """A symbol or file that matters for the task."""

    name: str = Field(description="Qualified name of a symbol; the path of a file.")
    path: str = Field(description="Path of its file from the repository.")
    line: int | None = Field(description="First line of a symbol, from 1; null for a file.")
    end_line: int | None = Field(description="Last line of a symbol; null for a file.")
    kind: str = Field(description="function, method, class, file, ...")
    label: str = Field(description="What the cascade says of it, such as primary (must be changed) or supporting.")
    p: float = Field(description="How likely it has the leading label, in [0, 1].")
    status: str = Field(description="decided, uncertain, or depth_cap or deadline where time was too short.")
    why: list[str] = Field(description="Why it may matter, the strongest reason first.")


class Answer(BaseModel):
    """What matters for a task in a repository."""

    repository: str = Field(description="The folder that was read.")
    found: list[Match] = Field(description="What matters, the likeliest first, at most as many as were asked for.")
    labels: dict[str, int] = Field(description="Label -> its number of candidates, those that do not matter as well.")
    undecided: int = Field(description="Candidates for which time was too short; they have their likeliest label.")
    starting_points: dict[str, str] = Field(description="Files that the search started from -> why.")
    notes: list[str] = Field(description="What was left out or degraded, and what would make the answer better.")
    elapsed_ms: float = Field(description="Milliseconds that the whole call took.")


def answer_of(
    report: Report, cascade: Cascade, candidates: Candidates, asked: Asked, *, top: int, elapsed_ms: float
) -> Answer:
    """The answer of a report.

    Args:
        report: What was said of the candidates.
        cascade: Which cascade said it.
        candidates: What was found in the repository.
        asked: The items that were put to the cascade.
        top: Most matches.
        elapsed_ms: Milliseconds that the whole call took.
    """
    items, places = {item.id: item for item in asked.items}, Places(candidates, reasons=asked.reasons)
    order = ranked(report.decisions, cascade, items, with_dropped=False)
    reading = candidates.reading()
    return Answer(
        repository=str(candidates.root),
        found=[_match(one, items[one.id], cascade, places) for one in order[:top]],
        labels={label: report.labels()[label] for label in cascade.labels},
        undecided=_undecided(report),
        starting_points=_texts(reading["starting_points"]),
        notes=[in_words_of_tools(note) for note in (*candidates.messages, *_notes(report, order, top))],
        elapsed_ms=round(elapsed_ms, 1),
    )


def in_words_of_tools(text: str) -> str:
    """A message with the names of a tool's arguments in place of options of the command line."""
    for option, argument in _WORDS.items():
        text = text.replace(option, argument)
    return text


def as_text(answer: Answer) -> str:
    """The answer for who reads text alone: a line for each match, then the notes."""
    lines = [_line(match) for match in answer.found]
    counts = ", ".join(f"{n} {label}" for label, n in answer.labels.items())
    return "\n".join([*lines, f"{len(answer.found)} shown; {counts}", *(f"note: {note}" for note in answer.notes)])


def _line(match: Match) -> str:
    where = match.path if match.line is None else f"{match.path}:{match.line}-{match.end_line}"
    name = "" if match.name == match.path else f" {match.name}"
    why = f" ({'; '.join(match.why)})" if match.why else ""
    return f"{match.label} {match.p:.2f} {where}{name}{why}"


def _match(decision: Decision, item: Item, cascade: Cascade, places: Places) -> Match:
    lines = places.lines(decision.id)
    first, last = lines if lines is not None else (None, None)
    return Match(
        name=item.name,
        path=decision.id.partition("::")[0] if lines is not None else item.name,
        line=first,
        end_line=last,
        kind=item.kind,
        label=decision.label,
        p=round(p_shown(decision, cascade, item.prior), 4),
        status=str(decision.status),
        why=places.why(decision.id)[:_REASONS],
    )


def _undecided(report: Report) -> int:
    statuses = report.statuses()
    return statuses[Status.DEADLINE] + statuses[Status.DEPTH_CAP]


def _notes(report: Report, order: Sequence[Decision], top: int) -> Iterator[str]:
    """What to know of the answer itself."""
    n_undecided = _undecided(report)
    if n_undecided:
        yield (
            f"Time was too short for {counted(n_undecided, 'candidate')}, which have the likeliest label that is left "
            "to them. A larger budget_ms decides more."
        )
    if not order and report.decisions:
        yield (
            f"None of {counted(len(report.decisions), 'candidate')} is likely enough to matter. Say more in the task, "
            "or name a file that the work starts from in starting_points."
        )
    if len(order) > top:
        yield f"{len(order) - top:,} more may matter; a larger top shows them."


def _texts(found: object) -> dict[str, str]:
    return {str(path): str(why) for path, why in found.items()} if isinstance(found, Mapping) else {}

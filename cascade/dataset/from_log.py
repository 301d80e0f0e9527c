"""Tasks of a log with the items whose true labels its outcomes tell."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cascade.config.item_rows import ItemRow
from cascade.dataset.examples import Example, Gathered, digest_of, item_json, storable
from cascade.dataset.known import REST, SAMPLED, Claim, Known, Reading, known
from cascade.dataset.tally import Drawn, Tally
from cascade.errors import InputError, ItemError, counted
from cascade.items import Task
from cascade.log.entries import Body, BodyKind
from cascade.log.judged import (
    JudgedItem,
    JudgedTask,
    body_of,
    judged_cascades,
    judged_items,
    judged_tasks,
    judged_trees,
    n_outcomes_elsewhere,
)
from cascade.log.outcomes import LoggedOutcome
from cascade.log.redact import REDACTED
from cascade.log.store import read_outcomes_of
from cascade.tree import Cascade

NO_TEXT = "their texts are not kept in the log"
UNASKABLE = "the cascade cannot ask them"
NO_DECISION = "the log has no decision on them"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSource:
    """A log as a source of labelled tasks.

    Attributes:
        database: The log.
        path: Its file, for messages.
        since: Seconds since the epoch; requests before that are passed over.
    """

    database: sqlite3.Connection
    path: Path
    since: float = 0.0


def from_log(
    log: LogSource,
    cascade: Cascade,
    reading: Reading,
    tally: Tally,
    progress: Callable[[int, int], object] = lambda *_: None,
) -> Iterator[Gathered]:
    """The tasks of a log that have a labelled item, by the time of the first request about each.

    Args:
        log: The log.
        cascade: The cascade that was asked.
        reading: How outcomes are read.
        tally: Counts all items, also of tasks without a label.
        progress: Told how many tasks have been looked at, and of how many.

    Raises:
        InputError: The cascade was never asked, nothing has an outcome, or no text of what has one is kept.
    """
    database, path, since = log.database, log.path, log.since
    tasks = judged_tasks(database, cascade.name, since)
    if not tasks:
        raise _nothing_asked(path, cascade, judged_cascades(database), since)
    tally.questions += _changes(database, cascade, since)
    n_found = n_known = 0
    for number, task in enumerate(tasks, 1):
        one = _Logged(log, task, cascade, reading)
        gathered = one.gathered(tally)
        n_known += one.n_known
        if gathered.examples:
            n_found += 1
            yield gathered
        progress(number, len(tasks))
    tally.left_out[NO_DECISION] += n_outcomes_elsewhere(database, cascade.name, since)
    tally.sources.append(
        {
            "kind": "log", "path": str(path), "requests": sum(one.requests for one in tasks), "tasks": len(tasks),
            "labelled_tasks": n_found, "first": iso(tasks[0].first), "last": iso(max(one.last for one in tasks)),
        }
    )  # fmt: skip
    if not n_known:
        raise _nothing_known(path, cascade, tally)
    if not n_found:
        n = tally.left_out[NO_TEXT]
        msg = (
            f"{path}: {counted(n, 'item has', 'items have')} a label, and the log keeps "
            f'the text of none, only hashes. Set texts = "full" under [log] of the config: what is asked from then on '
            "can be used."
        )
        if not n:
            msg = f"{path}: no item that has a label can be asked by cascade {cascade.name!r}; each lacks its tier."
        raise InputError(msg)


class _Logged:
    """One task of a log."""

    def __init__(self, log: LogSource, task: JudgedTask, cascade: Cascade, reading: Reading) -> None:
        self._database, self._task, self._cascade, self._reading = log.database, task, cascade, reading
        self._versions: dict[str, list[JudgedItem]] = {}
        for one in judged_items(log.database, task.id, cascade.name, log.since):
            self._versions.setdefault(one.item, []).append(one)
        self._outcomes: dict[str, list[LoggedOutcome]] = {}
        outcomes = read_outcomes_of(log.database, task.id)
        self._is_known = any(outcome.what != SAMPLED for outcome in outcomes)
        for outcome in outcomes:
            if outcome.item in self._versions:
                self._outcomes.setdefault(outcome.item, []).append(outcome)
        self.n_known = 0

    def gathered(self, tally: Tally) -> Gathered:
        """The task with its labelled items; what is left out is counted."""
        value = self._task.body.value
        told = storable(value) if isinstance(value, Mapping) else {}
        task = Task(text=str(told.get("text", "")), seeds=tuple(told.get("seeds", ())))
        found = Gathered(task=task, id=self._task.id, at=self._task.first)
        for item, versions in self._versions.items():
            given, claim = self._judged(item, versions, tally)
            if claim is None:
                continue
            self.n_known += 1
            body = body_of(self._database, _version(versions, claim.at).hash)
            if not told or body is None:
                tally.left_out[NO_TEXT] += 1
                continue
            example = self._example(item, body, claim, given)
            if example is None:
                tally.left_out[UNASKABLE] += 1
                continue
            tally.labelled[given] += 1
            tally.redacted += example.is_redacted
            found.examples.append(example)
        return found

    def _judged(self, item: str, versions: Sequence[JudgedItem], tally: Tally) -> tuple[str, Claim | None]:
        """The label that the cascade gave an item, and what is known of it."""
        outcomes = self._outcomes.get(item, [])
        given = _given(versions, outcomes)
        tally.judged[given] += 1
        claim = self._claim(item, known(outcomes, given, self._reading), tally)
        sampled = [one.value for one in outcomes if one.what == SAMPLED and one.value > 0]
        if sampled:
            is_said = claim is not None and claim.source != REST
            label, source = (claim.label, claim.source) if claim is not None and is_said else ("", "")
            tally.drawn.append(Drawn(p=sampled[-1], given=given, label=label, source=source))
        return given, claim

    def _claim(self, item: str, of: Known, tally: Tally) -> Claim | None:
        """What is known of an item, or what counts for those without an outcome."""
        tally.strange.update(of.strange)
        tally.corrected += of.corrected
        if of.against and of.claim is not None:
            said = {(one.source or "?"): one.label for one in (of.claim, *of.against)}
            tally.conflicts.append(
                {"task": self._task.id, "item": item, "labels": said, "kept": of.claim.label, "why": "sources differ"}
            )
        rest = self._reading.rest
        if of.claim is None and rest and self._is_known and not of.strange:
            trust = self._reading.trusted(REST)
            if trust:
                return Claim(label=rest, weight=trust, source=REST, at=self._task.last, trust=trust, rank=0)
        return of.claim

    def _example(self, item: str, body: str, claim: Claim, given: str) -> Example | None:
        """An item as an example; None where the cascade cannot ask it."""
        value: dict[str, Any] = storable(json.loads(body)) | {"id": item}
        found = ItemRow.model_validate(value).item()
        try:
            for stage in self._cascade.stages:
                stage.tiers_of(found)
        except ItemError:
            return None
        return Example(
            id=item,
            item=item_json(found),
            read=digest_of(found),
            tiers=found.tiers,
            label=claim.label,
            weight=claim.weight,
            source=claim.source,
            given=given,
            at=claim.at,
            is_redacted=REDACTED in body,
        )


def _version(versions: Sequence[JudgedItem], at: float) -> JudgedItem:
    """An item as it was when its label became known."""
    return ([one for one in versions if one.at <= at] or versions[:1])[-1]


def _given(versions: Sequence[JudgedItem], outcomes: Sequence[LoggedOutcome]) -> str:
    """The label that an item had when somebody first said something of it; the last one where nobody did."""
    labelled = [one for one in versions if one.label]
    at = min((one.at for one in outcomes), default=float("inf"))
    before = [one.label for one in labelled if one.at <= at]
    return before[-1] if before else labelled[0].label if labelled else ""


def _changes(database: sqlite3.Connection, cascade: Cascade, since: float) -> list[str]:
    """In words, how the trees of a log differ from the cascade as it is."""
    now, found = asked_in(cascade.as_dict()), []
    for tree in judged_trees(database, cascade.name, since):
        value = tree.body.value
        was = asked_in(value) if isinstance(value, Mapping) else None
        if was == now:
            continue
        names = [name for name in sorted({*now, *(was or {})}) if was is not None and was.get(name) != now.get(name)]
        what = f"other {', '.join(names)}" if names else "questions that are not kept"
        times = f"{iso(tree.first)[:10]} to {iso(tree.last)[:10]}"
        found.append(f"{counted(tree.requests, 'request')} of {times} had {what}")
    return found


def questions_hash(cascade: Cascade) -> str:
    """SHA-256, in hex, of all that decides what the labels of a cascade mean: labels, wordings and ways."""
    return Body.of(BodyKind.TREE, asked_in(cascade.as_dict())).hash


def asked_in(tree: Mapping[str, Any]) -> dict[str, object]:
    """What of a tree decides what its labels mean, by name; thresholds do not."""
    found: dict[str, object] = {"labels": tree.get("labels"), "instructions": tree.get("instructions")}
    for stage in tree.get("stages", ()):
        wordings = [one.get("wording") for one in stage.get("questions", ())]
        ways = {name: stage.get(name) for name in ("yes", "no", "next")}
        found[f"question {stage.get('name')!r}"] = [wordings, ways]
    return found


def _nothing_asked(path: Path, cascade: Cascade, others: Sequence[str], since: float) -> InputError:
    when = f" since {iso(since)}" if since else ""
    has = f"it has some of {', '.join(map(repr, others))}" if others else "it has none at all"
    other = "cascade, time or log" if since else "cascade or log"
    msg = f"{path}: the log has no request of cascade {cascade.name!r}{when}; {has}. Name another {other}."
    return InputError(msg)


def _nothing_known(path: Path, cascade: Cascade, tally: Tally) -> InputError:
    n = sum(tally.judged.values())
    strange = ", ".join(f"{label!r} ({n_of})" for label, n_of in tally.strange.most_common(3))
    msg = (
        f"{path}: {counted(n, 'item was', 'items were')} judged, and no outcome tells the label of one. Record "
        "outcomes with `cascade log outcome`, or label some with `cascade dataset review` or `cascade dataset label`."
    )
    if strange:
        msg = (
            f"{path}: outcomes name labels that cascade {cascade.name!r} does not have: {strange}. Allowed are "
            f"{', '.join(cascade.answers)}; say with --rename OLD=NEW what a former label is called now."
        )
    elif tally.left_out[NO_DECISION]:
        msg += f" Those that are there are about {counted(tally.left_out[NO_DECISION], 'item')} that it did not judge."
    return InputError(msg)


def iso(at: float) -> str:
    """A time as ISO 8601 writes it, in UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

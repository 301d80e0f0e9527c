"""A dataset from gathered tasks: merged, split, weighed and written, beside what its folder holds already."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from cascade.config.json_rows import refuse_field
from cascade.dataset.card import card
from cascade.dataset.examples import Example, Gathered, key_of
from cascade.dataset.folder import MANIFEST, commit, locked, put
from cascade.dataset.from_log import iso, questions_hash
from cascade.dataset.known import is_oracles
from cascade.dataset.manifest import CARD, CONFLICTS, TASKS, VERSION, Dataset, read_dataset
from cascade.dataset.merging import Family, merged
from cascade.dataset.rates import rates
from cascade.dataset.rows import Asked, Counts, OldLine, asked_of, line_of, old_lines
from cascade.dataset.splitting import Part, Seen, Shares, names_of, split
from cascade.dataset.tally import Tally
from cascade.dataset.weighing import balance, selection, weights
from cascade.errors import InputError
from cascade.evaluation.repeats import read_of_task
from cascade.files import is_file, read_objects
from cascade.items import Task
from cascade.stages import in_words
from cascade.tree import Cascade

KEPT_OUT = "their tasks are kept out"
UNTOLD = "their labels say nothing of the adapter"
TESTED = "their tasks are in the test part, which stays as it is"
ORACLES = "their labels are an oracle's, and they are of the test part"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """How a dataset is built.

    Attributes:
        adapter: The adapter that it is for; empty for the whole cascade.
        shares: How large parts are.
        balances: Whether classes weigh the same together.
        corrects_test: Whether tasks of the test part that is there take over what is known of them now.
        kept_out: Files of labelled tasks that may be in no part.
    """

    adapter: str = ""
    shares: Shares = field(default_factory=Shares)
    balances: bool = True
    corrects_test: bool = False
    kept_out: tuple[Path, ...] = ()


def build(
    folder: Path,
    cascade: Cascade,
    gather: Callable[[Tally], Iterable[Gathered]],
    options: BuildOptions,
) -> dict[str, Any]:
    """Build a dataset in a folder; of one that is there the test part stays.

    Args:
        folder: The folder; made if it is not there.
        cascade: The cascade that the labels are of.
        gather: Brings the tasks of all sources, and counts what they leave out.
        options: How.

    Returns:
        The manifest.

    Raises:
        InputError: A source cannot be used, nothing is left, or the folder holds something else.
        MachineError: Another process builds there, or the folder cannot be written.
    """
    asked = asked_of(cascade)
    if options.adapter and options.adapter not in {one.adapter for one in asked}:
        known = ", ".join(dict.fromkeys(one.adapter for one in asked))
        msg = (
            f"--adapter {options.adapter!r}: no question of cascade {cascade.name!r} asks it. Its adapters are {known}."
        )
        raise InputError(msg)
    kept_out = _names_in(options.kept_out)
    with locked(folder):
        before = read_dataset(folder) if is_file(folder / MANIFEST) else None
        if before is not None:
            _check_same(before, cascade, options)
        return _Build(folder, cascade, asked, options, before).run(gather, kept_out)


class _Build:
    """A build whose folder is locked."""

    def __init__(
        self, folder: Path, cascade: Cascade, asked: Sequence[Asked], options: BuildOptions, before: Dataset | None
    ) -> None:
        self._folder, self._cascade, self._options = folder, cascade, options
        self._own = [one for one in asked if one.adapter == options.adapter]
        told = self._own or asked
        self._counts = {part: Counts(asked=told, dropped=cascade.dropped, adapter=options.adapter) for part in Part}
        self._old = old_lines(before.path(Part.TEST).read_bytes()) if before is not None else []
        self._before = before.seen if before is not None else {}
        self._tally, self._sources = Tally(), Counter[str]()
        self._balance: Mapping[str, float] = {}

    def run(self, gather: Callable[[Tally], Iterable[Gathered]], kept_out: frozenset[str]) -> dict[str, Any]:
        """Gather, split, weigh and write."""
        tally = self._tally
        families = merged(map(self._of_adapter, gather(tally)), tally)
        seen = Seen(
            trained=frozenset(self._before.get("trained", ())),
            tested=frozenset(self._before.get("tested", ())).union(*(line.names for line in self._old)),
            kept_out=kept_out,
        )
        n_tested = len({key_of(line.value["task"]) for line in self._old})
        parts = split(families, self._options.shares, seen, n_tested)
        tally.left_out[KEPT_OUT] += sum(len(one.examples) for one in families if one.key not in parts)
        if not parts:
            raise self._nothing_left()
        by_given = selection(tally.judged, tally.labelled)
        lines = self._training(families, parts, by_given) | {Part.TEST: self._test(families, parts)}
        manifest = self._manifest(by_given) | {"files": self._put_others(families, parts, seen)}
        manifest["parts"] = {str(part): self._put_part(part, lines[part]) for part in Part}
        put(self._folder, CARD, [card(manifest, tally.conflicts).encode()])
        put(self._folder, MANIFEST, [f"{json.dumps(manifest, indent=2)}\n".encode()])
        commit(self._folder, [*map(_file, Part), TASKS, CONFLICTS, CARD, MANIFEST])
        return manifest

    def _of_adapter(self, gathered: Gathered) -> Gathered:
        """The task with those items alone whose labels say something of the adapter."""
        if self._options.adapter:
            told = [one for one in gathered.examples if self._class_of(one)]
            self._tally.left_out[UNTOLD] += len(gathered.examples) - len(told)
            gathered.examples = told
        return gathered

    def _class_of(self, example: Example) -> str:
        """What is balanced: the label, or the adapter's true answer; empty where it has none."""
        if not self._options.adapter:
            return example.label
        answers = (one.truth(example.label, example.tiers) for one in self._own)
        return next((in_words(answer) for answer in answers if answer is not None), "")

    def _training(
        self, families: Sequence[Family], parts: Mapping[str, Part], by_given: Mapping[str, float]
    ) -> dict[Part, list[bytes]]:
        """Lines of the parts for training, whose items are weighed together."""
        trained = [one for one in families if parts.get(one.key) in {Part.TRAIN, Part.VALID}]
        examples = [example for one in trained for example in one.examples]
        counted = weights(examples, by_given, self._class_of if self._options.balances else None)
        self._balance = balance(examples, by_given, counted, self._class_of) if self._options.balances else {}
        weighed = iter(counted)
        found: dict[Part, list[bytes]] = {Part.TRAIN: [], Part.VALID: []}
        for one in trained:
            for task in one.tasks.values():
                own = list(islice(weighed, len(task.examples)))
                found[parts[one.key]].append(self._line(parts[one.key], task, task.examples, own))
        return found

    def _test(self, families: Sequence[Family], parts: Mapping[str, Part]) -> list[bytes]:
        """Lines of the test part: those that are there, as they are, and then new tasks."""
        new = {
            read_of_task(task.task): task
            for one in families
            if parts.get(one.key) is Part.TEST
            for task in map(self._without_oracles, one.tasks.values())
            if task.examples
        }
        lines = [self._kept(old, new.pop(read_of_task(old.task), None)) for old in self._old]
        tested = {name for old in self._old for name in old.names}
        for task in new.values():
            if tested & {task.key, task.id} and not self._options.corrects_test:
                self._tally.left_out[TESTED] += len(task.examples)
            else:
                lines.append(self._line(Part.TEST, task, task.examples, [one.weight for one in task.examples]))
        return lines

    def _kept(self, old: OldLine, now: Gathered | None) -> bytes:
        """A line of the test part that was there; what is known of the task now, where that is to be taken over."""
        if now is not None:
            labels = old.labels
            self._tally.test_differs += sum(labels.get(one.id) != one.label for one in now.examples)
            if self._options.corrects_test:
                return self._line(Part.TEST, now, now.examples, [one.weight for one in now.examples])
        self._counts[Part.TEST].add(old.value.get("date", ""), old.rows)
        return old.line

    def _without_oracles(self, task: Gathered) -> Gathered:
        """A task for the test part, which measures against no other model."""
        told = [one for one in task.examples if not is_oracles(one.source)]
        self._tally.left_out[ORACLES] += len(task.examples) - len(told)
        return replace(task, examples=told)

    def _line(self, part: Part, task: Gathered, examples: Sequence[Example], own: Sequence[float]) -> bytes:
        self._counts[part].add(
            iso(task.at) if task.at is not None else "", [(one.label, one.tiers) for one in examples]
        )
        self._sources.update(one.source or "not said" for one in examples)
        return line_of(task, examples, own)

    def _put_part(self, part: Part, lines: Sequence[bytes]) -> dict[str, Any]:
        return self._put(_file(part), lines) | self._counts[part].as_dict()

    def _put_others(self, families: Sequence[Family], parts: Mapping[str, Part], seen: Seen) -> dict[str, Any]:
        """The files beside the parts: which tasks were ever where, and conflicts."""
        known = {
            "trained": sorted(seen.trained | names_of(families, parts, {Part.TRAIN, Part.VALID})),
            "tested": sorted(seen.tested | names_of(families, parts, {Part.TEST})),
        }
        conflicts = (f"{json.dumps(one)}\n".encode() for one in self._tally.conflicts)
        return {
            "tasks": self._put(TASKS, [f"{json.dumps(known, indent=0)}\n".encode()]),
            "conflicts": self._put(CONFLICTS, conflicts),
        }

    def _put(self, name: str, lines: Iterable[bytes]) -> dict[str, Any]:
        return {"file": name, "sha256": put(self._folder, name, lines)}

    def _manifest(self, by_given: Mapping[str, float]) -> dict[str, Any]:
        """The manifest but for its files."""
        tally = self._tally
        return {
            "version": VERSION,
            "cascade": self._cascade.name,
            **({"adapter": self._options.adapter} if self._options.adapter else {}),
            "labels": list(self._cascade.answers),
            "questions": questions_hash(self._cascade),
            "made": iso(time.time()),
            "sources": tally.sources,
            "parts": {},
            "balanced": self._options.balances,
            "balance": dict(self._balance),
            "selection": [
                {"given": given, "judged": n, "labelled": tally.labelled[given], "weight": by_given.get(given)}
                for given, n in tally.judged.most_common()
            ],
            "rates": rates(tally.drawn).as_dict() if tally.drawn else None,
            "label_sources": dict(self._sources.most_common()),
            "left_out": {why: n for why, n in tally.left_out.most_common() if n},
            "strange_labels": dict(tally.strange.most_common()),
            "corrected_outcomes": tally.corrected,
            "redacted_items": tally.redacted,
            "conflicts": len(tally.conflicts),
            "test_differs": tally.test_differs,
            "changed_questions": tally.questions,
        }

    def _nothing_left(self) -> InputError:
        whys = ", ".join(f"{n:,} because {why}" for why, n in self._tally.left_out.most_common() if n)
        msg = f"No item is left for the dataset{f': {whys}' if whys else ''}. Give sources that have others."
        return InputError(msg)


def _file(part: Part) -> str:
    return f"{part}.jsonl"


def _check_same(before: Dataset, cascade: Cascade, options: BuildOptions) -> None:
    """Refuse to build upon a dataset of something else.

    Raises:
        InputError: It is for another cascade or adapter, or its test part has labels that the cascade does not have.
    """
    was = before.manifest
    if (was.cascade, was.adapter) != (cascade.name, options.adapter):
        of = f"cascade {was.cascade!r}" + (f" and adapter {was.adapter!r}" if was.adapter else "")
        msg = f"{before.folder}: holds a dataset of {of}. Name another folder."
        raise InputError(msg)
    strange = sorted(set(was.parts[Part.TEST].labels) - set(cascade.answers))
    if strange:
        msg = (
            f"{before.folder}: its test part has the label {strange[0]!r}, which cascade {cascade.name!r} lacks. Build "
            f"in another folder, with --keep-out {before.path(Part.TEST)} so that nothing of it is trained on."
        )
        raise InputError(msg)


def _names_in(paths: Iterable[Path]) -> frozenset[str]:
    """Keys and ids of the tasks in files of labelled tasks, whatever their labels.

    Raises:
        InputError: A file cannot be read, or a line has no task, or seeds that are none.
    """
    found: set[str] = set()
    for path in paths:
        for where, value in read_objects(path):
            text, seeds = value.get("task"), value.get("seeds", [])
            if not isinstance(text, str) or not text.strip():
                refuse_field(where, "task", "a text is needed")
            if not isinstance(seeds, list) or not all(isinstance(seed, str) for seed in seeds):
                refuse_field(where, "seeds", "a list of texts is needed")
            found |= {key_of(text), Task(text=text, seeds=tuple(seeds)).id, str(value.get("id", ""))}
    return frozenset(found - {""})

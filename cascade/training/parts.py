"""The tasks that a training reads: a dataset's folder with its parts, or files of labelled tasks, parted by task."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cascade.dataset.manifest import read_dataset
from cascade.dataset.splitting import Part
from cascade.errors import InputError, counted
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.score_file import Note, labelled_tasks
from cascade.evaluation.scoring import data_fingerprint
from cascade.files import check_readable, is_folder, sha256_of, sha256_of_json
from cascade.stages import Answer, in_words
from cascade.training.sizes import VALID_SHARE
from cascade.tree import Cascade

_REMEDY = "Give a folder that `cascade dataset build` made, or files of labelled tasks."


@dataclass(frozen=True, slots=True)
class Balance:
    """How many times as much the items of each class count so that classes balance.

    Attributes:
        factors: Class -> that; classes that are not there count once.
        is_by_answer: Whether a class is a true answer of the adapter, and not a label of the cascade.
    """

    factors: Mapping[str, float] = field(default_factory=dict)
    is_by_answer: bool = False

    def of(self, label: str, answers: Iterable[Answer]) -> float:
        """That of an item.

        Args:
            label: Its label.
            answers: The true answers to the adapter's questions about it.
        """
        name = next((in_words(one) for one in answers if one is not None), "") if self.is_by_answer else label
        return self.factors.get(name, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """Labelled tasks for a training.

    Attributes:
        train: What is learned.
        valid: What tells when to stop, and how good the result is; none of its tasks is learned.
        manifest: Where both come from, in JSON form.
        sha256: SHA-256 of the dataset's manifest, or of the above where there is no dataset.
        is_share: Whether what validates is a fifth of all; else its size was chosen.
        balance: How a dataset weighs classes.
    """

    train: tuple[Labelled, ...]
    valid: tuple[Labelled, ...]
    manifest: Mapping[str, Any]
    sha256: str
    is_share: bool = False
    balance: Balance = field(default_factory=Balance)


def read_parts(
    paths: Sequence[Path], cascade: Cascade, adapter: str, seed: int, note: Note, n_valid: int | None = None
) -> Parts:
    """Read what a training learns from, and what it is judged by.

    Args:
        paths: One folder of a dataset, or files of labelled tasks. The test part of a dataset is not read.
        cascade: Whose labels the truths are.
        adapter: The adapter that is trained.
        seed: Decides which tasks of files validate.
        note: Told, in a line each, of what a user should know.
        n_valid: How many tasks of files validate; None for a fifth of them.

    Raises:
        InputError: A file cannot be read, or a dataset has changed since it was made, or was made for something else.
    """
    folders = [path for path in paths if is_folder(path)]
    if folders and len(paths) > 1:
        msg = f"{folders[0]}: is a folder, and with it nothing else can be given. {_REMEDY}"
        raise InputError(msg)
    if not folders:
        return _of_files(paths, cascade, seed, note, n_valid)
    if n_valid is not None:
        msg = f"{folders[0]}: a dataset has a part of its own that validates. Leave --valid out."
        raise InputError(msg)
    return _of_dataset(folders[0], cascade, adapter, note)


def _of_dataset(folder: Path, cascade: Cascade, adapter: str, note: Note) -> Parts:
    dataset = read_dataset(folder)
    made_for = dataset.manifest
    if made_for.cascade != cascade.name or made_for.adapter not in {"", adapter}:
        of = f"adapter {made_for.adapter!r} of " if made_for.adapter else ""
        msg = f"{folder}: was made for {of}cascade {made_for.cascade!r}, not for adapter {adapter!r}. {_REMEDY}"
        raise InputError(msg)
    train, valid = (labelled_tasks([dataset.path(part)], cascade, note=note).tasks for part in (Part.TRAIN, Part.VALID))
    learned = {labelled.task.id: labelled for labelled in train}
    both = [labelled for labelled in valid if labelled.task.id in learned]
    if both:
        where = learned[both[0].task.id].where
        msg = f"{folder}: a task is in two parts: {both[0].where} is that of {where}. Build the dataset again."
        raise InputError(msg)
    return Parts(
        train=train,
        valid=valid,
        manifest=dataset.told,
        sha256=dataset.sha256,
        balance=Balance(made_for.balance, is_by_answer=bool(made_for.adapter)),
    )


def _of_files(paths: Sequence[Path], cascade: Cascade, seed: int, note: Note, n_valid: int | None) -> Parts:
    check_readable(paths)
    tasks = labelled_tasks(paths, cascade, note=note).tasks
    is_valid = chosen_to_validate([labelled.task.id for labelled in tasks], seed, n_valid)
    train, valid = (
        tuple(labelled for labelled in tasks if (labelled.task.id in is_valid) is wanted) for wanted in (False, True)
    )
    if not train:
        msg = (
            f"All {counted(len(valid), 'task')} would validate, and none is left to learn from. Give tasks that differ "
            f"in their text{'' if n_valid is None else ', or a smaller --valid'}."
        )
        raise InputError(msg)
    manifest = {
        "version": 1,
        "sources": [{"file": path.name, "sha256": sha256_of(path)} for path in paths if path.is_file()],
        "split": {"by": "task", "seed": seed} | ({"share": VALID_SHARE} if n_valid is None else {"tasks": n_valid}),
        "parts": {str(name): _counts(part) for name, part in ((Part.TRAIN, train), (Part.VALID, valid))},
    }
    return Parts(train=train, valid=valid, manifest=manifest, sha256=sha256_of_json(manifest), is_share=n_valid is None)


def chosen_to_validate(ids: Sequence[str], seed: int, most: int | None = None) -> frozenset[str]:
    """The tasks that validate, by default a fifth of them, at least one; they hang on the seed and their ids alone.

    Tasks of one id stay together, so that nothing that is learned is judged by.
    """
    distinct = sorted(set(ids), key=lambda task: hashlib.sha256(f"{seed}:{task}".encode()).hexdigest())
    return frozenset(distinct[: max(1, round(VALID_SHARE * len(distinct))) if most is None else most])


def _counts(tasks: Sequence[Labelled]) -> dict[str, int | str]:
    n_items = sum(len(labelled.items) for labelled in tasks)
    return {"tasks": len(tasks), "items": n_items, "sha256": data_fingerprint(tasks)}

"""Scores of labelled tasks: asked of an engine, every stage of every item, and kept in a file for the next time."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from cascade.config.profile import MadeForConfig
from cascade.config.toml import Frozen
from cascade.engine.engine import Engine
from cascade.errors import InputError
from cascade.evaluation.dataset import Labelled
from cascade.evaluation.features import KEPT_SHARE, FeatureTable
from cascade.evaluation.scored import Key, ScoredTasks
from cascade.files import is_there, reason, write_whole
from cascade.items import Item
from cascade.probability import Array
from cascade.report import Origin
from cascade.tree import Cascade

_SLICE = "slice_"  # stands before the names of slices in the file
_NO_SCORES = (
    OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error,
    struct.error, tokenize.TokenError,
)  # fmt: skip
"""What reading a file may raise that is none of scores, or a damaged one."""


def score_tasks(
    engine: Engine, cascade: Cascade, tasks: Sequence[Labelled], advance: Callable[[], object] = lambda: None
) -> ScoredTasks:
    """Ask every stage about every item, whatever earlier stages would have answered.

    Args:
        engine: An engine with the cascade.
        cascade: The cascade.
        tasks: Labelled tasks; those without items add no rows.
        advance: Called after each task.

    Raises:
        InputError: No task has an item.
        BackendError: Scoring failed.
    """
    keys = [(stage.name, column) for stage in cascade.stages for column in stage.columns]
    found: dict[Key, list[Array]] = {key: [] for key in keys}
    for labelled in tasks:
        if labelled.items:
            asked = engine.score(labelled.task, labelled.items, cascade.name)
            by_item = [{(step.stage, name): p for step in steps for name, p in step.scores.items()} for steps in asked]
            for key in keys:
                found[key].append(np.array([scores.get(key, float("nan")) for scores in by_item]))
        advance()
    if not found[keys[0]]:
        msg = "No task has an item, so nothing can be tuned. Give labelled tasks with items."
        raise InputError(msg)
    return scored_tasks(cascade, tasks, {key: np.concatenate(parts) for key, parts in found.items()})


def scored_tasks(cascade: Cascade, tasks: Sequence[Labelled], p: Mapping[Key, Array]) -> ScoredTasks:
    """Combine scores with the labels, slices and features of their rows.

    Args:
        cascade: The cascade.
        tasks: The labelled tasks that were scored.
        p: (stage, tier) -> p(yes) of every item of every task, in their order.
    """
    places = {label: place for place, label in enumerate(cascade.labels)}
    items = [item for labelled in tasks for item in labelled.items]
    n_items = [len(labelled.items) for labelled in tasks]
    numbers = np.repeat(np.arange(len(tasks)), n_items)
    return ScoredTasks(
        tasks=numbers,
        labels=np.array([places[label] for labelled in tasks for label in labelled.labels], np.int64),
        p=p,
        n_tasks=len(tasks),
        slices={
            "kind": np.array([item.kind for item in items], np.str_),
            "repository": np.repeat(np.array([labelled.repository for labelled in tasks], np.str_), n_items),
        },
        priors=np.array([np.nan if item.prior is None else item.prior for item in items]),
        features=FeatureTable.of(items, numbers.tolist(), KEPT_SHARE),
    )


def data_fingerprint(tasks: Sequence[Labelled]) -> str:
    """SHA-256 in hex over every task's text and seeds, its items and their labels, in order."""
    digest = hashlib.sha256()
    for labelled in tasks:
        items = [_stated(item) for item in labelled.items]
        digest.update(json.dumps([asdict(labelled.task), items, labelled.labels], sort_keys=True).encode())
    return digest.hexdigest()


def _stated(item: Item) -> dict[str, Any]:
    found = asdict(item)
    return found if item.text else {name: value for name, value in found.items() if name != "text"}


def save_scores(scored: ScoredTasks, origin: Origin, path: Path) -> None:
    """Write scores to a file, with everything else that ``ScoredTasks`` holds.

    Raises:
        MachineError: The file cannot be written.
    """
    keys = list(scored.p)
    features = scored.features
    head = {"origin": asdict(origin), "keys": keys, "n_tasks": scored.n_tasks, "features": features and features.names}
    arrays = {
        "head": np.array(json.dumps(head)),
        "tasks": scored.tasks,
        "labels": scored.labels,
        "scores": np.stack([scored.p[key] for key in keys]),
        **{f"{_SLICE}{name}": values for name, values in scored.slices.items()},
    }
    if scored.priors is not None:
        arrays["priors"] = scored.priors
    if features is not None:
        arrays["counts"] = features.counts
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    write_whole(path, packed.getvalue())


def scores_origin(path: Path) -> Origin:
    """The origin of the scores in a file.

    Raises:
        InputError: The file is no file of scores.
    """
    with _arrays(path) as file:
        return _head(file).origin.origin()


def load_scores(path: Path, origin: Origin | None) -> ScoredTasks | None:
    """Read scores from a file; None if there is none, or it holds scores of another origin.

    Args:
        path: The file.
        origin: What they must come from; None takes what there is.

    Raises:
        InputError: The file is no file of scores.
    """
    if not is_there(path):
        return None
    with _arrays(path) as file:
        head = _head(file)
        if origin is not None and head.origin.origin() != origin:
            return None
        arrays = {name: _array(file, name) for name in file}
        return ScoredTasks(
            tasks=arrays["tasks"],
            labels=arrays["labels"],
            p=dict(zip(head.keys, arrays["scores"], strict=True)),
            n_tasks=head.n_tasks,
            slices={name.removeprefix(_SLICE): arrays[name] for name in arrays if name.startswith(_SLICE)},
            priors=arrays.get("priors"),
            features=FeatureTable(names=head.features, counts=arrays["counts"]) if head.features is not None else None,
        )


def _array(file: Mapping[str, Any], name: str) -> NDArray[Any]:
    """An array of a file; numpy gives the bytes of what does not begin like one."""
    found = file[name]
    if not isinstance(found, np.ndarray):
        msg = f"{name!r} is no array"
        raise TypeError(msg)
    return found


@contextmanager
def _arrays(path: Path) -> Iterator[Mapping[str, Any]]:
    """The arrays of a file, none of which is read before it is asked for; no array of objects is ever read."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:  # np.load would leave a file open
            yield arrays
    except _NO_SCORES as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else reason(error)
        msg = f"{path}: holds no scores ({why}). Name a file that `cascade tune --scores` wrote, or a new one."
        raise InputError(msg) from error


class _Head(Frozen):
    """The head of a file of scores."""

    origin: MadeForConfig
    keys: tuple[Key, ...] = Field(min_length=1)
    n_tasks: int = Field(ge=1, le=10_000_000)
    features: tuple[str, ...] | None


def _head(file: Mapping[str, Any]) -> _Head:
    return _Head.model_validate_json(str(file["head"]))

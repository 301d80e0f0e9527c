"""Tasks of files, labelled or mined from commits, in the form in which the log's are gathered."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from cascade.dataset.examples import Example, Gathered, digest_of, item_json
from cascade.dataset.from_log import iso
from cascade.dataset.known import Reading
from cascade.dataset.tally import Tally
from cascade.errors import InputError
from cascade.evaluation.dataset import Labelled, read_labelled
from cascade.files import REMEDY, name_of
from cascade.tree import Cascade

UNTRUSTED = "--trust gives their source 0"


def from_files(
    paths: Iterable[Path],
    cascade: Cascade,
    reading: Reading,
    tally: Tally,
    progress: Callable[[int], object] = lambda _: None,
) -> Iterator[Gathered]:
    """The labelled tasks of files, each line as ``cascade tune --data`` reads it.

    Args:
        paths: The files; the source of their labels is the file's name.
        cascade: Whose labels the truths are.
        reading: How much each source is trusted.
        tally: Has an entry for each file.
        progress: Told how many tasks have been read.

    Raises:
        InputError: A file or a line cannot be used, or a file has no task.
    """
    n = 0
    for path in paths:
        source, times, n_before, digest = name_of(path), list[float](), n, hashlib.sha256()
        trust = reading.trusted(source)
        for labelled in read_labelled(path, cascade):
            n += 1
            found = _gathered(labelled, source, trust)
            times += [] if found.at is None else [found.at]
            digest.update("".join(f"{one.item}\n{one.label}\n" for one in found.examples).encode())
            progress(n)
            if trust:
                yield found
            else:
                tally.left_out[UNTRUSTED] += len(labelled.items)
        if n == n_before:
            msg = f"{source}: has no tasks. {REMEDY}"
            raise InputError(msg)
        ends = {"first": iso(min(times)), "last": iso(max(times))} if times else {}
        tally.sources.append(
            {"kind": "file", "path": source, "tasks": n - n_before, "sha256_of_items": digest.hexdigest(), **ends}
        )


def _gathered(labelled: Labelled, source: str, trust: float) -> Gathered:
    weights = labelled.weights or (1.0,) * len(labelled.items)
    return Gathered(
        task=labelled.task,
        id=labelled.task.id,
        at=labelled.at,
        repository=labelled.repository,
        examples=[
            Example(
                id=item.id,
                item=item_json(item),
                read=digest_of(item),
                tiers=item.tiers,
                label=label,
                weight=trust * weight,
                source=source,
                at=labelled.at or 0.0,
            )
            for item, label, weight in zip(labelled.items, labelled.labels, weights, strict=True)
            if weight
        ],
    )

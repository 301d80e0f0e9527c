"""Parts of a dataset in the field's form for labelled decisions, ``.jevl`` version 1. Pure but for reading."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from cascade.dataset.manifest import Dataset
from cascade.dataset.splitting import Part
from cascade.errors import InputError
from cascade.log.records import FORMAT, record_id
from cascade.stages import Kind, as_system_one
from cascade.tree import Cascade

_SHOWN = 12  # hexadecimal digits of a hash in a model's name


def records(dataset: Dataset, cascade: Cascade, part: Part) -> Iterator[dict[str, Any]]:
    """One record for each item: what is asked of it as System One writes it, and the true answers as ``label``.

    Only questions with a true answer are in it. A score is left out, since a part of its scale is no level.

    Args:
        dataset: The dataset.
        cascade: Its cascade.
        part: The part.
    """
    model = f"{cascade.name}@{dataset.sha256[:_SHOWN]}"
    truths = {label: dict(own) for label, own in cascade.true_answers().items()}
    with dataset.path(part).open(encoding="utf-8") as lines:
        for line in lines:
            task = json.loads(line)
            for item in task["items"]:
                yield _record(model, dataset, task, item, _asked(cascade, dataset, truths[item["label"]], item))


def check_labels(dataset: Dataset, cascade: Cascade) -> None:
    """Refuse a dataset with labels that a cascade does not have.

    Raises:
        InputError: It has one.
    """
    strange = sorted(
        {label for part in dataset.manifest.parts.values() for label in part.labels} - set(cascade.answers)
    )
    if strange:
        msg = f"{dataset.folder}: has the label {strange[0]!r}, which cascade {cascade.name!r} lacks. Build it again."
        raise InputError(msg)


def _asked(
    cascade: Cascade, dataset: Dataset, truths: Mapping[str, Any], item: Mapping[str, Any]
) -> dict[str, tuple[dict[str, Any], bool | str]]:
    """Name of a question -> the question, and its true answer for an item."""
    found: dict[str, tuple[dict[str, Any], bool | str]] = {}
    for stage in cascade.stages:
        if stage.name not in truths or stage.kind is Kind.SCORE:
            continue
        for tier, question in stage.questions.items():
            is_of_adapter = dataset.manifest.adapter in {"", question.adapter}
            if is_of_adapter and (not tier or tier in item.get("tiers", ())):
                asked = as_system_one(question.wording, question.values, is_scale=question.is_scale)
                found[f"{stage.name}/{tier}" if tier else stage.name] = asked, truths[stage.name]
    return found


def _record(
    model: str,
    dataset: Dataset,
    task: Mapping[str, Any],
    item: Mapping[str, Any],
    asked: Mapping[str, tuple[dict[str, Any], bool | str]],
) -> dict[str, Any]:
    own = {key: value for key, value in item.items() if key not in {"label", "weight"}}
    told = {"text": task["task"], **({"seeds": task["seeds"]} if task.get("seeds") else {})}
    state = {"task": told, "item": own}
    questions = {name: question for name, (question, _) in asked.items()}
    about = {"task": task["id"], "item": item["id"], "label": item["label"], "weight": item["weight"]}
    return {
        "v": FORMAT,
        "id": record_id(model, state, questions),
        "ts": task.get("date") or dataset.manifest.made,
        "model": model,
        "request": {"state": state, "questions": questions},
        "answers": {},
        "label": {name: truth for name, (_, truth) in asked.items()},
        "tags": [dataset.manifest.cascade],
        "meta": {"dataset": about},
    }

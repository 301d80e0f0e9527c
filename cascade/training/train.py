"""From a training that is prepared to an adapter's file that the engine answers with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cascade.errors import CascadeError, MachineError
from cascade.evaluation.score_file import Note
from cascade.files import whole_file, write_whole
from cascade.machine import install_extra
from cascade.models.gguf import read_gguf
from cascade.models.model_set import file_hash
from cascade.training.adapter_file import AdapterFacts, Lora, write_adapter
from cascade.training.compare import FIRST_ITEMS, by_key, check_file, check_first, some_of
from cascade.training.draws import Draws
from cascade.training.examples import Example, examples, offsets
from cascade.training.figures import Gain, Scores
from cascade.training.plan import Plan
from cascade.training.prepare import Prepared

if TYPE_CHECKING:
    from cascade.training.student import Student
    from cascade.training.trainer import Look, Progress

Told = Callable[[int, int, "Look | None"], object]
"""Told after each step how many are done of how many, and what a look at the validation part saw."""


class Libraries(NamedTuple):
    """The modules of this room that need torch."""

    student: ModuleType
    decoder: ModuleType
    encoder: ModuleType
    trainer: ModuleType


def libraries() -> Libraries:
    """The modules that need torch.

    Raises:
        MachineError: The extra ``train`` is not installed; it says what installs it.
    """
    try:
        from cascade.training import decoder, encoder, student, trainer  # noqa: PLC0415 - `train` may be absent
    except ModuleNotFoundError as error:
        msg = f"{error.name} is not installed. Run `{install_extra('train')}`."
        raise MachineError(msg) from error
    return Libraries(student=student, decoder=decoder, encoder=encoder, trainer=trainer)


def train(prepared: Prepared, note: Note, tell: Told) -> dict[str, Any]:
    """Train, check against the engine, and write the adapter with what is known of it.

    Args:
        prepared: The training.
        note: Told, in a line each, of what a user should know.
        tell: Told of every step.

    Returns:
        What ``version.json`` holds.

    Raises:
        CascadeError: The training cannot go on, or the engine answers otherwise with the file.
    """
    run = prepared.run
    known = run.made() if prepared.is_done else None
    if known is not None:
        note(f"{run.adapter} is there already, of these very data and options")
        return known
    with run.locked():
        maker = Maker.of(prepared, note)
        if "before" not in prepared.settled:  # a run that goes on was checked
            try:
                maker.check()
            except CascadeError:
                run.end()  # nothing was begun that could go on
                raise
        before = maker.before()
        progress = maker.taught(prepared.plan, prepared.train, run.checkpoint, tell)
        after = maker.scores(prepared.valid)
        figures = {
            "valid": after.as_dict(),
            "before": before.as_dict(),
            "gain": Gain.between(before, after).as_dict(),
            "steps": progress.step,
            "looks": [asdict(look) for look in progress.looks],
        }
        return _written(prepared, maker, figures)


@dataclass(frozen=True, slots=True)
class Maker:
    """Makes adapters on one base model.

    Attributes:
        prepared: What is trained.
        student: The model with an adapter.
        dtype: How it computes.
    """

    prepared: Prepared
    student: Student
    dtype: str

    @classmethod
    def of(cls, prepared: Prepared, note: Note) -> Maker:
        """Load the base model, and say where and how it computes.

        Raises:
            CascadeError: It cannot be loaded, or torch has no such device.
        """
        settled = dict(prepared.settled)
        device = libraries().student.find_device(prepared.wishes.device)
        dtype, why = prepared.wishes.dtype or settled.get("dtype"), ""
        if dtype is None:
            dtype, why = cls._faster(prepared, device)
        note(f"training computes in {dtype.upper()} on {why or device}")
        prepared.run.settle(settled | {"dtype": dtype})
        return cls(prepared, cls._student(prepared, device, dtype), dtype)

    @classmethod
    def _faster(cls, prepared: Prepared, device: str) -> tuple[str, str]:
        """How to compute, and why in words: on a GPU in BF16 where it can; on a CPU both are timed on a task."""
        if device == "cuda":
            found: tuple[str, str] = libraries().student.gpu_dtype()
            return found
        if device != "cpu":
            return "f32", device
        plan = prepared.plan
        draw = Draws(prepared.train, 1, plan.n_asks, plan.seed).at(0)
        seconds = {
            dtype: libraries().student.seconds_of(cls._student(prepared, device, dtype), draw)
            for dtype in ("f32", "bf16")
        }
        told = ", ".join(f"{dtype.upper()} {1000 * took:,.0f} ms" for dtype, took in seconds.items())
        return min(seconds, key=lambda dtype: seconds[dtype]), f"this CPU, which takes for the same task: {told}"

    @staticmethod
    def _student(prepared: Prepared, device: str, dtype: str) -> Student:
        needed, base = libraries(), prepared.lesson.base
        plan, labels = prepared.plan, [asked.labels for asked in prepared.lesson.asked]
        shape = needed.student.Shape(
            rank=plan.rank,
            alpha=plan.alpha,
            is_activated=bool(plan.invocation),
            labels=labels,
            offsets=offsets(prepared.train, list(map(len, labels))),
            seed=plan.seed,
        )
        kind = needed.encoder.Encoder if base.info.is_encoder else needed.decoder.Decoder
        made: Student = kind(read_gguf(base.path), shape, prepared.wishes.weights, device, dtype)
        if prepared.start:
            made.put(prepared.start)
        return made

    def taught(self, plan: Plan, train: Sequence[Example], checkpoint: Path | None, tell: Told) -> Progress:
        """Train by a plan from where the student is; it keeps the best adapter."""
        prepared = self.prepared
        loop = libraries().trainer.Trainer(self.student, plan, prepared.yes_no, train, prepared.valid, checkpoint)
        progress: Progress = loop.run(tell)
        return progress

    def check(self) -> None:
        """Refuse what could not be checked against the engine at the end, before anything is trained.

        Raises:
            CascadeError: The engine cannot run the base model, or answers otherwise.
        """
        prepared, wishes, lesson = self.prepared, self.prepared.wishes, self.prepared.lesson
        student = self.student
        if self.dtype != "f32":
            student = self._student(prepared, str(student.device), "f32")
        asked = some_of(prepared.parts.valid, prepared.valid, FIRST_ITEMS)
        tries = examples(lesson, asked)
        own = by_key(lesson, tries, list(student.predict(tries)))
        check_first(lesson, prepared.start_file, asked, own, wishes.within, wishes.weights)

    def before(self) -> Scores:
        """How the student answers the validation part before it is trained; measured once for a run."""
        settled = dict(self.prepared.settled)
        if "before" not in settled:
            settled["before"] = self.scores(self.prepared.valid).as_lists()
            self.prepared.run.settle(settled | {"dtype": self.dtype})
        return Scores.of_lists(settled["before"])

    def scores(self, tasks: Sequence[Example]) -> Scores:
        """How the student answers."""
        predicted = list(self.student.predict(tasks))
        return Scores.of(tasks, predicted, self.prepared.yes_no)

    def exact(self, lora: Lora) -> Student:
        """A student that computes in F32 with an adapter as its file holds it."""
        student = self.student
        if self.dtype != "f32":
            student = self._student(self.prepared, str(student.device), "f32")
        rounded = {name: (_rounded(down), _rounded(up)) for name, (down, up) in lora.items()}
        student.put(rounded)
        return student


def _rounded(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values.astype(np.float16).astype(np.float32)


def _written(prepared: Prepared, maker: Maker, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Write the file once the engine answers with it as the trained model does."""
    lesson, plan, run = prepared.lesson, prepared.plan, prepared.run
    lora = maker.student.lora()
    asked = some_of(prepared.parts.valid, prepared.valid)
    tries = examples(lesson, asked)
    exact = maker.exact(lora)
    own = by_key(lesson, tries, list(exact.predict(tries)))
    facts = AdapterFacts(
        name=lesson.adapter,
        base_name=lesson.base.info.name,
        base_sha256=lesson.base_sha256,
        alpha=plan.alpha,
        invocation=lesson.invocation,
        markers=lesson.markers,
        data=prepared.parts.manifest,
        figures=figures,
        plan=plan.as_dict(),
    )
    with whole_file(run.adapter) as part:
        write_adapter(part, facts, exact.geometry, lora)
        gap = check_file(lesson, part, asked, own, prepared.wishes.within)
        whole = {**figures, "engine_gap": gap}
        write_adapter(part, replace(facts, figures=whole), exact.geometry, lora)
    told = _version(prepared, whole)
    write_whole(run.version, json.dumps(told, indent=2).encode())
    run.end()
    return told


def _version(prepared: Prepared, figures: Mapping[str, Any]) -> dict[str, Any]:
    """What the registry keeps of a version."""
    plan, sha256 = prepared.plan, file_hash(prepared.run.adapter)
    return {
        "adapter": plan.adapter,
        "version": sha256[:12],
        "sha256": sha256,
        "base_sha256": prepared.lesson.base_sha256,
        "parents": [plan.start_sha256] if plan.start_sha256 else [],
        "data": plan.data_sha256,
        "figures": dict(figures),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }

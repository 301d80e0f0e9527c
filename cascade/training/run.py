"""The folder of a training: what is done, what goes on where it was killed, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field

from cascade.errors import InputError, MachineError, ModelFileError
from cascade.files import (
    check_folder,
    check_output,
    is_file,
    is_folder,
    parts_of,
    read_text,
    sha256_of_json,
    unwritable,
    write_whole,
)
from cascade.models.model_set import file_hash
from cascade.training.adapter_file import read_plan
from cascade.training.plan import Plan

_REMEDY = "Name a folder that can be."
_ANEW = "Remove it, or begin anew with --force."
_STATE, _CHECKPOINT, _ANSWERS = "training.json", "checkpoint.pt", "teacher-answers.jsonl"
_CURVE, _VERSION = "curve.json", "version.json"

_Columns = list[list[float]]


class _Settled(BaseModel):
    """What is chosen or measured once for a run."""

    dtype: Literal["bf16", "f32"] | None = None
    before: _Columns | None = None
    points: dict[str, _Columns] | None = None


class _State(BaseModel):
    """The file of a run that is not finished."""

    plan: str
    settled: _Settled


class _Figures(BaseModel):
    """The figures of an adapter, as far as they are shown."""

    before: dict[str, Any]
    valid: dict[str, Any]
    gain: dict[str, Any]
    steps: int
    engine_gap: float


class _Version(BaseModel):
    """What is known of an adapter."""

    adapter: str
    sha256: str
    figures: _Figures


class _Curve(BaseModel):
    """A learning curve."""

    adapter: str
    valid: dict[str, Any]
    points: list[dict[str, Any]] = Field(min_length=1)
    enough_from: int | None
    plan: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Run:
    """A training's folder. A curve's files have names of their own, so that both may be under way in one folder.

    Attributes:
        folder: Where it writes.
        plan: What is trained.
        is_curve: Whether a learning curve is made, and no adapter.
    """

    folder: Path
    plan: Plan
    is_curve: bool = False

    @property
    def checkpoint(self) -> Path:
        """Where a killed run goes on from; there only while one is under way."""
        return self._own(_CHECKPOINT)

    @property
    def answers(self) -> Path:
        """What a teacher of the config answered; there only while a run is under way."""
        return self._own(_ANSWERS)

    @property
    def _state(self) -> Path:
        return self._own(_STATE)

    @property
    def adapter(self) -> Path:
        """The adapter, once it is trained and checked."""
        return self.folder / f"{self.plan.adapter}.gguf"

    @property
    def result(self) -> Path:
        """What is made in the end: the adapter, or the figures of a curve."""
        return self.folder / _CURVE if self.is_curve else self.adapter

    @property
    def version(self) -> Path:
        """What is known of it: hashes, data, figures."""
        return self.folder / _VERSION

    @property
    def _facts(self) -> tuple[Path, ...]:
        """What is written beside the result; a curve says all in one file."""
        return () if self.is_curve else (self.version,)

    @property
    def is_done(self) -> bool:
        """Whether the folder holds the result of this very plan; see ``made`` for errors."""
        return self.made() is not None

    def made(self) -> dict[str, Any] | None:
        """What is known of the result, where the folder holds that of this very plan; else None.

        Returns:
            What ``version.json`` says of the adapter, or the curve.

        Raises:
            InputError: The file that says it is damaged.
        """
        if not is_file(self.result):
            return None
        if self.is_curve:
            curve = _read(self.result, _Curve)
            return curve if sha256_of_json(curve["plan"]) == self.plan.fingerprint else None
        version = _read(self.version, _Version) if is_file(self.version) else {}
        try:
            if version.get("adapter") != self.plan.adapter or version["sha256"] != file_hash(self.adapter):
                return None  # of another adapter, or a run was killed between the two files
            plan = read_plan(self.adapter)
        except (ModelFileError, ValueError, TypeError):  # what it says of its plan may be anything
            return None
        return version if plan is not None and sha256_of_json(plan) == self.plan.fingerprint else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The folder for this process alone; it must be there.

        Raises:
            MachineError: Another process trains in it, or it cannot be read.
        """
        try:
            handle = os.open(self.folder, os.O_RDONLY)
        except OSError as error:
            raise unwritable(self.folder, error, _REMEDY) from error
        try:
            _lock(handle, self.folder)
            yield
        finally:
            os.close(handle)

    def begin(self, *, force: bool) -> dict[str, Any]:
        """Make the folder ready, and say what a run that was killed had settled.

        Args:
            force: Whether what is there of another training may be replaced.

        Returns:
            What ``settle`` kept; empty for a new run.

        Raises:
            InputError: The folder holds another training, another adapter, or a damaged file.
            MachineError: It cannot be written, or another process trains in it.
        """
        check_folder(self.folder, _REMEDY)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.locked():
            self._check_files(force=force)
            told = self._told(force=force)
            if told.get("plan") == self.plan.fingerprint:
                self._remove()
                return dict(told["settled"])
            self._check_is_free(told, force=force)
            self._remove(self.checkpoint, self.answers, *self._facts)
            self.settle({})
            return {}

    def settle(self, settled: Mapping[str, Any]) -> None:
        """Keep what was chosen once for this run, so that it holds when it goes on."""
        told = {"plan": self.plan.fingerprint, "settled": dict(settled)}
        write_whole(self._state, json.dumps(told, indent=2).encode())

    def end(self) -> None:
        """Remove what only an unfinished run needs."""
        self._remove(self.checkpoint, self.answers, self._state)

    def _own(self, name: str) -> Path:
        return self.folder / (f"curve-{name}" if self.is_curve else name)

    def _check_files(self, *, force: bool) -> None:
        """Refuse a folder in the place of a file, and an adapter that would be left without what is known of it."""
        check_output(self.result)
        for path in (self.checkpoint, self.answers, self._state, *self._facts):
            if is_folder(path):
                msg = f"{path}: is a folder, where a training has a file. Remove it, or name another folder with --out."
                raise InputError(msg)
        if self.is_curve or not is_file(self.version):
            return
        try:
            other = _read(self.version, _Version)["adapter"]
        except InputError:
            if force:
                return
            raise
        if other != self.plan.adapter:
            msg = f"{self.version}: is about adapter {other!r}, and a folder holds one. Name another folder with --out."
            raise InputError(msg)

    def _check_is_free(self, told: Mapping[str, Any], *, force: bool) -> None:
        """Refuse to replace what took another training time, unasked; one that failed at its start took none."""
        if force:
            return
        settled = told.get("settled", {})
        if is_file(self.checkpoint) or is_file(self.answers) or settled.get("before") or settled.get("points"):
            msg = (
                f"{self.folder}: holds a training of something else that was not finished. Name another folder, give "
                "the same options and data to go on with it, or replace it with --force."
            )
            raise InputError(msg)
        if is_file(self.result) and not self.is_done:
            msg = (
                f"{self.result}: is there already, of another training or without what is known of it. Name another "
                "folder, or give --force."
            )
            raise InputError(msg)

    def _told(self, *, force: bool) -> dict[str, Any]:
        """What the file of an unfinished run says; nothing if it is not there, or damaged and may be replaced."""
        if not is_file(self._state):
            return {}
        try:
            return _read(self._state, _State)
        except InputError:
            if force:
                return {}
            raise

    def _remove(self, *paths: Path) -> None:
        """Remove files, and what killed runs left beside those that this one writes."""
        written = (self.checkpoint, self.answers, self._state, self.result, *self._facts)
        for path in (*paths, *(part for each in written for part in parts_of(each))):
            path.unlink(missing_ok=True)


def _read(path: Path, kind: type[BaseModel]) -> dict[str, Any]:
    """The object that a training wrote to a file.

    Raises:
        InputError: It is damaged, or no such object.
    """
    try:
        found: dict[str, Any] = json.loads(read_text(path, _ANEW))
        kind.model_validate(found)
    except ValueError as error:
        msg = f"{path}: is damaged, or no training wrote it. {_ANEW}"
        raise InputError(msg) from error
    return found


def _lock(handle: int, folder: Path) -> None:
    try:
        flock(handle, LOCK_EX | LOCK_NB)
    except BlockingIOError as error:
        msg = f"{folder}: another process trains there. Run again when it is done, or name another folder with --out."
        raise MachineError(msg) from error
    except OSError:
        return  # some network file systems lock no folders; a training there is not stopped for that

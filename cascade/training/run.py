"""The folder of a training: what is done, what goes on where it was killed, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cascade.errors import InputError, ModelFileError
from cascade.files import check_folder, check_output, is_file, read_text, sha256_of_json, write_whole
from cascade.training.adapter_file import read_plan
from cascade.training.plan import Plan

_REMEDY = "Name a folder that can be."
_STATE, _CHECKPOINT, _VERSION = "training.json", "checkpoint.pt", "version.json"
_CURVE = "curve.json"


@dataclass(frozen=True, slots=True)
class Run:
    """A training's folder.

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
        return self.folder / _CHECKPOINT

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
    def is_done(self) -> bool:
        """Whether the folder holds the result of this very plan."""
        if not is_file(self.result) or not (self.is_curve or is_file(self.version)):
            return False
        try:
            plan = _curve_plan(self.result) if self.is_curve else read_plan(self.result)
        except ModelFileError:
            return False
        return plan is not None and sha256_of_json(plan) == self.plan.fingerprint

    def begin(self, *, force: bool) -> dict[str, Any]:
        """Make the folder ready, and say what a run that was killed had settled.

        Args:
            force: Whether what is there of another training may be replaced.

        Returns:
            What ``settle`` kept; empty for a new run.

        Raises:
            InputError: The folder holds another training, or another adapter.
            MachineError: It cannot be written.
        """
        check_folder(self.folder, _REMEDY)
        self.folder.mkdir(parents=True, exist_ok=True)
        check_output(self.result)
        told = self._told()
        if told and told.get("plan") == self.plan.fingerprint:
            return dict(told.get("settled", {}))
        if told and not force:
            msg = (
                f"{self.folder}: holds a training of something else that was not finished. Name another folder, give "
                "the same options and data to go on with it, or replace it with --force."
            )
            raise InputError(msg)
        if is_file(self.result) and not self.is_done and not force and not told:
            msg = f"{self.result}: is there already, of another training. Name another folder, or give --force."
            raise InputError(msg)
        self.checkpoint.unlink(missing_ok=True)
        self.settle({})
        return {}

    def settle(self, settled: Mapping[str, Any]) -> None:
        """Keep what was chosen once for this run, so that it holds when it goes on."""
        told = {"plan": self.plan.fingerprint, "settled": dict(settled)}
        write_whole(self.folder / _STATE, json.dumps(told, indent=2).encode())

    def _told(self) -> dict[str, Any]:
        path = self.folder / _STATE
        if not is_file(path):
            return {}
        try:
            found = json.loads(read_text(path, _REMEDY))
        except ValueError as error:
            msg = f"{path}: is damaged. Name another folder, or remove it and begin anew."
            raise InputError(msg) from error
        return found if isinstance(found, dict) else {"plan": None}

    def end(self) -> None:
        """Remove what only an unfinished run needs."""
        for path in (self.checkpoint, self.folder / _STATE):
            path.unlink(missing_ok=True)


def _curve_plan(path: Path) -> Mapping[str, Any] | None:
    """How a curve's file says that it was made; None if it does not say."""
    try:
        found = json.loads(read_text(path, _REMEDY)).get("plan")
    except (ValueError, AttributeError):
        return None
    return found if isinstance(found, dict) else None

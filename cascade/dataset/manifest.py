"""``manifest.json``: what a dataset is, and the SHA-256 of each of its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from cascade.config.json_rows import parse_row
from cascade.dataset.folder import MANIFEST, settle
from cascade.dataset.splitting import Part
from cascade.errors import InputError
from cascade.files import is_file, object_of, read_text, sha256_of

VERSION = 1
_REMEDY = "Build the dataset again in another folder."

CARD, TASKS, CONFLICTS = "card.md", "tasks.json", "conflicts.jsonl"

_Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(strict=True, ge=0)]
_FILE = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # a name, and no path that leads out of the folder


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class FileEntry(_Model):
    """A file of the dataset."""

    file: Annotated[str, Field(pattern=_FILE)]
    sha256: _Hash


class PartEntry(FileEntry):
    """A part: its tasks, its items, and those of them that matter or that the adapter says yes to."""

    tasks: _Count
    items: _Count
    positives: _Count
    labels: dict[str, int] = {}
    answers: dict[str, dict[str, int]] = {}
    first: str = ""
    last: str = ""


class Manifest(_Model):
    """A manifest; keys that it does not know are allowed in it."""

    version: Literal[1]
    cascade: Annotated[str, Field(min_length=1)]
    adapter: str = ""
    labels: tuple[str, ...]
    made: str
    sources: tuple[dict[str, Any], ...]
    parts: dict[Part, PartEntry]
    files: dict[str, FileEntry] = {}
    balance: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset in its folder, whose files are what the manifest says.

    Attributes:
        folder: The folder.
        manifest: What it is.
        told: The same as JSON, with what else it says.
        sha256: SHA-256 of the manifest's file, in hex, which stands for all of the dataset.
    """

    folder: Path
    manifest: Manifest
    told: Mapping[str, Any]
    sha256: str

    def path(self, part: Part) -> Path:
        """The file of a part, in the form of labelled tasks."""
        return self.folder / self.manifest.parts[part].file

    @property
    def seen(self) -> Mapping[str, tuple[str, ...]]:
        """``trained`` and ``tested`` -> keys and ids of all tasks that were ever in such a part.

        Raises:
            InputError: The manifest names no such file.
        """
        entry = self.manifest.files.get("tasks")
        if entry is None:
            msg = (
                f"{self.folder / MANIFEST}: field 'files.tasks': it is missing, so nobody knows what was trained on. "
                f"{_REMEDY}"
            )
            raise InputError(msg)
        found: dict[str, tuple[str, ...]] = json.loads((self.folder / entry.file).read_text(encoding="utf-8"))
        return found


def read_dataset(folder: Path) -> Dataset:
    """The dataset of a folder, once all of its files are what the manifest says.

    Raises:
        InputError: There is none, its version is a later one, or a file was changed; names the file.
        MachineError: A build was killed just before its end, and what it left cannot be finished.
    """
    settle(folder)
    file = folder / MANIFEST
    if not is_file(file):
        msg = f"{folder}: is no dataset; it has no {MANIFEST}. Make one with `cascade dataset build --out FOLDER`."
        raise InputError(msg)
    told = read_text(file, _REMEDY)
    value = object_of(told, str(file), _REMEDY)
    if isinstance(version := value.get("version"), int) and version > VERSION:
        msg = f"{file}: is of version {version}; this release reads up to {VERSION}. Install a later release."
        raise InputError(msg)
    manifest = parse_row(Manifest, value, str(file))
    for part in Part:
        if part not in manifest.parts:
            msg = f"{file}: field 'parts.{part}': it is missing. {_REMEDY}"
            raise InputError(msg)
    for entry in (*manifest.parts.values(), *manifest.files.values()):
        _check(folder / entry.file, entry.sha256)
    digest = hashlib.sha256(told.encode()).hexdigest()
    return Dataset(folder=folder, manifest=manifest, told=value, sha256=digest)


def _check(path: Path, sha256: str) -> None:
    try:
        found = sha256_of(path)
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}), and the manifest names it. Restore it from a copy."
        raise InputError(msg) from error
    if found != sha256:
        msg = (
            f"{path}: was changed: its SHA-256 is {found[:12]}..., and the manifest says {sha256[:12]}... Restore it "
            "from a copy, or build a new dataset in another folder."
        )
        raise InputError(msg)

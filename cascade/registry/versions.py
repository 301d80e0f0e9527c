"""Versions of adapters on disk: each in a folder of its own, written once and never changed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from gguf import GGUFValueType
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from cascade.config.json_rows import parse_row
from cascade.errors import InputError
from cascade.files import is_file, is_folder, is_plain_name, object_of, read_text, sha256_of, unwritable
from cascade.models.gguf import read_gguf
from cascade.models.lora import BASE_HASH_KEY
from cascade.registry.lock import UNWRITABLE, locked

FILE, FACTS = "adapter.gguf", "version.json"
"""The two files of a version."""

_NUMBER = re.compile(r"\d{4,}")
_NEXT = ".next"
_RESTORE = "Restore it, or remove the folder of this version."
_SHORT = 12  # characters of a hash
SHA256 = re.compile(r"[0-9a-f]{64}")
"""A file's hash, as parents are told that the registry does not have."""

_Hash = Annotated[str, StringConstraints(pattern=rf"^{SHA256.pattern}$")]


class VersionFacts(BaseModel):
    """``version.json``: what a version is, and where it comes from."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    adapter: str
    version: str
    sha256: _Hash
    base_sha256: _Hash | None = None
    parents: tuple[str, ...] = ()
    data: _Hash | None = None
    figures: dict[str, Any] = Field(default_factory=dict)
    made: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version in its folder.

    Attributes:
        folder: The folder.
        facts: What it is.
    """

    folder: Path
    facts: VersionFacts

    @property
    def path(self) -> Path:
        """The adapter's file."""
        return self.folder / FILE

    @property
    def name(self) -> str:
        """What commands call it: the adapter, a slash and the number."""
        return f"{self.facts.adapter}/{self.facts.version}"

    def check(self) -> None:
        """Refuse a file that is not what was put into the registry.

        Raises:
            InputError: It was changed, or is gone.
        """
        found = _hash(self.path)
        if found != self.facts.sha256:
            msg = (
                f"{self.path}: was changed: its SHA-256 is {found[:12]}..., and {FACTS} says "
                f"{self.facts.sha256[:12]}... Restore it, or add the file as a version of its own."
            )
            raise InputError(msg)


@dataclass(frozen=True, slots=True)
class Registry:
    """A folder with one folder for each adapter, which has one for each version; it need not be there.

    Attributes:
        folder: The folder.
    """

    folder: Path

    def versions(self, adapter: str | None = None) -> list[Version]:
        """All versions, of one adapter or of all, by adapter and the oldest first.

        Raises:
            InputError: The facts of one cannot be read; names the file.
        """
        names = [adapter] if adapter is not None else sorted(self._adapters())
        return [_own(folder) for name in names for folder in self._folders(name)]

    def version(self, name: str) -> Version:
        """A version by its name, such as ``relevant/0002``; the latest of an adapter by the adapter's name alone.

        Raises:
            InputError: There is none; names those that are there.
        """
        adapter, _, number = name.partition("/")
        known = self.versions(adapter) if is_plain_name(adapter) else []
        found = [each for each in known if not number or each.facts.version == number.zfill(len(each.facts.version))]
        if found:
            return found[-1]
        every = ", ".join(each.name for each in known or self.versions()) or "none"
        msg = (
            f"{self.folder}: has no version {name!r}; there are {every}. Give one of these, or the path of a GGUF file."
        )
        raise InputError(msg)

    def of_file(self, adapter: str, sha256: str) -> Version | None:
        """The version of an adapter that has a file of this hash; None if there is none."""
        return next((each for each in self.versions(adapter) if each.facts.sha256 == sha256), None)

    def add(
        self,
        adapter: str,
        path: Path,
        *,
        parents: Sequence[str] = (),
        data: str | None = None,
        figures: Mapping[str, Any] | None = None,
    ) -> Version:
        """Keep a file as the next version of an adapter; a file that is there already is the version that it is.

        Args:
            adapter: What cascades call the adapter.
            path: The GGUF file, which is copied.
            parents: What its training began with: versions, such as ``relevant/0001``, or hashes of other files.
            data: SHA-256 of the manifest of the dataset that it was trained on.
            figures: What was measured of it, as JSON.

        Raises:
            InputError: The name cannot be a folder's, the file is no GGUF file, or a parent is not there.
            MachineError: The registry cannot be written.
        """
        if not is_plain_name(adapter):
            msg = f"Adapter {adapter!r} cannot be a folder. Its name needs letters, digits, '_', '.' and '-' alone."
            raise InputError(msg)
        base = read_gguf(path).get(BASE_HASH_KEY, GGUFValueType.STRING)
        parents = [self._parent(adapter, parent) for parent in parents]
        sha256 = _hash(path)
        with locked(self.folder):  # two processes may bring the same file, or want the same number
            known = self.of_file(adapter, sha256)
            if known is not None:
                return known
            facts = VersionFacts(
                adapter=adapter,
                version=self._next_number(adapter),
                sha256=sha256,
                base_sha256=base or None,
                parents=tuple(parents),
                data=data,
                figures=dict(figures or {}),
                made=datetime.now(UTC).isoformat(timespec="seconds"),
            )
            return self._put(path, facts)

    def _next_number(self, adapter: str) -> str:
        """The number of an adapter's next version; the registry must be locked."""
        return f"{max((int(each.name) for each in self._folders(adapter)), default=0) + 1:04}"

    def _put(self, path: Path, facts: VersionFacts) -> Version:
        """Copy a file into a folder of its own, which is there whole or not at all."""
        folder = self.folder / facts.adapter
        part = folder / f"{facts.sha256[:_SHORT]}{_NEXT}"
        try:
            part.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, part / FILE)
            (part / FACTS).write_text(json.dumps(facts.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
            Version(folder=part, facts=facts).check()  # the file may have changed while it was copied
            part.rename(folder / facts.version)
        except OSError as error:
            raise unwritable(folder, error, UNWRITABLE) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return _own(folder / facts.version)

    def add_trained(self, folder: Path) -> Version:
        """Keep what ``cascade train`` wrote: the adapter's file, with what its ``version.json`` says of it.

        Raises:
            InputError: One of them is missing or damaged, or they do not belong together.
            MachineError: The registry cannot be written.
        """
        facts = read_version(folder).facts
        path = trained_file(folder, facts.adapter)
        if _hash(path) != facts.sha256:
            msg = f"{path}: is not the file that {folder / FACTS} is about. Give the folder that `cascade train` wrote."
            raise InputError(msg)
        return self.add(facts.adapter, path, parents=facts.parents, data=facts.data, figures=facts.figures)

    def _parent(self, adapter: str, given: str) -> str:
        """The name of a parent that the registry has; the hash of any other file as it is."""
        if not SHA256.fullmatch(given):
            return self.version(given).name
        known = self.of_file(adapter, given)
        return known.name if known is not None else given

    def _adapters(self) -> list[str]:
        return [each.name for each in _inside(self.folder) if is_folder(each) and self._folders(each.name)]

    def _folders(self, adapter: str) -> list[Path]:
        found = [each for each in _inside(self.folder / adapter) if _NUMBER.fullmatch(each.name) and is_folder(each)]
        return sorted(found, key=lambda each: int(each.name))


def _inside(folder: Path) -> list[Path]:
    """What a folder holds; nothing where it is not there."""
    try:
        return list(folder.iterdir()) if is_folder(folder) else []
    except OSError as error:
        msg = f"{folder}: cannot be read ({error.strerror}). Make it readable, or name another registry."
        raise InputError(msg) from error


def _own(folder: Path) -> Version:
    """A version of the registry, whose facts say the name that its folder has."""
    found = read_version(folder)
    name = f"{folder.parent.name}/{folder.name}"
    if found.name != name:
        msg = f"{folder / FACTS}: is about {found.name!r}, and its folder is {name}. {_RESTORE}"
        raise InputError(msg)
    return found


def read_version(folder: Path) -> Version:
    """What is in a folder, of a registry or as ``cascade train`` writes it; the adapter's file is not looked at.

    Raises:
        InputError: Its facts cannot be read, or are damaged; names the file.
    """
    file = folder / FACTS
    value = object_of(read_text(file, _RESTORE), str(file), _RESTORE)
    return Version(folder=folder, facts=parse_row(VersionFacts, value, f"{file}"))


def trained_file(folder: Path, adapter: str) -> Path:
    """The adapter's file in the folder that ``cascade train`` wrote, or in that of a version; it need not be there."""
    path, version = folder / f"{adapter}.gguf", folder / FILE
    return version if not is_file(path) and is_file(version) else path


def _hash(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}). Give the path of a readable file."
        raise InputError(msg) from error

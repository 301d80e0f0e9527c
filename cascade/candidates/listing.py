"""Which files of a folder are source, and which are left out."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from cascade.candidates.checkouts import list_checkouts
from cascade.candidates.exclusions import exclusion, is_source
from cascade.candidates.language_names import suffix_of
from cascade.candidates.languages import SUFFIXES
from cascade.candidates.messages import Messages
from cascade.candidates.presence import present_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The files of a folder.

    Attributes:
        n_files: All that are listed, source or not.
        paths: Those in a language that is read, from the folder, with forward slashes, sorted; tests and vendored code
            included.
        others: Those in a language that is known and not read.
        repositories: Folders of the repositories that git listed, which have a history to ask for: from the folder,
            with a slash at the end, empty for the folder itself.
    """

    n_files: int
    paths: tuple[str, ...]
    others: tuple[str, ...]
    repositories: tuple[str, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        """The paths that are the project's own source."""
        return tuple(path for path in self.paths if is_source(path))


def list_files(root: Path, messages: Messages) -> Listing:
    """Lists a folder's files: tracked and untracked but not ignored ones, or all where git cannot tell.

    Repositories within are listed by their own git. Links are not followed.

    Args:
        root: An existing folder, without links in its path; the top of a repository, a folder within one, or neither.
        messages: Told why git was not used, and of everything that could be source and cannot be read.
    """
    found = list_checkouts(root, messages)
    files = present_files(root, found, messages)
    return Listing(
        n_files=len(found.names),
        paths=tuple(path for path in files if suffix_of(path) in SUFFIXES),
        others=tuple(path for path in files if suffix_of(path) not in SUFFIXES),
        repositories=tuple(found.repositories),
    )


def tell_exclusions(listing: Listing, seeds: Collection[str], messages: Messages) -> None:
    """Tells of the files that are left out for what they are: tests, vendored code, or of a language not read.

    Args:
        listing: The files of a folder.
        seeds: Those of them that are read whatever they are.
        messages: Told of the others.
    """
    for path in (*listing.paths, *listing.others):
        reason = exclusion(path)
        if reason and path not in seeds:
            messages.leave_out(reason, path)

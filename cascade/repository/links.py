"""Where the links of a folder lead. None is followed: what they lead to is listed itself, or is not of the folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable
from pathlib import Path

from cascade.repository.languages import language_of
from cascade.repository.messages import Messages
from cascade.repository.reasons import LINK

_ADVICE = "To read what lies outside of the folder, give a folder that holds it as well."


def folders_of(names: Iterable[str]) -> set[str]:
    """All folders that files lie in, from the root, the root itself left out. Pure."""
    folders: set[str] = set()
    for name in names:
        folder = name.rpartition("/")[0]
        while folder and folder not in folders:
            folders.add(folder)
            folder = folder.rpartition("/")[0]
    return folders


def tell_links(root: Path, links: Iterable[str], names: Collection[str], messages: Messages) -> None:
    """Tells of links behind which there may be source that is not listed under a name of its own.

    Args:
        root: The folder's real path.
        links: Links in it, to files and folders.
        names: All that is listed in the folder.
        messages: Told of the links, and where they lead.
    """
    listed = {*names, *folders_of(names), "."}
    for link in links:
        where = _unread(root, link, listed)
        if where:
            messages.leave_out(LINK, link, where, advice=_ADVICE if where == _OUTSIDE else "")


_OUTSIDE = "leads out of the folder"


def _unread(root: Path, link: str, listed: Collection[str]) -> str:
    """Where a link leads, if to source that is not listed; empty otherwise."""
    try:
        is_folder = stat.S_ISDIR(os.stat(root / link).st_mode)  # noqa: PTH116  nothing else here is a pathlib call
        target = Path(os.path.realpath(root / link))
    except (OSError, ValueError):  # it leads nowhere, to itself, or where nobody may look
        return "leads nowhere" if language_of(link) else ""
    if not is_folder and not language_of(link) and not language_of(target.name):
        return ""
    if not target.is_relative_to(root):
        return _OUTSIDE
    return "" if target.relative_to(root).as_posix() in listed else "leads to what is left out"

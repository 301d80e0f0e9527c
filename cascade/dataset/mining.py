"""Labelled commits of a repository: the message is the task, and what the commit changed is the truth."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

from cascade.dataset.clone import Clone
from cascade.dataset.commit_labels import changed_files, label_row, labels, task_text
from cascade.evidence.corpus import Corpus


def label_history(
    clone: Clone, repository: str, n_tasks: int, progress: Callable[[], object] = lambda: None
) -> Iterator[dict[str, Any]]:
    """Labelled commits of a clone, the newest first, in the form of a commit-task file.

    Commits that merge, move or add source, change more than eight files, or say nothing of what they change are left
    out, and so are those that change no function, method or class that was there before.

    Args:
        clone: The repository.
        repository: Its name.
        n_tasks: The most tasks.
        progress: Called for each commit that was looked at.
    """
    n_found = 0
    for commit, changed in clone.commits.items():
        progress()
        text, paths = task_text(clone.messages[commit]), changed_files(changed)
        if n_found == n_tasks:
            return
        if not text or not paths:
            continue
        try:
            blobs = clone.tree(f"{commit}^")
        except subprocess.CalledProcessError:  # the first commit has no parent
            continue
        entries = {path: clone.indexed(path, blob).entry for path, blob in blobs.items()}
        corpus = Corpus(tuple(entries), tuple(entries.values()))
        found = labels(clone, corpus, (blobs, clone.tree(commit)), paths)
        if "primary" in found.values():
            n_found += 1
            yield label_row(commit, repository, text, found, corpus, paths) | {"date": clone.dates[commit]}

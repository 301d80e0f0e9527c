"""``DecisionLog``: an observer that keeps every request of an engine, and what became of its items."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self
from weakref import WeakKeyDictionary

from cascade.arguments import one_of, refuse, whole
from cascade.backends.base import Backend
from cascade.config.log import LogConfig
from cascade.engine.observer import SeenBatch
from cascade.engine.request import Request
from cascade.errors import MachineError
from cascade.log.answers import RememberingBackend
from cascade.log.database import open_log_file
from cascade.log.entries import new_id
from cascade.log.observed import Ended, Keeping, logged
from cascade.log.outcomes import LoggedOutcome, Outcome
from cascade.log.redact import Redactor, SecretRedactor
from cascade.log.shadows import add_shadows, shadow_rows
from cascade.log.store import add_outcomes, add_requests
from cascade.log.writer import LogWriter


class DecisionLog:
    """Keeps requests, decisions, calls and outcomes in an SQLite file.

    One thread writes; a request hands over what it did and never waits. A full disk or a locked file costs entries of
    the log, which are counted in ``n_lost``, and no answer.

    Args:
        path: The file; made if it is not there.
        texts: "hash" keeps hashes of tasks and items, and the items' ids; "full" keeps their texts as well.
        redact: What is done to every text before it is written; None for ``SecretRedactor``.
        reuse: Whether questions are answered from the log where it has the answer of the same model and adapter to the
            same tokens.
        max_waiting: Requests that may wait to be written; more are lost.

    Raises:
        InputError: The file is no log, or of a later version.
        MachineError: It cannot be opened, or texts are to be kept and the package that finds secrets is missing.

    Examples:
        >>> import tempfile
        >>> from cascade import DecisionLog, Engine, Item, Outcome, Task
        >>> task = Task(text="fix the parser")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     log = DecisionLog(f"{folder}/decisions.sqlite3")
        ...     with Engine.open(log=log) as engine:
        ...         report = engine.classify(task, [Item(id="1", name="parse")])
        ...         engine.record_outcome(Outcome(task=task.id, item="1", label="primary"))
    """

    def __init__(
        self,
        path: Path | str,
        *,
        texts: str = "hash",
        redact: Redactor | None = None,
        reuse: bool = False,
        max_waiting: int = 1_000,
    ) -> None:
        if texts not in {"hash", "full"}:
            refuse("texts", texts, '"hash" or "full" is needed')
        if whole(max_waiting) is None:
            refuse("max_waiting", max_waiting, "a whole number of at least 1 is needed")
        is_kept = texts == "full"
        self._keeping = Keeping(is_kept, redact or (SecretRedactor() if is_kept else _as_it_is))
        self._reuse = one_of("reuse", reuse, bool, "True or False is needed")
        one_of("path", path, (str, Path), "the path of a file is needed")
        file = Path(path)
        open_log_file(file).close()  # what cannot be used is refused here, and not in the writer's thread
        self._writer = LogWriter(file, max_waiting)
        self._seen: dict[Request, list[SeenBatch]] = {}
        self._ids: WeakKeyDictionary[Request, str] = WeakKeyDictionary()

    @classmethod
    def of(cls, config: LogConfig) -> Self:
        """The log that a config names.

        Raises:
            InputError: See the class.
            MachineError: See the class.
        """
        redact = None if config.redact else _as_it_is
        return cls(config.path, texts=config.texts, redact=redact, reuse=config.reuse, max_waiting=config.max_waiting)

    @property
    def path(self) -> Path:
        """The file."""
        return self._writer.path

    @property
    def n_lost(self) -> int:
        """Entries that could not be written."""
        return self._writer.n_lost

    @property
    def cpu_s(self) -> float:
        """Seconds of a processor that its thread has taken so far."""
        return self._writer.cpu_s

    def remembering(self, backends: Mapping[str, Backend]) -> dict[str, Backend]:
        """The backends, which answer from the log first where it is to be used so."""
        if not self._reuse:
            return dict(backends)
        return {name: RememberingBackend(each, self._writer) for name, each in backends.items()}

    def began(self, request: Request) -> None:
        """See ``Observer.began``."""
        self._seen[request] = []

    def scored(self, seen: SeenBatch) -> None:
        """See ``Observer.scored``."""
        for request in seen.requests:
            if request in self._seen:
                self._seen[request].append(seen)

    def ended(self, request: Request) -> None:
        """See ``Observer.ended``."""
        seen = self._seen.pop(request, [])
        if not request.done.cancelled():
            now = time.time()
            ended = Ended(request, seen, now, new_id(now))
            self._ids[request] = ended.id
            # Its rows are made when it is written, in the writer's thread.
            self._writer.put(lambda database: add_requests(database, [logged(ended, self._keeping)]))

    def shadowed(self, live: Request, beside: Request) -> None:
        """See ``Log.shadowed``."""
        id_, now = self._ids.get(live), time.time()
        if id_ is not None:
            self._writer.put(lambda database: add_shadows(database, shadow_rows(id_, live, beside, now)))

    def record(self, outcomes: Outcome | Iterable[Outcome]) -> None:
        """Keep what became of items; earlier outcomes stay as history.

        Raises:
            InputError: One is no Outcome.
            MachineError: The log is closed, or too many entries wait for the disk.
        """
        given = [outcomes] if isinstance(outcomes, Outcome) else list(outcomes)
        checked = [one_of("outcome", each, Outcome, "an Outcome is needed") for each in given]
        now = time.time()
        rows = [LoggedOutcome.of(each, now, place) for place, each in enumerate(checked)]
        if not self._writer.put(lambda database: add_outcomes(database, rows)):
            msg = "The log takes no outcomes now: it is closed, or too many entries wait for the disk. Try again later."
            raise MachineError(msg)

    def flush(self) -> None:
        """Wait until all that happened before is written."""
        self._writer.flush()

    def close(self) -> None:
        """Write what waits and close the file; a second call does nothing."""
        self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _as_it_is(text: str) -> str:
    return text

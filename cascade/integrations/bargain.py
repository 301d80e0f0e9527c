"""BARGAIN: a cascade as the proxy whose answers are trusted where a guarantee allows it. Needs ``pip install bargain``.

BARGAIN is what DocETL's ``cascade:`` runs on. It asks an expensive oracle about a sample of the records, and so finds
the scores from which on the proxy's answers reach a target of accuracy, precision or recall.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from BARGAIN import Proxy
from numpy.typing import NDArray

from cascade.integrations.filtering import CascadeFilter
from cascade.integrations.passages import Judged, Passage
from cascade.report import Status


class CascadeProxy(Proxy):  # type: ignore[misc]  # it has no types
    """A proxy that says of each record whether a cascade keeps it, and how sure that is.

    All records of a call are put to the cascade in one request, so that they share their prompts' beginning.

    Args:
        task: What the records are judged for.
        text: A record -> its text; the record itself if nothing is said.
        settings: Those of ``CascadeFilter``: ``engine`` or ``config``, ``cascade``, ``labels``, ``budget``, ``kind``.

    Raises:
        InputError: As ``CascadeFilter``.
    """

    def __init__(self, task: str, *, text: Callable[[Any], str] = str, **settings: Any) -> None:
        super().__init__(verbose=False)
        self._text = text
        self._filter = CascadeFilter(task=task, **settings)

    def proxy_func(self, data_record: Any) -> tuple[bool, float]:
        """Whether one record is kept, and how likely that is right, in [0, 1]."""
        (answer,) = self._answers([data_record])
        return answer

    def get_preds_and_scores(
        self, indxs: Sequence[int], data_records: Sequence[Any]
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        """Whether each record is kept, and how likely that is right; what was asked before is not asked again.

        Args:
            indxs: Numbers of the records.
            data_records: The records, in the same order.
        """
        new = [at for at, index in enumerate(indxs) if index not in self.preds_dict]
        answers = self._answers([data_records[at] for at in new])
        self.preds_dict |= {indxs[at]: answer for at, answer in zip(new, answers, strict=True)}
        found = [self.preds_dict[index] for index in indxs]
        return np.array([said for said, _ in found], bool), np.array([score for _, score in found], float)

    def close(self) -> None:
        """Close the engine that was opened for this proxy; one that was given stays open."""
        self._filter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answers(self, records: Sequence[Any]) -> list[tuple[bool, float]]:
        return [_answer(one) for one in self._filter.judge("", [Passage(text=self._text(one)) for one in records])]


def _answer(judged: Judged) -> tuple[bool, float]:
    """What is said of a record, and how likely that is right; of what is not decided the likelier of both."""
    said = judged.label_is_kept if judged.decision.status is Status.DECIDED else judged.p >= 1 / 2
    return said, judged.p if said else 1 - judged.p

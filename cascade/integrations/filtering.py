"""The filter that every framework's adapter is: its settings, its engine, and the call."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from cascade.budget import Budget
from cascade.engine.engine import Engine
from cascade.errors import InputError
from cascade.integrations.passages import (
    Judged,
    Order,
    Passage,
    Rules,
    Uncertain,
    Undecided,
    items_of,
    judged_of,
    kept_of,
    labels_kept,
)
from cascade.tree import Cascade


class CascadeFilter(BaseModel):
    """Keeps the passages that a cascade keeps.

    It takes an open engine, which stays open, or a config, with which it opens an engine of its own: close that with
    ``close``, or use the filter as a context manager, sync or async. A cascade sorts passages by its own questions; the
    query of the framework is its task.

    Raises:
        InputError: Both or neither of ``engine`` and ``config`` are given, or the cascade is unknown, or a label.
        CascadeError: The engine cannot be opened; see ``Engine.open``.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    engine: Engine | None = Field(None, exclude=True, repr=False, description="An open engine.")
    config: Path | None = Field(None, description="A config file, in place of an open engine.")
    cascade: str = Field("", description="Name of the cascade; empty for the only one.")
    task: str = Field("", description="The task in place of the query; empty, as if absent, for the query.")
    budget: Budget | Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["config"] | None = Field(
        "config", description='Milliseconds that a call may take; None for no limit, "config" for the config\'s.'
    )
    labels: tuple[str, ...] = Field(
        (), description="Labels that are kept; empty, as if absent, for all but the one that is dropped."
    )
    top_n: int | None = Field(None, ge=1, description="Most passages that are kept, those with the highest p.")
    order: Order = Field("given", description="given: as they came; p: the likeliest first.")
    uncertain: Uncertain = Field("keep", description="What becomes of passages that are handed on.")
    undecided: Undecided = Field("keep", description="What becomes of passages that time or depth cut short.")
    kind: str = Field("document", min_length=1, description="What a passage is, in a word or two.")
    name_from: tuple[str, ...] = Field(("title", "name"), description="Keys of metadata that may hold its name.")
    group_from: tuple[str, ...] = Field(
        ("source", "file_path", "file_name"), description="Keys of metadata that may hold what it is a part of."
    )

    _open: Engine = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Open the engine, and check what it has to know."""
        super().model_post_init(context)
        if (self.engine is None) == (self.config is None):
            msg = "Give exactly one of engine and config: an open Engine, or the path of a config file to open one."
            raise InputError(msg)
        self._open = self.engine if self.engine is not None else Engine.open(self.config)
        try:
            labels_kept(self._rules, self._tree)
        except InputError:
            self.close()
            raise

    def close(self) -> None:
        """Close the engine that was opened for this filter; one that was given stays open."""
        if self.engine is None:
            self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def judge(self, query: str, passages: Sequence[Passage]) -> list[Judged]:
        """What the cascade says of each passage, in their order; the errors are those of ``Engine.classify``.

        Args:
            query: The task, unless the filter has one of its own.
            passages: The passages, best first; for none nothing is asked.
        """
        if not passages:
            return []
        tree = self._tree
        items = items_of(passages, tree, self.kind)
        report = self._open.classify(self.task or query, items, self._name, budget=self.budget)
        return judged_of(report, tree, self._rules)

    async def ajudge(self, query: str, passages: Sequence[Passage]) -> list[Judged]:
        """As ``judge``, for async callers; cancelling the await drops the request."""
        if not passages:
            return []
        tree = self._tree
        items = items_of(passages, tree, self.kind)
        report = await self._open.aclassify(self.task or query, items, self._name, budget=self.budget)
        return judged_of(report, tree, self._rules)

    def kept(self, judged: Sequence[Judged]) -> list[Judged]:
        """Those that are kept, in the order of the settings."""
        return kept_of(judged, self._rules)

    @property
    def _rules(self) -> Rules:
        return Rules(
            labels=self.labels,
            top_n=self.top_n,
            order=self.order,
            uncertain=self.uncertain,
            undecided=self.undecided,
        )

    @property
    def _tree(self) -> Cascade:
        """The cascade that is asked, as it is now."""
        return self._open.cascade(self._name)

    @property
    def _name(self) -> str:
        return self.cascade or only_one(self._open)


def only_one(engine: Engine) -> str:
    """Name of the cascade of an engine that has one alone.

    Raises:
        InputError: It has none, or several.
    """
    names = list(engine.cascades)
    if len(names) != 1:
        msg = f"The config has {len(names)} cascades: {', '.join(names)}. Say which is asked with `cascade`."
        raise InputError(msg)
    return names[0]

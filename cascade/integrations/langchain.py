"""LangChain: a document compressor that keeps the documents that a cascade keeps. Needs the extra ``langchain``."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document

from cascade.integrations.filtering import CascadeFilter
from cascade.integrations.passages import Judged, Passage, named

KEY = "cascade"
"""Key of a kept document's metadata: its label, p, status and steps."""


class CascadeCompressor(CascadeFilter, BaseDocumentCompressor):
    """Keeps the documents that a cascade keeps; see ``CascadeFilter`` for its settings.

    A kept document is a copy with one more key of metadata, ``cascade``: ``label``, ``p``, ``status`` and ``steps``.
    """

    def compress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,  # noqa: ARG002 - the base class's
    ) -> Sequence[Document]:
        """The documents that are kept.

        Args:
            documents: What was retrieved, best first.
            query: The task.
            callbacks: Are told nothing.

        Raises:
            InputError: The query is empty and no task is set.
            BackendError: Scoring failed, or the engine is closed.
        """
        return self._copies(documents, self.judge(query, self._passages(documents)))

    async def acompress_documents(
        self,
        documents: Sequence[Document],
        query: str,
        callbacks: Callbacks | None = None,  # noqa: ARG002 - the base class's
    ) -> Sequence[Document]:
        """The documents that are kept, for async callers; cancelling the await drops the request."""
        return self._copies(documents, await self.ajudge(query, self._passages(documents)))

    def _passages(self, documents: Sequence[Document]) -> list[Passage]:
        return [
            Passage(
                text=document.page_content,
                name=named(document.metadata, self.name_from),
                group=named(document.metadata, self.group_from),
            )
            for document in documents
        ]

    def _copies(self, documents: Sequence[Document], judged: Sequence[Judged]) -> list[Document]:
        return [_copy(documents[one.at], one) for one in self.kept(judged)]


def _copy(document: Document, kept: Judged) -> Document:
    return document.model_copy(update={"metadata": {**document.metadata, KEY: kept.as_dict()}})

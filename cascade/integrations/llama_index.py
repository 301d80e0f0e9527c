"""LlamaIndex: a node postprocessor that keeps the nodes that a cascade keeps. Needs the extra ``llama-index``."""

from __future__ import annotations

from collections.abc import Sequence

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle

from cascade.integrations.filtering import CascadeFilter
from cascade.integrations.passages import Judged, Passage, named

KEY = "cascade"
"""Key of a kept node's metadata: its label, p, status and steps."""


class CascadePostprocessor(CascadeFilter, BaseNodePostprocessor):
    """Keeps the nodes that a cascade keeps; see ``CascadeFilter`` for its settings.

    A kept node is a copy with one more key of metadata, ``cascade``: ``label``, ``p``, ``status`` and ``steps``, which
    neither a language model nor an embedding is shown. With ``order="p"`` its score is p, otherwise what it was.
    """

    @classmethod
    def class_name(cls) -> str:
        """Its name in what LlamaIndex writes."""
        return "CascadePostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return self._copies(nodes, self.judge(_text(query_bundle), self._passages(nodes)))

    async def _apostprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        return self._copies(nodes, await self.ajudge(_text(query_bundle), self._passages(nodes)))

    def _passages(self, nodes: Sequence[NodeWithScore]) -> list[Passage]:
        return [
            Passage(
                text=node.node.get_content(MetadataMode.NONE),
                name=named(node.node.metadata, self.name_from),
                group=named(node.node.metadata, self.group_from),
            )
            for node in nodes
        ]

    def _copies(self, nodes: Sequence[NodeWithScore], judged: Sequence[Judged]) -> list[NodeWithScore]:
        return [_copy(nodes[one.at], one, has_p=self.order == "p") for one in self.kept(judged)]


def _text(query: QueryBundle | None) -> str:
    """The query's text; empty without one, which the engine refuses unless a task is set."""
    return query.query_str if query is not None else ""


def _copy(found: NodeWithScore, kept: Judged, *, has_p: bool) -> NodeWithScore:
    node = found.node
    copy = node.model_copy(
        update={
            "metadata": {**node.metadata, KEY: kept.as_dict()},
            "excluded_llm_metadata_keys": [*node.excluded_llm_metadata_keys, KEY],
            "excluded_embed_metadata_keys": [*node.excluded_embed_metadata_keys, KEY],
        }
    )
    return NodeWithScore(node=copy, score=kept.p if has_p else found.score)

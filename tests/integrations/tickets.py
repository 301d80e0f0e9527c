"""A cascade of tickets, what a script says of them, and the two frameworks as one function each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from langchain_core.documents import Document
from llama_index.core.schema import NodeWithScore, TextNode

from cascade import Cascade, Engine, ScriptedBackend, read_config
from cascade.integrations.langchain import CascadeCompressor
from cascade.integrations.llama_index import CascadePostprocessor

EMBEDDED = Path(__file__).parents[2] / "adapters" / "embedded.gguf"

TOML = """
[model]
path = "{model}"
format = "embedded"
[cascade.tickets]
instructions = "Which tickets must be answered?"
labels = ["later", "today", "now", "review"]
[[cascade.tickets.stages]]
name = "waiting"
question = "does somebody wait?"
adapter = "base"
reads = "text"
no_below = 0.3
yes_from = 0.6
yes = {{ stage = "broken" }}
no = {{ label = "later" }}
uncertain = {{ label = "review" }}
[[cascade.tickets.stages]]
name = "broken"
question = "does something not work?"
adapter = "base"
reads = "text"
yes = {{ label = "now" }}
no = {{ label = "today" }}
"""

TEXTS = ("waiting 90 broken 80", "waiting 10 broken 80", "waiting 95 broken 10", "waiting 40 broken 10")
"""Texts that tell by numbers, in percent, what each question is answered: now, later, today, review."""

METADATA: tuple[dict[str, str], ...] = ({"source": "a.txt"}, {"source": "a.txt"}, {"title": "Third"}, {})


def write_config(folder: Path) -> Path:
    """A config of these tickets, with the shipped base model."""
    path = folder / "tickets.toml"
    path.write_text(TOML.format(model=EMBEDDED.as_posix()), encoding="utf-8")
    return path


def tickets(folder: Path) -> Cascade:
    """The cascade."""
    return read_config(write_config(folder)).cascades()["tickets"]


def says(_adapter: str, prompt: str) -> float:
    """What stands in a text behind the name of the question."""
    item, _, question = prompt.rpartition("<|item|>")[2].partition("<|ask|>")
    return int(item.rpartition(question)[2].split()[0]) / 100


def scripted(folder: Path, backend: ScriptedBackend | None = None) -> Engine:
    """An engine that answers by the texts."""
    return Engine(backend or ScriptedBackend(says, frozenset()), {"tickets": tickets(folder)})


class Framework(Protocol):
    """One framework's adapter, asked about texts."""

    def __call__(self, texts: Sequence[str], query: str | None, **settings: Any) -> list[tuple[str, dict[str, Any]]]:
        """Text and metadata of what is kept."""


def documents(texts: Sequence[str]) -> list[Document]:
    """Texts as LangChain has them."""
    return [Document(text, metadata=dict(METADATA[at % 4])) for at, text in enumerate(texts)]


def nodes(texts: Sequence[str]) -> list[NodeWithScore]:
    """Texts as LlamaIndex has them."""
    return [
        NodeWithScore(node=TextNode(text=text, metadata=dict(METADATA[at % 4])), score=0.5)
        for at, text in enumerate(texts)
    ]


def by_langchain(texts: Sequence[str], query: str | None, **settings: Any) -> list[tuple[str, dict[str, Any]]]:
    """What LangChain's compressor keeps."""
    kept = CascadeCompressor(**settings).compress_documents(documents(texts), query or "")
    return [(one.page_content, one.metadata) for one in kept]


def by_llama_index(texts: Sequence[str], query: str | None, **settings: Any) -> list[tuple[str, dict[str, Any]]]:
    """What LlamaIndex's postprocessor keeps."""
    kept = CascadePostprocessor(**settings).postprocess_nodes(nodes(texts), query_str=query)
    return [(one.text, one.metadata) for one in kept]


FRAMEWORKS: tuple[Framework, ...] = (by_langchain, by_llama_index)

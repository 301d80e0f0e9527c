"""The filters of LangChain and LlamaIndex, which are one: what is kept, in which order, with which metadata."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.runnables import RunnableLambda
from langchain_core.vectorstores import InMemoryVectorStore
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.schema import MetadataMode, NodeWithScore, TextNode
from pydantic import ValidationError

from cascade import Budget, Engine, ScriptedBackend, read_config
from cascade.errors import BackendError, CascadeError, ClosedError, InputError
from cascade.integrations.langchain import CascadeCompressor
from cascade.integrations.llama_index import CascadePostprocessor
from tests.integrations.tickets import (
    FRAMEWORKS,
    TEXTS,
    Framework,
    documents,
    nodes,
    says,
    scripted,
    tickets,
    write_config,
)

NOW, LATER, TODAY, REVIEW = TEXTS

each = pytest.mark.parametrize("framework", FRAMEWORKS)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine that answers by what stands in the texts."""
    with scripted(tmp_path) as engine:
        yield engine


@each
@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({}, [NOW, TODAY, REVIEW]),
        ({"uncertain": "drop"}, [NOW, TODAY]),
        ({"order": "p"}, [TODAY, NOW, REVIEW]),
        ({"top_n": 1}, [TODAY]),
        ({"top_n": 2}, [NOW, TODAY]),
        ({"labels": ["now"], "uncertain": "drop"}, [NOW]),
        ({"labels": ["review"], "uncertain": "drop"}, [REVIEW]),
        ({"labels": ["later"], "uncertain": "drop"}, [LATER]),
        ({"labels": ["now", "later"], "order": "p", "uncertain": "drop"}, [LATER, NOW]),
    ],
)
def test_what_a_cascade_keeps_is_kept(
    framework: Framework, settings: dict[str, Any], kept: list[str], engine: Engine
) -> None:
    """What is dropped is gone; labels, the order and the number are the caller's choice, as is what is handed on."""
    found = framework(TEXTS, "who waits?", engine=engine, **settings)
    assert [text for text, _ in found] == kept


@each
def test_metadata_tells_label_p_and_steps(framework: Framework, engine: Engine) -> None:
    """What was there stays, and one key tells what the cascade said; p is that of all labels that are kept."""
    (_, first), *_ = framework(TEXTS, "who waits?", engine=engine)
    told = first.pop("cascade")
    assert first == {"source": "a.txt"}
    assert {key: told[key] for key in ("label", "p", "status")} == {"label": "now", "p": 0.9, "status": "decided"}
    assert [(step["stage"], round(step["p_yes"], 6), step["answer"]) for step in told["steps"]] == [
        ("waiting", 0.9, True),
        ("broken", 0.8, True),
    ]


@each
def test_what_time_or_depth_cuts_short_is_kept_dropped_or_judged(framework: Framework, engine: Engine) -> None:
    """By choice; kept if nothing is said, and its status tells it."""
    settings = {"engine": engine, "budget": Budget(depth=1), "uncertain": "drop"}
    found = framework(TEXTS, "who waits?", **settings)
    assert [(text, told["cascade"]["status"]) for text, told in found] == [(NOW, "depth_cap"), (TODAY, "depth_cap")]
    assert framework(TEXTS, "who waits?", undecided="drop", **settings) == []
    labels = [one["cascade"]["label"] for _, one in found]
    judged = framework(TEXTS, "who waits?", undecided="likeliest", labels=[labels[0]], **settings)
    assert [text for text, _ in judged] == [NOW, TODAY]
    other = "now" if labels[0] == "today" else "today"
    late = framework(TEXTS, "who waits?", engine=engine, budget=1e-9)
    assert [(text, told["cascade"]["status"]) for text, told in late] == [(text, "deadline") for text in TEXTS]
    assert framework(TEXTS, "who waits?", engine=engine, budget=1e-9, undecided="drop") == []
    assert framework(TEXTS, "who waits?", undecided="likeliest", labels=[other], **settings) == []


@each
def test_the_task_names_groups_and_texts_reach_the_prompt(framework: Framework, tmp_path: Path) -> None:
    """The query is the task unless one is set; a stage that reads texts has the text, and no line repeats it."""
    prompts: list[str] = []

    def listens(adapter: str, prompt: str) -> float:
        prompts.append(prompt)
        return says(adapter, prompt)

    with scripted(tmp_path, ScriptedBackend(listens, frozenset())) as engine:
        framework(TEXTS[:3], "who waits?", engine=engine, kind="ticket")
        framework(TEXTS[:1], None, engine=engine, task="a task of its own")
    first = next(prompt for prompt in prompts if NOW in prompt)
    assert "Task: who waits?" in first
    assert f"<|group|>a.txt<|item|>ticket\n{NOW}<|ask|>waiting" in first
    assert any("<|item|>ticket Third\n" in prompt for prompt in prompts)
    assert any("Task: a task of its own" in prompt for prompt in prompts)


@each
def test_a_stage_that_reads_no_text_sees_it_in_the_items_line(framework: Framework, tmp_path: Path) -> None:
    """Otherwise it would be asked about a name alone."""
    prompts: list[str] = []

    def listens(adapter: str, prompt: str) -> float:
        prompts.append(prompt)
        return says(adapter, prompt)

    config = write_config(tmp_path)
    config.write_text(config.read_text(encoding="utf-8").replace('reads = "text"\n', ""), encoding="utf-8")
    plain = read_config(config).cascades()
    with Engine(ScriptedBackend(listens, frozenset()), plain) as engine:
        assert len(framework(TEXTS, "who waits?", engine=engine)) == 3
    assert all("<|item|>document | waiting " in prompt or "Third | waiting " in prompt for prompt in prompts)


@each
def test_no_passages_ask_nothing(framework: Framework, engine: Engine) -> None:
    """A retriever that found nothing costs nothing, whatever the query."""
    assert framework([], "", engine=engine) == []


@each
def test_mistakes_are_told(framework: Framework, engine: Engine, tmp_path: Path) -> None:
    """An engine and a config, neither, an unknown cascade or label, a misspelt setting, no query."""
    config = write_config(tmp_path)
    for settings, says_ in (
        ({}, "exactly one of engine and config"),
        ({"engine": engine, "config": config}, "exactly one of engine and config"),
        ({"engine": engine, "cascade": "letters"}, "letters"),
        ({"engine": engine, "labels": ["tomorrow"]}, "no label 'tomorrow'; it has later, today, now, review"),
        ({"config": tmp_path / "none.toml"}, "none.toml"),
    ):
        with pytest.raises(InputError, match=says_):
            framework(TEXTS, "who waits?", **settings)
    with pytest.raises(ValidationError, match="topn"):
        framework(TEXTS, "who waits?", engine=engine, topn=3)
    with pytest.raises(ValidationError, match="top_n"):
        framework(TEXTS, "who waits?", engine=engine, top_n=0)
    with pytest.raises(InputError, match="task is empty"):
        framework(TEXTS, None, engine=engine)


@each
def test_several_cascades_need_a_name(framework: Framework, tmp_path: Path) -> None:
    """Where there is one, it is meant."""
    tree = tickets(tmp_path)
    with Engine(ScriptedBackend(says, frozenset()), {"tickets": tree, "more": tree}) as engine:
        with pytest.raises(InputError, match="2 cascades: tickets, more"):
            framework(TEXTS, "who waits?", engine=engine)
        assert framework(TEXTS, "who waits?", engine=engine, cascade="tickets")


@each
def test_an_error_of_the_engine_reaches_the_caller(framework: Framework, tmp_path: Path) -> None:
    """Nothing is kept or dropped unseen."""
    backend = ScriptedBackend(says, frozenset(), fail_at=0)
    with scripted(tmp_path, backend) as engine, pytest.raises(BackendError, match="Batch 0 fails"):
        framework(TEXTS, "who waits?", engine=engine)


def test_async_calls_keep_the_same(engine: Engine) -> None:
    """In both frameworks, with many calls at once."""
    compressor, postprocessor = CascadeCompressor(engine=engine), CascadePostprocessor(engine=engine)

    async def both() -> tuple[list[Any], list[Any]]:
        one = await asyncio.gather(*(compressor.acompress_documents(documents(TEXTS), "who?") for _ in range(5)))
        two = await asyncio.gather(
            *(postprocessor.apostprocess_nodes(nodes(TEXTS), query_str="who?") for _ in range(5))
        )
        return list(one), list(two)

    one, two = asyncio.run(both())
    assert all(found == list(compressor.compress_documents(documents(TEXTS), "who?")) for found in one)
    assert [[node.text for node in found] for found in two] == [[NOW, TODAY, REVIEW]] * 5


def test_what_was_given_is_not_changed(engine: Engine) -> None:
    """Kept documents and nodes are copies; a node's new metadata is shown to no model, and its score is its own."""
    given, had = documents(TEXTS), nodes(TEXTS)
    CascadeCompressor(engine=engine).compress_documents(given, "who?")
    assert given == documents(TEXTS)
    kept = CascadePostprocessor(engine=engine).postprocess_nodes(had, query_str="who?")
    assert not any("cascade" in node.metadata for node in had)
    assert [node.score for node in kept] == [0.5] * 3
    for mode in (MetadataMode.LLM, MetadataMode.EMBED):
        assert [one.get_content(mode) for one in kept] == [had[at].get_content(mode) for at in (0, 2, 3)]
    ordered = CascadePostprocessor(engine=engine, order="p").postprocess_nodes(had, query_str="who?")
    assert [node.score for node in ordered] == [0.95, 0.9, 0.4]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [CascadeCompressor, CascadePostprocessor])
def test_a_config_opens_an_engine_of_its_own(
    kind: type[CascadeCompressor | CascadePostprocessor], tmp_path: Path
) -> None:
    """With the real model; it is closed with the filter, and an engine that was given stays open."""
    config = write_config(tmp_path)
    with kind(config=config) as own:
        first = _asked(own)
    with pytest.raises(ClosedError):
        _asked(own)

    async def opened() -> list[str]:
        async with kind(config=config) as again:
            return _asked(again)

    assert asyncio.run(opened()) == first
    with Engine.open(config) as engine:
        for _ in range(2):
            with kind(engine=engine) as given:
                assert _asked(given) == first
    with pytest.raises(CascadeError, match="no label 'tomorrow'"):
        kind(config=config, labels=("tomorrow",))


def _asked(asked: CascadeCompressor | CascadePostprocessor) -> list[str]:
    if isinstance(asked, CascadeCompressor):
        return [one.page_content for one in asked.compress_documents(documents(TEXTS), "who waits?")]
    return [one.text for one in asked.postprocess_nodes(nodes(TEXTS), query_str="who waits?")]


def test_a_compressor_stands_behind_a_retriever(engine: Engine) -> None:
    """In a chain of LangChain's own, with a store of vectors."""
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    store.add_documents([Document(text, metadata={"n": at}) for at, text in enumerate(TEXTS)])
    retriever, compressor = store.as_retriever(search_kwargs={"k": 4}), CascadeCompressor(engine=engine, order="p")

    def found(query: str) -> list[Document]:
        return list(compressor.compress_documents(retriever.invoke(query), query))

    chain = RunnableLambda(found)
    assert [one.metadata["n"] for one in chain.invoke("who waits?")] == [2, 0, 3]


@pytest.mark.slow
def test_a_postprocessor_stands_in_a_query_engine(engine: Engine) -> None:
    """The answer's sources are what the cascade kept, in an index of LlamaIndex's own."""
    index = VectorStoreIndex([TextNode(text=text) for text in TEXTS], embed_model=MockEmbedding(embed_dim=4))
    asked = index.as_query_engine(
        llm=MockLLM(), similarity_top_k=4, node_postprocessors=[CascadePostprocessor(engine=engine, order="p")]
    )
    answer = asked.query("who waits?")
    sources: list[NodeWithScore] = answer.source_nodes
    assert [node.text for node in sources] == [TODAY, NOW, REVIEW]
    assert "'label': 'today'" not in str(answer)


@pytest.mark.slow
def test_the_package_loads_no_framework() -> None:
    """Neither ``cascade`` nor the shared filter does, and each adapter loads its own alone."""
    for module, wanted in (
        ("cascade", set()),
        ("cascade.integrations.filtering", set()),
        ("cascade.cli.program", set()),
        ("cascade.integrations.relevance", set()),
        ("cascade.integrations.bargain", {"BARGAIN"}),
        ("cascade.integrations.langchain", {"langchain_core"}),
        ("cascade.integrations.llama_index", {"llama_index"}),
    ):
        code = f"import sys, {module}; print(*{{'langchain_core', 'llama_index', 'mcp', 'BARGAIN'}} & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert set(done.stdout.split()) == wanted

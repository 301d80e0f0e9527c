"""The embedded backend's runner by hand: the real llama.cpp, without engine or threads."""

from __future__ import annotations

from collections.abc import Sequence

from cascade import Item, Task
from cascade.backends.base import Batch, Query, Stop
from cascade.backends.llama.native import ContextSize, NativeModel
from cascade.backends.llama.runner import LlamaRunner
from cascade.models.model_set import ModelSet
from cascade.probability import p_yes, softmax
from cascade.prompt import Node, PromptBuilder, prompt_format
from cascade.stages import BASE
from cascade.tree import Cascade

LARGE = ContextSize(n_ctx=4096, n_seq_max=128, n_batch=1024, n_threads=1)
SMALL = ContextSize(n_ctx=768, n_seq_max=10, n_batch=96, n_threads=1)


class AfterCalls(Stop):
    """Asks for the end when it is looked at for the n-th time; that is before each call."""

    def __init__(self, n_calls: int) -> None:
        super().__init__()
        self._left = n_calls

    @property
    def is_asked(self) -> bool:
        """Whether so many calls have been begun."""
        self._left -= 1
        return self._left < 0


class LeakyRunner(LlamaRunner):
    """The planted bug: KV of any adapter passes for any other's."""

    def prefix_adapter(self, adapter: str) -> str:
        """See ``LlamaRunner.prefix_adapter``."""
        return "any" if adapter != BASE else BASE

    def _activate(self, adapter: str) -> None:
        super()._activate(adapter if adapter != "any" else self._asked)

    def _score_chunk(self, queries: Sequence[Query], adapter: str) -> list[float]:
        self._asked = adapter
        return super()._score_chunk(queries, adapter)


class Rig:
    """A runner of its own, as the worker thread would own it.

    Args:
        models: The files.
        size: How large the context is; or a model that is open already.
        runner: What runs batches.
    """

    def __init__(
        self,
        models: ModelSet,
        size: ContextSize | NativeModel,
        runner: type[LlamaRunner] = LlamaRunner,
    ) -> None:
        self.native = size if isinstance(size, NativeModel) else NativeModel(models.model_path, size)
        for adapter in models.adapters.values():
            self.native.load_adapter(adapter.name, adapter.path, adapter.scale)
        form = prompt_format("embedded")
        self.builder = PromptBuilder(form, self.native.tokenizer)
        self.labels = self.builder.label_tokens()
        adapters = {name: adapter.info for name, adapter in models.adapters.items()}
        self.runner = runner(self.native, adapters, self.labels)

    def score(self, queries: Sequence[Query]) -> list[float]:
        """p(yes) of each query."""
        found: list[float] = p_yes(self.runner.score(Batch(tuple(queries))).logits).tolist()
        return found

    def values(self, queries: Sequence[Query]) -> list[list[float]]:
        """The distribution over the values of each query, all of which have labels."""
        scores = self.runner.score(Batch(tuple(queries)))
        return [softmax(scores.values[at]).tolist() for at in range(len(queries))]

    def cold(self, query: Query) -> float:
        """p(yes) of one query in an empty cache."""
        self.empty()
        (p,) = self.score([query])
        self.empty()
        return p

    def empty(self) -> None:
        """Forget everything."""
        self.runner.store.clear()
        self.native.clear()


def queries_of(rig: Rig, cascade: Cascade, task: Task, items: Sequence[Item]) -> dict[str, list[Query]]:
    """Every question to every item, by adapter."""
    root = rig.builder.task(cascade.instructions, cascade.questions(), task)
    groups: dict[object, Node] = {}
    found: dict[str, list[Query]] = {}
    for item in items:
        parent = groups.setdefault(item.group, rig.builder.group(root, item.group)) if item.group else root
        node = rig.builder.item(parent, item)
        for question in cascade.questions():
            query = Query(rig.builder.question(node, question.marker), question.adapter)
            found.setdefault(question.adapter, []).append(query)
    return found

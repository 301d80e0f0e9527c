"""A choice is answered by the logits of its label tokens at one position: the real llama.cpp with the shipped model.

"Cold" is the yardstick: the whole prompt decoded by hand in an empty cache, and the softmax over its label tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from cascade.backends.base import Batch, Query
from cascade.backends.llama.batch_rows import Rows, Run
from cascade.errors import DecodeError
from cascade.probability import p_yes, softmax
from cascade.prompt import Node
from cascade.stages import BASE, Question, Value
from tests.helpers.requests import symbols
from tests.helpers.rig import Rig

TOLERANCE = 2e-3  # logits of tokens that nobody trained are larger, and so is what the shape of a batch changes in them
COLOURS = tuple(Value(name) for name in ("red", "green", "blue", "primary", "none of them"))
WORDS = (Value("primary"), Value("supporting", "it is used"))
LEVELS = (Value("low"), Value("middling"), Value("high"))
ADAPTERS = {"base": BASE, "plain": "dependency", "activated": "primary"}


def _question(adapter: str, values: tuple[Value, ...], marker: str = "kind", *, is_scale: bool = False) -> Question:
    return Question(
        marker=marker, wording="which is it?", adapter=adapter, threshold=0.5, values=values, is_scale=is_scale
    )


def _queries(rig: Rig, question: Question, n: int, seed: int = 3) -> list[Query]:
    """One question put to some items of a task."""
    task, items = symbols(seed, n)
    root = rig.builder.task("What is it?", [question], task)
    groups: dict[object, Node] = {}
    nodes = [
        rig.builder.item(
            groups.setdefault(item.group, rig.builder.group(root, item.group)) if item.group else root, item
        )
        for item in items
    ]
    labels = rig.builder.labels(question)
    return [Query(rig.builder.question(node, question.marker), question.adapter, labels=labels) for node in nodes]


def _cold(rig: Rig, query: Query, labels: Sequence[int]) -> list[float]:
    """The softmax over label tokens behind a prompt decoded by hand; of an activated adapter the question alone."""
    rig.empty()
    start = query.node.start if rig.runner.prefix_adapter(query.adapter) == BASE else 0
    prompt = query.node.prompt
    rig.native.activate("")
    if start:
        rig.native.decode(Rows.of([Run(prompt[:start], 0, (0,))]), labels)
    rig.native.activate("" if query.adapter == BASE else query.adapter)
    (logits,) = rig.native.decode(Rows.of([Run(prompt[start:], start, (0,), is_output=True)]), labels)
    rig.empty()
    return [float(p) for p in softmax(logits)]


@pytest.mark.parametrize("kind", ADAPTERS)
@pytest.mark.parametrize(("values", "is_scale"), [(COLOURS, False), (WORDS, False), (LEVELS, True)])
def test_a_distribution_equals_the_softmax_over_a_cold_prompt(
    large: Rig, small: Rig, kind: str, values: tuple[Value, ...], *, is_scale: bool
) -> None:
    """In a batch and in chunks; letters, words and numbers; under base, plain and activated LoRA."""
    queries = _queries(large, _question(ADAPTERS[kind], values, is_scale=is_scale), 12)
    labels = queries[0].labels
    assert labels is not None
    together = large.values(queries)
    small.empty()
    in_chunks = small.values(queries)
    for at in range(0, len(queries), 4):
        cold = _cold(large, queries[at], labels.tokens)
        assert together[at] == pytest.approx(cold, abs=TOLERANCE)
        assert in_chunks[at] == pytest.approx(cold, abs=TOLERANCE)
    assert np.ptp(np.array(together), axis=0).max() > 5 * TOLERANCE  # items differ, so equal numbers mean something


@pytest.mark.parametrize("kind", ADAPTERS)
def test_yes_and_no_as_values_equal_the_yes_no_question(large: Rig, kind: str) -> None:
    """Prompt and answer are the same, whichever of the two stands first."""
    asked = _queries(large, _question(ADAPTERS[kind], ()), 6)
    p = large.score(asked)
    for names in (("yes", "no"), ("no", "yes")):
        chosen = _queries(large, _question(ADAPTERS[kind], tuple(map(Value, names))), 6)
        assert [query.node.prompt for query in chosen] == [query.node.prompt for query in asked]
        assert [own[names.index("yes")] for own in large.values(chosen)] == pytest.approx(p, abs=TOLERANCE / 10)


def test_questions_of_all_kinds_share_a_batch(large: Rig) -> None:
    """Yes/no, five values and three levels of one item in one batch are answered as each is alone."""
    kinds = [_question(BASE, values, f"kind{at}") for at, values in enumerate(((), COLOURS, LEVELS))]
    task, items = symbols(5, 4)
    root = large.builder.task("What is it?", kinds, task)
    nodes = [large.builder.item(root, item) for item in items]
    queries = [
        Query(large.builder.question(node, one.marker), BASE, labels=large.builder.labels(one))
        for node in nodes
        for one in kinds
    ]
    scores = large.runner.score(Batch(tuple(queries)))
    assert sorted(scores.values) == [at for at, query in enumerate(queries) if query.labels]
    for at, query in enumerate(queries):
        large.empty()
        alone = large.runner.score(Batch((query,)))
        assert float(p_yes(scores.logits[at])) == pytest.approx(float(p_yes(alone.logits[0])), abs=TOLERANCE)
        if query.labels:
            assert softmax(scores.values[at]) == pytest.approx(softmax(alone.values[0]), abs=TOLERANCE)


def test_label_tokens_that_do_not_exist_never_reach_llama_cpp(large: Rig) -> None:
    """One outside the vocabulary, a negative one and none at all are errors, and the model works on."""
    large.empty()
    rows = Rows.of([Run([1, 2], 0, (0,), is_output=True)])
    for labels in ((5, 6, large.native.tokenizer.n_vocab), (5, -1, 7), ()):
        with pytest.raises(DecodeError, match="label token"):
            large.native.decode(rows, labels)
    assert large.native.decode(rows, (5, 6, 7, 8)).shape == (1, 4)
    large.empty()

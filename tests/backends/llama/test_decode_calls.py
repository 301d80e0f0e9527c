"""Decode calls of a whole trie: every token once, in the right sequences, after the forks that it needs."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.backends.llama.decode_calls import Stretch, calls
from cascade.backends.llama.kv_cache import Entry, KVStore
from cascade.prompt import Node, Segment


def _stretches(groups: list[list[int]], prefix: int, n_known: int) -> list[Stretch]:
    """A task, groups and items of given lengths, the first ``n_known`` nodes being there already."""
    store = KVStore(100_000, 256)
    task = Node(None, Segment.TASK, tuple(range(prefix)))
    nodes = [task]
    for sizes in groups:
        group = Node(task, Segment.GROUP, (1, 2, 3))
        nodes += [group, *(Node(group, Segment.ITEM, tuple(range(size))) for size in sizes)]
    entries = [store.add(node, "a") for node in nodes]
    return [Stretch(entry, entry.node.tokens, entry.node.start, is_output=True) for entry in entries[n_known:]]


TRIES = st.builds(
    _stretches,
    st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=6), min_size=1, max_size=5),
    st.integers(1, 60),
    st.integers(0, 1),
)


@settings(max_examples=100, derandomize=True, deadline=None)
@given(TRIES, st.integers(1, 200))
def test_every_sequence_sees_its_whole_path_in_order(stretches: list[Stretch], n_batch: int) -> None:
    """Replayed on a model of the cache, each node's sequence holds exactly its path, each token computed once."""
    known = {stretch.entry for stretch in stretches}
    cache: dict[int, dict[int, tuple[Node, int]]] = {}  # sequence -> position -> which token was computed there
    for stretch in stretches:
        above = stretch.entry.parent
        if above is not None and above not in known:
            cache[above.sequence] = {at: (above.node, at) for at in range(above.node.end)}
    n_computed = 0
    for call in calls(stretches, n_batch):
        assert 0 < sum(len(run.tokens) for run in call.runs) <= n_batch
        for fork in call.forks:
            held = cache.get(fork.source, {})
            cache[fork.target] = {at: token for at, token in held.items() if at < fork.end}
        begun = {sequence: len(cache.get(sequence, {})) for run in call.runs for sequence in run.sequences}
        for run in call.runs:
            # llama.cpp's rule: sequences that share a token hold the same cells when the call begins.
            assert len({begun[sequence] for sequence in run.sequences}) == 1
            n_computed += len(run.tokens)
            owner = next(stretch.entry for stretch in stretches if stretch.entry.sequence == run.sequences[0])
            for sequence in run.sequences:
                held = cache.setdefault(sequence, {})
                for offset in range(len(run.tokens)):
                    assert run.start + offset == len(held), "positions follow each other"
                    held[run.start + offset] = (owner.node, run.start + offset)
    assert n_computed == sum(len(stretch.tokens) for stretch in stretches)
    for stretch in stretches:
        node = stretch.entry.node
        expected = [(part, at) for part in node.path for at in range(part.start, part.end)]
        assert list(cache[stretch.entry.sequence].values()) == expected


@settings(max_examples=50, derandomize=True, deadline=None)
@given(TRIES, st.integers(1, 200))
def test_calls_are_as_few_as_can_be_and_of_equal_length(stretches: list[Stretch], n_batch: int) -> None:
    """No short call is left over at the end, and each stretch has its output once, at its last token."""
    found = list(calls(stretches, n_batch))
    lengths = [sum(len(run.tokens) for run in call.runs) for call in found]
    total = sum(lengths)
    assert len(found) <= -(-total // n_batch)
    assert lengths[:-1] == [max(lengths)] * (len(lengths) - 1)
    outputs = [run.sequences[0] for call in found for run in call.runs if run.is_output]
    assert outputs == [stretch.entry.sequence for stretch in stretches]


def test_nothing_to_compute_is_no_call() -> None:
    """No stretches, no calls."""
    assert list(calls([], 8)) == []


def test_an_entry_without_a_parent_forks_nothing() -> None:
    """A task begins in an empty sequence."""
    entry = Entry(Node(None, Segment.TASK, (1, 2)), "a", 0, None)
    (call,) = calls([Stretch(entry, (1, 2), 0)], 8)
    assert call.forks == ()
    assert call.runs[0].sequences == [0]

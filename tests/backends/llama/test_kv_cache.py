"""The cache's book-keeping: room, eviction, prefix adapter."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.backends.llama.kv_cache import KVStore, chunks
from cascade.prompt import Node, Segment


def _node(parent: Node | None, n_tokens: int) -> Node:
    return Node(parent, Segment.ITEM, tuple(range(n_tokens)))


def test_a_node_is_found_only_in_its_own_prefix_adapter() -> None:
    """KV that one adapter computed is not there for another."""
    store = KVStore(100, 4)
    node = _node(None, 10)
    store.add(node, "a")
    assert store.find(node, "a") is not None
    assert store.find(node, "b") is None


def test_the_longest_unwanted_leaf_makes_room() -> None:
    """Eviction takes leaves in the order in which they were last wanted."""
    store = KVStore(100, 8)
    root = _node(None, 10)
    store.add(root, "a")
    nodes = [_node(root, 20) for _ in range(4)]
    for node in nodes:
        store.add(node, "a")
    store.find(nodes[0], "a")
    gone = list(store.make_room(25, 1, set()))
    assert [entry.node for entry in gone] == [nodes[1]]
    assert store.find(nodes[0], "a") is not None


def test_a_parent_outlives_its_children() -> None:
    """A node with children is never evicted before them."""
    store = KVStore(60, 8)
    root = _node(None, 10)
    store.add(root, "a")
    store.add(_node(root, 20), "a")
    gone = list(store.make_room(60, 1, set()))
    assert [len(entry.node.path) for entry in gone] == [2, 1]


def test_release_drops_everything_below_in_all_prefix_adapters() -> None:
    """Releasing a task frees its groups and items under every adapter."""
    store = KVStore(1_000, 16)
    root, other = _node(None, 10), _node(None, 10)
    for prefix_adapter in ("a", "b"):
        store.add(root, prefix_adapter)
        store.add(_node(root, 5), prefix_adapter)
    store.add(other, "a")
    assert len(store.release([root])) == 4
    assert len(store) == 1
    assert store.cells_used == 10
    assert store.sequences_free == 15


@settings(max_examples=60, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 30)), max_size=60), st.integers(120, 400), st.integers(6, 20)
)
def test_cells_and_sequences_never_leak(script: list[tuple[int, int]], n_cells: int, n_sequences: int) -> None:
    """Whatever is added, evicted and released, the counts are those of the entries that are left."""
    store = KVStore(n_cells, n_sequences)
    roots = [_node(None, 10) for _ in range(2)]
    for action, size in script:
        if action == 3:
            store.release([roots[size % 2]])
            continue
        prefix_adapter = "ab"[action % 2]
        node = _node(roots[size % 2], size)
        present = store.find(roots[size % 2], prefix_adapter)
        needed = size + (0 if present else 10)
        list(store.make_room(needed, 2, {present} if present else set()))
        if not store.find(roots[size % 2], prefix_adapter):
            store.add(roots[size % 2], prefix_adapter)
        store.add(node, prefix_adapter)
        assert 0 <= store.cells_used <= n_cells
        assert store.sequences_free == n_sequences - len(store)
    store.release(roots)
    assert (store.cells_used, store.sequences_free, len(store)) == (0, n_sequences, 0)


@settings(max_examples=60, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40)), min_size=1, max_size=40))
def test_chunks_cover_every_prompt_once_and_fit(sizes: list[tuple[int, int]]) -> None:
    """Chunks are a partition in order, and each fits into the cache, a lone prompt aside."""
    root = _node(None, 10)
    groups = [_node(root, 5) for _ in range(3)]
    paths = [(root, groups[group], _node(groups[group], size)) for group, size in sizes]
    found = list(chunks(paths, [4] * len(paths), 100, 8))
    assert [at for chunk in found for at in range(chunk.start, chunk.stop)] == list(range(len(paths)))
    for chunk in found:
        nodes = {node for path in paths[chunk] for node in path}
        cells = sum(len(node.tokens) for node in nodes) + 4 * len(paths[chunk])
        assert cells <= 100
        assert len(nodes) <= 8

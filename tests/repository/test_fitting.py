"""Which files fit into a token budget."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from cascade.repository.fitting import fitting, n_tokens, tokens_of


def test_sizes_are_those_of_the_files(tmp_path: Path) -> None:
    """Four bytes are a token, a part of one counts whole, and a file that is gone has none."""
    (tmp_path / "a.py").write_bytes(b"x" * 9)
    assert tokens_of(tmp_path, ["a.py", "gone.py"]) == {"a.py": 3, "gone.py": 0}
    assert n_tokens(0) == 0


@given(st.lists(st.integers(0, 50), max_size=12), st.integers(0, 100))
def test_what_is_taken_fits_and_what_is_left_does_not(sizes: list[int], most: int) -> None:
    """The room is never exceeded, and each file that is left was too large for what was left then."""
    order = [str(at) for at in range(len(sizes))]
    known = dict(zip(order, sizes, strict=True))
    taken = fitting(order, known, most)
    assert sum(known[name] for name in taken) <= most
    for at, name in enumerate(order):
        before = sum(known[one] for one in taken if int(one) < at)
        assert (name in taken) == (before + known[name] <= most)

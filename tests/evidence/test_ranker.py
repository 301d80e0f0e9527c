"""The ranker: a network in a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cascade.evidence.own import own_corpus
from cascade.evidence.ranker import Network, Ranker, shipped_ranker
from cascade.evidence.signals import Signals
from cascade.evidence.task_terms import TaskTerms
from cascade.evidence.ties import Ties
from cascade.items import Item
from tests.helpers.ranker import BIAS, network, simple_ranker


def drawn(seed: int) -> Network:
    """A network of three members with four signals, five and six hidden units and two outputs."""
    rng = np.random.default_rng(seed)
    shapes = {
        "mean": (4,),
        "scale": (4,),
        "first": (3, 5, 5),
        "second": (3, 6, 6),
        "last": (3, 7, 2),
        "direct": (3, 4, 2),
    }
    parts: dict[str, Any] = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return Network(signals=("a", "b", "c", "d"), **parts | {"scale": np.abs(parts["scale"]) + 0.5})


def test_log_odds_are_those_of_the_formula() -> None:
    """Two hidden layers beside a linear model, averaged over the members; far signals are cut."""
    net, rng = drawn(1), np.random.default_rng(2)
    columns = {name: rng.normal(scale=9, size=8) for name in net.signals}
    x = np.clip((np.stack([columns[name] for name in net.signals], 1) - net.mean) / net.scale, -4, 4)

    def layer(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.asarray(values @ weights[:-1] + weights[-1])

    def silu(values: np.ndarray) -> np.ndarray:
        return np.asarray(values / (1 + np.exp(-values)))

    members = [
        layer(silu(layer(silu(layer(x, net.first[k])), net.second[k])), net.last[k]) + x @ net.direct[k]
        for k in range(3)
    ]
    assert net.log_odds(columns) == pytest.approx(np.mean(members, 0), rel=1e-4, abs=1e-4)
    assert net.log_odds(columns, [5, 2]) == pytest.approx(net.log_odds(columns)[[5, 2]], rel=1e-5)
    assert net.log_odds({name: values[:0] for name, values in columns.items()}).shape == (0, 2)


def test_a_simple_network_is_a_weighted_sum() -> None:
    """That of the tests says what its weights say."""
    net = network({"a": (2.0, 1.0), "b": (1.0, 0.0)}, 2)
    assert net.log_odds({"a": np.array([1.0]), "b": np.array([3.0])}).tolist() == [[BIAS + 5, BIAS + 1]]


def test_a_ranker_comes_back_from_its_file(tmp_path: Path) -> None:
    """To the last bit, from a path and from an open file."""
    ranker = simple_ranker()
    ranker.save(tmp_path / "ranker.npz")
    for again in (
        Ranker.load(tmp_path / "ranker.npz"),
        Ranker.load(io.BytesIO((tmp_path / "ranker.npz").read_bytes())),
    ):
        for one, other in ((again.symbols, ranker.symbols), (again.files, ranker.files)):
            assert one.signals == other.signals
            assert all(np.array_equal(getattr(one, part), getattr(other, part)) for part in ("mean", "last", "direct"))


def test_a_file_that_is_no_ranker_is_refused(tmp_path: Path) -> None:
    """A missing part, layers that do not fit, another array, a damaged or an empty file."""
    path = tmp_path / "ranker.npz"
    simple_ranker().save(path)
    whole, arrays = path.read_bytes(), dict(np.load(path))
    damaged = whole[:200] + bytes([whole[200] ^ 255]) + whole[201:]
    files = [b"", b"no ranker", whole[:-30], damaged]
    for change in ({"symbols.mean": np.zeros(9)}, {"files.last": np.zeros((2, 1, 2))}, {"symbols.first": np.zeros(3)}):
        np.savez(path, **arrays | change)
        files.append(path.read_bytes())
    np.savez(path, **{name: array for name, array in arrays.items() if name != "files.direct"})
    files.append(path.read_bytes())
    np.save(path.with_suffix(".npy"), np.zeros(3))
    files.append(path.with_suffix(".npy").read_bytes())
    for content in files:
        with pytest.raises(ValueError, match=r"."):
            Ranker.load(io.BytesIO(content))


def test_the_shipped_ranker_reads_signals_that_there_are() -> None:
    """Every signal that it was trained on is made, of symbols and of files."""
    signals = Signals(own_corpus([Item(id="1", name="parse")]), TaskTerms("parse"), Ties())
    ranker = shipped_ranker()
    assert ranker.symbols.log_odds(signals.symbols).shape == (1, 2)
    assert ranker.files.log_odds(signals.files).shape == (1, 1)

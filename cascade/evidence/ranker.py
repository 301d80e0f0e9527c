"""The ranker: a small network that says from signals how likely a symbol or a file matters. Pure numpy."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from cascade.evidence.signals import Columns
from cascade.probability import Array

_FILE = "ranker.npz"
_MOST = 4.0  # standard deviations beyond which a signal is cut
Weights = NDArray[np.float32]


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Network:
    """Two hidden layers beside a linear model, k of them averaged; s signals, h and g hidden units, o outputs.

    Attributes:
        signals: Names of the signals, in order.
        mean: What is taken from each; (s,).
        scale: What each is divided by; (s,).
        first: Weights and biases of the first layer; (k, s + 1, h).
        second: Of the second; (k, h + 1, g).
        last: Of the outputs; (k, g + 1, o).
        direct: Of the linear model; (k, s, o).
    """

    signals: tuple[str, ...]
    mean: Weights
    scale: Weights
    first: Weights
    second: Weights
    last: Weights
    direct: Weights

    def log_odds(self, signals: Columns, chosen: Sequence[int] | NDArray[np.int64] | None = None) -> Array:
        """The outputs for the rows of some columns, or some of the rows; (n, o)."""
        columns = [signals[name] if chosen is None else signals[name][chosen] for name in self.signals]
        x = np.stack(columns, axis=1).astype(np.float32)
        x = np.clip((x - self.mean) / self.scale, -_MOST, _MOST)
        hidden = _silu(_affine(x[None], self.first))
        hidden = _silu(_affine(hidden, self.second))
        found: Array = (_affine(hidden, self.last) + x[None] @ self.direct).mean(axis=0).astype(np.float64)
        return found


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Ranker:
    """What is learned about signals.

    Attributes:
        symbols: Log odds that a symbol matters, and that it must be changed if it does; (n, 2).
        files: Log odds that a file matters; (f, 1).
    """

    symbols: Network
    files: Network

    @classmethod
    def load(cls, source: Path | IO[bytes]) -> Ranker:
        """A ranker from its file.

        Raises:
            ValueError: The file holds none.
        """
        try:
            arrays = dict(np.load(source, allow_pickle=False))
            return cls(symbols=_network(arrays, "symbols", 2), files=_network(arrays, "files", 1))
        except (KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
            msg = f"no ranker: {error}"
            raise ValueError(msg) from error

    def save(self, path: Path) -> None:
        """Writes it as a file that ``load`` reads back."""
        arrays: dict[str, Any] = {
            f"{kind}.{name}": np.asarray(getattr(network, name))
            for kind, network in (("symbols", self.symbols), ("files", self.files))
            for name in Network.__dataclass_fields__
        }
        np.savez_compressed(path, **arrays)


def log_p_changes(odds: Array) -> Array:
    """Logarithm of P that each symbol matters and must be changed, from the ranker's log odds; (n, 2) -> (n,)."""
    return np.asarray(-np.logaddexp(0, -odds).sum(axis=1))


@cache
def shipped_ranker() -> Ranker:
    """The ranker that the shipped adapters were trained with."""
    shipped = files("cascade") / "shipped" / _FILE
    if shipped.is_file():
        with shipped.open("rb") as source:
            return Ranker.load(source)
    return Ranker.load(Path(__file__).parents[2] / "adapters" / _FILE)


def _network(arrays: Mapping[str, NDArray[Any]], kind: str, n_outputs: int) -> Network:
    """The network of a kind.

    Raises:
        KeyError: A part is missing.
        ValueError: The parts do not fit together.
    """
    found: dict[str, Any] = {name: arrays[f"{kind}.{name}"] for name in Network.__dataclass_fields__}
    s, (k, _, h), (_, _, g) = len(found["signals"]), found["first"].shape, found["second"].shape
    shapes = {
        "signals": (s,), "mean": (s,), "scale": (s,), "first": (k, s + 1, h), "second": (k, h + 1, g),
        "last": (k, g + 1, n_outputs), "direct": (k, s, n_outputs),
    }  # fmt: skip
    if any(found[name].shape != shape for name, shape in shapes.items()):
        msg = f"no ranker: the layers of {kind} do not fit together"
        raise ValueError(msg)
    return Network(**found | {"signals": tuple(map(str, found["signals"].tolist()))})


def _affine(x: Weights, weights: Weights) -> Weights:
    """Layer of k networks; (k or 1, n, i) and (k, i + 1, j) -> (k, n, j)."""
    found: Weights = x @ weights[:, :-1] + weights[:, -1:]
    return found


def _silu(x: Weights) -> Weights:
    found: Weights = x / (1 + np.exp(-np.clip(x, -60, 60)))
    return found

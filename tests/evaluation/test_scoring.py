"""Files of scores: what is none, or damaged, is refused, and nothing in one is ever run."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cascade.errors import InputError
from cascade.evaluation.features import FeatureTable
from cascade.evaluation.scored import ScoredTasks
from cascade.evaluation.scoring import load_scores, save_scores, scores_origin
from cascade.report import Origin
from tests.helpers.shipped import CASCADES

CASCADE = CASCADES["precision"]
ORIGIN = Origin(model="m", adapters={"relevant": "r"}, data="d", questions="q")
N = 40
SCORED = ScoredTasks(
    tasks=np.arange(N) // 4,
    labels=np.arange(N) % len(CASCADE.labels),
    p={(stage.name, ""): np.linspace(0, 1, N) for stage in CASCADE.stages},
    n_tasks=N // 4,
    slices={"kind": np.array(["function"] * N)},
    priors=np.full(N, np.nan),
    features=FeatureTable(names=("seed",), counts=np.ones((N, 1), np.uint8)),
)
HEAD: dict[str, Any] = {"origin": asdict(ORIGIN), "keys": list(SCORED.p), "n_tasks": N // 4, "features": ["seed"]}


class _Trap:
    """What a pickle of it would do."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("trapped",)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of scores, in the folder where a trap would leave its trace."""
    monkeypatch.chdir(tmp_path)
    save_scores(SCORED, ORIGIN, tmp_path / "scores.npz")
    return tmp_path / "scores.npz"


def _refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for read in (scores_origin, lambda file: load_scores(file, ORIGIN), lambda file: load_scores(file, None)):
        with pytest.raises(InputError, match="holds no scores"):
            read(path)


def _packed(**arrays: object) -> bytes:
    packed = io.BytesIO()
    np.savez(packed, **arrays)  # type: ignore[arg-type]  # whatever a foreign file may hold
    return packed.getvalue()


def test_scores_come_back_as_they_were(path: Path) -> None:
    """What was kept fits its cascade, and is read with what it was made from."""
    found = load_scores(path, ORIGIN)
    assert found is not None
    assert found.fits(CASCADE)
    assert scores_origin(path) == ORIGIN
    assert load_scores(path, replace(ORIGIN, model="other")) is None
    assert load_scores(path / "below", ORIGIN) is None


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_breaks_off_is_refused(path: Path, share: float) -> None:
    """However much of it is there."""
    whole = path.read_bytes()
    _refused(path, whole[: int(share * len(whole))])


@pytest.mark.slow
def test_a_file_with_a_flipped_byte_is_refused_or_the_same(path: Path) -> None:
    """No single byte of it makes another error, or other scores."""
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            found = load_scores(path, None)
        except InputError:
            continue
        assert found is None or found.fits(CASCADE)


@pytest.mark.parametrize(
    "head",
    [
        "",
        "{}",
        "[" * 100_000,
        json.dumps(HEAD | {"origin": [1]}),
        json.dumps(HEAD | {"origin": asdict(ORIGIN) | {"adapters": ["relevant"]}}),
        json.dumps(HEAD | {"origin": asdict(ORIGIN) | {"model": 5}}),
        json.dumps(HEAD | {"keys": []}),
        json.dumps(HEAD | {"keys": [["relevant"]]}),
        json.dumps(HEAD | {"n_tasks": "10"}).replace('"10"', "1" * 5_000),
        json.dumps(HEAD | {"n_tasks": -1}),
        json.dumps(HEAD | {"n_tasks": 2**62}),
    ],
)
def test_a_head_of_another_form_is_refused(path: Path, head: str) -> None:
    """What says of the arrays what they are is checked before they are read."""
    _refused(path, _packed(head=np.array(head)))


def test_members_that_are_no_arrays_are_refused(path: Path) -> None:
    """One that does not begin like an array, or whose form is written wrongly, is refused by the file's name."""
    with np.load(path) as arrays:
        kept = {name: arrays[name] for name in arrays}
    for damaged in (b"bytes", b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f8', ("):
        with zipfile.ZipFile(path, "w") as archive:
            for name, array in kept.items():
                member = io.BytesIO()
                np.save(member, array)
                archive.writestr(f"{name}.npy", damaged if name == "labels" else member.getvalue())
        with pytest.raises(InputError, match="holds no scores"):
            load_scores(path, ORIGIN)


def test_pickles_are_never_read(path: Path) -> None:
    """An array of objects is refused, whatever it would do."""
    trap = np.array(_Trap(), dtype=object)
    _refused(path, _packed(head=trap))
    path.write_bytes(_packed(head=np.array(json.dumps(HEAD)), tasks=trap, labels=trap, scores=trap))
    with pytest.raises(InputError, match="holds no scores"):
        load_scores(path, ORIGIN)
    assert not Path("trapped").exists()


def test_other_archives_are_refused(path: Path) -> None:
    """A single array, an archive without arrays, or one whose array would not fit into memory."""
    single = io.BytesIO()
    np.save(single, np.zeros(3))
    _refused(path, single.getvalue())
    vast = b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (%d,)}" % 10**17
    for content in (b"no array", vast):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("head.npy", content.ljust(127) + b"\n")
        _refused(path, packed.getvalue())


@pytest.mark.parametrize(
    "change",
    [
        {"tasks": SCORED.tasks + 1},
        {"tasks": SCORED.tasks - 1},
        {"tasks": SCORED.tasks - 1, "n_tasks": 2**62},
        {"tasks": SCORED.tasks[:-1]},
        {"tasks": SCORED.tasks.astype(float)},
        {"labels": SCORED.labels + 1},
        {"labels": SCORED.labels[:, None]},
        {"p": {key: values for key, values in SCORED.p.items() if key != ("relevant", "")}},
        {"p": {key: values + 0.5 for key, values in SCORED.p.items()}},
        {"p": {key: values[1:] for key, values in SCORED.p.items()}},
        {"p": {key: values.astype(str) for key, values in SCORED.p.items()}},
        {"slices": {"kind": np.array(["function"])}},
        {"slices": {"kind": np.zeros(N)}},
        {"priors": np.full(N, 2.0)},
        {"priors": np.zeros(3)},
        {"features": FeatureTable(names=("a", "b"), counts=np.ones((N, 1), np.uint8))},
    ],
)
def test_arrays_that_do_not_fit_together_are_told(change: dict[str, Any]) -> None:
    """Wrong lengths, types and ranges, and questions that the cascade does not ask."""
    assert not replace(SCORED, **change).fits(CASCADE)

"""Adapters that change while requests run: every answer is that of an engine that never changes, to the last bit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cascade import Engine, Item, Task
from cascade.backends.base import BackendInfo, Batch, Scores, Stop
from cascade.backends.llama.backend import LlamaBackend
from cascade.backends.llama.native import ContextSize
from cascade.backends.swapping import Prepared
from cascade.engine.admission import Rules
from cascade.engine.settings import EngineSettings
from cascade.errors import ModelFileError
from cascade.models.model_set import ModelSet, load_model_set
from cascade.prompt import Node, prompt_format
from cascade.report import Report
from cascade.tree import Cascade
from tests.helpers.gguf_files import write_filled, write_plain
from tests.helpers.requests import files, symbols
from tests.helpers.shipped import CASCADES, SHIPPED

pytestmark = pytest.mark.slow

SIZE = ContextSize(n_ctx=512, n_seq_max=16, n_batch=256, n_threads=1)
"""So small that a request takes many batches, between which adapters may change."""

TOLERANCE = 5e-3
"""Of p(yes), where the same tokens are computed in other company."""

NEW = {"relevant": "primary", "primary": "supporting", "supporting": "relevant", "dependency": "metadata",
       "co_change": "dependency", "metadata": "co_change"}  # fmt: skip
"""Adapter -> the one whose file it is to have."""

Requests = Mapping[str, tuple[Task, Sequence[Item]]]
REQUESTS: Requests = {"precision": symbols(3, 40), "scope": files(4, 40)}
ASKED = {name: CASCADES[name] for name in REQUESTS}


@dataclass
class Watched:
    """A backend around another, which lets a change go on where it has begun.

    Attributes:
        inner: What computes.
        most: Most adapters that were loaded at once, with the base model.
        holds: Whether batches wait for a change that has begun.
    """

    inner: LlamaBackend
    most: int = 0
    holds: bool = False

    def __post_init__(self) -> None:
        self.at_batch: Callable[[], None] | None = None
        self.is_prepared, self.is_loaded, self.is_live = (threading.Event() for _ in range(3))

    @property
    def info(self) -> BackendInfo:
        """See ``Backend.info``."""
        return self.inner.info

    async def score(self, batch: Batch, stop: Stop) -> Scores:
        """See ``Backend.score``."""
        if self.at_batch is not None:
            begin, self.at_batch = self.at_batch, None
            begin()
            await asyncio.to_thread(self.is_prepared.wait, 30)
        elif self.holds and self.is_loaded.is_set():
            await asyncio.to_thread(self.is_live.wait, 30)
        elif self.holds and self.is_prepared.is_set():
            await asyncio.sleep(0.05)  # for the change to be handed over, which is made after this batch
        return await self.inner.score(batch, stop)

    def release(self, nodes: Iterable[Node], prefix_adapter: str | None = None) -> None:
        """See ``Backend.release``."""
        self.inner.release(nodes, prefix_adapter)

    def check_markers(self, cascade: Cascade, keys: Mapping[str, str]) -> None:
        """See ``SwappingBackend.check_markers``."""
        self.inner.check_markers(cascade, keys)

    def prepare(self, name: str, path: Path, scale: float) -> Prepared:
        """See ``SwappingBackend.prepare``."""
        prepared = self.inner.prepare(name, path, scale)

        async def load(key: str) -> None:
            await prepared.load(key)
            self.most = max(self.most, len(self.info.prefix_adapters))
            self.is_loaded.set()

        self.is_prepared.set()
        return replace(prepared, load=load)

    async def unload(self, key: str) -> None:
        """See ``SwappingBackend.unload``."""
        await self.inner.unload(key)

    async def close(self) -> None:
        """See ``Backend.close``."""
        await self.inner.close()


def _models(folder: Path, *, is_plain: bool) -> tuple[ModelSet, dict[str, Path]]:
    """The shipped adapters, and the files that each is to have."""
    models = load_model_set(SHIPPED)
    paths = {name: models.adapters[name].path for name in NEW}
    if is_plain:
        paths = {name: write_plain(path, folder / f"{name}.gguf") for name, path in paths.items()}
    adapters = {name: models.read_adapter(name, path, 1.0) for name, path in paths.items()}
    return replace(models, adapters=adapters), {name: paths[other] for name, other in NEW.items()}


def _open(models: ModelSet) -> tuple[Engine, Watched]:
    watched = Watched(LlamaBackend.open(models, prompt_format("embedded"), SIZE))
    rules = Rules(asks_ahead=False)  # or what is asked together would depend on how long things took
    return Engine(watched, ASKED, settings=EngineSettings(rules=rules)), watched


def _answers(report: Report) -> list[tuple[object, ...]]:
    return [(each.id, each.label, each.steps) for each in report.decisions]


def _swap_within(engine: Engine, watched: Watched, cascade: str, name: str, path: Path) -> Report:
    """A request in the midst of which an adapter gets another file; both have begun before either has ended."""
    task, items = REQUESTS[cascade]
    for event in (watched.is_prepared, watched.is_loaded, watched.is_live):
        event.clear()
    n_decided = 0

    def change() -> None:
        nonlocal n_decided
        engine.swap_adapter(name, path)
        n_decided = len(decided)
        watched.is_live.set()

    decided: list[str] = []
    changing = threading.Thread(target=change)
    watched.at_batch, watched.holds = changing.start, True
    report = engine.classify(task, items, cascade, budget=None, on_decision=lambda each: decided.append(each.id))
    changing.join()
    watched.holds = False
    assert watched.is_live.is_set()
    assert n_decided < len(items), "the change came after the request"
    return report


@pytest.mark.parametrize("is_plain", [False, True], ids=["activated", "plain"])
@pytest.mark.parametrize("name", sorted(NEW))
def test_a_swap_within_a_request_changes_no_bit(tmp_path: Path, name: str, *, is_plain: bool) -> None:
    """The request that runs is answered as if nothing had changed, the next as if it had always been so, and back."""
    models, new = _models(tmp_path, is_plain=is_plain)
    cascade = next(each.name for each in ASKED.values() if name in each.adapters())
    changed = replace(models, adapters={**models.adapters, name: models.read_adapter(name, new[name], 1.0)})
    truth = []
    for each in (models, changed):
        engine, _ = _open(each)
        with engine:
            truth.append(engine.classify(*REQUESTS[cascade], cascade, budget=None))
    old, now = truth
    assert _answers(old) != _answers(now)
    engine, watched = _open(models)
    with engine:
        first = _swap_within(engine, watched, cascade, name, new[name])
        second = engine.classify(*REQUESTS[cascade], cascade, budget=None)
        third = _swap_within(engine, watched, cascade, name, models.adapters[name].path)
        last = engine.classify(*REQUESTS[cascade], cascade, budget=None)
        usage = watched.inner.usage()
        loaded = watched.info
    for report, due in ((first, old), (second, now), (third, now), (last, old)):
        assert _answers(report) == _answers(due)
        assert report.provenance == due.provenance
    assert (usage.nodes, usage.cells, usage.sequences) == (0, 0, 0)
    assert watched.most <= len(models.adapters) + 2  # the base model, and one adapter more than are live
    assert len(loaded.prefix_adapters) == len(models.adapters) + 1


@pytest.mark.parametrize("is_plain", [False, True], ids=["activated", "plain"])
def test_requests_of_both_sides_run_at_once(tmp_path: Path, *, is_plain: bool) -> None:
    """Requests before and after several swaps share batches and cache, and each has the answers of its own side."""
    models, new = _models(tmp_path, is_plain=is_plain)
    names = ("relevant", "primary", "relevant", "supporting")
    sets = [models]
    for at, name in enumerate(names):
        path = new[name] if names[:at].count(name) % 2 == 0 else models.adapters[name].path
        adapters = {**sets[-1].adapters, name: models.read_adapter(name, path, 1.0)}
        sets.append(replace(models, adapters=adapters))
    task, items = REQUESTS["precision"]
    truth = []
    for each in sets:
        engine, _ = _open(each)
        with engine:
            truth.append(engine.score(task, items, "precision"))

    async def all_at_once() -> list[Report]:
        engine, _ = _open(models)
        async with engine:
            running = [asyncio.ensure_future(engine.ascore(task, items, "precision"))]
            for at, name in enumerate(names):
                # A swap waits for requests of the side before the live one, so never more than two sides are open.
                await engine.aswap_adapter(name, sets[at + 1].adapters[name].path)
                running += [asyncio.ensure_future(engine.ascore(task, items, "precision")) for _ in range(2)]
                await asyncio.sleep(0)
            return [await each for each in running]

    reports = asyncio.run(all_at_once())
    hashes = [{name: each.adapters[name].sha256 for name in reports[0].provenance.adapters} for each in sets]
    for report, side in zip(reports, (0, 1, 1, 2, 2, 3, 3, 4, 4), strict=True):
        assert report.provenance.adapters == hashes[side]
        found = [[step.p_yes for step in decision.steps] for decision in report.decisions]
        due = [[step.p_yes for step in steps] for steps in truth[side]]
        assert found == [pytest.approx(each, abs=TOLERANCE) for each in due]


@pytest.mark.parametrize("fault", ["missing", "nan", "cut"])
def test_a_file_that_cannot_be_loaded_changes_nothing(tmp_path: Path, fault: str) -> None:
    """The error names the adapter, nothing stays loaded, and requests are answered as before."""
    models, _ = _models(tmp_path, is_plain=False)
    sound = models.adapters["relevant"].path
    bad = tmp_path / "bad.gguf"
    if fault == "nan":
        write_filled(sound, bad, float("nan"))
    elif fault == "cut":
        bad.write_bytes(sound.read_bytes()[:-1000])
    engine, watched = _open(models)
    with engine:
        before = engine.classify(*REQUESTS["precision"], budget=None)
        with pytest.raises(ModelFileError, match=r"adapters\.relevant: "):
            engine.swap_adapter("relevant", bad)
        assert _answers(engine.classify(*REQUESTS["precision"], budget=None)) == _answers(before)
        assert len(watched.info.prefix_adapters) == len(models.adapters) + 1


def test_the_same_file_is_no_change(tmp_path: Path) -> None:
    """A file that is live already is not loaded again, under whatever path; another scale is a change."""
    models, _ = _models(tmp_path, is_plain=False)
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(models.adapters["relevant"].path.read_bytes())
    engine, watched = _open(models)
    with engine:
        assert not engine.swap_adapter("relevant", copy).is_change
        assert watched.most == 0
        assert set(engine.swap_adapter("relevant", copy, scale=0.5).adapters) == {"relevant"}
        assert engine.info.main.scales["relevant"] == 0.5

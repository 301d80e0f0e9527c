"""A cascade over ``cascade serve``, asked in either format, says what it says in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cascade import Engine
from cascade.service.metrics import Metrics
from tests.helpers.remote import TOLERANCE, local_config, remote_config, reports, scores
from tests.helpers.requests import symbols
from tests.helpers.service import serving

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, str]]:
    """An engine with the model in this process, and the address of its service."""
    metrics = Metrics()
    config = local_config(tmp_path_factory.mktemp("own"))
    with Engine.open(config, observers=(metrics,)) as engine, serving(engine, metrics) as url:
        yield engine, url


@pytest.mark.parametrize("kind", ["systemone", "decisions"])
def test_labels_and_scores_through_our_own_service_are_those_of_this_process(
    kind: str, own: tuple[Engine, str], tmp_path: Path
) -> None:
    """Labels of all cascades, and every question: yes/no with seed files, files and tiers, a choice, a score."""
    engine, url = own
    with Engine.open(remote_config(tmp_path, f'kind = "{kind}"\nurl = "{url}"')) as remote:
        here, there = reports(engine), reports(remote)
        for name, report in here.items():
            assert report.labels() == there[name].labels()
            labels = [decision.label for decision in report.decisions]
            assert [decision.label for decision in there[name].decisions] == labels
            assert not any(decision.cause for decision in there[name].decisions)
        right = scores(engine)
        for name, found in scores(remote).items():
            assert found == pytest.approx(right[name], abs=TOLERANCE)


@pytest.mark.parametrize("kind", ["systemone", "decisions"])
@pytest.mark.parametrize("compress", ["gzip", "zstd"])
def test_our_own_service_takes_compressed_bodies(
    kind: str, compress: str, own: tuple[Engine, str], tmp_path: Path
) -> None:
    """The labels are the same."""
    engine, url = own
    keys = f'kind = "{kind}"\nurl = "{url}"\ncompress = "{compress}"'
    task, items = "fix the parser " * 100, symbols(1, 4)[1]
    with Engine.open(remote_config(tmp_path, keys)) as remote:
        here, there = engine.classify(task, items, "precision"), remote.classify(task, items, "precision")
    assert [each.label for each in there.decisions] == [each.label for each in here.decisions]


@pytest.mark.parametrize("kind", ["systemone", "decisions"])
def test_many_items_in_one_request_are_answered_by_our_own_service(
    kind: str, own: tuple[Engine, str], tmp_path: Path
) -> None:
    """With adapters as models; the wording is another one, and every item has a label without a cause."""
    _, url = own
    keys = f'kind = "{kind}"\nurl = "{url}"\ntogether = "task"'
    with Engine.open(remote_config(tmp_path, keys)) as remote:
        found = reports(remote)["tickets"]
    assert len(found.decisions) == 3
    assert not any(decision.cause for decision in found.decisions)

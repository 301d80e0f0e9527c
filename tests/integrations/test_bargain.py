"""A cascade as BARGAIN's proxy, with the real package: what an oracle would say, for fewer of its labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from BARGAIN import BARGAIN_A, BARGAIN_P, BARGAIN_R, Oracle

from cascade import Budget, Engine, ScriptedBackend
from cascade.errors import ClosedError, InputError
from cascade.integrations.bargain import CascadeProxy
from tests.integrations.tickets import TEXTS, says, scripted, write_config

N = 1_000


class Truth(Oracle):  # type: ignore[misc]  # it has no types
    """Knows whether somebody waits: a text says so in its last word."""

    def oracle_func(self, data_record: str, proxy_output: bool) -> tuple[bool, bool]:  # noqa: FBT001 - BARGAIN's
        """Whether the proxy is right, and what is true."""
        truth = data_record.endswith("waits")
        return truth == proxy_output, truth


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """An engine that answers by what stands in the texts."""
    with scripted(tmp_path) as engine:
        yield engine


def records() -> list[str]:
    """Texts whose p(yes) in percent is right about as often as it says."""
    rng = np.random.default_rng(0)
    p = rng.choice([2, 5, 20, 50, 80, 95, 98], N, p=[0.3, 0.15, 0.05, 0.05, 0.05, 0.1, 0.3])
    waits = rng.random(N) < p / 100
    return [
        f"waiting {of} broken 10 ticket {at} {'waits' if truth else 'rests'}"
        for at, (of, truth) in enumerate(zip(p.tolist(), waits.tolist(), strict=True))
    ]


def test_each_record_has_an_answer_and_how_sure_it_is(engine: Engine) -> None:
    """Yes with p, no with what is left of it; what is uncertain is the likelier of both, and so has a low score."""
    proxy = CascadeProxy("who waits?", engine=engine)
    said, scores = proxy.get_preds_and_scores(range(4), TEXTS)
    assert said.tolist() == [True, False, True, False]
    assert scores.tolist() == pytest.approx([0.9, 0.9, 0.95, 0.6])
    assert [proxy.proxy_func(text) for text in TEXTS] == list(zip(said.tolist(), scores.tolist(), strict=True))


def test_records_are_asked_once_and_together(tmp_path: Path) -> None:
    """What was asked is remembered by its number until ``reset``; new ones share a request."""
    backend = ScriptedBackend(says, frozenset())
    with scripted(tmp_path, backend) as engine:
        proxy = CascadeProxy("who waits?", engine=engine)
        proxy.get_preds_and_scores([0, 1], TEXTS[:2])
        asked = backend.n_batches
        proxy.get_preds_and_scores([1, 0], [TEXTS[1], TEXTS[0]])
        assert backend.n_batches == asked
        said, _ = proxy.get_preds_and_scores([0, 2, 3], [TEXTS[0], *TEXTS[2:]])
        assert said.tolist() == [True, True, False]
        proxy.reset()
        before = backend.n_batches
        proxy.get_preds_and_scores([0, 1], TEXTS[:2])
        assert backend.n_batches > before
        said, scores = proxy.get_preds_and_scores([], [])
        assert (said.size, scores.size) == (0, 0)


@pytest.mark.slow
def test_accuracy_is_kept_with_fewer_labels_of_the_oracle(engine: Engine) -> None:
    """Of 1,000 records at least nine in ten are as the oracle says, and it is not asked about all of them."""
    texts, oracle = records(), Truth(verbose=False)
    proxy = CascadeProxy("who waits?", engine=engine)
    said = BARGAIN_A(proxy, oracle, target=0.9, delta=0.1, verbose=False).process(texts)
    assert np.mean([one == text.endswith("waits") for one, text in zip(said, texts, strict=True)]) >= 0.9
    assert oracle.get_number_preds() < N


@pytest.mark.slow
def test_recall_and_precision_are_kept(engine: Engine) -> None:
    """The other two guarantees, with a budget of labels."""
    texts = records()
    truths = {at for at, text in enumerate(texts) if text.endswith("waits")}
    for kind in (BARGAIN_R, BARGAIN_P):
        proxy, oracle = CascadeProxy("who waits?", engine=engine), Truth(verbose=False)
        found = set(map(int, kind(proxy, oracle, target=0.8, delta=0.1, budget=400, seed=0).process(texts)))
        hits = len(found & truths)
        assert hits / (len(truths) if kind is BARGAIN_R else len(found)) >= 0.8
        assert len(found) < N
        assert oracle.get_number_preds() <= 400


def test_what_time_or_depth_cuts_short_has_the_score_of_what_is_known(engine: Engine) -> None:
    """Nothing is known of what was not asked, so that it is the oracle's business."""
    proxy = CascadeProxy("who waits?", engine=engine, budget=1e-9)
    _, scores = proxy.get_preds_and_scores(range(4), TEXTS)
    assert scores.tolist() == [0.5] * 4
    shallow = CascadeProxy("who waits?", engine=engine, budget=Budget(depth=1))
    assert shallow.proxy_func(TEXTS[0]) == (True, 0.9)


def test_records_may_be_anything_that_has_a_text(engine: Engine) -> None:
    """Such as rows of a table; labels of the caller's own make other yeses."""
    proxy = CascadeProxy("who waits?", engine=engine, text=lambda row: row["text"], labels=("now",))
    said, scores = proxy.get_preds_and_scores([0, 1, 2], [{"text": text} for text in TEXTS[:3]])
    assert said.tolist() == [True, False, False]
    assert scores.tolist() == pytest.approx([0.72, 0.95, 0.905])


@pytest.mark.slow
def test_a_config_opens_an_engine_of_its_own(tmp_path: Path) -> None:
    """With the real model; it is closed with the proxy."""
    with CascadeProxy("who waits?", config=write_config(tmp_path)) as proxy:
        said, score = proxy.proxy_func(TEXTS[0])
        assert isinstance(said, bool)
        assert 0 <= score <= 1
    with pytest.raises(ClosedError):
        proxy.proxy_func(TEXTS[0])
    with pytest.raises(InputError, match="exactly one of engine and config"):
        CascadeProxy("who waits?")

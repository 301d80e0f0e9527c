"""The benchmark of spans in Phoenix: what it takes for equal."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.phoenix import is_equal
from cascade import Traces
from tests.helpers.requests import plain_items
from tests.helpers.service import Service
from tests.helpers.spans import attributes_of, kept_spans, named


def test_a_span_is_equal_to_its_report_alone() -> None:
    """Its attributes say what its own report says, and not what one of other labels says."""
    provider, exporter = kept_spans()
    with Service(observers=(Traces(provider),)).engine as engine:
        report = engine.classify("t", plain_items(3))
    found = attributes_of(named(exporter, "decision")[0])
    assert is_equal(found, report)
    assert not is_equal(found, replace(report, decisions=report.decisions[1:]))
    assert not is_equal({**found, "cascade.calls": 0}, report)

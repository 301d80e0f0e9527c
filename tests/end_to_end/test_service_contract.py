"""The OpenAPI document is true: what schemathesis makes of it never fails the service or meets an answer it lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cascade import DecisionLog
from tests.helpers.service import Service

pytestmark = pytest.mark.slow

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
EXAMPLES = 40
FEW = 6  # where an example takes a second to make, or there is little to try


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose engine says yes to all, and keeps a log."""
    with DecisionLog(tmp_path_factory.mktemp("log") / "log.sqlite3") as log:
        service = Service(log=log)
        with service.engine:
            yield service


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/cascades/{name}"),
        ("POST", "/v1/systemone"),
        ("POST", "/v1/decisions"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/outcomes"),
        ("GET", "/v1/models"),
        ("GET", "/v1/cascades"),
        ("GET", "/health"),
        ("GET", "/metrics"),
    ],
)
def test_whatever_is_sent_gets_an_answer_that_the_document_has(
    service: Service, method: str, path: str, mode: GenerationMode
) -> None:
    """Neither what fits the document nor what does not is ever a server error."""
    document = schemathesis.openapi.from_asgi("/openapi.json", service.app)
    seen: Counter[int] = Counter()
    if method == "GET" and mode is GenerationMode.NEGATIVE:
        return  # nothing is read that could be wrong
    n_examples = FEW if method == "GET" or path == "/v1/decisions" else EXAMPLES

    @given(case=document[path][method].as_strategy(generation_mode=mode))
    @settings(
        max_examples=n_examples,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def whatever(case: schemathesis.Case[Any]) -> None:
        answer = case.call()
        seen[int(answer.status_code)] += 1
        case.validate_response(answer, checks=CHECKS)

    whatever()
    if method == "GET" or (mode is GenerationMode.POSITIVE and path == "/v1/cascades/{name}"):
        assert seen[200] > n_examples / 4 or method == "GET"
    else:  # what a model can be asked stands in no document
        assert sum(seen[status] for status in (400, 404, 405, 422)) > n_examples / 4


def test_the_document_has_no_endpoint_that_is_not_tried(service: Service) -> None:
    """Every path of it stands above."""
    paths = service.app.openapi()["paths"]
    assert set(paths) == {
        "/v1/cascades/{name}",
        "/v1/systemone",
        "/v1/decisions",
        "/v1/chat/completions",
        "/v1/outcomes",
        "/v1/models",
        "/v1/cascades",
        "/health",
        "/metrics",
    }

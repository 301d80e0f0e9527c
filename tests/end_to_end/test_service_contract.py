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


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose engine says yes to all, and keeps a log."""
    with DecisionLog(tmp_path_factory.mktemp("log") / "log.sqlite3") as log:
        service = Service(log=log)
        with service.engine:
            yield service


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("path", ["/v1/cascades/{name}", "/v1/systemone", "/v1/chat/completions", "/v1/outcomes"])
def test_whatever_is_sent_gets_an_answer_that_the_document_has(
    service: Service, path: str, mode: GenerationMode
) -> None:
    """Neither what fits the document nor what does not is ever a server error."""
    document = schemathesis.openapi.from_asgi("/openapi.json", service.app)
    seen: Counter[int] = Counter()

    @given(case=document[path]["POST"].as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
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
    if mode is GenerationMode.POSITIVE and path == "/v1/cascades/{name}":
        assert seen[200] > EXAMPLES / 4
    else:  # what a model can be asked stands in no document
        assert sum(seen[status] for status in (400, 404, 405, 422)) > EXAMPLES / 4

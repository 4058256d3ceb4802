"""Made-up batches by the committed OpenAPI document, with a key that may push: never a 5xx, and every answer is a documented one."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from monitoring.agents.known import remembered
from tests.monitoring.ingest_door import Sender
from tests.wsgi import connection_kept

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "openapi.yaml"
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
schema = schemathesis.openapi.from_path(DOCUMENT).include(path="/api/v1/ingest")
schema.app = WSGIHandler()


@pytest.fixture
def headers(db: None) -> Iterator[dict[str, str]]:
    remembered.clear()
    with connection.cursor() as cursor:  # making up the first calls can take longer than a web request may idle
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    sender = Sender()
    with connection_kept():
        yield {"Authorization": f"Bearer {sender.text}"}


@schema.parametrize()
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.filter_too_much,
        HealthCheck.data_too_large,
    ],
)
def test_the_door_does_what_the_document_says(case: Any, headers: dict[str, str]) -> None:
    case.call_and_validate(headers=headers, checks=CHECKS)

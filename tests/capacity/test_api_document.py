"""The committed OpenAPI document is the one the code makes, and what the API does agrees with it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.db import connection
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from monitoring.access import key_create
from monitoring.models import Scope
from tests.capacity.api_client import Api
from tests.factories import make_accelerator, make_admin, make_deployment, make_node, make_source, make_team
from tests.wsgi import connection_kept

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "openapi.yaml"
REMAKE = "make it again: python manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml"
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# What a fuzzer must not press: it waits for a server outside of this machine.
LEFT_OUT = ("/api/v1/sources/{id}/test", "/api/v1/channels/{id}/test")


def test_the_committed_document_is_the_one_the_code_makes(tmp_path: Path) -> None:
    made = tmp_path / "openapi.yaml"
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(made))
    assert made.read_text() == DOCUMENT.read_text(), REMAKE


def test_every_operation_names_its_errors_and_has_words() -> None:
    document = yaml.safe_load(DOCUMENT.read_text())
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            place = f"{method} {path}"
            assert {"400", "401", "403", "404", "429"} <= set(operation["responses"]), place
            assert operation["security"] and operation["tags"], place


@pytest.mark.django_db
def test_the_served_document_is_the_committed_one() -> None:
    served = Api(make_admin()).call("get", "/api/schema/")
    assert served.status_code == 200 and yaml.safe_load(served.content) == yaml.safe_load(DOCUMENT.read_text())


schema = schemathesis.openapi.from_path(DOCUMENT).exclude(path=list(LEFT_OUT))
schema.app = WSGIHandler()


@pytest.fixture
def headers(db: None, settings: Any) -> Iterator[dict[str, str]]:
    settings.API_CALLS_PER_MINUTE = settings.API_CALLS_PER_MINUTE_AND_ADDRESS = 10**6
    with connection.cursor() as cursor:  # making up the first calls can take longer than a web request may idle
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
    team = make_team("Search", pk=1)
    make_deployment("chat", pk=1, team=team)
    make_accelerator(make_node("n1", pk=1), pk=1)
    make_source(pk=1)
    _, text = key_create("fuzz", scope=Scope.ADMIN, created_by=None)
    with connection_kept():
        yield {"Authorization": f"Bearer {text}"}


@schema.parametrize()
@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
def test_the_api_does_what_the_document_says(case: schemathesis.Case, headers: dict[str, str]) -> None:
    """Made-up calls against the real application: never a 5xx, and every error is a problem."""
    case.call_and_validate(headers=headers, checks=CHECKS)

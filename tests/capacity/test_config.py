"""Settings that fail loudly, what surrounds a request, and the commands that make a database ready."""

import io
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from pytest_django import Settings

from capacity.config.middleware import DatabaseAwayMiddleware
from capacity.management.commands.prepare import admin_make, queues_install
from capacity.supervisor.folders import CHECKOUT
from monitoring.management.commands.check_fill import fill_judge
from monitoring.models import AuditEvent, FillState, Setting, User, setting_get

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
PRODUCTION = {
    "HEADROOM_SECRET_KEY": "x" * 60,
    "HEADROOM_ENCRYPTION_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "HEADROOM_PUBLIC_URL": "https://headroom.example.com",
    "DATABASE_URL": "postgres://a:b@127.0.0.1/c",
}


def settings_with(expression: str, **changed: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", **PRODUCTION, **changed}
    program = f"from capacity.config import settings as s; print({expression})"
    return subprocess.run([sys.executable, "-c", program], cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=False)


class TestSettings:
    @pytest.mark.parametrize("name", ["HEADROOM_SECRET_KEY", "HEADROOM_ENCRYPTION_KEY", "DATABASE_URL"])
    def test_a_missing_secret_stops_the_start_and_says_how_to_make_one(self, name: str) -> None:
        done = settings_with("1", **{name: ""})
        assert done.returncode and f"{name} is not set. Set it (or {name}_FILE) to the output of: " in done.stderr

    def test_an_encryption_key_of_another_shape_stops_the_start(self) -> None:
        done = settings_with("1", HEADROOM_ENCRYPTION_KEY="short")
        assert done.returncode and "not 32 bytes in URL-safe base64" in done.stderr

    def test_a_public_address_over_plain_http_is_refused(self) -> None:
        done = settings_with("1", HEADROOM_PUBLIC_URL="http://headroom.example.com")
        assert done.returncode and "http is accepted for 127.0.0.1 and localhost only" in done.stderr

    def test_https_makes_cookies_secure(self) -> None:
        done = settings_with("s.SESSION_COOKIE_NAME, s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE")
        assert done.stdout.strip() == "__Host-headroom_session True True"

    def test_a_secret_may_lie_in_a_file(self, tmp_path: object) -> None:
        path = f"{tmp_path}/key"
        with open(path, "w") as file:
            file.write("from-a-file")
        done = settings_with("s.SECRET_KEY", HEADROOM_SECRET_KEY="", HEADROOM_SECRET_KEY_FILE=path)
        assert done.stdout.strip() == "from-a-file"

    def test_without_a_broker_the_database_is_it(self) -> None:
        assert settings_with("s.CELERY_BROKER_URL").stdout.strip() == "pgmq://a:b@127.0.0.1/c"
        assert settings_with("s.CELERY_BROKER_URL", CELERY_BROKER_URL="redis://r/0").stdout.strip() == "redis://r/0"

    def test_only_what_is_not_loopback_is_called_exposed(self) -> None:
        assert settings_with("s.EXPOSED").stdout.strip() == "False"
        assert settings_with("s.EXPOSED", HEADROOM_BIND="0.0.0.0").stdout.strip() == "True"


class TestARequest:
    def test_it_has_an_id_that_a_caller_may_choose(self, client: Client, db: None) -> None:
        assert len(client.get("/readyz")["X-Request-Id"]) == 16
        assert client.get("/readyz", headers={"X-Request-Id": "my-own-id"})["X-Request-Id"] == "my-own-id"
        assert client.get("/readyz", headers={"X-Request-Id": "x\ty"})["X-Request-Id"] != "x\ty"

    @pytest.mark.parametrize(("path", "kind"), [("/", "text/plain; charset=utf-8"), ("/api/v1/deployments", "application/problem+json")])
    def test_it_is_answered_503_while_the_database_is_away(self, rf: RequestFactory, path: str, kind: str) -> None:
        def view(request: HttpRequest) -> HttpResponse:
            raise OperationalError("server closed the connection")

        answer = DatabaseAwayMiddleware(view)(rf.get(path))
        assert (answer.status_code, answer["Retry-After"], answer["Content-Type"]) == (503, "5", kind)


@pytest.mark.django_db
class TestPrepare:
    def test_the_queues_are_made_once_and_their_version_kept(self) -> None:
        queues_install()
        queues_install()
        assert Setting.objects.get(name="pgmq_version").value

    def test_the_first_admin_is_made_once(self, settings: Settings) -> None:
        settings.ADMIN_PASSWORD = "a-long-enough-password"
        assert admin_make("ann@example.com") is True and admin_make("bob@example.com") is False
        ann = User.objects.get()
        assert ann.is_superuser and ann.check_password("a-long-enough-password")

    def test_its_password_may_come_from_standard_input(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO("typed-by-the-supervisor\n"))
        admin_make("ann@example.com")
        assert User.objects.get().check_password("typed-by-the-supervisor")


@pytest.mark.django_db
class TestFill:
    @pytest.mark.parametrize(("minutes", "level"), [(5, 0), (25, 1), (90, 2)])
    def test_it_judges_by_the_rollup_furthest_behind(self, minutes: int, level: int) -> None:
        FillState.objects.create(table="deployment_5m", end_time=NOW - timedelta(minutes=5))
        FillState.objects.create(table="node_5m", end_time=NOW - timedelta(minutes=minutes))
        judged, text = fill_judge(now=NOW)
        assert judged == level and f"{max(minutes - 5, 0)} minutes behind" in text

    def test_nothing_filled_yet_is_a_warning(self) -> None:
        assert fill_judge(now=NOW)[0] == 1


@pytest.mark.django_db
class TestTheSettingCommand:
    def test_it_changes_one_and_leaves_a_trace(self) -> None:
        call_command("setting", "retention_raw_days", "7", stdout=io.StringIO())
        assert setting_get("retention_raw_days") == 7
        trace = AuditEvent.objects.get()
        assert (trace.subject, trace.before, trace.after) == ("setting retention_raw_days", {"value": 14}, {"value": 7})

    def test_it_refuses_what_is_out_of_limits(self) -> None:
        with pytest.raises(CommandError, match="needs 1 to 365 days, got 0"):
            call_command("setting", "retention_raw_days", "0", stdout=io.StringIO())

    def test_it_shows_all(self) -> None:
        out = io.StringIO()
        call_command("setting", stdout=out)
        assert "retention_raw_days = 14 days   How long raw samples are kept." in out.getvalue()

"""Twenty seeded secrets of channels stand in no page, answer, log, mail, error or audit entry, also when the other side says them back."""

import base64
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from monitoring.alerts.channels.registry import KINDS
from monitoring.alerts.record import content_of as content_at
from monitoring.alerts.send import channel_send
from monitoring.models import AllowedAddress, AuditEvent, Channel, Edge, Notification
from tests.capacity.api_client import Api
from tests.capacity.pages import client_of
from tests.channels import mail_sink
from tests.factories import make_admin, make_alert, make_deployment
from tests.servers.loopback import Handler, Server, serving

pytestmark = pytest.mark.django_db
SEED_BYTES = 18


def echo(handler: Handler) -> None:
    """The worst other side: it answers with everything it was sent."""
    seen = handler.server.seen[-1]
    told = {"ok": False, "error": f"refused {handler.path} {json.dumps(seen.headers)}", "body": seen.body.decode("utf-8", "replace")[:200]}
    handler.reply(500, json.dumps(told).encode(), {"Content-Type": "application/json", "X-Echo": handler.path})


class Seeds:
    """Makes secrets and keeps them, to be looked for."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def word(self) -> str:
        self.made.append(secrets.token_urlsafe(SEED_BYTES).replace("-", "x").replace("_", "y"))
        return self.made[-1]

    def signing(self) -> str:
        self.made.append(base64.b64encode(secrets.token_bytes(24)).decode())
        return f"whsec_{self.made[-1]}"

    def found_in(self, place: str, text: str) -> list[str]:
        """Whole, or all but the last four, which may be shown."""
        return [f"{place}: secret {number}" for number, seed in enumerate(self.made) if seed[:-4] in text]


@pytest.fixture
def other() -> Iterator[Server]:
    with serving(echo) as server:
        yield server


def bodies(seeds: Seeds, url: str) -> Iterator[dict[str, Any]]:
    """Nineteen secrets in ten channels; the twentieth is the password of the mail server."""
    for n in range(3):
        yield {"name": f"slack {n}", "kind": "slack", "secrets": {"url": f"{url}/services/T0/B0/{seeds.word()}"}}
    for n in range(3):
        yield {
            "name": f"app {n}",
            "kind": "slack_bot",
            "secrets": {"token": f"xoxb-{seeds.word()}"},
            "options": {"channel": "C0123456789", "api_url": f"{url}/api"},
        }
    for n in range(3):
        signing = [seeds.signing(), seeds.signing()]
        yield {
            "name": f"hook {n}",
            "kind": "webhook",
            "secrets": {"url": f"{url}/hooks/{seeds.word()}?key={seeds.word()}", "signing": signing},
        }
    yield {"name": "alertmanager", "kind": "alertmanager", "secrets": {"url": url, "bearer": seeds.word()}}


PAGES = (
    *("/alerts/", "/alerts/channels/", "/alerts/deliveries/", "/alerts/rules/", "/alerts/silences/"),
    *("/audit/", "/setup/", "/status/", "/"),
)
ANSWERS = ("channels", "deliveries", "alerts", "audit", "status")


def test_no_secret_leaves(other: Server, settings: Settings, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    seeds, root, now = Seeds(), make_admin("root@example.com"), timezone.now()
    api, client = Api(root), client_of(root)
    AllowedAddress.objects.create(network="127.0.0.1", port=other.port)
    said: list[tuple[str, str]] = []
    for body in bodies(seeds, other.url):
        made = api.call("post", "channels", body)
        assert made.status_code == 201, made.content
        said.append((f"POST {body['name']}", made.content.decode()))
        pk = made.json()["id"]
        said.append((f"test {body['name']}", api.call("post", f"channels/{pk}/test", {}).content.decode()))
        wrong = body | {"secrets": {name: f"{text}\n!" for name, text in body["secrets"].items()}, "name": "wrong"}
        said.append((f"wrong {body['name']}", api.call("post", "channels", wrong).content.decode()))
    seeds.made.append("smtp-" + seeds.word())
    del seeds.made[-2]
    settings.EMAIL_HOST_PASSWORD = seeds.made[-1]
    letters = api.ok("channels", method="post", body={"name": "mail", "kind": "email", "options": {"to": ["ops@example.com"]}}, status=201)
    assert len(seeds.made) == 20
    alert = make_alert(deployment=make_deployment("chat"), labels={"deployment": "chat"})
    for channel in Channel.objects.all():
        told = {"edge": Edge.FIRE, "edge_number": 1, "dedup_key": f"key-{channel.pk}", "run_after": now, "created_at": now}
        Notification.objects.create(alert=alert, channel=channel, content=content_at(alert, edge="fire"), **told)
    with mail_sink(settings) as sink:
        settings.EMAIL_HOST_USER = "headroom"
        api.call("post", f"channels/{letters['id']}/test", {})
        for pk in Channel.objects.values_list("pk", flat=True):
            channel_send(pk, {}, clock=timezone.now, owner="test", kinds=KINDS)
        said += [("mail", letter.as_string()) for letter in sink.mails]
    said += [("mail", f"{letter.subject} {letter.body}") for letter in mail.outbox]
    for path in (*PAGES, f"/alerts/{alert.pk}/", *(f"/alerts/channels/{pk}/" for pk in Channel.objects.values_list("pk", flat=True))):
        page = client.get(path)
        assert page.status_code == 200, path
        said.append((path, page.content.decode()))
        said.append((f"422 {path}", client.post(path, {"save": "1"}).content.decode()))
    said += [(path, api.call("get", path).content.decode()) for path in ANSWERS]
    said += [("audit", json.dumps([row.subject, row.before, row.after])) for row in AuditEvent.objects.all()]
    with connection.cursor() as cursor:
        for table in ("monitoring_channel", "monitoring_notification", "monitoring_alert", "monitoring_alerttransition"):
            cursor.execute(f"SELECT * FROM {table}")
            said.append((f"table {table}", str(cursor.fetchall())))
    logged = capfd.readouterr()
    said += [("log", caplog.text), ("out", logged.out), ("err", logged.err)]
    assert len(other.seen) >= 18, "the other side was really called"
    heard = " ".join(f"{each.path} {each.headers}" for each in other.seen)
    assert sum(seed in heard for seed in seeds.made) >= 10, "and really heard the secrets it could say back"
    assert Notification.objects.exclude(last_error="").count() >= 10
    assert [spot for place, text in said for spot in seeds.found_in(place, text)] == []

"""Each channel against a real receiver on the loopback: sockets, signatures by the standard's own library."""

import json
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from monitoring.access import secret_encrypt
from monitoring.alerts.channels import alertmanager, slack, webhook
from monitoring.alerts.channels.base import ChannelError, Notify, Setup, Telling
from monitoring.alerts.channels.registry import KINDS, setup_of
from monitoring.alerts.outbox import message_claim
from monitoring.alerts.send import message_send
from monitoring.http import Allowed, HttpError, http_get
from monitoring.models import Channel, ChannelKind, Notification
from tests.channels import HOSTILE, OLD_SIGNING, SIGNING, content, message, setup_for, slack_receiver, telling
from tests.factories import make_alert
from tests.servers.loopback import Handler, serving
from tests.servers.processes import free_port, wait_until
from tests.telemetry import NOON


def ok(handler: Handler) -> None:
    handler.reply(200, b"ok")


class TestWebhook:
    def sent(self, *told: Telling, signing: tuple[str, ...] = (SIGNING,)) -> tuple[dict[str, str], bytes]:
        with serving(ok) as server:
            assert webhook.notify(setup_for(server.url, signing=signing), message(*told), datetime.now(tz=UTC)) == "200"
        return server.seen[0].headers, server.seen[0].body

    def test_the_library_of_the_standard_accepts_it_and_rejects_what_was_changed(self) -> None:
        headers, body = self.sent()
        found = Webhook(SIGNING).verify(body, headers)
        assert found["data"]["alerts"][0]["labels"]["deployment"] == "llama-70b"
        assert headers["webhook-id"] == headers["Idempotency-Key"] == "headroom-7-1-2"
        with pytest.raises(WebhookVerificationError):
            Webhook(SIGNING).verify(body.replace(b"llama", b"other"), headers)
        with pytest.raises(WebhookVerificationError):
            Webhook(OLD_SIGNING).verify(body, headers)

    def test_during_rotation_both_secrets_verify(self) -> None:
        headers, body = self.sent(signing=(SIGNING, OLD_SIGNING))
        assert Webhook(SIGNING).verify(body, headers) == Webhook(OLD_SIGNING).verify(body, headers)

    def test_a_long_message_stays_under_20_kB_and_names_every_edge(self) -> None:
        keys = [f"headroom-1234{number}-12-1234" for number in range(200)]
        _, body = self.sent(*(telling(key=key) for key in keys))
        found = json.loads(body)["data"]
        assert [told["dedup_key"] for told in (*found["alerts"], *found["more"])] == keys
        assert len(body) <= 20_000 and len(found["alerts"]) + found["left_out"] == 200 and found["alerts"]

    def test_it_says_what_to_do_and_where(self) -> None:
        _, body = self.sent()
        told = json.loads(body)["data"]["alerts"][0]
        assert told["title"] == "[CRITICAL] llama-70b: Latency allowance is spent 14.4 times as fast as promised"
        link = "https://headroom.example.com/deployments/3/?from=1795172400000&to=1795181460000"  # an hour before to half an hour after
        assert (told["first_action"], told["money"], told["url"]) == ("Roll back.", "12.50", link)
        assert told["alert_url"] == "https://headroom.example.com/alerts/7/"

    def test_a_wrong_signing_secret_switches_it_off(self) -> None:
        with serving(ok) as server, pytest.raises(ChannelError, match="whsec_") as caught:
            webhook.notify(setup_for(server.url, signing=["not base64!"]), message(), NOON)
        assert caught.value.switch_off and server.seen == []


@pytest.mark.parametrize("notify", [webhook.notify, slack.notify, alertmanager.notify])
class TestWhatARetryCanHelp:
    @pytest.mark.parametrize(
        ("status", "headers", "permanent", "after"),
        [
            (500, {}, False, 0),
            (503, {"Retry-After": "30"}, False, 30),
            (429, {"Retry-After": "120"}, False, 120),
            (429, {"Retry-After": "999999"}, False, 3600),
            (408, {}, False, 0),
            (400, {}, True, 0),
            (301, {"Location": "http://127.0.0.1:1/"}, True, 0),
        ],
    )
    def test_the_status_decides(self, notify: Notify, status: int, headers: dict[str, str], permanent: bool, after: float) -> None:
        def answer(handler: Handler) -> None:
            handler.reply(status, b"no", headers)

        with serving(answer) as server, pytest.raises(ChannelError, match=str(status)) as caught:
            notify(setup_for(server.url, signing=[SIGNING]), message(), NOON)
        assert (caught.value.permanent, caught.value.switch_off, caught.value.retry_after) == (permanent, False, after)

    def test_a_dead_host_is_tried_again(self, notify: Notify) -> None:
        with serving(ok) as server:
            gone = setup_for(server.url, signing=[SIGNING])
        with pytest.raises(ChannelError, match="does not accept connections") as caught:
            notify(gone, message(), NOON)
        assert not caught.value.permanent

    def test_one_that_hangs_and_one_that_resets_are_tried_again(self, notify: Notify) -> None:
        def hang(handler: Handler) -> None:
            handler.server.release.wait(20)

        def reset(handler: Handler) -> None:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            handler.connection.close()

        for behaviour, words in ((hang, "gave no whole answer in time"), (reset, "cut the connection")):
            with serving(behaviour) as server, pytest.raises(ChannelError, match=words) as caught:
                notify(replace(setup_for(server.url, signing=[SIGNING]), timeout=(0.2, 0.2)), message(), NOON)
            assert not caught.value.permanent

    def test_a_private_address_switches_it_off_with_the_sentence_of_the_guard(self, notify: Notify) -> None:
        with pytest.raises(ChannelError, match="An admin can allow 127.0.0.1 on port 9999") as caught:
            notify(Setup({}, {"url": "http://127.0.0.1:9999", "signing": [SIGNING]}), message(), NOON)
        assert caught.value.switch_off

    def test_a_metadata_address_is_never_called(self, notify: Notify) -> None:
        with pytest.raises(ChannelError, match="cannot be allowed"):
            notify(Setup({}, {"url": "http://169.254.169.254/latest", "signing": [SIGNING]}), message(), NOON)

    def test_no_secret_stands_in_an_error(self, notify: Notify) -> None:
        def answer(handler: Handler) -> None:
            handler.reply(500, b"no")

        secret = "T0KEN-that-nobody-may-see"
        with serving(answer) as server, pytest.raises(ChannelError) as caught:
            notify(setup_for(f"{server.url}/services/{secret}", signing=[SIGNING], bearer=secret), message(), NOON)
        assert secret not in str(caught.value)


class TestSlack:
    @pytest.mark.parametrize("count", [1, 2, 200])
    def test_it_keeps_to_slack_s_limits(self, count: int) -> None:
        told = [telling(key=f"key-{number}", summary="long " * 60, consequence="c" * 4000) for number in range(count)]
        with serving(slack_receiver) as server:
            assert slack.notify(setup_for(server.url), message(*told), NOON) == "ok"

    def test_the_limits_of_the_receiver_are_real(self) -> None:
        with serving(slack_receiver) as server, pytest.MonkeyPatch.context() as patch, pytest.raises(ChannelError, match="invalid_blocks"):
            patch.setattr(slack, "HEADER_MOST", 10_000)
            slack.notify(setup_for(server.url), message(telling(summary="long " * 60)), NOON)

    def test_labels_call_nobody_and_are_no_markup(self) -> None:
        with serving(slack_receiver) as server:
            slack.notify(setup_for(server.url), message(telling(summary=HOSTILE, labels={"deployment": "<!channel>"})), NOON)
        body = json.loads(server.seen[0].body)
        sections = json.dumps([block for block in body["blocks"] if block["type"] == "section"])
        assert "<!" not in body["text"] and "<!" not in sections and "&lt;!here&gt;" in body["text"]

    @pytest.mark.parametrize("status", [200, 400, 403, 404, 410])
    @pytest.mark.parametrize("word", ["invalid_token", "channel_is_archived", "no_service", "action_prohibited"])
    def test_a_webhook_that_is_gone_switches_the_channel_off_with_a_sentence(self, status: int, word: str) -> None:
        with serving(lambda handler: handler.reply(status, word.encode())) as server, pytest.raises(ChannelError, match=word) as caught:
            slack.notify(setup_for(server.url), message(), NOON)
        assert caught.value.switch_off and "Make a new incoming webhook" in str(caught.value)


class TestAlertmanager:
    def sent(self, *told: Telling) -> list[dict[str, object]]:
        with serving(ok) as server:
            assert alertmanager.notify(setup_for(f"{server.url}/", bearer="word"), message(*told), NOON) == "200"
        assert (server.seen[0].path, server.seen[0].headers["Authorization"]) == ("/api/v2/alerts", "Bearer word")
        found: list[dict[str, object]] = json.loads(server.seen[0].body)
        return found

    def test_beginning_and_end_are_the_same_alert_there(self) -> None:
        (began,), (ended,) = self.sent(telling()), self.sent(telling("resolve", key="headroom-7-2-2"))
        assert began["labels"] == ended["labels"]
        assert began["labels"] == {"alertname": "slo-latency-fast", "severity": "critical", "deployment": "llama-70b", "cluster": "prod"}
        assert str(began["endsAt"]) > "2026-12" and ended["endsAt"] == "2026-11-20T13:01:00+00:00"


@pytest.fixture
def real_alertmanager(tmp_path: Path) -> Iterator[str]:
    """Debian's, with a receiver that tells nobody."""
    (tmp_path / "config.yml").write_text("route: {receiver: nobody, group_by: [cluster]}\nreceivers: [{name: nobody}]\n")
    port = free_port(low=9100, high=9999)
    options = (f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=", f"--storage.path={tmp_path}")
    command = ["prometheus-alertmanager", f"--config.file={tmp_path}/config.yml", *options]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: alertmanager_get(f"{url}/api/v2/status") is not None, seconds=30, what="Alertmanager answers")
        yield url
    finally:
        running.terminate()
        running.wait(10)


def alertmanager_get(url: str) -> Any:
    try:
        return json.loads(http_get(url, allowed=(Allowed("127.0.0.0/8"),)).body)
    except HttpError:
        return None


def test_a_real_alertmanager_receives_groups_and_resolves(real_alertmanager: str) -> None:
    now = datetime.now(tz=UTC)
    times: dict[str, Any] = {"started_at": now.timestamp() - 600, "fired_at": now.timestamp() - 300}
    told = [telling(key=f"{name}-1", labels={"deployment": name, "cluster": "prod"}, **times) for name in ("llama", "qwen")]
    setup = setup_for(real_alertmanager)
    alertmanager.notify(setup, message(*told), now)
    names = [alert["labels"]["deployment"] for alert in alertmanager_get(f"{real_alertmanager}/api/v2/alerts")]
    assert sorted(names) == ["llama", "qwen"]
    wait_until(lambda: len(alertmanager_get(f"{real_alertmanager}/api/v2/alerts/groups")) == 1, seconds=30, what="both are one group")
    end = telling("resolve", labels={"deployment": "llama", "cluster": "prod"}, resolved_at=now.timestamp() - 1, **times)
    alertmanager.notify(setup, message(end), now)
    names = [alert["labels"]["deployment"] for alert in alertmanager_get(f"{real_alertmanager}/api/v2/alerts")]
    assert names == ["qwen"]


def say_back(handler: Handler, *, status: int, said: str) -> None:
    handler.reply(status, said.encode())


class TestRegistry:
    def test_every_kind_has_a_sender(self) -> None:
        assert set(KINDS) == set(ChannelKind.values)

    @pytest.mark.django_db
    def test_a_secret_is_opened_for_its_sender_alone(self) -> None:
        with serving(ok) as server:
            secret = secret_encrypt(json.dumps({"url": server.url, "signing": [SIGNING]}))
            channel = Channel.objects.create(name="ops", kind="webhook", secret=secret)
            assert server.url not in channel.secret and setup_of(channel).secrets["url"] == server.url

    @pytest.mark.django_db
    def test_what_a_receiver_says_back_of_our_secrets_is_hidden_in_the_log_of_deliveries(self) -> None:
        secret = "T0KEN-that-nobody-may-see"
        for status in (200, 500):
            with serving(partial(say_back, status=status, said=f"{secret} {SIGNING}")) as server:
                sealed = secret_encrypt(json.dumps({"url": f"{server.url}/hooks/{secret}", "signing": [SIGNING]}))
                channel = Channel.objects.create(name=f"ops {status}", kind="webhook", secret=sealed)
                row = {"run_after": NOON, "created_at": NOON, "dedup_key": f"{status}", "content": content()}
                Notification.objects.create(alert=make_alert(), channel=channel, edge_number=1, edge="fire", **row)
                claim = message_claim(channel.pk, now=NOON, owner="a")
                assert claim
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr("monitoring.alerts.channels.registry.allowed_addresses", lambda: [Allowed("127.0.0.0/8", server.port)])
                    message_send(claim, clock=lambda: NOON, kinds=KINDS)
        said = " ".join(f"{row.response} {row.last_error}" for row in Notification.objects.all())
        assert "The receiver answered 500" in said and "(hidden)" in said and secret not in said and SIGNING not in said

    @pytest.mark.django_db
    def test_a_secret_that_cannot_be_opened_switches_the_channel_off(self) -> None:
        channel = Channel.objects.create(name="ops", kind="webhook", secret="gone:text")
        row = {"run_after": NOON, "created_at": NOON, "dedup_key": "1", "content": content()}
        Notification.objects.create(alert=make_alert(), channel=channel, edge_number=1, edge="fire", **row)
        claim = message_claim(channel.pk, now=NOON, owner="a")
        assert claim and not message_send(claim, clock=lambda: NOON, kinds=KINDS)
        channel.refresh_from_db()
        assert "HEADROOM_ENCRYPTION_KEY" in channel.switched_off_why

"""Channels as people make them: the check, the tails of secrets, switching, and a real test with a sentence for each trouble."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import Settings

from monitoring.access import secret_decrypt
from monitoring.alerts.channel_setup import (
    ChannelSetupError,
    channel_delete,
    channel_make,
    channel_save,
    channel_switch,
    channel_test,
    kinds_offered,
    secret_tails,
)
from monitoring.alerts.channels.registry import KINDS
from monitoring.models import AddressOff, AllowedAddress, AuditEvent, Channel, Notification
from tests.channels import SIGNING, FakeSlack, Sink, mail_sink, slack_receiver
from tests.factories import make_alert, make_team
from tests.servers.loopback import Handler, authority, serving
from tests.servers.processes import free_port
from tests.telemetry import NOON

SECRET = "T0KEN-that-nobody-may-see"
HOOK = {"name": "ops", "kind": "webhook"}
KEYS = {"url": f"https://ci.example.com/{SECRET}", "signing": SIGNING}
pytestmark = pytest.mark.django_db


@pytest.fixture
def sink(settings: Settings) -> Iterator[Sink]:
    with mail_sink(settings) as taken:
        yield taken


def hang(handler: Handler) -> None:
    handler.server.release.wait(20)


def allow(port: int) -> None:
    AllowedAddress.objects.create(network="127.0.0.1/32", port=port)


class TestMaking:
    def test_every_kind_is_offered_once(self) -> None:
        assert sorted(offer.kind for offer in kinds_offered()) == sorted(KINDS)

    def test_what_is_secret_is_encrypted_and_shown_by_its_last_four(self) -> None:
        channel = channel_save(channel_make(HOOK, KEYS, team=None), by="ann", now=NOON)
        assert secret_tails(channel) == {"url": "…-see", "signing": f"…{SIGNING[-4:]}"}
        stored = json.dumps([list(Channel.objects.values()), list(AuditEvent.objects.values())], default=str)
        assert SECRET not in stored and SIGNING not in stored and SECRET in secret_decrypt(channel.secret)

    def test_a_secret_left_empty_stays(self) -> None:
        channel = channel_save(channel_make(HOOK, KEYS, team=None), by="ann", now=NOON)
        made = channel_make({"name": "night"}, {"url": "", "signing": ""}, team=None, channel=channel)
        assert (made.name, channel.name, secret_tails(made)) == ("night", "ops", secret_tails(channel))

    @pytest.mark.parametrize(
        ("fields", "secrets", "field", "words"),
        [
            ({"name": ""}, {}, "name", "Give the channel a name"),
            ({"name": "taken"}, {}, "name", "There is a channel taken already"),
            ({"kind": "pager"}, {}, "kind", "It is one of"),
            ({"owner": "ann"}, {}, "owner", "is no e-mail address"),
            ({"severities": ["bad"]}, {}, "severities", "critical, warning, info"),
            ({"matchers": "llama"}, {}, "matchers", "label=pattern"),
            ({"group_wait_seconds": "soon"}, {}, "group_wait_seconds", "from 0 to 3600"),
            ({"escalate_to": "99999"}, {}, "escalate_to", "of the same team"),
            ({}, {"url": SECRET}, "url", "This is no address"),
            ({}, {"url": f"https://ann:{SECRET}@example.com"}, "url", "user or password"),
            ({}, {"url": "https://example.com:99999/"}, "url", "This is no address"),
            ({}, {"url": ""}, "url", "URL is missing"),
            ({}, {"signing": SECRET}, "signing", "whsec_"),
            ({"kind": "email", "to": "ann, bob@example.com"}, {}, "to", "'ann' is no e-mail address"),
            ({"kind": "email", "to": ""}, {}, "to", "Addresses is missing"),
            ({"kind": "slack_bot", "channel": "C0123"}, {"token": SECRET}, "token", "xoxb-"),
            ({"kind": "slack_bot", "channel": "a b"}, {"token": "xoxb-1"}, "channel", "is no channel"),
            ({"kind": "alertmanager", "weekly_digest": True}, {}, "weekly_digest", "no digests"),
        ],
    )
    def test_each_mistake_has_its_sentence_without_the_secret(
        self, fields: dict[str, object], secrets: dict[str, str], field: str, words: str
    ) -> None:
        Channel.objects.create(name="taken", kind="webhook")
        with pytest.raises(ChannelSetupError) as caught:
            channel_make(HOOK | fields, KEYS | secrets, team=None)
        assert words in caught.value.problems[field] and list(caught.value.problems) == [field]
        assert SECRET not in str(caught.value)

    def test_it_goes_on_to_a_channel_of_its_own_team_only(self) -> None:
        own, other = make_team(), make_team()
        targets = [Channel.objects.create(name=team.name, kind="email", team=team) for team in (own, other)]
        assert channel_make(HOOK | {"escalate_to": targets[0].pk}, KEYS, team=own).escalate_to == targets[0]
        with pytest.raises(ChannelSetupError, match="same team"):
            channel_make(HOOK | {"escalate_to": targets[1].pk}, KEYS, team=own)


class TestSwitching:
    def test_on_forgets_what_switched_it_off_and_replays_nothing(self) -> None:
        channel = Channel.objects.create(name="ops", kind="webhook", switched_off_why="410 gone", switched_off_at=NOON)
        row = {"run_after": NOON, "created_at": NOON, "channel": channel, "edge": "fire", "edge_number": 1}
        Notification.objects.create(alert=make_alert(), dedup_key="1", state="dead", **row)
        AddressOff.objects.create(channel=channel, address="a@example.com", why="unsubscribed", at=NOON)
        AddressOff.objects.create(channel=channel, address="b@example.com", why="550 no such user", at=NOON)
        channel = channel_switch(channel, True, by="ann", now=NOON)
        assert (channel.enabled, channel.switched_off_why, channel.switched_off_at) == (True, "", None)
        assert [row.state for row in Notification.objects.all()] == ["dead"]
        assert [row.address for row in AddressOff.objects.all()] == ["a@example.com"]

    def test_off_and_deleted_are_in_the_trail(self) -> None:
        channel = channel_save(channel_make(HOOK, KEYS, team=None), by="ann", now=NOON)
        assert not channel_switch(channel, False, by="ann", now=NOON).enabled
        channel_delete(channel, by="ann", now=NOON)
        actions = list(AuditEvent.objects.order_by("pk").values_list("action", flat=True))
        assert actions == ["channel.create", "channel.off", "channel.delete"] and not Channel.objects.exists()

    def test_an_address_entered_anew_gets_mail_again(self) -> None:
        channel = channel_save(channel_make({"name": "m", "kind": "email", "to": "a@example.com"}, {}, team=None), by="ann", now=NOON)
        AddressOff.objects.create(channel=channel, address="a@example.com", why="unsubscribed", at=NOON)
        for to, off in (("b@example.com", 1), ("a@example.com b@example.com", 0)):
            channel = channel_save(channel_make({"to": to}, {}, team=None, channel=channel), by="ann", now=NOON)
            assert AddressOff.objects.count() == off


class TestTesting:
    def hook(self, url: str, *, kind: str = "webhook") -> Channel:
        return channel_make({"name": "ops", "kind": kind}, {"url": url, "signing": SIGNING}, team=None)

    def sentence(self, channel: Channel) -> str:
        result = channel_test(channel, now=NOON)
        assert not result.ok and SECRET not in repr(result) and SIGNING not in repr(result)
        return result.sentence

    def test_one_that_works_says_what_the_other_side_said_and_the_stored_one_keeps_it(self) -> None:
        with serving(lambda handler: handler.reply(202)) as server:
            allow(server.port)
            channel = channel_save(self.hook(f"{server.url}/{SECRET}"), by="ann", now=NOON)
            result = channel_test(channel, now=NOON)
        assert (result.ok, result.response, result.sentence) == (True, "202", "The test message arrived: Webhook said “202”.")
        assert json.loads(server.seen[0].body)["type"] == "alerts.test"
        channel.refresh_from_db()
        assert (channel.tested_at, channel.test_ok, channel.test_said) == (NOON, True, result.sentence)

    def test_a_private_address_is_one_an_admin_may_allow(self) -> None:
        result = channel_test(self.hook(f"http://127.0.0.1:9090/{SECRET}"), now=NOON)
        assert result.block == "127.0.0.1:9090" and "An admin can allow 127.0.0.1 on port 9090." in result.sentence
        metadata = channel_test(self.hook(f"http://169.254.169.254/{SECRET}"), now=NOON)
        assert metadata.block == "" and "cannot be allowed" in metadata.sentence

    def test_a_name_nobody_knows_and_a_host_that_is_dead(self) -> None:
        port = free_port()
        allow(port)
        assert "does not accept connections; check host and port" in self.sentence(self.hook(f"http://127.0.0.1:{port}/{SECRET}"))
        assert "is not known here" in self.sentence(self.hook(f"https://nobody.invalid/{SECRET}"))

    def test_a_certificate_nobody_signed(self, tmp_path: Path) -> None:
        _, context = authority(tmp_path, "localhost")
        with serving(slack_receiver, tls=context) as server:
            allow(server.port)
            assert "The secure connection to" in self.sentence(self.hook(f"https://127.0.0.1:{server.port}/{SECRET}"))

    def test_one_that_hangs(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("monitoring.alerts.channel_setup.TEST_TIMEOUT", (0.2, 0.2))
        with serving(hang) as server:
            allow(server.port)
            assert "gave no whole answer in time" in self.sentence(self.hook(f"{server.url}/{SECRET}"))

    @pytest.mark.parametrize("kind", ["webhook", "slack", "alertmanager"])
    def test_one_that_refuses_says_so_without_our_secret(self, kind: str) -> None:
        def refuse(handler: Handler) -> None:
            handler.reply(403, f"no {SECRET}".encode())

        with serving(refuse) as server:
            allow(server.port)
            assert self.sentence(self.hook(f"{server.url}/{SECRET}", kind=kind)).startswith("The receiver answered 403: no (hidden)")

    def test_a_revoked_token_and_a_removed_webhook(self) -> None:
        fake = FakeSlack()
        fake.refuse, fake.tokens = "token_revoked", {f"xoxb-{SECRET}"}
        with serving(fake) as server:
            allow(server.port)
            fields = {"name": "app", "kind": "slack_bot", "channel": "C1", "api_url": f"{server.url}/api"}
            app = channel_make(fields, {"token": f"xoxb-{SECRET}"}, team=None)
            assert self.sentence(app) == "Slack: the token was revoked; install the app again and enter its new token (token_revoked)."
        with serving(lambda handler: handler.reply(404, b"no_service")) as server:
            allow(server.port)
            assert "the webhook was removed or switched off" in self.sentence(self.hook(f"{server.url}/{SECRET}", kind="slack"))

    def test_a_letter_arrives(self, sink: Sink) -> None:
        channel = channel_make({"name": "m", "kind": "email", "to": ["a@example.com"]}, {}, team=None)
        assert channel_test(channel, now=NOON).sentence == "The test message arrived: E-mail said “accepted for a@example.com”."
        assert sink.mails[0]["Subject"] == "[TEST] headroom-test: This channel works"

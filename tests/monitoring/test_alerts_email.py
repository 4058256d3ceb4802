"""E-mail against a real SMTP server: threads, both parts whole, one letter an address, unsubscribing, refusals."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from monitoring.alerts.addresses import token_of, unsubscribe
from monitoring.alerts.channels import email
from monitoring.alerts.channels.base import ChannelError, Message, Setup, Thread
from monitoring.alerts.channels.registry import setup_of
from monitoring.models import AddressOff, AuditEvent, Channel
from tests.channels import HOSTILE, Sink, mail_sink, message, telling
from tests.factories import make_user
from tests.servers.processes import free_port
from tests.telemetry import NOON


@pytest.fixture
def sink(settings: Settings) -> Iterator[Sink]:
    with mail_sink(settings) as taken:
        yield taken


class TestLetters:
    setup = Setup({"to": ["ops@example.com"]}, {}, (), "https://headroom.example.com", 5, "ops")

    def body(self, sink: Sink, kind: str = "plain", *, number: int = 0) -> str:
        part = sink.mails[number].get_body((kind,))
        assert part
        return str(part.get_content()).replace("\r\n", "\n")

    def test_a_mail_server_gets_text_and_html_that_both_say_it_all(self, sink: Sink) -> None:
        more: dict[str, Any] = {"limit": "p95 under 2 s", "moved": ["Requests 4 to 9 req/s"], "before": ["8 min before: version v2"]}
        assert email.notify(self.setup, message(telling(**more)), NOON).response == "accepted for ops@example.com"
        assert sink.mails[0]["Subject"] == "[CRITICAL] llama-70b: Latency allowance is spent 14.4 times as fast as promised"
        words = (
            "Users wait.",
            "Roll back.",
            "12.50 EUR",
            "p95 under 2 s",
            "4 to 9 req/s",
            "version v2",
            "deployments/3/?from=",
            "alerts/7/",
        )
        for kind in ("plain", "html"):
            assert [word for word in words if word not in self.body(sink, kind)] == []

    def test_mails_of_an_alert_are_one_thread_and_a_retry_is_the_same_mail(self, sink: Sink) -> None:
        first = email.notify(self.setup, message(telling()), NOON)
        email.notify(self.setup, message(telling()), NOON)
        for edge, key in (("repeat", "headroom-7-1-2-r1"), ("resolve", "headroom-7-2-2")):
            email.notify(self.setup, message(telling(edge, key=key, thread=Thread(first.reference))), NOON)
        keys = ("headroom-7-1-2", "headroom-7-1-2", "headroom-7-1-2-r1", "headroom-7-2-2")
        assert [mail["Message-ID"] for mail in sink.mails] == [f"<{key}@example.com>" for key in keys]
        root = "<headroom-7-1-2@example.com>"
        assert [mail["In-Reply-To"] for mail in sink.mails] == [mail["References"] for mail in sink.mails] == [None, None, root, root]
        assert sink.mails[0]["Subject"] == sink.mails[2]["Subject"] and sink.mails[0]["Auto-Submitted"] == "auto-generated"

    def test_a_resolved_one_says_how_long_how_bad_and_what_was_lost(self, sink: Sink) -> None:
        email.notify(self.setup, message(telling("resolve", slo_minutes_lost=12)), NOON)
        assert "Lasted: 1 h 1 min\nWorst value: 30\nSLO minutes lost: 12 min above" in self.body(sink)

    def test_labels_add_no_header_and_no_markup(self, sink: Sink) -> None:
        email.notify(self.setup, message(telling(summary=HOSTILE)), NOON)
        assert sink.mails[0]["Bcc"] is None and "<b>you</b>" not in self.body(sink, "html")

    def test_a_digest_is_a_line_an_alert_under_its_title(self, sink: Sink) -> None:
        email.notify(self.setup, Message("headroom-digest", (telling(), telling()), "Weekly digest: 2 warnings"), NOON)
        assert sink.mails[0]["Subject"] == "Weekly digest: 2 warnings" and self.body(sink).count("[CRITICAL] llama-70b") == 2


class TestAddresses:
    setup = Setup({"to": ["ops@example.com", "me@example.com"]}, {}, (), "https://headroom.example.com", 5, "ops")

    @pytest.mark.django_db
    def test_each_address_gets_its_own_letter_with_times_in_its_zone(self, sink: Sink) -> None:
        make_user("me@example.com", time_zone="Europe/Berlin")
        channel = Channel.objects.create(name="ops", kind="email", options=self.setup.options)
        email.notify(setup_of(channel), message(), NOON)
        assert [mail["To"] for mail in sink.mails] == ["ops@example.com", "me@example.com"]
        bodies = [str(mail.get_body(("plain",)).get_content()) for mail in sink.mails]  # type: ignore[union-attr]
        assert ["12:00 UTC" in bodies[0], "13:00 CET" in bodies[1]] == [True, True]

    def test_who_has_it_already_gets_no_second_one_when_it_is_tried_again(self, sink: Sink) -> None:
        sink.refuse_recipient, sink.refused = "450 mailbox busy", "me@example.com"
        with pytest.raises(ChannelError, match="450") as caught:
            email.notify(self.setup, message(), NOON)
        sink.refuse_recipient = ""
        assert caught.value.delivered == ("ops@example.com",)
        email.notify(self.setup, replace(message(), delivered=caught.value.delivered), NOON)
        assert sink.recipients == ["ops@example.com", "me@example.com"]

    @pytest.mark.parametrize(("said", "off"), [("550 no such user", True), ("450 mailbox busy", False)])
    def test_addresses_that_do_not_exist_switch_it_off_where_none_is_left(self, sink: Sink, said: str, off: bool) -> None:
        sink.refuse_recipient = said
        with pytest.raises(ChannelError, match=said) as caught:
            email.notify(self.setup, message(), NOON)
        assert caught.value.switch_off is off and set(caught.value.addresses_off) == (set(self.setup.options["to"]) if off else set())

    def test_one_that_does_not_exist_is_taken_off_and_the_others_get_it(self, sink: Sink) -> None:
        sink.refuse_recipient, sink.refused = "550 no such user", "me@example.com"
        sent = email.notify(self.setup, message(), NOON)
        assert sink.recipients == ["ops@example.com"] and list(sent.addresses_off) == ["me@example.com"]
        email.notify(replace(self.setup, off=frozenset(sent.addresses_off)), message(), NOON)
        assert sink.recipients == ["ops@example.com", "ops@example.com"]

    @pytest.mark.parametrize(("said", "permanent"), [("554 spam", True), ("451 later", False)])
    def test_a_refused_mail_is_tried_again_where_that_can_help(self, sink: Sink, said: str, permanent: bool) -> None:
        sink.refuse_mail = said
        with pytest.raises(ChannelError, match=said.split()[1]) as caught:
            email.notify(self.setup, message(), NOON)
        assert (caught.value.permanent, caught.value.switch_off) == (permanent, False)

    def test_a_dead_mail_server_is_tried_again(self, settings: Settings) -> None:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", free_port()
        with pytest.raises(ChannelError, match="did not take the mail") as caught:
            email.notify(self.setup, message(), NOON)
        assert not caught.value.permanent

    def test_without_a_mail_server_nothing_is_called_sent(self, settings: Settings) -> None:
        settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
        with pytest.raises(ChannelError, match="HEADROOM_EMAIL_URL"):
            email.notify(self.setup, message(), NOON)


@pytest.mark.django_db
class TestUnsubscribing:
    def channel(self) -> Channel:
        return Channel.objects.create(name="ops", kind="email", options={"to": ["ops@example.com", "me@example.com"]})

    def test_one_click_needs_no_sign_in_and_takes_off_that_address_alone(self, sink: Sink, settings: Settings) -> None:
        settings.PUBLIC_URL = "https://headroom.example.com"
        channel = self.channel()
        email.notify(setup_of(channel), message(), NOON)
        mail = sink.mails[1]
        assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click" and f"channel-{channel.pk}." in mail["List-Id"]
        link = mail["List-Unsubscribe"].strip().strip("<>")
        assert link in str(mail.get_body(("plain",)).get_content())  # type: ignore[union-attr]
        path, client = link.removeprefix("https://headroom.example.com"), Client(enforce_csrf_checks=True)
        page = client.get(path)
        assert page.status_code == 200 and b"me@example.com" in page.content and not AddressOff.objects.exists()
        for _ in range(2):
            assert client.post(path, {"List-Unsubscribe": "One-Click"}).status_code == 200
        assert [row.address for row in AddressOff.objects.all()] == ["me@example.com"]
        assert [event.action for event in AuditEvent.objects.all()] == ["channel.unsubscribe"]
        email.notify(setup_of(channel), message(), NOON)
        assert sink.recipients[2:] == ["ops@example.com"]

    def test_a_forged_link_does_nothing(self) -> None:
        token = token_of(self.channel().pk, "me@example.com")
        assert unsubscribe(f"{token}x", now=NOON) is None and unsubscribe("nonsense", now=NOON) is None
        assert Client().post(f"/unsubscribe/{token}x").status_code == 404 and not AddressOff.objects.exists()

    def test_without_https_there_is_a_link_but_no_one_click(self, sink: Sink, settings: Settings) -> None:
        settings.PUBLIC_URL = "http://127.0.0.1:8080"
        email.notify(setup_of(self.channel()), message(), NOON)
        assert sink.mails[0]["List-Unsubscribe"] and sink.mails[0]["List-Unsubscribe-Post"] is None

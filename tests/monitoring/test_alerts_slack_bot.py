"""Slack by a bot token, against a fake of Slack's API that enforces its limits: in place, in the thread, and every refusal in words."""

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from monitoring.access import secret_encrypt
from monitoring.alerts.acting import acknowledge_end, alert_acknowledge
from monitoring.alerts.channels import slack_bot
from monitoring.alerts.channels.base import ChannelError, Message, Sent, Setup, Thread
from monitoring.alerts.channels.registry import KINDS
from monitoring.alerts.outbox import message_claim
from monitoring.alerts.send import message_send
from monitoring.http import Allowed
from monitoring.models import Alert, Channel, Notification
from tests.channels import FakeSlack, message, telling
from tests.factories import make_alert, make_deployment
from tests.monitoring.test_alerts_outbox import queue
from tests.servers.loopback import Server, serving
from tests.telemetry import NOON, at

FIRES = "[CRITICAL] llama-70b: Latency allowance is spent 14.4 times as fast as promised"


@pytest.fixture
def slack() -> Iterator[tuple[FakeSlack, Setup]]:
    fake = FakeSlack()
    with serving(fake) as server:
        yield fake, setup_at(server)


def setup_at(server: Server, *, channel: str = "C1", token: str = "xoxb-good") -> Setup:
    options = {"channel": channel, "api_url": f"{server.url}/api"}
    return Setup(options, {"token": token}, (Allowed("127.0.0.1/32", server.port),), "https://headroom.example.com")


class TestMessages:
    def test_the_first_changes_in_place_and_its_thread_tells_the_rest(self, slack: tuple[FakeSlack, Setup]) -> None:
        fake, setup = slack
        first = slack_bot.notify(setup, message(), NOON)
        assert first == Sent("ok", "C1 1000.000100")
        acknowledged: dict[str, Any] = {"acknowledged_by": "ann"}
        for edge, more in (("ack", acknowledged), ("repeat", {}), ("resolve", {})):
            fake.second += 1
            now = telling(edge, key=f"key-{edge}", **more)
            thread = Thread(first.reference, (now,))
            slack_bot.notify(setup, message(telling(edge, key=f"key-{edge}", thread=thread, **more)), NOON)
        assert fake.asked == ["chat.postMessage", "chat.update", "chat.postMessage", "chat.update", "chat.postMessage"]
        resolved = FIRES.replace("CRITICAL", "RESOLVED")
        assert fake.stands() == [("", resolved), ("1000.000100", FIRES), ("1000.000100", resolved)]

    def test_an_acknowledged_one_says_by_whom(self, slack: tuple[FakeSlack, Setup]) -> None:
        fake, setup = slack
        slack_bot.notify(setup, message(), NOON)
        thread = Thread("C1 1000.000100", (telling("ack", acknowledged_by="ann@example.com"),))
        slack_bot.notify(setup, message(telling("ack", thread=thread)), NOON)
        assert "by ann@example.com" in json.dumps(fake.messages["1000.000100"]["blocks"])

    def test_flapping_is_told_to_the_whole_channel(self, slack: tuple[FakeSlack, Setup]) -> None:
        fake, setup = slack
        slack_bot.notify(setup, message(), NOON)
        fake.second += 1
        slack_bot.notify(setup, message(telling("flapping", thread=Thread("C1 1000.000100"))), NOON)
        assert [body.get("reply_broadcast") for body in fake.messages.values()] == [None, True]

    def test_a_message_somebody_deleted_is_told_in_its_thread_all_the_same(self, slack: tuple[FakeSlack, Setup]) -> None:
        fake, setup = slack
        gone = Thread("C1 9.9", (telling("resolve"),))
        slack_bot.notify(setup, message(telling("resolve", thread=gone)), NOON)
        assert fake.asked == ["chat.update", "chat.postMessage"]

    def test_what_was_posted_before_it_failed_is_not_posted_again(self, slack: tuple[FakeSlack, Setup]) -> None:
        fake, setup = slack
        told = (telling("repeat", key="a", thread=Thread("C1 1000.000100")), telling(key="b"))
        with pytest.raises(ChannelError, match="ratelimited") as caught:
            slack_bot.notify(setup, message(*told), NOON)
        assert caught.value.retry_after == 1 and not caught.value.permanent
        fake.second += 1
        sent = slack_bot.notify(setup, Message("a", told, delivered=caught.value.delivered), NOON)
        assert len(fake.messages) == 2 and sent.reference == "C1 1001.000100"

    @pytest.mark.parametrize("count", [1, 2, 200])
    def test_it_keeps_to_slack_s_limits(self, slack: tuple[FakeSlack, Setup], count: int) -> None:
        told = [telling(key=f"key-{number}", summary="long " * 60, consequence="c" * 4000) for number in range(count)]
        assert slack_bot.notify(slack[1], message(*told), NOON).response == "ok"


class TestRefusals:
    @pytest.mark.parametrize("word", ["token_revoked", "account_inactive", "not_in_channel", "is_archived", "missing_scope"])
    def test_what_only_a_person_can_mend_switches_it_off_with_a_sentence(self, slack: tuple[FakeSlack, Setup], word: str) -> None:
        slack[0].refuse = word
        with pytest.raises(ChannelError, match=word) as caught:
            slack_bot.notify(slack[1], message(), NOON)
        assert caught.value.switch_off and str(caught.value) == f"Slack: {slack_bot.GONE[word]} ({word})."

    @pytest.mark.parametrize(("word", "permanent"), [("internal_error", False), ("ratelimited", False), ("invalid_blocks", True)])
    def test_what_a_retry_can_help_is_tried_again(self, slack: tuple[FakeSlack, Setup], word: str, permanent: bool) -> None:
        slack[0].refuse = word
        with pytest.raises(ChannelError, match=word) as caught:
            slack_bot.notify(slack[1], message(), NOON)
        assert (caught.value.permanent, caught.value.switch_off) == (permanent, False)

    def test_a_wrong_token_and_a_wrong_channel(self) -> None:
        with serving(FakeSlack()) as server:
            for setup, word in (
                (setup_at(server, token="xoxb-other"), "invalid_auth"),
                (setup_at(server, channel="C9"), "channel_not_found"),
            ):
                with pytest.raises(ChannelError, match=word) as caught:
                    slack_bot.notify(setup, message(), NOON)
                assert caught.value.switch_off and "xoxb-other" not in str(caught.value)

    def test_an_answer_that_is_not_slack_s_is_tried_again(self) -> None:
        with serving(lambda handler: handler.reply(200, b"<html>maintenance")) as server, pytest.raises(ChannelError) as caught:
            slack_bot.notify(setup_at(server), message(), NOON)
        assert not caught.value.permanent


@pytest.mark.django_db
class TestThroughTheOutbox:
    def send(self, channel: Channel, server: Server, now: datetime) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("monitoring.alerts.channels.registry.allowed_addresses", lambda: [Allowed("127.0.0.0/8", server.port)])
            claim = message_claim(channel.pk, now=now, owner="a")
            assert claim and message_send(claim, clock=lambda: now, kinds=KINDS)

    def test_one_of_two_alerts_of_a_message_is_acknowledged_and_the_other_ends(self) -> None:
        fake = FakeSlack()
        with serving(fake) as server:
            options = {"channel": "C1", "api_url": f"{server.url}/api"}
            sealed = secret_encrypt(json.dumps({"token": "xoxb-good"}))
            channel = Channel.objects.create(name="app", kind="slack_bot", options=options, secret=sealed)
            deployment = make_deployment()
            one, two = (make_alert(deployment=deployment, labels={"deployment": name}, summary="wrong") for name in ("llama", "qwen"))
            for alert in (one, two):
                queue(alert, channel, "fire")
            self.send(channel, server, NOON)
            alert_acknowledge(one, until=None, by="ann", now=at(10))
            self.send(channel, server, at(10))
            Alert.objects.filter(pk=two.pk).update(state="resolved", closed_at=at(20), resolved_at=at(20))
            fake.second = 20
            queue(two, channel, "resolve", after=20)
            self.send(channel, server, at(20))
            (first, reply) = fake.messages.values()
            text = json.dumps(first["blocks"])
            assert "[WARNING] llama: wrong (acknowledged by ann)" in text and "[RESOLVED] qwen: wrong" in text
            assert reply["text"] == "[RESOLVED] qwen: wrong" and reply["thread_ts"] == "1000.000100"
            acknowledge_end(one, by="ann", now=at(30))
            self.send(channel, server, at(30))
            assert "acknowledged" not in json.dumps(fake.messages["1000.000100"]["blocks"])
        assert set(Notification.objects.values_list("state", flat=True)) == {"sent"}

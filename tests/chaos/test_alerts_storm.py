"""A thousand alerts within ten seconds: at most twenty messages by each channel, and every one of them is told."""

import json
from collections.abc import Sequence
from datetime import datetime
from functools import partial

import numpy as np
import pytest

from monitoring.alerts import outbox
from monitoring.alerts.evaluate import alerts_evaluate
from monitoring.alerts.send import notifications_send
from monitoring.models import ChannelKind, Cluster, Deployment, Notification, NotificationState
from tests.chaos.alert_world import HIGH, channel_make, world_make
from tests.chaos.conftest import Table
from tests.chaos.receiver import KEY, Receiver, receiving
from tests.telemetry import at

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("chaos"), pytest.mark.usefixtures("quick_commits")]
ALERTS, SECONDS, MESSAGES_MOST, BODY_MOST = 1000, 10, 20, 20_000
KINDS = (ChannelKind.WEBHOOK, ChannelKind.ALERTMANAGER, ChannelKind.SLACK)


def storm(receiver: Receiver, alerts: int, *, kinds: Sequence[ChannelKind] = KINDS) -> None:
    """A tenth of the deployments each second; then senders go on for five minutes."""
    world = world_make(receiver, channels=0, deployments=0)
    world.channels += [channel_make(receiver, kind.value, kind=kind) for kind in kinds]
    cluster = Cluster.objects.create(name="storm")
    names = [{"name": f"model-{number}", "workload": f"model-{number}"} for number in range(alerts)]
    world.deployments += Deployment.objects.bulk_create(
        [Deployment(cluster=cluster, namespace="prod", model_name="model", **name) for name in names]
    )
    each = alerts // SECONDS
    for second in range(SECONDS):
        ids = world.ids[second * each : (second + 1) * each]
        world.telemetry_write(np.full(each, float(second)), np.full(each, HIGH), ids=ids)
        alerts_evaluate(now=at(second))
        sent(at(second))
    for second in range(20, 320, 20):
        sent(at(second))


def sent(now: datetime) -> None:
    notifications_send(clock=partial(steady, now), owner="test", round_seconds=60.0)


def steady(now: datetime) -> datetime:
    return now


def told(receiver: Receiver, kind: str) -> int:
    """Different alerts the receiver can name. People who read Slack get the list's beginning and a number."""
    bodies = receiver.messages.get(kind, [])
    if kind == ChannelKind.WEBHOOK:
        return len({key for body in bodies for key in KEY.findall(body)})
    if kind == ChannelKind.ALERTMANAGER:
        return len({alert["labels"]["deployment"] for body in bodies for alert in json.loads(body)})
    return Notification.objects.filter(channel__kind=kind, state=NotificationState.SENT).count()


def test_a_thousand_alerts_in_ten_seconds_are_at_most_twenty_messages(table: Table) -> None:
    with receiving() as receiver:
        storm(receiver, ALERTS)
    counts = {str(kind): len(receiver.messages[kind]) for kind in KINDS}
    lost = {str(kind): ALERTS - told(receiver, kind) for kind in KINDS}
    small = max(len(body) for body in receiver.messages[ChannelKind.WEBHOOK]) <= BODY_MOST
    fine = max(counts.values()) <= MESSAGES_MOST and not any(lost.values()) and small
    words = ", ".join(f"{kind} {count}" for kind, count in counts.items())
    table.add("1,000 alerts in 10 s", f"messages: {words}; {sum(lost.values())} lost", "<= 20 messages a channel, 0 lost", held=fine)
    assert fine, (counts, lost, small)


def test_without_grouping_they_are_too_many_and_most_still_wait(monkeypatch: pytest.MonkeyPatch, table: Table) -> None:
    monkeypatch.setattr(outbox, "TOGETHER_MOST", 1)
    with receiving() as receiver:
        storm(receiver, 100, kinds=[ChannelKind.WEBHOOK])
    count, lost = len(receiver.messages[ChannelKind.WEBHOOK]), 100 - told(receiver, ChannelKind.WEBHOOK)
    table.add(
        "twin: no grouping, 100 alerts", f"{count} messages, {lost} not told", "is found out", held=count > MESSAGES_MOST and lost > 0
    )
    assert count > MESSAGES_MOST and lost

"""A few alerts in every state with what was told of them, for pictures and for looking at pages."""

import json
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from monitoring.access import secret_encrypt
from monitoring.alerts.defaults import rules_ship
from monitoring.models import (
    Alert,
    AlertState,
    AlertTransition,
    Channel,
    Deployment,
    Edge,
    EvaluationMark,
    Notification,
    NotificationState,
    Rule,
    Silence,
)
from tests.factories import make_alert

SECRET = json.dumps({"url": "https://hooks.slack.com/services/T000/B000/abcd1234"})


def alerts_make(chat: Deployment, asr: Deployment, tts: Deployment) -> dict[str, str]:
    """The addresses of all pages of alerts, by the name of their picture."""
    now = timezone.now()
    rules_ship(set())
    EvaluationMark.objects.update_or_create(name="rules", defaults={"until": now, "resumed_at": now - timedelta(days=1)})
    slack = Channel.objects.create(
        name="assist on call", kind="slack", secret=secret_encrypt(SECRET), severities=["critical"], tested_at=now - timedelta(days=3),
        test_ok=True, test_said="The test message arrived: Slack webhook said “ok”.",
    )  # fmt: skip
    mail = Channel.objects.create(
        name="ops mail", kind="email", options={"to": ["ops@example.com", "sre@example.com"]}, weekly_digest=True,
        switched_off_why="The mail server refused both addresses: 550 no such user. Correct them and switch the channel on.",
    )  # fmt: skip
    burning = fires(chat, "slo-latency-fast", now - timedelta(minutes=31), value=22.0, worst=31.0)
    told(burning, slack, now - timedelta(minutes=30), response="ok")
    told(burning, mail, now - timedelta(minutes=30), state=NotificationState.DEAD, last_error="550 no such user", attempts=3)
    full = fires(asr, "kv-cache-full", now - timedelta(hours=2), value=0.97, worst=0.99, acknowledged_by="anna@example.com")
    Alert.objects.filter(pk=full.pk).update(acknowledged_at=now - timedelta(hours=1), acknowledged_until=now + timedelta(hours=3))
    pending = fires(
        tts, "queue-growth", now - timedelta(minutes=4), value=9.0, worst=9.0, state=AlertState.PENDING, fired=False, fired_at=None
    )
    over = now - timedelta(hours=5)
    old = fires(
        asr,
        "kv-cache-full",
        over - timedelta(minutes=22),
        value=0.4,
        worst=0.98,
        state=AlertState.RESOLVED,
        fired=False,
        closed_at=over,
        resolved_at=over,
    )
    told(old, slack, over, edge=Edge.RESOLVE, response="ok")
    for hours, label in ((0, "asr"), (30, "tts")):
        start = now + timedelta(hours=hours) - timedelta(minutes=10)
        Silence.objects.create(
            matchers={"deployment": label, "rule": "queue-growth"},
            start_at=start,
            end_at=start + timedelta(hours=2),
            reason="Rolling update",
            created_by="anna@example.com",
        )
    own = Rule.objects.create(
        name="tts-waits", entity="deployment", signal="requests_waiting", threshold=20, matchers={"deployment": "tts*"},
        summary="Speech waits",
        consequence="Callers hear silence.", first_action="Add a replica.", owner="voice",
    )  # fmt: skip
    return {
        "alerts": "/alerts/",
        "alerts-resolved": "/alerts/?state=resolved",
        "alerts-none": "/alerts/?state=muted",
        "alert": f"/alerts/{burning.pk}/",
        "alert-pending": f"/alerts/{pending.pk}/",
        "alert-over": f"/alerts/{old.pk}/",
        "alert-rules": "/alerts/rules/",
        "alert-rule": f"/alerts/rules/{own.pk}/",
        "alert-rule-new": "/alerts/rules/new/",
        "alert-rules-yaml": "/alerts/rules/yaml/",
        "silences": "/alerts/silences/",
        "channels": "/alerts/channels/",
        "channel": f"/alerts/channels/{mail.pk}/",
        "channel-kinds": "/alerts/channels/new/",
        "channel-new": "/alerts/channels/new/?kind=slack",
        "deliveries": "/alerts/deliveries/",
    }


def fires(deployment: Deployment, rule_name: str, at: datetime, *, value: float, worst: float, **fields: Any) -> Alert:
    rule = Rule.objects.get(name=rule_name)
    times = dict.fromkeys(("state_since", "started_at", "fired_at", "flipped_at"), at) | {"known_at": timezone.now()}
    words = {name: getattr(rule, name) for name in ("severity", "summary", "consequence", "first_action", "runbook_url")}
    labels = {"deployment": deployment.name, "cluster": deployment.cluster.name, "namespace": deployment.namespace}
    told = {"deployment": deployment, "team": deployment.team, "labels": labels, "value": value, "worst_value": worst, "step_number": 2}
    alert = make_alert(rule, **times | words | told | fields)
    steps = [(1, "ok", "pending", ""), (2, "pending", "firing", Edge.FIRE)][: 1 if alert.state == AlertState.PENDING else 2]
    for number, before, after, edge in steps:
        seen = at + timedelta(minutes=number - 2 + (alert.state == AlertState.PENDING))
        AlertTransition.objects.create(alert=alert, number=number, at=seen, from_state=before, to_state=after, edge=edge, value=value)
    return alert


def told(
    alert: Alert, channel: Channel, at: datetime, *, edge: str = Edge.FIRE, state: str = NotificationState.SENT, **fields: Any
) -> None:
    kept = {"edge": edge, "edge_number": alert.edge_number + 1, "run_after": at, "created_at": at, "state": state, "attempts": 1}
    sent = {"sent_at": at} if state == NotificationState.SENT else {}
    key = f"stage-{alert.pk}-{channel.pk}-{edge}"
    Notification.objects.create(alert=alert, channel=channel, dedup_key=key, **kept | sent | fields)

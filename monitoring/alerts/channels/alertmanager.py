"""Alertmanager's API v2. Secret: JSON {"url": "http://alertmanager:9093"} and perhaps "bearer".

An alert that fires ends by itself unless it is sent again, so its end is set far off; an ended one is sent with its end.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from monitoring.alerts.channels.base import ChannelError, Message, Setup, Telling, facts_of, headline_of, link_of
from monitoring.alerts.channels.calls import call

PATH = "/api/v2/alerts"
FAR = timedelta(days=30)
TEST_STANDS = timedelta(minutes=5)


def notify(setup: Setup, message: Message, now: datetime) -> str:
    body = json.dumps([alert_of(setup, telling, now) for telling in message.told]).encode()
    bearer = setup.secrets.get("bearer", "")
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {bearer}"} if bearer else {})}
    reply = call(setup, setup.secrets["url"].rstrip("/") + PATH, body, headers=headers)
    if reply.status == 410:
        raise ChannelError("Alertmanager's API is gone (410).", switch_off=True)
    return f"{reply.status}"


def alert_of(setup: Setup, telling: Telling, now: datetime) -> dict[str, Any]:
    """The labels are the identity there as well: the same for beginning and end."""
    content = telling.content
    ended = telling.edge == "resolve"
    ends_at = datetime.fromtimestamp(content["resolved_at"], tz=UTC) if ended and content["resolved_at"] else now + FAR
    if telling.edge == "test":
        ends_at = now + TEST_STANDS
    labels = {name: value for name, value in content["labels"].items() if value}
    return {
        "labels": labels | {"alertname": content["rule"], "severity": content["severity"]},
        "annotations": {
            "summary": headline_of(telling),
            "description": "; ".join(f"{name}: {text}" for name, text in facts_of(telling) if name not in ("Where", "Since")),
            "consequence": content["consequence"],
            "first_action": content["first_action"],
            "runbook_url": content["runbook_url"],
        },
        "startsAt": datetime.fromtimestamp(content["started_at"], tz=UTC).isoformat(),
        "endsAt": ends_at.isoformat(),
        "generatorURL": link_of(setup, content),
    }

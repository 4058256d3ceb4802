"""A signed webhook, by Standard Webhooks: `webhook-id`, `webhook-timestamp`, `webhook-signature: v1,<HMAC-SHA256 of "id.time.body">`.

Secret: JSON {"url": ..., "signing": ["whsec_..."]}; with two signing keys each message has both signatures, for rotation.
"""

import base64
import binascii
import hashlib
import hmac
import json
from datetime import datetime

from monitoring.alerts.channels.base import ChannelError, Message, Setup, Telling, alert_link, headline_of, link_of, title_of
from monitoring.alerts.channels.calls import call

BODY_MOST = 20_000  # bytes; a longer list is cut and says so
PREFIX = "whsec_"


def notify(setup: Setup, message: Message, now: datetime) -> str:
    body = body_of(setup, message, now)
    stamp = str(int(now.timestamp()))
    signed = f"{message.key}.{stamp}.".encode() + body
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message.key,
        "webhook-timestamp": stamp,
        "webhook-signature": " ".join(signature(secret, signed) for secret in setup.secrets["signing"]),
        "Idempotency-Key": message.key,
    }
    reply = call(setup, setup.secrets["url"], body, headers=headers)
    if reply.status == 410:
        raise ChannelError("The receiver says the webhook is gone (410).", switch_off=True)
    return f"{reply.status}"


def signature(secret: str, signed: bytes) -> str:
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        raise ChannelError("The signing secret is not whsec_ and base64; enter it again.", switch_off=True) from None
    return f"v1,{base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()}"


def body_of(setup: Setup, message: Message, now: datetime) -> bytes:
    """Thin: what, where, since when, what to do. Of alerts that would make it too long stands what happened, and the key."""
    shown = [told_of(setup, telling) for telling in message.told]
    while True:
        more = [{"event": telling.edge, "dedup_key": telling.dedup_key} for telling in message.told[len(shown) :]]
        told = {"title": title_of(message), "alerts": shown, "left_out": len(more), "more": more}
        body = json.dumps({"type": type_of(message), "timestamp": now.isoformat(), "data": told}).encode()
        if len(body) <= BODY_MOST or not shown:
            return body
        shown = shown[: len(shown) * 3 // 4]


def type_of(message: Message) -> str:
    if message.title:
        return "alerts.digest"
    return "alerts.test" if message.told[0].edge == "test" else "alerts.changed"


def told_of(setup: Setup, telling: Telling) -> dict[str, object]:
    names = ("identity", "rule", "severity", "labels", "summary", "consequence", "first_action", "runbook_url", "value", "worst_value")
    times = ("started_at", "fired_at", "resolved_at", "money", "currency")
    more = ("limit", "unit", "moved", "before", "slo_minutes_lost", "acknowledged_by", "context")
    kept = {name: telling.content[name] for name in (*names, *times)} | {name: telling.content.get(name) for name in more}
    said: dict[str, object] = {
        "event": telling.edge,
        "dedup_key": telling.dedup_key,
        "title": headline_of(telling),
        "url": link_of(setup, telling.content),
        "alert_url": alert_link(setup, telling.content),
    }
    return said | kept

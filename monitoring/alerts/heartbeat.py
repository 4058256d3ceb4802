"""The dead man's ping: an outside service hears from us while our own loops go on, and tells people when it does not."""

from datetime import datetime

from django.conf import settings

from monitoring.alerts.channels.registry import hidden
from monitoring.http import HttpError, http_get
from monitoring.models import LOOPS_WATCHED, Heartbeat
from monitoring.sources.connect import allowed_addresses

WATCHED = (*("monitoring.alerts_evaluate", "monitoring.alerts_send", "monitoring.alerts_sweep"), "monitoring.partitions_ahead")
TIMEOUT = (5.0, 5.0)
ANSWER_MOST = 4096


class PingError(Exception):
    """The ping was due and did not arrive."""


def loops_stale(*, now: datetime) -> list[str]:
    """Those of the watched loops that never ran, or not within their time."""
    beats = dict(Heartbeat.objects.filter(name__in=WATCHED).values_list("name", "at"))
    return [name for name in WATCHED if name not in beats or (now - beats[name]).total_seconds() > LOOPS_WATCHED[name]]


def dead_man_ping(*, now: datetime) -> str:
    """One line: pinged, or which loops keep us from it; empty where nobody asked for it."""
    url = settings.DEAD_MAN_URL
    if not url:
        return ""
    stale = loops_stale(now=now)
    if stale:
        return f"not pinged: {', '.join(stale)} stale"
    try:
        reply = http_get(url, allowed=allowed_addresses(), timeout=TIMEOUT, max_bytes=ANSWER_MOST)
    except HttpError as error:
        raise PingError(hidden(str(error), {"url": url})) from None
    if reply.status >= 300:
        raise PingError(f"the address of the dead man's ping answered {reply.status}")
    return "pinged"

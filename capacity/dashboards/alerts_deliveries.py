"""The delivery log: what went out by which channel, what the other side said, and a button for what was given up."""

from dataclasses import dataclass
from datetime import datetime

from django.core.paginator import Paginator
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.views.decorators.http import require_GET, require_POST

from capacity.dashboards.alerts import number_of
from capacity.dashboards.alerts_words import lowered, subject_words
from capacity.dashboards.pages import query_string
from capacity.dashboards.replies import complain, guarded, show, toast
from monitoring.access import actor_of, channels_for, may_act, notification_edit_get, notifications_for
from monitoring.alerts.outbox import dead_replay
from monitoring.models import Edge, Notification, NotificationQuerySet, NotificationState

ROWS = 50
EDGES = {
    Edge.FIRE: "Fires",
    Edge.RESOLVE: "Resolved",
    Edge.FLAPPING: "Flapping",
    Edge.REPEAT: "Still fires",
    Edge.ESCALATION: "Escalation",
    Edge.ACK: "Acknowledged",
}
SHOWS = (
    ("", "All", ()),
    ("waiting", "Waiting", (NotificationState.WAITING, NotificationState.SENDING)),
    ("sent", "Sent", (NotificationState.SENT,)),
    ("muted", "Not sent", (NotificationState.SUPPRESSED, NotificationState.FOLDED)),
    ("dead", "Given up", (NotificationState.DEAD,)),
)


@dataclass(frozen=True)
class Delivery:
    row: Notification
    what: str
    title: str
    said: str
    at: datetime
    may_replay: bool


@guarded
@require_GET
def deliveries(request: HttpRequest) -> HttpResponse:
    actor = actor_of(request)
    shown, channel = request.GET.get("show", ""), number_of(request.GET.get("channel", ""))
    alert = number_of(request.GET.get("alert", ""))
    mine = notifications_for(actor)
    mine = mine.filter(channel=channel) if channel is not None else mine
    mine = mine.filter(alert=alert) if alert is not None else mine
    counts = counts_of(mine)
    states = next((states for key, _, states in SHOWS if key == shown), ())
    rows = mine.filter(state__in=states) if states else mine
    pages = Paginator(rows.order_by("-created_at", "-pk"), ROWS).get_page(request.GET.get("page"))
    query = {name: values for name, values in request.GET.lists() if name != "page"}
    context = {
        "pages": pages,
        "rows": [delivery(row, may_replay=may_act(actor, row.channel.team_id)) for row in pages.object_list],
        "chips": [(label, counts[key or "all"], query_string(query, show=key), key == shown) for key, label, _ in SHOWS],
        "channels": list(channels_for(actor).order_by("name")),
        "channel": channel,
        "alert": alert,
        "shown": shown,
        "pager_base": query_string(query) + "&",
    }
    return show(request, "alerts/deliveries.html", context)


def counts_of(rows: NotificationQuerySet) -> dict[str, int]:
    told = {key: Count("pk", filter=Q(state__in=states)) for key, _, states in SHOWS if key}
    counts: dict[str, int] = rows.aggregate(all=Count("pk"), **told)
    return counts


def delivery(row: Notification, *, may_replay: bool) -> Delivery:
    alert = row.alert
    said = {NotificationState.SENT: row.response, NotificationState.SUPPRESSED: row.suppressed_by}.get(
        NotificationState(row.state), row.last_error
    )
    title = f"{subject_words(alert.labels, fallback=alert.rule_name)}: {lowered(alert.summary)}"
    dead = row.state == NotificationState.DEAD
    return Delivery(row, EDGES.get(Edge(row.edge), row.edge), title, said, row.sent_at or row.created_at, may_replay and dead)


@guarded
@require_POST
def replay(request: HttpRequest, *, pk: int) -> HttpResponse:
    """One that was given up is tried again, under the same key, for another day."""
    row = notification_edit_get(actor_of(request), pk)
    done = dead_replay(Notification.objects.filter(pk=row.pk), now=timezone.now())
    if done:
        toast(request, f"It is tried again by {row.channel.name}, under the same key.")
    else:
        complain(request, "It was not given up, so there is nothing to try again.")
    return redirect("deliveries")

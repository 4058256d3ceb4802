"""What the shell of every page shows: where one can go, who looks, in which theme and zone."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Max, Q
from django.http import HttpRequest, HttpResponseBase
from django.urls import reverse
from django.utils import timezone

from capacity.dashboards.health import health_load
from capacity.dashboards.pages import zone_of
from capacity.models import DeploymentStatus, Verdict
from monitoring.access import Actor, actor_of, alerts_for, deployments_for, may_act
from monitoring.alerts.troubles import own_troubles
from monitoring.models import DeploymentState

THEMES = ("light", "dark")
STALE_SECONDS = 180  # three looks at a source that is polled each minute


@dataclass(frozen=True)
class Link:
    """One entry of the navigation; `key` is pressed after g."""

    name: str
    label: str
    key: str
    admin: bool = False
    covers: tuple[str, ...] = ()  # names of pages below this one


@dataclass(frozen=True)
class Entry:
    label: str
    url: str
    key: str
    current: bool
    count: str = ""


ALERT_PAGES = (
    *("alert_rules", "alert_rule", "alert_rule_new", "alert_rules_file", "silences"),
    *("channels", "channel", "channel_new", "channel_delete", "deliveries"),
)
TELLING = ("fleet", "setup", "alerts", "alert", *ALERT_PAGES)  # pages that say when nobody could be told
SEE = (
    Link("fleet", "Fleet", "f", covers=("deployment", "deployment_slo", "deployment_edit")),
    Link("accelerators", "Accelerators", "a", covers=("accelerator", "node")),
    Link("alerts", "Alerts", "l", covers=("alert", *ALERT_PAGES)),
)
PLAN_PAGES = ("plan", "plan_compare", "plan_events", "planned_event", "plan_settings", "scenario", "scenario_new", "scenario_events")
DECIDE = (Link("plans", "Plan", "p", covers=PLAN_PAGES),)
SYSTEM = (
    Link("setup", "Setup", "u", admin=True, covers=("retention", "demo_remove")),
    Link("sources", "Sources", "s", admin=True, covers=("source", "source_new", "source_edit", "source_import")),
    Link("agents", "Agents", "n", covers=("agents_install",)),
    Link("prices", "Prices", "i", covers=("price", "price_new")),
    Link("supply", "Supply", "o", covers=("supply_order", "supply_order_new")),
    Link("teams", "Teams", "m", covers=("team",)),
    Link("keys", "Keys", "k"),
    Link("status", "Status", "h"),
)


def shell(request: HttpRequest) -> dict[str, object]:
    """Context of base.html: three queries for someone who is signed in, none else."""
    theme = request.COOKIES.get("theme", "")
    context: dict[str, object] = {"theme": theme if theme in THEMES else ""}
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return context
    actor = actor_of(request)
    state = DeploymentStatus.objects.filter(deployment__in=deployments_for(actor).filter(state=DeploymentState.ACTIVE)).aggregate(
        breaks=Count("pk", filter=Q(verdict=Verdict.BREAKS)), as_of=Max("as_of")
    )
    health = health_load(now=timezone.now())
    firing = alerts_for(actor).firing().count()
    counts = {"fleet": f"{state['breaks']} broken" if state["breaks"] else "", "alerts": f"{firing} firing" if firing else ""}
    return context | {
        "nav": [entry(request, link, count=counts.get(link.name, "")) for link in SEE],
        "nav_decide": [entry(request, link) for link in DECIDE],
        "nav_system": [entry(request, link) for link in SYSTEM if actor.admin or not link.admin],
        "demo_here": health.demo,
        "troubles": [] if page_name(request) == "status" else health.troubles,  # Status has them in full
        "telling": telling(request, actor),
        "fresh_as_of": state["as_of"],
        "fresh_stale_seconds": STALE_SECONDS,
        "is_admin": actor.admin,
        "zone_label": zone_label(request),
    }


def telling(request: HttpRequest, actor: Actor) -> dict[str, object] | None:
    """The first of our own troubles with telling people: said on pages of alerts, on Fleet and Setup, to who can mend it."""
    if page_name(request) not in TELLING:
        return None
    mine = None if actor.sees_all else [team for team in actor.team_ids if may_act(actor, team)]
    found = own_troubles(now=timezone.now(), team_ids=mine)  # loops have their own banner
    if not found:
        return None
    first = found[0]
    url = reverse("channel", kwargs={"pk": first.pk}) if first.pk is not None and first.area == "channel" else reverse("channels")
    if first.area == "delivery":
        url = f"{reverse('deliveries')}?channel={first.pk}"
    return {"sentence": first.sentence, "more": len(found) - 1, "url": url}


def entry(request: HttpRequest, link: Link, *, count: str = "") -> Entry:
    name = page_name(request)
    return Entry(link.label, reverse(link.name), link.key, name == link.name or name in link.covers, count)


def page_name(request: HttpRequest) -> str:
    match = getattr(request, "resolver_match", None)
    return (match.url_name or "") if match else ""


def zone_label(request: HttpRequest) -> str:
    return datetime.now(zone_of(request)).tzname() or "UTC"


class ZoneMiddleware:
    """Times on every page are in the reader's zone."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with timezone.override(zone_of(request)):
            return self.get_response(request)

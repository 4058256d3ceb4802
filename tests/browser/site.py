"""A whole Headroom in this process for the browser: demo fleet, an admin, a web server, and a watch over what a page complains of."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from django.conf import settings
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.management import call_command
from django.test import Client
from django.test.testcases import LiveServerThread
from django.utils import timezone
from playwright.sync_api import BrowserContext, ConsoleMessage, Page

from capacity.analysis.saturation import saturation_round
from capacity.analysis.status import status_update
from capacity.demo import demo_live, demo_load
from capacity.models import Scenario, Scope, prices_ship
from monitoring.models import Accelerator, Agent, Deployment, Node, Team, User
from monitoring.rollups import rollups_fill

CHROMIUM = os.environ.get("HEADROOM_CHROMIUM", "/usr/bin/chromium")
LAUNCH = {"executable_path": CHROMIUM, "args": ["--no-sandbox", "--disable-dev-shm-usage"]}
EMAIL, PASSWORD = "admin@example.com", "correct horse battery staple"
GRAVE = ("serious", "critical")
COLOUR_RULES = ("color-contrast", "link-in-text-block")  # what can differ between light and dark
# What a browser says although nothing is wrong with the page.
HARMLESS = (
    "Failed to load resource: the server responded with a status of 404",
    "Failed to load resource: the server responded with a status of 403",
)


@dataclass
class Watch:
    """Collects what must not happen on any page: errors in the console, broken scripts, refusals of the content policy."""

    complaints: list[str] = field(default_factory=list)

    def over(self, page: Page) -> None:
        page.on("console", self.heard)
        page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))

    def heard(self, message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(HARMLESS):
            self.complaints.append(f"{message.text} ({message.location.get('url', '')})")


@contextmanager
def site_serve(*, host: str = "127.0.0.1") -> Iterator[str]:
    """The address of a web server over the current database."""
    settings.ALLOWED_HOSTS = ["*"]
    thread = LiveServerThread(host, StaticFilesHandler)
    thread.daemon = True
    thread.start()
    thread.is_ready.wait()
    if thread.error:
        raise thread.error
    try:
        yield f"http://{host}:{thread.port}"
    finally:
        thread.terminate()


def admin_make() -> User:
    call_command("createcachetable")  # rate limits of the login form live there
    found = User.objects.filter(email=EMAIL).first()
    return found or User.objects.create_superuser(EMAIL, PASSWORD, name="Ada Admin")


def demo_make(*, days: int, now: datetime | None = None) -> None:
    now = now or timezone.now()
    demo_load(now=now, days=days)
    prices_ship(now=now)
    rollups_fill(now=now)
    saturation_round(now=now)
    status_update(now=now)


def demo_freshen() -> None:
    """As the beat would: the minutes since it was loaded, what limits whom, and the status."""
    now = timezone.now()
    demo_live(now=now)
    saturation_round(now=now)
    status_update(now=now)


def session_of(user: User) -> str:
    """Signed in without the login form, which has its own test and takes a slow hash."""
    client = Client()
    client.force_login(user)
    return client.cookies[settings.SESSION_COOKIE_NAME].value


def signed_in(context: BrowserContext, address: str, *, session: str) -> BrowserContext:
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": address}])
    return context


def axe_grave_in_both(page: Page, address: str) -> list[str]:
    """Of a page by its address, light and then dark, which changes colours only. For a context that follows the system's theme."""
    page.emulate_media(color_scheme="light")
    page.goto(address)
    light = axe_grave(page)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    return light + [f"dark: {each}" for each in axe_grave(page, rules=COLOUR_RULES)]


def axe_grave(page: Page, *, rules: Sequence[str] = ()) -> list[str]:
    """Violations that axe calls serious or critical, one line each; of all rules or only of these."""
    options: dict[str, object] = {"resultTypes": ["violations"]}  # what passes is not looked at again, node by node
    if rules:
        options["runOnly"] = {"type": "rule", "values": list(rules)}
    found = Axe().run(page, options=options).response["violations"]
    return [f"{each['id']} ({each['impact']}): {each['nodes'][0]['html'][:160]}" for each in found if each["impact"] in GRAVE]


def page_addresses() -> dict[str, str]:
    """Every page of a signed-in admin, by the name of its picture."""
    pages = {
        "fleet": "/",
        "fleet-search": "/?q=chat",
        "accelerators": "/accelerators/",
        "setup": "/setup/",
        "retention": "/setup/retention/",
        "plans": "/plans/",
        "plan-group-new": "/scenarios/new/",
        "prices": "/prices/",
        "prices-list": "/prices/?show=list",
        "price-new": "/prices/new/?type=c7i.8xlarge",
        "supply": "/supply/",
        "supply-order": "/supply/orders/new/",
        "sources": "/sources/",
        "source-new": "/sources/new/",
        "teams": "/teams/",
        "keys": "/keys/",
        "agents": "/agents/",
        "agents-install": "/agents/install/",
        "status": "/status/",
        "account": "/account/",
        "slos": "/slos/",
        "not-found": "/deployments/999999999/",
    }
    for name in ("chat-70b", "fraud-score", "vision-qc", "recsys-train"):
        if row := Deployment.objects.filter(name=name).first():
            pages[f"deployment-{name}"] = f"/deployments/{row.pk}/"
    if row := Deployment.objects.filter(name="chat-70b").first():
        pages["deployment-open"] = f"/deployments/{row.pk}/?open=queue,power,skew"
        pages["deployment-28d"] = f"/deployments/{row.pk}/?from=now-28d&to=now"
        pages["slo"] = f"/deployments/{row.pk}/slo/"
        pages |= plan_addresses(row)
        pages["deployment-edit"] = f"/deployments/{row.pk}/edit/"
    if accelerator := Accelerator.objects.filter(placements__isnull=False).first():
        pages["accelerator"] = f"/accelerators/{accelerator.pk}/"
    if node := Node.objects.filter(accelerators__isnull=False).first():
        pages["node"] = f"/nodes/{node.pk}/"
    if agent := Agent.objects.filter(node__accelerators__isnull=False).first():
        pages["node-agent"] = f"/nodes/{agent.node_id}/"
        pages["accelerator-agent"] = f"/accelerators/{Accelerator.objects.filter(node=agent.node_id, position=3)[0].pk}/"
    if agent := Agent.objects.filter(waiting_count__gt=0).first():
        pages["node-late"] = f"/nodes/{agent.node_id}/?from=now-7d&to=now"
    if team := Team.objects.first():
        pages["team"] = f"/teams/{team.pk}/"
    return pages


def plan_addresses(row: Deployment) -> dict[str, str]:
    """The pages of its plan, whether one was made or not; those of what was saved, where it was."""
    home = f"/plans/{row.pk}/"
    pages = {
        "plan": home,
        "plan-what-if": f"{home}?growth=20&horizon=30",
        "plan-events": f"{home}events/",
        "plan-settings": f"{home}settings/",
    }
    pages["plan-compare"] = f"{home}compare/"
    if scenario := Scenario.objects.filter(deployment=row).first():
        pages["plan-scenario"] = f"{home}?scenario={scenario.pk}"
    if group := Scenario.objects.filter(scope=Scope.GROUP).first():
        pages["plan-group"] = f"/scenarios/{group.pk}/"
    if other := Deployment.objects.filter(name="fraud-score").first():
        pages["plan-other"] = f"/plans/{other.pk}/"
    return pages


PUBLIC = {"login": "/accounts/login/", "password-reset": "/accounts/password/reset/"}

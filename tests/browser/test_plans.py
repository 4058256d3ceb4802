"""Plans in a real browser: an event moves the run-out date, a scenario is saved, compared and shared, KEDA is downloaded."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect
from pytest_django import DjangoDbBlocker

from capacity.analysis.plan_jobs import deployment_plans
from capacity.models import PlanSettings
from monitoring.models import Deployment, Membership, Role, User
from tests.browser.site import Watch, admin_make, axe_grave, demo_make, session_of, signed_in, site_serve
from tests.factories import make_user
from tests.telemetry import database_clear

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("browser_plans")]
DAYS = 15  # two weekly cycles, which a forecast of a week needs
NAME = "chat-70b"


@pytest.fixture(scope="module")
def planned_site(django_db_setup: None, django_db_blocker: DjangoDbBlocker, browser: Browser) -> Iterator[dict[str, Any]]:
    """The demo fleet with the plan of one of its deployments, an editor and a viewer of its team."""
    with django_db_blocker.unblock():
        admin_make()
        demo_make(days=DAYS)
        row = Deployment.objects.get(name=NAME)
        PlanSettings.objects.create(deployment=row, slots=24)
        deployment_plans(row, now=timezone.now())()
        people = {role: make_user(f"{role}@example.com") for role in (Role.EDITOR, Role.VIEWER)}
        assert row.team is not None
        for role, user in people.items():
            Membership.objects.create(user=user, team=row.team, role=role)
        sessions = {role.value: session_of(user) for role, user in people.items()}
        with site_serve() as address:
            yield {"address": address, "plan": f"{address}/plans/{row.pk}/", "sessions": sessions}
        database_clear()
        User.objects.filter(email__in=[user.email for user in people.values()]).delete()


def page_of(browser: Browser, site: dict[str, Any], role: str, watch: Watch, **more: Any) -> Page:
    context = browser.new_context(timezone_id="Europe/Berlin", viewport=more.pop("viewport", {"width": 1440, "height": 900}), **more)
    page = signed_in(context, site["address"], session=site["sessions"][role]).new_page()
    watch.over(page)
    return page


@pytest.fixture
def editor(browser: Browser, planned_site: dict[str, Any], watch: Watch) -> Iterator[Page]:
    page = page_of(browser, planned_site, "editor", watch)
    yield page
    page.context.close()


@pytest.fixture
def viewer(browser: Browser, planned_site: dict[str, Any], watch: Watch) -> Iterator[Page]:
    page = page_of(browser, planned_site, "viewer", watch)
    yield page
    page.context.close()


def runs_out(page: Page) -> str:
    return page.locator("#plan .tile").first.inner_text()


def day_ahead(days: int) -> datetime:
    return (datetime.now(UTC) + timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0)


def test_from_a_launch_to_a_shared_scenario_and_its_autoscaler(planned_site: dict[str, Any], editor: Page, viewer: Page) -> None:
    editor.goto(planned_site["plan"])
    expect(editor.locator(".chart.drawn")).to_have_count(3)
    before = runs_out(editor)
    launch_added(editor, day=day_ahead(5))
    expect(editor.locator("#toasts")).to_contain_text("Nordwind launch is planned.")
    assert runs_out(editor) != before and f"{day_ahead(5).day} {day_ahead(5):%b}" in runs_out(editor)
    scenario_saved(editor, name="Forty replicas")
    shared = editor.locator("#share-link").input_value()
    assert re.search(r"scenario=\d+", shared)
    editor.get_by_role("button", name="Compare", exact=True).click()
    expect(editor.get_by_role("heading", name=f"Which plan for {NAME}?")).to_be_visible()
    expect(editor.locator(".compare")).to_contain_text("40 replicas")
    viewer.goto(shared)
    expect(viewer.locator("h1")).to_contain_text("scenario Forty replicas")
    assert viewer.get_by_role("button", name="Save plan").count() == 0
    keda_downloaded(viewer)
    launch_removed(editor, planned_site["plan"])


def launch_added(page: Page, *, day: datetime) -> None:
    page.get_by_role("link", name="Add event").click()
    page.get_by_label("Name").fill("Nordwind launch")
    page.get_by_label("Begins (UTC)").fill(day.strftime("%Y-%m-%dT%H:%M"))
    page.get_by_label("Times the traffic").fill("5")
    page.get_by_role("button", name="Add the event").click()


def scenario_saved(page: Page, *, name: str) -> None:
    """What if: typed into the form, answered without a reload, then kept."""
    field = page.locator("#what-if").get_by_label("Replicas", exact=False)
    field.fill("40")
    field.press("Tab")
    expect(page.locator("h1")).to_contain_text("what if", timeout=20_000)
    assert "replicas=40" in page.url and "growth" not in page.url
    page.get_by_role("button", name="Save plan").click()
    page.locator("#save-name").fill(name)
    page.get_by_role("button", name="Save as new").click()
    expect(page.locator("#toasts")).to_contain_text(f"{name} is saved.")


def keda_downloaded(page: Page) -> None:
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("Download .*keda.yaml")).click()
    text = download.value.path().read_text()
    made = yaml.safe_load(text)
    assert made["kind"] == "ScaledObject" and made["spec"]["triggers"][0]["type"] == "prometheus"


def launch_removed(page: Page, plan: str) -> None:
    page.goto(plan)
    page.locator("#assumptions").get_by_role("link", name="Nordwind launch").click()
    page.get_by_role("button", name="Take Nordwind launch out").click()
    expect(page.locator("#toasts")).to_contain_text("is taken out")


def test_an_event_is_put_on_the_axis_by_a_click_and_moved_by_a_drag_and_by_keys(planned_site: dict[str, Any], viewer: Page) -> None:
    """A viewer tries: all of it in the address, nothing stored."""
    viewer.goto(planned_site["plan"])
    expect(viewer.locator(".chart.drawn")).to_have_count(3)
    strip = viewer.locator(".axis-strip")
    box = strip.bounding_box()
    assert box
    strip.click(position={"x": box["width"] * 0.8, "y": 8})
    viewer.get_by_label("Name").fill("Tried")
    viewer.get_by_label("Times the traffic").fill("2")
    viewer.get_by_role("button", name="Try it").click()
    handle = viewer.locator(".event-handle")
    expect(handle).to_be_visible()
    first = viewer.url
    drag(viewer, dx=60)
    viewer.wait_for_url(lambda url: url != first)
    dragged = viewer.url
    expect(handle).to_be_visible()
    handle.focus()
    viewer.keyboard.press("Shift+ArrowLeft")
    viewer.keyboard.press("Enter")
    viewer.wait_for_url(lambda url: url != dragged)
    expect(viewer.locator("#assumptions")).to_contain_text("only in this address")


def drag(page: Page, *, dx: float) -> None:
    box = page.locator(".event-handle").bounding_box()
    assert box
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx / 2, y, steps=4)
    page.mouse.move(x + dx, y, steps=4)
    page.mouse.up()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_grave_and_a_phone_has_no_edge_to_run_over(
    browser: Browser, planned_site: dict[str, Any], watch: Watch, scheme: str
) -> None:
    size = {"width": 390, "height": 844} if scheme == "light" else {"width": 1440, "height": 900}
    page = page_of(browser, planned_site, "editor", watch, viewport=size, color_scheme=scheme)
    plan = planned_site["plan"]
    grave, over = {}, {}
    for path in (
        plan,
        f"{plan}compare/",
        f"{plan}events/",
        f"{plan}settings/",
        f"{planned_site['address']}/plans/",
        f"{planned_site['address']}/scenarios/new/",
    ):
        page.goto(path)
        if found := axe_grave(page):
            grave[path] = found
        if (beyond := page.evaluate("document.documentElement.scrollWidth - innerWidth")) > 0:
            over[path] = beyond
    page.context.close()
    assert (grave, over) == ({}, {})

"""The demo fleet as a newcomer meets it: loaded by the button, its stories found on the pages, removed without a trace."""

from collections.abc import Iterator

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect
from pytest_django import DjangoDbBlocker

from capacity.analysis.status import status_update
from capacity.demo.runs import demo_run
from monitoring.models import Deployment
from monitoring.rollups import rollups_fill
from tests.browser.site import Watch, admin_make, session_of, signed_in, site_serve
from tests.capacity.test_demo_fleet import table_counts
from tests.telemetry import database_clear

# transaction: what the test writes itself, as the beat would, must be seen by the server.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("browser_demo")]
TRAIL = ("monitoring_auditevent", "django_session")  # who pressed the button stays known

# page (or deployment and range) -> what a reader must find there
STORIES = {
    "/": (
        "1 of 12 deployments breaks its SLO, 2 need attention",
        "SLO 0.80 s.",
        "KV cache 9",
        "3 of 4 replicas answer",
        "GPU memory rate at 9",
        "v1.9 to v2.0 for 30 % of the traffic",
        "3 of 4 replicas lost: CUDA out of memory after a long text",
        "4 × L4 busy",
    ),
    "chat-70b": ("Breaks SLO", "Prompts are 2.0 times as long since v3.2", "v3.1 to v3.2", "6 replicas on 12 × H100"),
    "asr-whisper": ("GPU memory rate", "6 replicas on 6 × L40S"),
    "code-32b": ("v1.9", "v2.0", "4 replicas on 4 × H100"),
    "tts-voice?from=now-7d&to=now": ("3 of 4 replicas lost", "3 replicas restarted"),
    "search-rerank?from=now-28d&to=now": ("Holiday sale", "6 to 12 replicas for the sale", "12 to 6 replicas", "6 replicas on 6 × L4"),
    "fraud-score": ("No SLO", "Mean request duration"),
    "vision-qc": ("3 of 4 replicas answer",),
    "translate-nllb": ("No requests in the last 5 min.",),
    "recsys-train": ("Training",),
    "/accelerators/": ("translate-nllb 40 %", "unattributed 20 %", "2g.20gb", "edge-node-07"),
}


@pytest.fixture(scope="module")
def empty_site(django_db_setup: None, django_db_blocker: DjangoDbBlocker, browser: Browser) -> Iterator[str]:
    """A Headroom nobody has set up yet."""
    with django_db_blocker.unblock():
        admin_make()
        rollups_fill(now=timezone.now())
        with site_serve() as address:
            yield address
        database_clear()


@pytest.fixture
def newcomer(browser: Browser, empty_site: str, watch: Watch) -> Iterator[Page]:
    context = browser.new_context(timezone_id="Europe/Berlin", viewport={"width": 1440, "height": 900})
    page = signed_in(context, empty_site, session=session_of(admin_make())).new_page()
    watch.over(page)
    yield page
    context.close()


def test_the_demo_fleet_comes_by_a_button_tells_its_stories_and_goes_without_a_trace(empty_site: str, newcomer: Page) -> None:
    before = rows_kept()
    load_by_button(newcomer, empty_site)
    expect(newcomer.get_by_text("The demo fleet is loaded: its numbers are made up.")).to_be_visible()
    missing = {place: lacking for place, texts in STORIES.items() if (lacking := not_found(newcomer, empty_site, place, texts))}
    assert missing == {}
    remove_by_button(newcomer, empty_site)
    expect(newcomer.get_by_text("The demo fleet is loaded: its numbers are made up.")).to_be_hidden()
    rollups_fill(now=timezone.now())
    assert rows_kept() == before


def load_by_button(page: Page, address: str) -> None:
    """The reader's part in the browser, the worker's part here."""
    page.goto(f"{address}/setup/")
    page.get_by_role("button", name="Load the demo fleet").click()
    expect(page.get_by_text("Load the demo fleet").first).to_be_visible()
    demo_run(now=timezone.now())
    rollups_fill(now=timezone.now(), budget_seconds=300.0)
    status_update(now=timezone.now())
    page.goto(f"{address}/")


def remove_by_button(page: Page, address: str) -> None:
    page.goto(f"{address}/setup/")
    page.get_by_role("link", name="Remove the demo fleet").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    demo_run(now=timezone.now())
    page.goto(f"{address}/")


def not_found(page: Page, address: str, place: str, texts: tuple[str, ...]) -> list[str]:
    """The texts that the page lacks; each page must also say that it shows the demo fleet."""
    if not place.startswith("/"):
        name, _, query = place.partition("?")
        place = f"/deployments/{Deployment.objects.get(name=name).pk}/?{query}"
    page.goto(address + place)
    words = " ".join(page.locator("body").inner_text().split())
    return [text for text in (*texts, "DEMO") if text not in words]


def rows_kept() -> dict[str, int]:
    return {name: count for name, count in table_counts().items() if name not in TRAIL}

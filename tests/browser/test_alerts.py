"""Alerts in a real browser: a rule made with its preview fires on telemetry, a thumb takes it up, it resolves; a newcomer gets told."""

import re
import time
from collections.abc import Iterator
from datetime import timedelta

import numpy as np
import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from monitoring.alerts.evaluate import alerts_evaluate
from monitoring.catalog.records import Entity
from monitoring.ingest import Rows, rows_ingest
from monitoring.models import AllowedAddress, Channel, Deployment
from tests.browser.alerts_stage import alerts_make
from tests.browser.site import Watch, admin_make, axe_grave_in_both, session_of, signed_in, site_serve
from tests.channels import FakeSlack, slack_receiver
from tests.factories import make_deployment
from tests.servers.loopback import serving
from tests.servers.processes import free_port
from tests.telemetry import store_clear

# transaction: what the server writes is taken away again, and what the test writes the server sees.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("browser_alerts")]
WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
NEWCOMER_SECONDS = 120


@pytest.fixture
def site(transactional_db: None, browser: Browser) -> Iterator[str]:
    admin_make()
    with site_serve() as address:
        yield address
    store_clear()


@pytest.fixture
def admin(browser: Browser, site: str, watch: Watch) -> Iterator[Page]:
    yield from opened(browser, site, watch, WIDE)


@pytest.fixture
def phone(browser: Browser, site: str, watch: Watch) -> Iterator[Page]:
    yield from opened(browser, site, watch, PHONE)


def opened(browser: Browser, site: str, watch: Watch, size: dict[str, int]) -> Iterator[Page]:
    context = browser.new_context(timezone_id="Europe/Berlin", viewport=size, has_touch=size is PHONE)  # type: ignore[arg-type]
    page = signed_in(context, site, session=session_of(admin_make())).new_page()
    watch.over(page)
    yield page
    context.close()


def cache(deployment: Deployment, value: float, *, minutes: int) -> None:
    """So many minutes of telemetry up to now."""
    times = time.time() // 60 * 60 - 60.0 * np.arange(minutes)[::-1]
    rows = Rows(Entity.DEPLOYMENT, np.full(minutes, deployment.pk), times, {"kv_cache_usage_ratio": np.full(minutes, value)})
    rows_ingest(rows, overwrite=True, now=timezone.now())


def test_a_rule_fires_is_taken_up_by_a_thumb_and_resolves(site: str, admin: Page, phone: Page) -> None:
    chat = make_deployment("chat-70b")
    cache(chat, 0.97, minutes=180)
    admin.goto(f"{site}/alerts/rules/new/")
    admin.get_by_label("Signal").select_option("deployment:kv_cache_usage_ratio")
    admin.get_by_label("Threshold").fill("0.9")
    admin.get_by_label("Must be true for").select_option("0")
    admin.get_by_label("Ends when false for").select_option("0")
    admin.get_by_label("Severity").select_option("critical")
    admin.get_by_label("What is wrong").fill("The cache of a model is full")
    admin.get_by_label("Name").fill("cache-own")
    admin.get_by_role("button", name="Preview 14 days").click()
    expect(admin.locator("#preview")).to_contain_text(re.compile(r"Would have fired 1 time|Would have fired once"), timeout=20_000)
    assert admin.locator("#preview a.link").first.get_attribute("href", timeout=2000).startswith(f"/deployments/{chat.pk}/?from=")  # type: ignore[union-attr]
    admin.get_by_role("button", name="Make the rule").click()
    expect(admin.locator("#toasts")).to_contain_text("cache-own is made")

    alerts_evaluate(now=timezone.now())
    phone.goto(f"{site}/alerts/")
    row = phone.locator(".arow").filter(has_text="chat-70b: the cache of a model is full")
    expect(row).to_contain_text("Critical")
    take = row.get_by_role("button", name=re.compile("^Acknowledge"))
    box = take.bounding_box()
    assert box is not None and box["height"] >= 44
    take.tap()
    expect(phone.locator(".arow").filter(has_text="chat-70b: the cache")).to_contain_text("Acknowledged by admin@example.com until")
    phone.get_by_role("button", name=re.compile(r"^Silence chat-70b: the cache")).tap()
    expect(phone.locator(".arow").filter(has_text="chat-70b: the cache")).to_contain_text("Silenced until")
    assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]

    cache(chat, 0.2, minutes=30)
    alerts_evaluate(now=timezone.now() + timedelta(seconds=1))
    phone.goto(f"{site}/alerts/")
    over = phone.locator("section[aria-labelledby=over-title] .arow").filter(has_text="chat-70b: the cache of a model is full")
    expect(over).to_contain_text("lasted")
    over.locator("a.cover").click()
    expect(phone.locator("h1")).to_contain_text("chat-70b: the cache of a model is full")
    expect(phone.locator("#canvas-alert .main-svg").first).to_be_visible()
    for word in ("Resolved", "Silenced by admin@example.com", "Acknowledged by admin@example.com", "Firing"):
        expect(phone.locator("section[aria-labelledby=happened]")).to_contain_text(word)


def test_undo_of_an_acknowledgement_by_its_toast(site: str, admin: Page) -> None:
    alerts_make(make_deployment("chat-70b"), make_deployment("asr"), make_deployment("tts"))
    admin.goto(f"{site}/alerts/")
    admin.get_by_role("button", name=re.compile("^Acknowledge chat-70b")).click()
    admin.locator(".toast").get_by_role("button", name="Undo").click()
    expect(admin.locator("#toasts")).to_contain_text("Undone.")
    expect(admin.get_by_role("button", name=re.compile("^Acknowledge")).first).to_be_visible()


def test_a_newcomer_sets_up_mail_and_slack_from_the_checklist(site: str, admin: Page, mailoutbox: list[object]) -> None:
    began = time.monotonic()
    admin.goto(f"{site}/setup/")
    admin.locator("#act-email").click()
    admin.get_by_role("button", name="Test", exact=True).click()
    expect(admin.locator("#tested")).to_contain_text("It arrived")
    assert mailoutbox
    admin.get_by_role("button", name="Save it").click()
    expect(admin.locator("#toasts")).to_contain_text("its test message arrived")
    with serving(slack_receiver) as slack:
        admin.goto(f"{site}/setup/")
        expect(admin.locator("#step-email")).to_contain_text("its test message arrived")
        admin.locator("#act-slack").click()
        admin.get_by_label("Webhook URL").fill(f"{slack.url}/services/T0/B0/secretword")
        admin.get_by_role("button", name="Test", exact=True).click()
        admin.get_by_role("button", name=f"Allow 127.0.0.1:{slack.port}").click()
        expect(admin.locator("#tested")).to_contain_text("It arrived")
        admin.get_by_role("button", name="Save it").click()
        expect(admin.locator("#toasts")).to_contain_text("its test message arrived")
        assert "secretword" not in admin.content()
    admin.goto(f"{site}/setup/")
    expect(admin.locator("#step-slack")).to_contain_text("its test message arrived")
    assert {(channel.kind, channel.test_ok) for channel in Channel.objects.all()} == {("email", True), ("slack", True)}
    assert time.monotonic() - began < NEWCOMER_SECONDS


def test_each_way_it_can_be_wrong_has_its_own_sentence(site: str, admin: Page) -> None:
    with serving(FakeSlack()) as slack:
        dead = free_port()
        for port in (slack.port, dead):
            AllowedAddress.objects.create(network="127.0.0.1", port=port)
        api = {"API address": f"{slack.url}/api", "Channel ID": "C1"}
        wrong = (
            ("slack", {"Webhook URL": "hooks.slack.com/services"}, "This is no address"),
            ("slack", {"Webhook URL": f"http://127.0.0.1:{dead}/services/x"}, "does not accept"),
            ("slack", {"Webhook URL": "http://10.0.0.5:9090/services/x"}, "10.0.0.5 is a private address"),
            ("slack", {"Webhook URL": "http://no-such-host.invalid/services/x"}, "no-such-host.invalid"),
            ("slack_bot", {"Bot token": "xoxb-revoked-token", **api}, "token"),
            ("email", {"Addresses": "ops at example"}, "no e-mail address"),
        )
        said = []
        for kind, typed, sentence in wrong:
            admin.goto(f"{site}/alerts/channels/new/?kind={kind}")
            for label, text in typed.items():
                admin.get_by_label(label).fill(text)
            admin.get_by_role("button", name="Test", exact=True).click()
            expect(admin.locator("#tested")).to_contain_text(sentence, timeout=15_000)
            said.append(admin.locator("#tested").inner_text())
        assert len(set(said)) == len(wrong)
    assert not Channel.objects.exists()


def test_the_pages_of_alerts_are_clean_for_axe(site: str, admin: Page) -> None:
    pages = alerts_make(make_deployment("chat-70b"), make_deployment("asr"), make_deployment("tts"))
    found = {}
    for path in pages.values():
        if grave := axe_grave_in_both(admin, site + path):
            found[path] = grave
    assert found == {}

"""The first day of a newcomer, in a real browser, on a real instance and a real Prometheus with four weeks of history.

Headroom runs under its own supervisor (web, worker, beat, built-in Postgres). Loopback is not allowed from the start here, so that
the private address has to be allowed in place, as a Prometheus inside a company's network would.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Page, expect

from capacity.supervisor.postgres import port_free
from tests.capacity.test_supervisor_runs import Instance
from tests.servers.fleet import fleet_write
from tests.servers.prometheus import PrometheusServer

pytestmark = pytest.mark.xdist_group("first_day")
IMPORT_MILLISECONDS = 240_000
DAYS = 28


@dataclass(frozen=True)
class Stage:
    """What the day is played on."""

    address: str
    password: str
    prometheus: PrometheusServer


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("first_day")
    prometheus = PrometheusServer(folder / "prometheus")
    truth = fleet_write(folder, end=time.time() // 120 * 120, days=DAYS)
    prometheus.backfill(truth.files)
    instance = StrictInstance(folder / "data", port_free())
    with prometheus:
        try:
            output = instance.start()
            password = re.search(r"Password\s+(\S+)", output)
            assert password, output
            yield Stage(f"http://127.0.0.1:{instance.port}", password.group(1), prometheus)
        finally:
            instance.end()


class StrictInstance(Instance):
    """Without the allowance for loopback that `make up` gives."""

    def start(self) -> str:
        plain = self.command
        self.command = lambda word, **settings: plain(word, HEADROOM_ALLOW_LOOPBACK="0", **settings)  # type: ignore[method-assign]
        return super().start()


def sign_in(page: Page, stage: Stage, *, email: str, password: str) -> None:
    page.goto(f"{stage.address}/accounts/login/")
    page.fill("input[name=login]", email)
    page.fill("input[name=password]", password)
    press(page, "Sign in")


def press(page: Page, name: str) -> None:
    """Send a form and wait for the page that answers."""
    with page.expect_navigation():
        page.get_by_role("button", name=name).first.click()


def source_add(page: Page, stage: Stage) -> None:
    page.goto(f"{stage.address}/setup/")
    page.locator("#source-add").first.click()
    page.get_by_label("Address").fill(stage.prometheus.url)
    page.get_by_label("Name", exact=True).fill("prod-eu")
    page.get_by_label("Cluster").fill("prod-eu")
    page.get_by_role("button", name="Test", exact=True).click()
    page.get_by_role("button", name=f"Allow 127.0.0.1:{stage.prometheus.port}").click()
    expect(page.locator("#tested")).to_contain_text("28 days of history", timeout=60_000)
    expect(page.locator("#tested")).to_contain_text("vLLM")
    page.get_by_role("button", name="Save and import 28 days").click()


def team_make(page: Page, stage: Stage, name: str) -> str:
    page.goto(f"{stage.address}/teams/")
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Make the team").click()
    page.get_by_role("heading", name=name, exact=True).wait_for()
    return page.url


def invite(page: Page, team_url: str, email: str) -> str:
    """The link of an invitation, as the page shows it once."""
    page.goto(team_url)
    page.get_by_label("E-mail").fill(email)
    page.get_by_role("button", name="Make the invitation").click()
    found = re.search(r"http://\S+/invite/[\w-]+/", page.locator("section[aria-label=Invitation]").inner_text())
    assert found
    return found.group(0)


def join(page: Page, link: str, *, password: str) -> None:
    page.goto(link)
    page.locator("input[name=name]").fill("Mate")
    page.locator("input[name=password]").fill(password)
    press(page, "Make the account")


def test_a_newcomer_gets_from_the_login_to_a_shared_page(stage: Stage, browser: Browser) -> None:
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    sign_in(page, stage, email="admin@localhost", password=stage.password)
    source_add(page, stage)
    expect(page.locator("body")).to_contain_text(re.compile(r"28 of 28 days"), timeout=IMPORT_MILLISECONDS)

    page.goto(f"{stage.address}/")
    page.get_by_role("link", name="llama-3.1-8b").first.click()
    expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=20_000)
    deployment = page.url.split("?")[0]

    page.goto(f"{deployment}slo/?suggested=1")
    press(page, "Set the SLO")
    page.goto(f"{deployment}?from=now-7d&to=now")
    expect(page.locator("body")).to_contain_text("SLO")
    expect(page.locator("body")).to_contain_text("v0.12.0")
    shared = page.url

    chat, other = team_make(page, stage, "Chat"), team_make(page, stage, "Vision")
    page.goto(f"{deployment}edit/")
    page.get_by_label("Team", exact=True).select_option(label="Chat")
    press(page, "Save")
    mate_link, stranger_link = invite(page, chat, "mate@example.com"), invite(page, other, "stranger@example.com")

    mate = browser.new_context().new_page()
    join(mate, mate_link, password="a-long-password-1")
    assert mate.goto(shared).status == 200  # type: ignore[union-attr]
    expect(mate.locator("h1")).to_contain_text("llama-3.1-8b")
    expect(mate.locator(".js-plotly-plot").first).to_be_visible(timeout=20_000)
    assert "from=now-7d" in mate.url

    stranger = browser.new_context().new_page()
    join(stranger, stranger_link, password="a-long-password-2")
    assert stranger.goto(shared).status == 404  # type: ignore[union-attr]
    expect(stranger.locator("body")).not_to_contain_text("llama-3.1-8b")

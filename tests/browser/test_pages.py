"""Every page in a real browser: no complaint of the content policy or a script, nothing grave for axe, and it can be worked by keyboard."""

import re

import pytest
from playwright.sync_api import Page, expect

from monitoring.models import Deployment
from tests.browser.site import EMAIL, PASSWORD, PUBLIC, Watch, axe_grave, axe_grave_in_both, page_addresses

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("browser")]


def chat_url(demo_site: str) -> str:
    return f"{demo_site}/deployments/{Deployment.objects.get(name='chat-70b').pk}/"


def test_axe_finds_nothing_grave_on_any_page_light_or_dark(demo_site: str, admin_page: Page) -> None:
    found = {name: axe_grave_in_both(admin_page, demo_site + path) for name, path in page_addresses().items()}
    assert {name: grave for name, grave in found.items() if grave} == {}


def test_axe_finds_nothing_grave_before_signing_in(demo_site: str, visitor: Page) -> None:
    for path in PUBLIC.values():
        visitor.goto(demo_site + path)
        assert axe_grave(visitor) == []


def test_a_person_signs_in_by_the_form(demo_site: str, visitor: Page) -> None:
    visitor.goto(demo_site)
    visitor.get_by_label("E-mail").fill(EMAIL)
    visitor.get_by_label("Password", exact=True).fill(PASSWORD)
    visitor.get_by_role("button", name=re.compile("Sign in|Log in")).click()
    expect(visitor.get_by_role("heading", name="Fleet")).to_be_visible()


def test_the_plots_are_drawn_and_share_one_crosshair(demo_site: str, admin_page: Page) -> None:
    admin_page.goto(chat_url(demo_site))
    plots = admin_page.locator(".chart.drawn")
    expect(plots).to_have_count(5)
    plots.nth(1).hover()
    expect(admin_page.locator(".chart .cross:visible")).to_have_count(5)
    assert admin_page.locator(".chart .cross:visible").evaluate_all("all => new Set(all.map(each => each.style.left)).size") == 1


def test_the_crosshair_moves_by_keyboard_and_says_the_value(demo_site: str, admin_page: Page) -> None:
    admin_page.goto(chat_url(demo_site))
    admin_page.locator(".chart.drawn").first.focus()
    admin_page.keyboard.press("End")
    admin_page.keyboard.press("Shift+ArrowLeft")
    expect(admin_page.locator("#chart-says")).to_contain_text("p95")


def test_a_drag_over_a_plot_zooms_and_the_address_keeps_it(demo_site: str, admin_page: Page) -> None:
    admin_page.goto(chat_url(demo_site))
    plot = admin_page.locator(".chart.drawn .nsewdrag").first
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    assert box
    middle = box["y"] + box["height"] / 2
    admin_page.mouse.move(box["x"] + box["width"] * 0.3, middle)
    admin_page.mouse.down()
    admin_page.mouse.move(box["x"] + box["width"] * 0.6, middle, steps=5)
    admin_page.mouse.up()
    admin_page.wait_for_url(re.compile(r"from=\d{13}&to=\d{13}"))
    expect(admin_page.locator(".chart.drawn")).to_have_count(5)
    expect(admin_page.locator(".ranges [aria-current]")).to_contain_text("1 h")


def test_a_preset_redraws_the_same_plots(demo_site: str, admin_page: Page) -> None:
    admin_page.goto(chat_url(demo_site))
    admin_page.locator("#canvas-latency").evaluate("canvas => { canvas.dataset.kept = 'yes' }")
    admin_page.get_by_role("link", name="24 h", exact=True).click()
    admin_page.wait_for_url(re.compile("from=now-24h"))
    expect(admin_page.locator("#canvas-latency")).to_have_attribute("data-kept", "yes")
    expect(admin_page.locator("#score")).to_contain_text("24 h")


def test_a_folded_question_is_asked_when_opened_and_stays_open_in_the_address(demo_site: str, admin_page: Page) -> None:
    admin_page.goto(chat_url(demo_site))
    assert admin_page.locator("#canvas-power").count() == 0
    admin_page.get_by_text("Does power hold it back?").first.click()
    expect(admin_page.locator("#fold-power .chart.drawn")).to_be_visible()
    assert "open=power" in admin_page.url
    admin_page.reload()
    expect(admin_page.locator("#fold-power .chart.drawn")).to_be_visible()


def test_the_data_table_stands_under_the_plot(demo_site: str, admin_page: Page) -> None:
    admin_page.goto(chat_url(demo_site))
    admin_page.get_by_text("Data table").first.click()
    expect(admin_page.locator("#table-latency thead")).to_contain_text("p95")
    assert admin_page.locator("#table-latency tbody tr").count() > 20


def test_the_theme_is_kept_and_the_plots_follow(demo_site: str, admin_page: Page) -> None:
    admin_page.goto(chat_url(demo_site))
    line = admin_page.locator("#canvas-cache .scatterlayer .js-line").last
    before = line.evaluate("each => each.style.stroke")
    admin_page.locator(".nav").get_by_role("button", name="Switch between light and dark").click()
    assert line.evaluate("each => each.style.stroke") != before
    admin_page.reload()
    assert admin_page.locator("html").get_attribute("data-theme") == "dark"


def test_keys_go_search_and_help_but_not_in_a_field(demo_site: str, admin_page: Page) -> None:
    admin_page.goto(demo_site)
    admin_page.keyboard.press("?")
    expect(admin_page.locator("#help")).to_be_visible()
    admin_page.keyboard.press("Escape")
    admin_page.keyboard.press("/")
    admin_page.keyboard.type("g a?")
    expect(admin_page.locator("#find")).to_have_value("g a?")
    admin_page.keyboard.press("Escape")
    admin_page.locator("h1").click()
    admin_page.keyboard.press("g")
    admin_page.keyboard.press("a")
    admin_page.wait_for_url(re.compile("/accelerators/"))


def test_a_refresh_never_takes_the_control_one_uses(demo_site: str, admin_page: Page) -> None:
    admin_page.clock.install()
    admin_page.goto(f"{demo_site}/?refresh=15s")
    admin_page.locator("#find").fill("cha")
    admin_page.clock.run_for(40_000)
    expect(admin_page.locator("#find")).to_have_value("cha")
    admin_page.locator("h1").click()
    admin_page.locator("h1").evaluate("each => { each.textContent = 'Old' }")
    admin_page.clock.run_for(20_000)
    expect(admin_page.locator("h1")).to_have_text("Fleet")


def test_on_a_phone_the_table_becomes_cards_and_nothing_runs_over_the_edge(demo_site: str, admin_page: Page) -> None:
    admin_page.set_viewport_size({"width": 390, "height": 844})
    wide = {}
    for name, path in page_addresses().items():
        admin_page.goto(demo_site + path)
        over = admin_page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        if over > 0:
            wide[name] = over
    assert wide == {}


def test_the_bundle_sends_nothing_away(demo_site: str, admin_page: Page) -> None:
    asked: list[str] = []
    admin_page.on("request", lambda request: asked.append(request.url))
    admin_page.goto(chat_url(demo_site))
    assert [url for url in asked if not url.startswith(demo_site)] == []
    assert admin_page.evaluate("headroomCharts.CONFIG.showSendToCloud") is False


def test_a_watch_hears_a_broken_rule(demo_site: str, visitor: Page, watch: Watch) -> None:
    visitor.goto(f"{demo_site}/accounts/login/")
    visitor.evaluate("() => { const s = document.createElement('script'); s.textContent = '1'; document.head.append(s); }")
    visitor.wait_for_timeout(50)
    heard, watch.complaints = watch.complaints, []
    assert any("Content Security Policy" in text for text in heard)

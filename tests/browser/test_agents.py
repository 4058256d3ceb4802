"""Installing an agent as an admin does it: a key by a button, commands to copy, and the tick that turns when the first reading is in."""

import re
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
import requests
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from monitoring.models import Agent, Key
from tests.browser.site import Watch, admin_make, axe_grave_in_both, session_of, signed_in, site_serve
from tests.factories import make_agent

# transaction: what the server writes is taken away again, and what the test writes the server sees.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.xdist_group("browser_agents")]


@pytest.fixture
def site(transactional_db: None, browser: Browser) -> Iterator[str]:
    admin_make()
    with site_serve() as address:
        yield address


@pytest.fixture
def admin(browser: Browser, site: str, watch: Watch) -> Iterator[Page]:
    context = browser.new_context(timezone_id="Europe/Berlin", viewport={"width": 1440, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = signed_in(context, site, session=session_of(admin_make())).new_page()
    watch.over(page)
    yield page
    context.close()


def reading(node: str) -> dict[str, object]:
    """A batch as an agent sends it: one host, one value."""
    now = time.time() // 15 * 15
    return {
        "agent": {"node": node, "version": "0.1.0", "interval_seconds": 15},
        "seq": 1,
        "sent_at": time.time(),
        "times": [now - 15, now],
        "entities": [{"kind": "node", "key": node}],
        "columns": {"cpu_utilization_ratio": [[0.2, 0.3]]},
    }


def test_from_the_checklist_to_the_first_reading(site: str, admin: Page) -> None:
    admin.goto(f"{site}/setup/")
    admin.locator("#act-agents").click()
    admin.get_by_label("Cluster").fill("prod-eu")
    admin.get_by_role("button", name="Make a key").click()
    expect(admin.get_by_text("shown this once")).to_be_visible()
    secret = admin.get_by_role("group", name="The new key").locator("code").inner_text()
    assert re.fullmatch(r"hr_ag_[a-z0-9]{8}_[A-Za-z0-9]{43}", secret)

    admin.get_by_text("Kubernetes, on every GPU node").click()
    expect(admin.locator("#way-pip")).not_to_have_attribute("open", "")
    command = admin.locator("#way-kubernetes .cmd").filter(has_text=secret).first
    command.get_by_role("button", name="Copy").click()
    expect(command.get_by_role("button")).to_have_text("Copied")
    assert secret in admin.evaluate("navigator.clipboard.readText()")

    expect(admin.locator("#install-live")).to_contain_text("Waiting for the first data")
    answer = requests.post(f"{site}/api/v1/ingest", json=reading("gpu-7"), headers={"Authorization": f"Bearer {secret}"}, timeout=30)
    assert (answer.status_code, answer.json()["accepted"]) == (200, 2), answer.text
    expect(admin.locator("#install-live")).to_contain_text("gpu-7 reports.", timeout=15_000)
    assert secret in admin.content()  # the tick moved, nothing else did

    admin.locator("#install-live").get_by_role("link", name="gpu-7").click()
    expect(admin.locator("h1")).to_contain_text("gpu-7")
    expect(admin.locator("#agent")).to_contain_text("It sends.")
    admin.goto(f"{site}/setup/")
    expect(admin.locator("#step-agents")).to_contain_text("1 agent sends")
    assert (Key.objects.get().agents.get().node.name, secret in admin.content()) == ("gpu-7", False)


def test_a_silent_one_is_forgotten_and_brought_back_by_its_toast(site: str, admin: Page) -> None:
    make_agent("gone", last_seen_at=timezone.now() - timedelta(hours=2), newest_sample_at=timezone.now() - timedelta(hours=2))
    make_agent("fine")
    admin.goto(f"{site}/agents/?show=silent")
    expect(admin.locator("#agents-live tbody tr")).to_have_count(1)
    admin.get_by_role("button", name="Forget the agent of gone").click()
    expect(admin.locator("#toasts")).to_contain_text("The agent of gone, silent for 2 h, is forgotten.")
    assert list(Agent.objects.values_list("node__name", flat=True)) == ["fine"]
    admin.get_by_role("button", name="Undo").click()
    expect(admin.locator("#agents-live")).to_contain_text("gone")


def test_a_column_sorts_and_the_address_keeps_it(site: str, admin: Page) -> None:
    make_agent("few", waiting_count=2)
    make_agent("many", waiting_count=80)
    admin.goto(f"{site}/agents/")
    admin.get_by_role("link", name="Waiting").click()
    admin.wait_for_url(re.compile("sort=-waiting"))
    expect(admin.locator("#agents-live tbody tr").first).to_contain_text("many")
    expect(admin.locator("#agents-live th[aria-sort]")).to_contain_text("Waiting")


def test_the_pages_of_agents_are_clean_for_axe(site: str, admin: Page) -> None:
    agent = make_agent(
        "gpu-7",
        skew_seconds=5.0,
        waiting_count=3,
        waiting_since=timezone.now(),
        trouble="The spool is read-only",
        version="0.0.1",
        capabilities={"GPU-1": {"nvmlGpmSampleGet": "not supported by this GPU"}},
        rejected_count=2,
        rejected_text="no such column",
    )
    make_agent("gone", last_seen_at=timezone.now() - timedelta(hours=2))
    gpu = agent.node.accelerators.create(cluster=agent.node.cluster, uuid="GPU-1", model_name="NVIDIA A10G", position=0)
    gpu.processes.create(
        pid=7, started_at=timezone.now(), name="python3", memory_bytes=2**30, sm_ratio=0.2, share_method="process_utilization"
    )
    found = {}
    for path in (
        "/agents/",
        "/agents/?show=outdated",
        "/agents/install/",
        f"/nodes/{agent.node_id}/",
        f"/accelerators/{gpu.pk}/",
        "/keys/",
    ):
        if grave := axe_grave_in_both(admin, site + path):
            found[path] = grave
    assert found == {}

"""Takes the pictures of `make shots`. Its name keeps it out of `make test`, which looks for test_*.py."""

import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from monitoring.models import Deployment
from tests.browser.alerts_stage import alerts_make
from tests.browser.plans_stage import plans_make
from tests.browser.site import PUBLIC, Watch, admin_make, demo_freshen, demo_make, page_addresses, session_of, signed_in, site_serve

FORMS = {"wide": (1440, 900, "light"), "phone": (390, 844, "light"), "dark": (1440, 900, "dark"), "print": (720, 1000, "dark")}
PAPER = ("fleet", "deployment-chat-70b", "plan")  # also as printed, by a reader in the dark theme
EMPTY = {
    "empty-fleet": "/",
    "empty-accelerators": "/accelerators/",
    "empty-setup": "/setup/",
    "empty-sources": "/sources/",
    "empty-status": "/status/",
    "empty-teams": "/teams/",
    "empty-keys": "/keys/",
    "empty-agents": "/agents/",
    "empty-plans": "/plans/",
    "empty-alerts": "/alerts/",
    "empty-channels": "/alerts/channels/",
}
ALERTING = ("chat-70b", "asr-whisper", "tts-voice")
FOLDER = Path("shots")
SETTLE_MILLISECONDS = 900


@pytest.mark.django_db(transaction=True)
def test_every_page_has_its_pictures(browser: Browser) -> None:
    began, watch = time.monotonic(), Watch()
    FOLDER.mkdir(exist_ok=True)
    session = session_of(admin_make())
    with site_serve() as address:
        shoot(browser, address, EMPTY, session=session, watch=watch)
        demo_make(days=int(os.environ.get("HEADROOM_SHOTS_DAYS", "28")))
        plans_make()
        shoot(browser, address, PUBLIC, session="", watch=watch)
        alerts = alerts_make(*(Deployment.objects.get(name=name) for name in ALERTING))
        for name, path in (page_addresses() | alerts).items():
            if wanted(name):
                demo_freshen()
                shoot(browser, address, {name: path}, session=session, watch=watch)
    print(f"\n{len(list(FOLDER.glob('*.png')))} pictures in {FOLDER}/ after {time.monotonic() - began:.0f} s")
    assert watch.complaints == []


def wanted(name: str) -> bool:
    only = os.environ.get("HEADROOM_SHOTS_ONLY", "").split()
    return not only or name in only


def shoot(browser: Browser, address: str, pages: Mapping[str, str], *, session: str, watch: Watch) -> None:
    for form in os.environ.get("HEADROOM_SHOTS_FORMS", " ".join(FORMS)).split():
        width, height, scheme = FORMS[form]
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
            timezone_id="Europe/Berlin",
            has_touch=form == "phone",
        )
        if session:
            signed_in(context, address, session=session)
        context.add_cookies([{"name": "zone", "value": "Europe%2FBerlin", "url": address}])
        page = context.new_page()
        watch.over(page)
        for name, path in pages.items():
            if wanted(name) and (form != "print" or name in PAPER):
                page.emulate_media(media="screen")
                page.goto(address + path, wait_until="load")
                page.wait_for_timeout(SETTLE_MILLISECONDS)
                if form == "print":
                    page.emulate_media(media="print")
                    page.wait_for_timeout(SETTLE_MILLISECONDS)
                page.screenshot(path=FOLDER / f"{name}-{form}.png", full_page=True)
        context.close()

"""One demo fleet and one web server for the browser tests of a module; every page is watched.

What the server shall see is committed by the module's fixtures; the tests themselves read in a transaction of their own and need
the mark django_db, without which no test database is made at all.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page
from pytest_django import DjangoDbBlocker

from monitoring.models import User
from tests.browser.site import LAUNCH, Watch, admin_make, demo_make, session_of, signed_in, site_serve
from tests.telemetry import database_clear

DAYS = 3


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    return dict(LAUNCH)


@pytest.fixture(scope="module")
def demo_site(django_db_setup: None, django_db_blocker: DjangoDbBlocker, browser: Browser) -> Iterator[str]:
    """The address of a Headroom with the demo fleet. The browser is asked for first: it must not outlive the server."""
    with django_db_blocker.unblock():
        admin_make()
        demo_make(days=DAYS)
        with site_serve() as address:
            yield address
        database_clear()


@pytest.fixture
def watch() -> Iterator[Watch]:
    """Fails the test for anything a page complained of."""
    watching = Watch()
    yield watching
    assert watching.complaints == []


@pytest.fixture
def visitor(browser: Browser, watch: Watch) -> Iterator[Page]:
    """A page of somebody who is not signed in."""
    context = browser.new_context(timezone_id="Europe/Berlin", viewport={"width": 1440, "height": 900})
    page = context.new_page()
    watch.over(page)
    yield page
    context.close()


@pytest.fixture(scope="module")
def admin_session(demo_site: str) -> str:
    """Committed before a test opens its transaction, or the server would not know it."""
    return session_of(User.objects.get(is_superuser=True))


@pytest.fixture
def admin_context(browser: Browser, demo_site: str, admin_session: str) -> Iterator[BrowserContext]:
    context = browser.new_context(timezone_id="Europe/Berlin", viewport={"width": 1440, "height": 900})
    yield signed_in(context, demo_site, session=admin_session)
    context.close()


@pytest.fixture
def admin_page(admin_context: BrowserContext, watch: Watch) -> Page:
    page = admin_context.new_page()
    watch.over(page)
    return page

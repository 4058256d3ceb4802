import gc
import os
from threading import Timer

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

from capacity.engine.queueing.compiled import loops_load
from monitoring.api.gates import Gates

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "capacity.config.settings")
os.environ.setdefault("HEADROOM_STATEMENT_TIMEOUT_SECONDS", "5")
# Any of many threads may serve a request: they share connections, as many as the gates let in.
os.environ.setdefault("HEADROOM_DATABASE_POOL", "1")
LOOPS_AFTER_SECONDS = 60.0  # not while everything starts; the first what-if finds them ready, or waits a second for them


class IngestHandler(WSGIHandler):
    """Pushes pass the middleware that concerns them; that of pages would cost them an eighth of their time."""

    def load_middleware(self, is_async: bool = False) -> None:
        whole = settings.MIDDLEWARE
        settings.MIDDLEWARE = settings.INGEST_MIDDLEWARE
        try:
            super().load_middleware(is_async)
        finally:
            settings.MIDDLEWARE = whole


pages = get_wsgi_application()
get_resolver().url_patterns  # noqa: B018 - all screens and the engine are imported before the first request, not during it
gc.freeze()  # what is imported stays: going through it again and again made some pages a third slower than others
application = Gates(pages, pushes=IngestHandler(), ingests=settings.INGESTS_AT_ONCE, pages=settings.PAGES_AT_ONCE)
loops_soon = Timer(LOOPS_AFTER_SECONDS, loops_load)
loops_soon.daemon = True
loops_soon.start()

import os

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

from monitoring.api.gates import Gates

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "capacity.config.settings")
os.environ.setdefault("HEADROOM_STATEMENT_TIMEOUT_SECONDS", "5")
# Any of many threads may serve a request: they share connections, as many as the gates let in.
os.environ.setdefault("HEADROOM_DATABASE_POOL", "1")


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
application = Gates(pages, pushes=IngestHandler(), ingests=settings.INGESTS_AT_ONCE, pages=settings.PAGES_AT_ONCE)

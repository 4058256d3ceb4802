import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from monitoring.api.gates import Gates

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "capacity.config.settings")
os.environ.setdefault("HEADROOM_STATEMENT_TIMEOUT_SECONDS", "5")
# Any of many threads may serve a request: they share connections, as many as the gates let in.
os.environ.setdefault("HEADROOM_DATABASE_POOL", "1")
application = Gates(get_wsgi_application(), ingests=settings.INGESTS_AT_ONCE, pages=settings.PAGES_AT_ONCE)

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "capacity.config.settings")
os.environ.setdefault("HEADROOM_STATEMENT_TIMEOUT_SECONDS", "5")
application = get_wsgi_application()

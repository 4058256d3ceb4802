from django.urls import path

from monitoring.api import health
from monitoring.api.ingest import Ingest
from monitoring.api.unsubscribe import unsubscribe_page

urlpatterns = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
    path("api/v1/ingest", Ingest.as_view(), name="ingest"),
    path("csp-report", health.csp_report, name="csp_report"),
    path("unsubscribe/<str:token>", unsubscribe_page, name="unsubscribe"),
]

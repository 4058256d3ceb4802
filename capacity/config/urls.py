"""Every address of the product."""

from django.urls import URLPattern, URLResolver, include, path

from capacity.api.document import Document

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("monitoring.api.urls")),
    path("", include("capacity.dashboards.urls")),
    path("accounts/", include("monitoring.access.urls")),
    path("api/v1/", include("capacity.api.urls")),
    path("api/schema/", Document.as_view(), name="schema"),
]

handler400 = "capacity.config.errors.bad_request"
handler403 = "capacity.config.errors.denied"
handler404 = "capacity.config.errors.not_found"
handler500 = "capacity.config.errors.crashed"

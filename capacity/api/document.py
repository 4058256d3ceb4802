"""The OpenAPI document of this install, as docs/openapi.yaml has it."""

from drf_spectacular.views import SpectacularAPIView


class Document(SpectacularAPIView):
    access = "member"

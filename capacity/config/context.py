"""What every template may know of the install."""

from django.conf import settings
from django.http import HttpRequest


def exposure(request: HttpRequest) -> dict[str, object]:
    """`exposed_bind`: the address web listens on where that is not loopback (base.html shows a banner), else empty."""
    return {"exposed_bind": settings.BIND if settings.EXPOSED and not settings.HTTPS else ""}


def help_words(request: HttpRequest) -> dict[str, object]:
    """Whom to ask, and whether letters leave this install."""
    return {"contact": settings.CONTACT, "mail_works": settings.EMAIL_ADDRESS_SET}

"""How sign-in behaves: no sign-up, limits by account and address, letters that do not tell who has an account."""

import logging
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from allauth.account.adapter import DefaultAccountAdapter
from django.conf import settings
from django.core.mail import EmailMessage
from django.http import HttpRequest, HttpResponse

from monitoring.access.actors import user_actor
from monitoring.access.trail import address_of, audit
from monitoring.models import User

log = logging.getLogger("headroom.access")
# One letter at a time beside the request: whether an account exists must not show in how long the answer takes.
POST = ThreadPoolExecutor(max_workers=1, thread_name_prefix="letters")
NO_ADDRESS = "0.0.0.0"


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def get_client_ip(self, request: HttpRequest) -> str:
        return address_of(request) or NO_ADDRESS

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        # allauth's own key holds the Host header, of which the caller may choose the port and so start afresh.
        return str(credentials.get("email", "")).strip().lower()

    def post_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse:
        zone_keep(user, request.COOKIES.get("zone", ""))
        response: HttpResponse = super().post_login(request, user, **kwargs)
        return response

    def set_password(self, user: User, password: str) -> None:
        super().set_password(user, password)
        audit(user_actor(user), "password.change", f"user {user.email}", request=self.request)

    def get_reset_password_from_key_url(self, key: str) -> str:
        return f"{settings.PUBLIC_URL}/accounts/password/reset/key/{key}/"

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> Future[None]:
        letter = self.render_mail(template_prefix, email, context | {"request": self.request, "public_url": settings.PUBLIC_URL})
        return POST.submit(letter_send, letter)

    def format_email_subject(self, subject: str) -> str:
        return subject


def letter_send(letter: EmailMessage) -> None:
    try:
        letter.send()
    except Exception:
        log.exception("letter not sent: %s", letter.subject)


def zone_keep(user: User, cookie: str) -> None:
    """The browser's time zone, which app.js leaves in a cookie, becomes the account's when it has none."""
    name = cookie.replace("%2F", "/")
    if user.time_zone or not name or len(name) > 64:
        return
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return
    user.time_zone = name
    user.save(update_fields=["time_zone"])

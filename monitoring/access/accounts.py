"""Making accounts without a mail server: the first admin, and a link to choose a new password."""

import secrets

from allauth.account.forms import default_token_generator
from allauth.account.utils import user_pk_to_url_str
from django.conf import settings
from django.urls import reverse

from monitoring.models import User


def admin_ensure(email: str) -> str | None:
    """The password of the first admin, made now; None when the install has an admin already."""
    if User.objects.filter(is_superuser=True).exists():
        return None
    password = secrets.token_urlsafe(12)
    user = User.objects.filter(email__iexact=email).first()
    if user is None:
        User.objects.create_superuser(email, password)
    else:
        user.is_superuser = user.is_staff = user.is_active = True
        user.set_password(password)
        user.save(update_fields=["is_superuser", "is_staff", "is_active", "password"])
    return password


def password_link(user: User) -> str:
    """A link that lets the user choose a new password; it dies with its use or with PASSWORD_RESET_TIMEOUT."""
    parts = {"uidb36": user_pk_to_url_str(user), "key": default_token_generator.make_token(user)}
    path = reverse("account_reset_password_from_key", kwargs=parts)
    return f"{settings.PUBLIC_URL.rstrip('/')}{path}"

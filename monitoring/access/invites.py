"""Invitations: a link makes one account, or brings an existing one into a team. Only the token's digest is kept."""

import hashlib
import secrets
from datetime import datetime, timedelta

from django.contrib.auth.password_validation import validate_password
from django.db import transaction
from django.utils import timezone

from monitoring.models import Invite, Membership, Role, Team, User

VALID_FOR = timedelta(days=7)


class InviteError(Exception):
    """The invitation cannot be taken; the text is for the person who tries."""


def invite_create(
    email: str,
    *,
    invited_by: User,
    team: Team | None = None,
    role: str = Role.VIEWER,
    install_admin: bool = False,
    now: datetime | None = None,
) -> tuple[Invite, str]:
    """An invitation and its token, which is shown this once. Who may invite is decided by the caller (`can_manage`)."""
    now = now or timezone.now()
    token = secrets.token_urlsafe(32)
    invite = Invite.objects.create(
        email=email.strip().lower(),
        team=team,
        role=role,
        install_admin=install_admin,
        token_digest=token_digest(token),
        invited_by=invited_by,
        created_at=now,
        expires_at=now + VALID_FOR,
    )
    return invite, token


def invite_find(token: str, *, now: datetime | None = None) -> Invite | None:
    open_ones = Invite.objects.filter(accepted_at__isnull=True, expires_at__gt=now or timezone.now())
    return open_ones.select_related("team").filter(token_digest=token_digest(token)).first()


def invite_accept(token: str, *, name: str = "", password: str = "", user: User | None = None, now: datetime | None = None) -> User:
    """Take the invitation once: a new account with `password`, or for an existing account its signed-in `user`.

    Raises InviteError, and ValidationError when the password is too weak.
    """
    now = now or timezone.now()
    with transaction.atomic():
        invite = invite_find(token, now=now)
        if invite is None:
            raise InviteError("This invitation was used, withdrawn or is older than 7 days. Ask for a new one.")
        account = User.objects.filter(email__iexact=invite.email).first()
        if account is not None and account != user:
            raise InviteError(f"An account for {invite.email} exists. Sign in with it, then open this link again.")
        if account is None:
            account = _account(invite, name=name, password=password)
        taken = Invite.objects.filter(pk=invite.pk, accepted_at__isnull=True).update(accepted_at=now)
        if not taken:
            raise InviteError("This invitation was used a moment ago.")
        _rights(invite, account)
    return account


def invite_withdraw(invite: Invite) -> bool:
    return Invite.objects.filter(pk=invite.pk, accepted_at__isnull=True).delete()[0] == 1


def token_digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def _account(invite: Invite, *, name: str, password: str) -> User:
    candidate = User(email=invite.email, name=name)
    validate_password(password, candidate)
    return User.objects.create_user(invite.email, password, name=name)


def _rights(invite: Invite, account: User) -> None:
    if invite.team is not None:
        Membership.objects.update_or_create(user=account, team=invite.team, defaults={"role": invite.role})
    if invite.install_admin and not account.is_superuser:
        account.is_superuser = account.is_staff = True
        account.save(update_fields=["is_superuser", "is_staff"])

from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError

from monitoring.access import InviteError, invite_accept, invite_create, invite_find, invite_withdraw
from monitoring.models import Invite, Membership, Role, User
from tests.factories import PASSWORD, make_admin, make_member, make_team, make_user

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 3, 12, tzinfo=UTC)


def test_an_invitation_makes_an_account_with_a_membership() -> None:
    team = make_team()
    invite, token = invite_create(" Anna@Example.com", invited_by=make_admin(), team=team, role=Role.EDITOR, now=NOW)
    user = invite_accept(token, name="Anna", password=PASSWORD, now=NOW + timedelta(days=6, hours=23))
    assert (user.email, user.name, user.check_password(PASSWORD)) == ("anna@example.com", "Anna", True)
    assert list(Membership.objects.values_list("user", "team", "role")) == [(user.pk, team.pk, "editor")]
    assert not user.is_superuser
    invite.refresh_from_db()
    assert token not in str(Invite.objects.values().get()) and invite.accepted_at is not None


def test_it_is_taken_once() -> None:
    _, token = invite_create("anna@example.com", invited_by=make_admin(), now=NOW)
    user = invite_accept(token, password=PASSWORD, now=NOW)
    with pytest.raises(InviteError, match="was used"):
        invite_accept(token, password=PASSWORD, user=user, now=NOW)
    assert User.objects.count() == 2


@pytest.mark.parametrize("token", ["", "unknown", "\ud800", "x" * 10_000])
def test_an_unknown_token_is_refused(token: str) -> None:
    assert invite_find(token, now=NOW) is None


def test_after_seven_days_it_is_refused() -> None:
    _, token = invite_create("anna@example.com", invited_by=make_admin(), now=NOW)
    with pytest.raises(InviteError, match="older than 7 days"):
        invite_accept(token, password=PASSWORD, now=NOW + timedelta(days=7))


def test_a_weak_password_leaves_it_open() -> None:
    _, token = invite_create("anna@example.com", invited_by=make_admin(), now=NOW)
    with pytest.raises(ValidationError):
        invite_accept(token, password="password", now=NOW)
    assert invite_find(token, now=NOW) is not None and User.objects.count() == 1


def test_an_existing_account_joins_only_when_signed_in() -> None:
    team = make_team()
    anna, bert = make_user("anna@example.com", password=PASSWORD), make_user("bert@example.com")
    _, token = invite_create("ANNA@example.com", invited_by=make_admin(), team=team, now=NOW)
    for user in (None, bert):
        with pytest.raises(InviteError, match="Sign in with it"):
            invite_accept(token, password="another password, by a thief", user=user, now=NOW)
    assert invite_accept(token, user=anna, now=NOW) == anna
    anna.refresh_from_db()
    assert anna.check_password(PASSWORD) and anna.memberships.get().team == team


def test_an_invitation_of_a_member_sets_the_role_it_names() -> None:
    team = make_team()
    anna = make_member(team, role=Role.VIEWER)
    _, token = invite_create(anna.email, invited_by=make_admin(), team=team, role=Role.ADMIN, now=NOW)
    invite_accept(token, user=anna, now=NOW)
    assert anna.memberships.get().role == Role.ADMIN


def test_an_admin_of_the_install_can_be_invited() -> None:
    _, token = invite_create("anna@example.com", invited_by=make_admin(), install_admin=True, now=NOW)
    assert invite_accept(token, password=PASSWORD, now=NOW).is_superuser


def test_a_withdrawn_one_is_gone_and_a_taken_one_stays() -> None:
    invite, token = invite_create("anna@example.com", invited_by=make_admin(), now=NOW)
    assert invite_withdraw(invite)
    assert invite_find(token, now=NOW) is None
    invite, token = invite_create("bert@example.com", invited_by=make_admin(), now=NOW)
    invite_accept(token, password=PASSWORD, now=NOW)
    assert not invite_withdraw(invite)

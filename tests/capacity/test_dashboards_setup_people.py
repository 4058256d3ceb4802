"""Teams, rules, keys, audit, status and the own account, by Django's client."""

from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from monitoring.access import key_verify
from monitoring.models import (
    AuditEvent,
    Deployment,
    DirtyWindow,
    FillState,
    Heartbeat,
    Invite,
    JobSlot,
    Key,
    Membership,
    Role,
    Team,
    TeamRule,
)
from tests.capacity.pages import client_of, queries, toasts, undo_of
from tests.factories import make_admin, make_deployment, make_member, make_source, make_team, make_user

pytestmark = pytest.mark.django_db


class TestWhoMay:
    """Each page for a stranger, a viewer, an editor, a team admin, somebody of another team, an install admin."""

    PAGES = {  # path -> status for (viewer, editor, team admin, foreign, install admin)
        "/teams/": (200, 200, 200, 200, 200),
        "/teams/{team}/": (200, 200, 200, 404, 200),
        "/teams/{team}/delete/": (403, 403, 403, 403, 200),
        "/teams/rules/": (403, 403, 403, 403, 200),
        "/teams/rules/preview/": (403, 403, 403, 403, 200),
        "/keys/": (200, 200, 200, 200, 200),
        "/audit/": (403, 403, 403, 403, 200),
        "/status/": (200, 200, 200, 200, 200),
        "/account/": (200, 200, 200, 200, 200),
    }

    @pytest.mark.parametrize("path", list(PAGES))
    def test_each_role_gets_what_the_table_says(self, path: str) -> None:
        team, other = make_team(), make_team()
        people = [make_member(team, role=role) for role in (Role.VIEWER, Role.EDITOR, Role.ADMIN)]
        people += [make_member(other, role=Role.ADMIN), make_admin()]
        address = path.format(team=team.pk)
        assert tuple(client_of(person).get(address).status_code for person in people) == self.PAGES[path]

    @pytest.mark.parametrize("path", list(PAGES))
    def test_a_stranger_is_sent_to_the_login(self, path: str) -> None:
        response = Client().get(path.format(team=make_team().pk))
        assert response.status_code == 302
        assert response["Location"].startswith("/accounts/login/")

    def test_a_refusal_names_who_can_help(self) -> None:
        admin = make_admin("boss@example.com")
        response = client_of(make_member(make_team())).get("/teams/rules/")
        assert response.status_code == 403
        assert admin.email in response.content.decode()


class TestTeams:
    def test_an_admin_makes_a_team(self) -> None:
        response = client_of(make_admin()).post("/teams/", {"name": "Search"}, follow=True)
        assert response.status_code == 200
        assert list(Team.objects.values_list("name", "slug")) == [("Search", "search")]
        assert AuditEvent.objects.filter(action="team.create", subject="team Search").exists()

    def test_a_second_team_of_nearly_the_same_name_is_refused_in_words(self) -> None:
        make_team("Search")
        response = client_of(make_admin()).post("/teams/", {"name": "search!"})
        assert response.status_code == 422
        assert "nearly this name" in response.content.decode()

    def test_an_editor_makes_no_team(self) -> None:
        response = client_of(make_member(make_team("Voice"), role=Role.EDITOR)).post("/teams/", {"name": "Search"})
        assert response.status_code == 403
        assert Team.objects.count() == 1

    def test_a_member_sees_only_the_own_teams(self) -> None:
        mine, other = make_team("Mine"), make_team("Elsewhere")
        text = client_of(make_member(mine)).get("/teams/").content.decode()
        assert mine.name in text
        assert other.name not in text

    def test_an_invitation_shows_its_link_once_and_mails_it_when_mail_is_set_up(self, settings: Any) -> None:
        settings.EMAIL_ADDRESS_SET = True
        team = make_team("Voice")
        response = client_of(make_member(team, role=Role.ADMIN)).post(
            f"/teams/{team.pk}/invite/", {"email": "new@example.com", "role": "editor"}
        )
        link = response.context["link"]
        assert link in response.content.decode()
        assert link in mail.outbox[0].body
        assert Invite.objects.get().role == Role.EDITOR
        assert link not in client_of(make_admin()).get(f"/teams/{team.pk}/").content.decode()

    def test_without_mail_the_page_says_to_hand_the_link_over(self, settings: Any) -> None:
        settings.EMAIL_ADDRESS_SET = False
        team = make_team()
        response = client_of(make_admin()).post(f"/teams/{team.pk}/invite/", {"email": "new@example.com", "role": "viewer"})
        assert "hand over this link" in response.content.decode()
        assert mail.outbox == []

    def test_an_editor_invites_nobody(self) -> None:
        team = make_team()
        response = client_of(make_member(team, role=Role.EDITOR)).post(
            f"/teams/{team.pk}/invite/", {"email": "a@b.example", "role": "admin"}
        )
        assert response.status_code == 403
        assert not Invite.objects.exists()

    def test_a_role_changes_and_the_toast_undoes_it(self) -> None:
        team = make_team()
        member = make_member(team).memberships.get()
        client = client_of(make_admin())
        response = client.post(f"/members/{member.pk}/role/", {"role": "editor"}, follow=True)
        member.refresh_from_db()
        assert member.role == Role.EDITOR
        client.post(undo_of(response))
        member.refresh_from_db()
        assert member.role == Role.VIEWER

    def test_the_last_admin_of_a_team_cannot_leave_it(self) -> None:
        team = make_team()
        admin = make_member(team, role=Role.ADMIN)
        row = admin.memberships.get()
        response = client_of(admin).post(f"/members/{row.pk}/remove/", follow=True)
        assert Membership.objects.filter(pk=row.pk).exists()
        assert "last admin" in toasts(response)[0]

    def test_a_removed_member_comes_back_by_undo(self) -> None:
        team = make_team()
        row = make_member(team, role=Role.EDITOR).memberships.get()
        client = client_of(make_admin())
        response = client.post(f"/members/{row.pk}/remove/", follow=True)
        assert not Membership.objects.filter(team=team).exists()
        client.post(undo_of(response))
        assert Membership.objects.get(team=team).role == Role.EDITOR

    def test_a_team_admin_cannot_touch_members_of_another_team(self) -> None:
        foreign = make_member(make_team()).memberships.get()
        response = client_of(make_member(make_team(), role=Role.ADMIN)).post(f"/members/{foreign.pk}/role/", {"role": "admin"})
        assert response.status_code == 404

    def test_an_undo_of_somebody_without_the_right_is_refused(self) -> None:
        team = make_team()
        member = make_member(team).memberships.get()
        response = client_of(make_admin()).post(f"/members/{member.pk}/role/", {"role": "editor"}, follow=True)
        assert client_of(make_member(team)).post(undo_of(response)).status_code == 403
        member.refresh_from_db()
        assert member.role == Role.EDITOR

    def test_a_forged_undo_is_not_found(self) -> None:
        assert client_of(make_admin()).post("/undo/forged:token/").status_code == 404

    def test_a_removed_team_leaves_its_deployments_unassigned(self) -> None:
        team = make_team()
        deployment = make_deployment(team=team)
        client_of(make_admin()).post(f"/teams/{team.pk}/delete/")
        deployment.refresh_from_db()
        assert deployment.team is None


class TestRules:
    def test_a_rule_gives_deployments_to_its_team_and_undo_takes_it_back(self) -> None:
        team = make_team("Search")
        deployment = make_deployment("ranker", namespace="search-prod")
        client = client_of(make_admin())
        response = client.post("/teams/rules/", {"namespace": "search-*", "team": team.pk}, follow=True)
        deployment.refresh_from_db()
        assert deployment.team == team
        assert "1 deployment changed team" in toasts(response)[0]
        client.post(undo_of(response))
        assert not TeamRule.objects.exists()

    def test_the_preview_says_how_many_deployments_a_rule_would_give(self) -> None:
        team = make_team("Search")
        make_deployment("ranker", namespace="search-prod")
        make_deployment("chat", namespace="assist")
        response = client_of(make_admin()).get("/teams/rules/preview/", {"namespace": "search-*", "team": team.pk})
        assert "Would give 1 deployment to Search." in response.content.decode()
        assert not TeamRule.objects.exists()

    def test_an_earlier_rule_goes_first_in_the_preview(self) -> None:
        first, second = make_team("First"), make_team("Second")
        make_deployment("ranker")
        TeamRule.objects.create(position=1, workload="rank*", team=first)
        response = client_of(make_admin()).get("/teams/rules/preview/", {"workload": "*", "team": second.pk})
        assert "Would give 0 deployments to Second" in response.content.decode()

    def test_moving_a_rule_up_gives_the_deployment_to_its_team(self) -> None:
        first, second = make_team("First"), make_team("Second")
        deployment = make_deployment("ranker")
        TeamRule.objects.create(position=1, team=first)
        rule = TeamRule.objects.create(position=2, team=second)
        client_of(make_admin()).post(f"/rules/{rule.pk}/up/")
        deployment.refresh_from_db()
        assert deployment.team == second
        assert list(TeamRule.objects.values_list("team__name", "position")) == [("Second", 1), ("First", 2)]

    def test_ticked_deployments_are_assigned_by_hand(self) -> None:
        team = make_team()
        rows = [make_deployment(), make_deployment()]
        client_of(make_admin()).post("/teams/assign/", {"deployment": [row.pk for row in rows], "team": team.pk})
        assert set(Deployment.objects.values_list("team", "team_by_hand")) == {(team.pk, True)}

    def test_the_page_needs_the_same_queries_for_many_rules_and_deployments(self) -> None:
        team, client = make_team(), client_of(make_admin())
        TeamRule.objects.create(position=1, team=team)
        make_deployment()
        few = queries(client, "/teams/rules/")
        for position in range(2, 12):
            TeamRule.objects.create(position=position, team=team)
            make_deployment()
        assert queries(client, "/teams/rules/") == few


class TestKeys:
    def make_key(self, client: Client, **fields: object) -> HttpResponse:
        return client.post("/keys/", {"name": "pipeline", "scope": "read", "lifetime_days": 30} | fields)  # type: ignore[return-value]

    def test_a_key_is_shown_once_and_works(self) -> None:
        client = client_of(make_admin())
        response: Any = self.make_key(client)
        text = response.context["shown"]
        assert text in response.content.decode()
        assert response["Cache-Control"] == "no-store"
        assert key_verify(text) == Key.objects.get()
        assert text not in client.get("/keys/").content.decode()

    def test_a_team_admin_makes_keys_of_the_own_team_only(self) -> None:
        mine, other = make_team(), make_team()
        client = client_of(make_member(mine, role=Role.ADMIN))
        assert self.make_key(client, team=other.pk).status_code == 422
        assert self.make_key(client).status_code == 422
        assert self.make_key(client, team=mine.pk).status_code == 200
        assert Key.objects.get().team == mine

    def test_a_viewer_reads_why_there_is_no_form(self) -> None:
        response = client_of(make_member(make_team())).get("/keys/")
        assert "Keys are made by team admins" in response.content.decode()

    def test_an_editor_makes_no_key(self) -> None:
        team = make_team()
        assert self.make_key(client_of(make_member(team, role=Role.EDITOR)), team=team.pk).status_code == 403
        assert not Key.objects.exists()

    def test_a_revoked_key_is_refused_at_once(self) -> None:
        client = client_of(make_admin())
        response: Any = self.make_key(client)
        client.post(f"/keys/{Key.objects.get().pk}/end/")
        assert key_verify(response.context["shown"]) is None

    def test_rotation_leaves_the_old_key_alive_for_a_day(self) -> None:
        client = client_of(make_admin())
        first: Any = self.make_key(client)
        second: Any = client.post(f"/keys/{Key.objects.get().pk}/rotate/")
        now = timezone.now()
        assert key_verify(first.context["shown"], now=now + timedelta(hours=23))
        assert key_verify(first.context["shown"], now=now + timedelta(hours=25)) is None
        assert key_verify(second.context["shown"], now=now + timedelta(days=29))

    def test_a_foreign_key_cannot_be_revoked(self) -> None:
        self.make_key(client_of(make_admin()))
        response = client_of(make_member(make_team(), role=Role.ADMIN)).post(f"/keys/{Key.objects.get().pk}/end/")
        assert response.status_code == 404

    def test_the_audit_log_has_the_key_but_not_its_secret(self) -> None:
        client = client_of(make_admin())
        made: Any = self.make_key(client)
        text = client.get("/audit/?q=key.create").content.decode()
        assert "key.create" in text
        assert made.context["shown"] not in text


class TestStatus:
    def test_an_empty_install_has_no_problem(self) -> None:
        response = client_of(make_admin()).get("/status/")
        assert response.context["problems"] == []
        assert "No source yet" in response.content.decode()

    def test_a_stale_worker_a_late_source_and_a_late_rollup_are_named(self) -> None:
        now = timezone.now()
        Heartbeat.objects.create(name="queue:poll", at=now - timedelta(minutes=10))
        make_source("prod-eu", watermark=now - timedelta(minutes=30), step_seconds=60)
        FillState.objects.create(table="deployment_5m", end_time=now - timedelta(hours=2))
        problems = client_of(make_admin()).get("/status/").context["problems"]
        assert problems == [
            "No worker has taken the queue poll for 10 min.",
            "prod-eu is 30 min behind.",
            "The rollup deployment_5m is 2 h behind.",
        ]

    def test_a_failed_job_shows_its_error_to_admins_only(self) -> None:
        now = timezone.now()
        JobSlot.objects.create(job="monitoring.rollups_fill", slot_time=now, error="ValueError: boom", seconds=0.1, finished_at=now)
        assert "boom" in client_of(make_admin()).get("/status/").content.decode()
        assert "boom" not in client_of(make_user()).get("/status/").content.decode()

    def test_the_number_of_queries_does_not_grow(self) -> None:
        client = client_of(make_admin())
        few = queries(client, "/status/")
        now = timezone.now()
        for number in range(20):
            make_source()
            JobSlot.objects.create(job="monitoring.poll", slot_time=now - timedelta(seconds=5 * number))
            FillState.objects.create(table=f"table{number}_5m", end_time=now)
            DirtyWindow.objects.create(entity="deployment", start_at=now, end_at=now)
        assert queries(client, "/status/") == few

    def test_a_fragment_is_answered_to_htmx(self) -> None:
        response = client_of(make_admin()).get("/status/", headers={"HX-Request": "true"})
        assert "<html" not in response.content.decode()


class TestAccount:
    def test_a_person_changes_name_zone_and_look(self) -> None:
        user = make_user()
        response = client_of(user).post("/account/", {"name": "Ada", "time_zone": "Europe/Berlin", "theme": "dark"})
        user.refresh_from_db()
        assert (user.name, user.time_zone) == ("Ada", "Europe/Berlin")
        assert response.cookies["theme"].value == "dark"

    def test_an_unknown_zone_is_refused_with_a_valid_one(self) -> None:
        response = client_of(make_user()).post("/account/", {"time_zone": "Mars/Base"})
        assert response.status_code == 422
        assert "Europe/Berlin" in response.content.decode()

    def test_signing_out_everywhere_ends_every_session(self) -> None:
        user, other = make_user(), make_user()
        here, there, stranger = client_of(user), client_of(user), client_of(other)
        here.post("/account/sign-out/")
        assert [client.get("/account/").status_code for client in (here, there, stranger)] == [302, 302, 200]

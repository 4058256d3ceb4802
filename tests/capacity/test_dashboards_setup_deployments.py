"""One deployment by hand, and SLOs, by Django's client."""

import numpy as np
import pytest
from django.utils import timezone

from monitoring.catalog.records import Latency
from monitoring.ingest import histograms_ingest
from monitoring.models import (
    Deployment,
    DeploymentState,
    Event,
    Role,
    Slo,
    TeamRule,
    User,
)
from monitoring.store import Histograms
from tests.capacity.pages import client_of, queries, text_of, toasts, undo_of
from tests.factories import make_admin, make_deployment, make_member, make_team

pytestmark = pytest.mark.django_db
PROMISE = {"latency": "1", "percentile": "0.95", "threshold_seconds": "800 ms", "objective_ratio": "99.5", "window_days": "28"}
AVAILABLE = {"latency": "", "percentile": "0.95", "objective_ratio": "99.5", "availability_ratio": "99.9", "window_days": "28"}


def make_history(deployment: Deployment, *, days: int, slow_windows: int = 0) -> None:
    """Five-minute windows of 100 requests under 0.5 s each; the newest `slow_windows` of them lie between 1 and 2 s."""
    now = timezone.now()
    end = now.timestamp() // 300 * 300 - 600
    times = end - 300.0 * np.arange(days * 288)[::-1]
    counts = np.tile([0.0, 100.0, 0.0, 0.0, 0.0], (times.size, 1))
    if slow_windows:
        counts[-slow_windows:] = [0.0, 0.0, 0.0, 100.0, 0.0]
    ids = np.full(times.size, deployment.pk, dtype=np.int64)
    sums = np.full(times.size, np.nan)
    rows = Histograms(Latency.REQUEST_DURATION, ids, np.zeros_like(ids), times, (0.25, 0.5, 1.0, 2.0), counts, sums)
    written = histograms_ingest(rows, table="5m", now=now)
    assert written.rejected == 0, written.errors


class TestDeploymentEdit:
    def words(self, deployment: Deployment, **fields: str) -> dict[str, str]:
        return {"name": deployment.name, "team": "rules", "environment": "", "workload_kind": "serving"} | fields

    def test_words_change_and_undo_puts_them_back(self) -> None:
        team = make_team()
        deployment = make_deployment("llama", team=team)
        client = client_of(make_member(team, role=Role.EDITOR))
        data = self.words(deployment, name="chat-70b", team=str(team.pk), environment="staging")
        response = client.post(f"/deployments/{deployment.pk}/edit/", data, follow=True)
        deployment.refresh_from_db()
        assert (deployment.name, deployment.environment, deployment.team_by_hand) == ("chat-70b", "staging", True)
        client.post(undo_of(response))
        deployment.refresh_from_db()
        assert (deployment.name, deployment.renamed, deployment.environment, deployment.team_by_hand) == ("llama", False, "", False)

    def test_a_deployment_cannot_be_given_to_a_team_one_does_not_see(self) -> None:
        team, other = make_team(), make_team()
        deployment = make_deployment(team=team)
        client = client_of(make_member(team, role=Role.EDITOR))
        response = client.post(f"/deployments/{deployment.pk}/edit/", self.words(deployment, team=str(other.pk)))
        assert response.status_code == 422
        deployment.refresh_from_db()
        assert deployment.team == team

    def test_given_back_to_the_rules_it_follows_them(self) -> None:
        team, ruled = make_team(), make_team()
        TeamRule.objects.create(position=1, team=ruled)
        deployment = make_deployment(team=team, team_by_hand=True)
        client_of(make_admin()).post(f"/deployments/{deployment.pk}/edit/", self.words(deployment))
        deployment.refresh_from_db()
        assert (deployment.team, deployment.team_by_hand) == (ruled, False)

    @pytest.mark.parametrize(("verb", "state"), [("archive", DeploymentState.ARCHIVED), ("ignore", DeploymentState.IGNORED)])
    def test_a_state_is_set_and_undone(self, verb: str, state: str) -> None:
        deployment = make_deployment()
        client = client_of(make_admin())
        response = client.post(f"/deployments/{deployment.pk}/{verb}/", follow=True)
        deployment.refresh_from_db()
        assert deployment.state == state
        client.post(undo_of(response))
        deployment.refresh_from_db()
        assert deployment.state == DeploymentState.ACTIVE

    def test_what_is_hidden_can_be_restored_from_its_list(self) -> None:
        deployment = make_deployment("old-model", state=DeploymentState.IGNORED)
        client = client_of(make_admin())
        assert "old-model" in text_of(client.get("/deployments/hidden/"))
        client.post(f"/deployments/{deployment.pk}/restore/")
        deployment.refresh_from_db()
        assert deployment.state == DeploymentState.ACTIVE

    def test_a_merge_finds_the_other_by_search_and_keeps_it(self) -> None:
        old, new = make_deployment("chat-old"), make_deployment("chat-new")
        make_deployment("other")
        client = client_of(make_admin())
        found = text_of(client.get(f"/deployments/{old.pk}/merge/search/?into=chat"))
        assert "chat-new" in found
        assert "other" not in found
        client.post(f"/deployments/{old.pk}/merge/", {"target": new.pk})
        old.refresh_from_db()
        assert (old.state, old.merged_into) == (DeploymentState.MERGED, new)

    def test_nothing_merges_into_a_foreign_deployment(self) -> None:
        team = make_team()
        mine, foreign = make_deployment(team=team), make_deployment(team=make_team())
        client = client_of(make_member(team, role=Role.EDITOR))
        assert foreign.name not in text_of(client.get(f"/deployments/{mine.pk}/merge/search/?into=model"))
        assert client.post(f"/deployments/{mine.pk}/merge/", {"target": foreign.pk}).status_code == 404

    def test_an_event_is_added_in_the_readers_zone_and_undone(self) -> None:
        admin = make_admin()
        User.objects.filter(pk=admin.pk).update(time_zone="Europe/Berlin")
        deployment = make_deployment()
        client = client_of(admin)
        data = {"kind": "launch", "title": "Campaign, 3 times the traffic", "at": "2026-12-12T09:00"}
        response = client.post(f"/deployments/{deployment.pk}/events/", data, follow=True)
        assert Event.objects.get().at.isoformat() == "2026-12-12T08:00:00+00:00"
        client.post(undo_of(response))
        assert not Event.objects.exists()

    def test_an_event_that_ends_before_it_begins_is_refused(self) -> None:
        deployment = make_deployment()
        data = {"kind": "note", "title": "x", "at": "2026-12-12T09:00", "end_at": "2026-12-12T08:00"}
        response = client_of(make_admin()).post(f"/deployments/{deployment.pk}/events/", data)
        assert response.status_code == 422
        assert "lies before the beginning" in text_of(response)

    def test_a_removed_event_comes_back_by_undo(self) -> None:
        deployment = make_deployment()
        event = Event.objects.create(deployment=deployment, kind="note", at=timezone.now(), title="x", dedup_key="hand 1")
        client = client_of(make_admin())
        response = client.post(f"/events/{event.pk}/remove/", follow=True)
        assert not Event.objects.exists()
        client.post(undo_of(response))
        assert Event.objects.get().title == "x"

    def test_an_observed_event_cannot_be_removed(self) -> None:
        event = Event.objects.create(deployment=make_deployment(), kind="deploy", at=timezone.now(), title="v2", dedup_key="deploy 1")
        assert client_of(make_admin()).post(f"/events/{event.pk}/remove/").status_code == 404


class TestSlo:
    def test_too_little_history_is_said_in_numbers(self) -> None:
        deployment = make_deployment()
        assert "have 0, need 288." in text_of(client_of(make_admin()).get(f"/deployments/{deployment.pk}/slo/"))

    def test_a_latency_the_deployment_has_not_cannot_be_promised(self) -> None:
        deployment = make_deployment()
        assert client_of(make_admin()).post(f"/deployments/{deployment.pk}/slo/", PROMISE).status_code == 422
        assert not Slo.objects.exists()

    def test_an_availability_is_set_and_undone(self) -> None:
        deployment = make_deployment()
        client = client_of(make_admin("boss@example.com"))
        response = client.post(f"/deployments/{deployment.pk}/slo/", AVAILABLE, follow=True)
        slo = Slo.objects.get()
        assert (slo.availability_ratio, slo.latency, slo.set_by) == (0.999, None, "boss@example.com")
        client.post(undo_of(response))
        assert not Slo.objects.exists()

    def test_a_promise_of_nothing_is_refused(self) -> None:
        deployment = make_deployment()
        response = client_of(make_admin()).post(f"/deployments/{deployment.pk}/slo/", AVAILABLE | {"availability_ratio": ""})
        assert "Promise a latency, an availability, or both." in text_of(response)

    def test_history_suggests_a_threshold_that_fills_the_form(self) -> None:
        deployment = make_deployment()
        make_history(deployment, days=2)
        response = client_of(make_admin()).get(f"/deployments/{deployment.pk}/slo/?suggested=1")
        assert "Your request duration p95 over 2 days was 0.49 s." in response.context["suggestion"].text
        assert "It would have held: 0 minutes lost of a budget of 202 in the last 28 days." in text_of(response)
        assert 'value="600 ms"' in text_of(response)

    def test_a_preview_counts_the_minutes_a_promise_would_have_lost(self) -> None:
        deployment = make_deployment()
        make_history(deployment, days=2, slow_windows=60)
        query = PROMISE | {"threshold_seconds": "800 ms"}
        response = client_of(make_admin()).get(f"/deployments/{deployment.pk}/slo/preview/", query)
        assert "It would have broken: 300 minutes lost of a budget of 202 in the last 28 days, in 1 stretch." in text_of(response)
        assert not Slo.objects.exists()

    def test_a_preview_of_an_unreadable_threshold_says_how_to_write_it(self) -> None:
        deployment = make_deployment()
        make_history(deployment, days=1)
        query = PROMISE | {"threshold_seconds": "fast"}
        response = client_of(make_admin()).get(f"/deployments/{deployment.pk}/slo/preview/", query)
        assert "Enter one like 800 ms or 1.6 s." in text_of(response)

    def test_many_take_each_its_own_suggestion(self) -> None:
        rows = [make_deployment(), make_deployment()]
        make_history(rows[0], days=2)
        response = client_of(make_admin()).post("/slos/set/", {"deployment": [row.pk for row in rows], "suggested": "1"}, follow=True)
        assert [(slo.deployment, slo.threshold_seconds) for slo in Slo.objects.all()] == [(rows[0], 0.6)]
        assert "Left out 1" in toasts(response)[0]

    def test_a_removed_slo_comes_back_by_undo(self) -> None:
        deployment = make_deployment()
        Slo.objects.create(deployment=deployment, latency=1, threshold_seconds=0.8)
        client = client_of(make_admin())
        response = client.post(f"/deployments/{deployment.pk}/slo/remove/", follow=True)
        assert not Slo.objects.exists()
        client.post(undo_of(response))
        assert Slo.objects.get().threshold_seconds == 0.8

    def test_many_are_set_at_once_and_foreign_ones_left_out(self) -> None:
        team = make_team()
        mine, foreign = make_deployment(team=team), make_deployment(team=make_team())
        client = client_of(make_member(team, role=Role.EDITOR))
        client.post("/slos/set/", AVAILABLE | {"deployment": [mine.pk, foreign.pk], "same": "1"})
        assert [slo.deployment for slo in Slo.objects.all()] == [mine]

    def test_without_history_no_suggestion_is_set(self) -> None:
        deployment = make_deployment()
        response = client_of(make_admin()).post("/slos/set/", {"deployment": deployment.pk, "suggested": "1"}, follow=True)
        assert "Left out 1" in toasts(response)[0]
        assert not Slo.objects.exists()

    def test_the_list_keeps_the_decimals_of_a_share(self) -> None:
        Slo.objects.create(deployment=make_deployment(), latency=1, threshold_seconds=0.8, objective_ratio=0.9995, availability_ratio=0.999)
        text = text_of(client_of(make_admin()).get("/slos/"))
        assert "99.95 % of 28 days" in text
        assert "99.9 %" in text

    def test_the_list_needs_the_same_queries_for_many_deployments(self) -> None:
        client = client_of(make_admin())
        make_deployment()
        few = queries(client, "/slos/")
        for _ in range(10):
            make_deployment()
        assert queries(client, "/slos/") == few

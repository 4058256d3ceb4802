"""Plans changed by hand, on planted telemetry: what if, events, scenarios, comparison, files, groups; who may, audit, Undo."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from django.test import Client

from capacity.analysis.plan_store import plan_newest
from capacity.analysis.plan_whatif import grounds_forget
from capacity.models import PlannedEvent, PlanRun, PlanSettings, Scenario, Turn
from monitoring.catalog.records import Latency
from monitoring.models import AuditEvent, Deployment, Team
from tests.capacity.api_client import Api
from tests.capacity.fit_world import make_served
from tests.capacity.pages import client_of, queries, text_of, toasts, undo_of
from tests.capacity.plan_builders import make_cost, make_plan_run, make_result
from tests.factories import make_admin, make_deployment, make_member, make_team
from tests.telemetry import NOON

pytestmark = pytest.mark.django_db
LAUNCH = {"kind": "launch", "name": "Nordwind launch", "start_at": "2026-12-01T00:00", "factor": "3", "for_all": "on"}
PROMISE = {"latency": f"{Latency.REQUEST_DURATION:d}", "percentile": "0.95", "threshold_seconds": "0.9"}
PROMISE |= {"objective_ratio": "99.5", "window_days": "28"}
SLO = {"latency": "request_duration", "percentile": 0.95, "threshold_seconds": 0.9, "objective_ratio": 0.995}
TRIED = "launch~2026-12-01T00:00~~3~~Nordwind launch"


@pytest.fixture(autouse=True)
def at_noon(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The planted telemetry ends at a fixed noon."""
    monkeypatch.setattr("django.utils.timezone.now", lambda: NOON)
    grounds_forget()
    yield
    grounds_forget()


@pytest.fixture
def team() -> Team:
    return make_team("assist")


@pytest.fixture
def chat(team: Team) -> Deployment:
    """Four weeks of a service with an SLO, and eight slots a replica known by hand."""
    row = make_served("chat-70b", days=28, team=team, system="vllm")
    PlanSettings.objects.create(deployment=row, slots=4)
    return row


@pytest.fixture
def editor(team: Team) -> Client:
    return client_of(make_member(team, role="editor", email="ed@example.com"))


@pytest.fixture
def viewer(team: Team) -> Client:
    return client_of(make_member(team, email="vi@example.com"))


def url(row: Deployment, end: str = "") -> str:
    return f"/plans/{row.pk}/{end}"


class TestWhatIf:
    def test_assumptions_of_the_address_are_computed_and_stored_nowhere(self, chat: Deployment, viewer: Client) -> None:
        page = text_of(viewer.get(url(chat, "?growth=60&lead=30")))
        assert "computed now and not saved" in page and "This what-if" in page
        assert "lead time 30 days" in page and 'value="60"' in page
        assert not PlanRun.objects.exists() and not Scenario.objects.exists()

    def test_growth_brings_the_run_out_nearer(self, chat: Deployment, viewer: Client) -> None:
        outs = [viewer.get(url(chat, f"?growth={growth}")).context["result"].run_out for growth in (40, 90)]
        assert outs[0].early_time > outs[1].early_time

    def test_what_cannot_be_read_is_said_beside_its_field(self, chat: Deployment, viewer: Client) -> None:
        make_plan_run(chat, result=make_result(now=NOON))
        answer = viewer.get(url(chat, "?growth=much&replicas=-2&startup=99999"))
        page = text_of(answer)
        assert answer.status_code == 422
        assert (
            "is not a number" in page
            and "It must be from 1 to 10,000, got" in page
            and "It must be from 0 to 1,440 min, got 99999." in page
        )
        assert "Capacity runs out on" in page  # the stored plan stands below

    def test_an_event_of_the_address_counts_and_can_be_taken_out(self, chat: Deployment, viewer: Client) -> None:
        answer = viewer.get(url(chat), {"event": TRIED})
        page = text_of(answer)
        assert "only in this address" in page and "×3, 1 Dec" in page
        assert answer.context["result"].run_out.median_time == datetime(2026, 12, 1, tzinfo=UTC).timestamp()
        broken = viewer.get(url(chat), {"event": "launch~soon"})
        assert broken.status_code == 422 and "cannot be read" in text_of(broken)

    def test_the_address_kept_by_htmx_has_no_empty_fields(self, chat: Deployment, viewer: Client) -> None:
        answer = viewer.get(url(chat, "?growth=40&replicas=&slo="), headers={"HX-Request": "true"})
        assert answer["HX-Push-Url"] == url(chat, "?growth=40")

    def test_the_csv_is_of_what_the_page_shows(self, chat: Deployment, viewer: Client) -> None:
        made = [text_of(viewer.get(url(chat, f"demand.csv?growth={growth}"))).splitlines()[-1].split(",")[2] for growth in (0, 50)]
        assert float(made[1]) > 1.5 * float(made[0])


class TestEvents:
    def test_an_event_is_added_the_plan_made_again_and_both_undone(self, chat: Deployment, editor: Client) -> None:
        done = editor.post(url(chat, "events/"), LAUNCH, follow=True)
        assert toasts(done) == ["Nordwind launch is planned."]
        event = PlannedEvent.objects.get()
        assert (event.deployment, event.set_by, event.factor) == (chat, "ed@example.com", 3.0)
        assert AuditEvent.objects.get(action="planned_event.create").actor == "ed@example.com"
        run = plan_newest(chat)
        assert run is not None and str(run.runs_out_on) == "2026-12-01"
        editor.post(undo_of(done))
        run = plan_newest(chat)
        assert run is not None and run.runs_out_on is None and not PlannedEvent.objects.exists()

    def test_it_is_moved_along_the_axis_by_a_day(self, chat: Deployment, editor: Client) -> None:
        event = PlannedEvent.objects.create(deployment=chat, name="Launch", start_at=datetime(2026, 12, 1, 9, tzinfo=UTC), factor=3)
        editor.post(f"/planned-events/{event.pk}/move/", {"day": "2026-12-11"})
        event.refresh_from_db()
        run = plan_newest(chat)
        assert event.start_at == datetime(2026, 12, 11, 9, tzinfo=UTC)
        assert run is not None and str(run.runs_out_on) == "2026-12-11"
        refused = editor.post(f"/planned-events/{event.pk}/move/", {"day": "soon"}, follow=True)
        assert "is not a day" in toasts(refused)[-1]

    def test_what_is_wrong_is_said_and_nothing_is_stored(self, chat: Deployment, editor: Client) -> None:
        answer = editor.post(url(chat, "events/"), LAUNCH | {"name": "", "factor": "1", "start_at": "2019-01-01T00:00"})
        page = text_of(answer)
        assert answer.status_code == 422 and not PlannedEvent.objects.exists()
        assert "Enter a name" in page and "ago: what it changed is in the history already" in page and "It would change nothing" in page

    def test_a_day_of_the_axis_opens_the_form_with_it(self, chat: Deployment, editor: Client) -> None:
        assert 'value="2026-12-24T00:00"' in text_of(editor.get(url(chat, "events/?at=2026-12-24")))
        assert editor.get(url(chat, "events/?at=whenever")).status_code == 200

    def test_a_viewer_tries_without_storing_and_changes_nothing(self, chat: Deployment, viewer: Client) -> None:
        event = PlannedEvent.objects.create(deployment=chat, name="Launch", start_at=NOON + timedelta(days=9), factor=3)
        for path in (url(chat, "events/"), f"/planned-events/{event.pk}/", f"/planned-events/{event.pk}/remove/"):
            assert viewer.post(path, LAUNCH).status_code == 403
        leads = viewer.post(url(chat, "try/"), LAUNCH | {"back": "?growth=5"})["Location"]
        assert parse_qs(urlsplit(leads).query) == {"growth": ["5"], "event": [TRIED]}
        assert PlannedEvent.objects.count() == 1

    def test_a_place_to_go_back_to_is_never_an_address(self, chat: Deployment, editor: Client) -> None:
        leads = editor.post(url(chat, "events/"), LAUNCH | {"back": "https://evil.example.com/?growth=5"})["Location"]
        assert leads.startswith(url(chat))

    def test_it_asks_a_fixed_number_of_queries(self, chat: Deployment, editor: Client) -> None:
        few = queries(editor, url(chat, "events/"))
        for number in range(5):
            PlannedEvent.objects.create(deployment=chat, name=f"Launch {number}", start_at=NOON + timedelta(days=9 + number), factor=3)
        assert queries(editor, url(chat, "events/")) == few <= 12


class TestScenarios:
    def test_what_the_page_assumes_is_saved_with_its_events_and_planned(self, chat: Deployment, editor: Client) -> None:
        done = editor.post(url(chat, "scenarios/"), {"name": "Big launch", "growth": "10", "replicas": "8", "event": TRIED}, follow=True)
        made = Scenario.objects.get()
        assert (made.name, made.growth_per_month, made.replicas, made.created_by) == ("Big launch", 0.1, 8, "ed@example.com")
        assert [event.name for event in made.planned_events.all()] == ["Nordwind launch"]
        assert made.plan.result["capacity"]["now"]["replicas"] == 8
        assert done.redirect_chain[-1][0] == url(chat, f"?scenario={made.pk}") and "8 fixed" in text_of(done)

    def test_a_variant_of_a_saved_one_is_saved_into_it_or_beside_it(self, chat: Deployment, editor: Client) -> None:
        editor.post(url(chat, "scenarios/"), {"name": "Eight", "replicas": "8"})
        eight = Scenario.objects.get()
        editor.post(url(chat, "scenarios/"), {"name": "Eight, growing", "scenario": eight.pk, "growth": "10"})
        beside = Scenario.objects.get(name="Eight, growing")
        assert (beside.replicas, beside.growth_per_month) == (8, 0.1)
        editor.post(f"/scenarios/{eight.pk}/", {"replicas": "9", "name": ""})
        eight.refresh_from_db()
        assert (eight.name, eight.replicas) == ("Eight", 9)

    def test_two_of_one_name_are_refused_with_a_sentence(self, chat: Deployment, editor: Client) -> None:
        Scenario.objects.create(deployment=chat, name="Eight")
        done = editor.post(url(chat, "scenarios/"), {"name": "eight"}, follow=True)
        assert "There is a scenario called eight already" in toasts(done)[0] and Scenario.objects.count() == 1

    def test_it_is_renamed_cloned_and_chosen(self, chat: Deployment, editor: Client) -> None:
        first = Scenario.objects.create(deployment=chat, name="Eight", replicas=8)
        PlannedEvent.objects.create(scenario=first, name="Launch", start_at=NOON + timedelta(days=9), factor=2)
        editor.post(f"/scenarios/{first.pk}/", {"name": "Eight replicas"})
        editor.post(f"/scenarios/{first.pk}/clone/")
        copy = Scenario.objects.exclude(pk=first.pk).get()
        assert copy.name == "Eight replicas copy" and copy.planned_events.count() == 1
        editor.post(f"/scenarios/{copy.pk}/choose/")
        editor.post(f"/scenarios/{first.pk}/choose/")
        assert list(Scenario.objects.filter(chosen=True)) == [first]
        assert set(AuditEvent.objects.values_list("action", flat=True)) >= {"scenario.change", "scenario.clone", "scenario.choose"}

    def test_a_deleted_one_comes_back_by_undo_with_its_events(self, chat: Deployment, editor: Client) -> None:
        row = Scenario.objects.create(deployment=chat, name="Eight", replicas=8, hourly_rate="13.5")
        PlannedEvent.objects.create(scenario=row, name="Launch", start_at=NOON + timedelta(days=9), factor=2)
        before = Scenario.objects.values().get()
        done = editor.post(f"/scenarios/{row.pk}/delete/", follow=True)
        assert not Scenario.objects.exists() and not PlannedEvent.objects.exists()
        editor.post(undo_of(done))
        assert Scenario.objects.values().get() == before
        assert PlannedEvent.objects.get().scenario_id == row.pk

    def test_a_viewer_and_another_team_change_nothing(self, chat: Deployment, viewer: Client) -> None:
        row = Scenario.objects.create(deployment=chat, name="Eight", replicas=8)
        foreign = client_of(make_member(make_team("rival"), role="admin"))
        for end in ("", "clone/", "choose/", "delete/"):
            assert viewer.post(f"/scenarios/{row.pk}/{end}", {"name": "Mine"}).status_code == 403
            assert foreign.post(f"/scenarios/{row.pk}/{end}", {"name": "Mine"}).status_code == 404
        assert foreign.get(f"/scenarios/{row.pk}/").status_code == 404
        assert Scenario.objects.get().name == "Eight"

    def test_a_scenario_of_another_deployment_does_not_exist_here(self, chat: Deployment, editor: Client, team: Team) -> None:
        other = Scenario.objects.create(deployment=make_deployment("asr", team=team), name="Other")
        assert editor.get(url(chat, f"?scenario={other.pk}")).status_code == 404


class TestCompare:
    def test_columns_stand_side_by_side_for_everybody_who_sees_the_deployment(
        self, chat: Deployment, editor: Client, viewer: Client
    ) -> None:
        for name, replicas in (("Six", 6), ("Eight", 8)):
            editor.post(url(chat, "scenarios/"), {"name": name, "replicas": str(replicas)})
        eight = Scenario.objects.get(name="Eight")
        page = text_of(viewer.get(url(chat, f"compare/?s={eight.pk}")))
        assert "Eight" in page and ">Six<" not in page and "8 replicas" in page and "SLO minutes lost" in page
        assert ">Six<" in text_of(viewer.get(url(chat, "compare/")))
        assert client_of(make_member(make_team("rival"))).get(url(chat, "compare/")).status_code == 404

    def test_it_asks_a_fixed_number_of_queries(self, chat: Deployment, viewer: Client) -> None:
        rows = [Scenario.objects.create(deployment=chat, name=f"S{n}", replicas=n + 1) for n in range(4)]
        make_plan_run(chat, result=make_result(now=NOON))
        make_plan_run(None, scenario=rows[0], result=make_result(now=NOON))
        few = queries(viewer, url(chat, f"compare/?s={rows[0].pk}"))
        for row in rows[1:]:
            make_plan_run(None, scenario=row, result=make_result(now=NOON))
        assert queries(viewer, url(chat, "compare/")) <= few + 1 <= 16


class TestFiles:
    def test_keda_and_hpa_name_the_workload_and_its_own_metric(self, chat: Deployment, viewer: Client) -> None:
        make_plan_run(chat, result=make_result(now=NOON))
        answer = viewer.get(url(chat, "autoscaler/keda/"))
        assert answer["Content-Disposition"] == 'attachment; filename="chat-70b-keda.yaml"'
        keda = yaml.safe_load(text_of(answer))
        assert keda["spec"]["scaleTargetRef"]["name"] == "chat-70b" and keda["spec"]["minReplicaCount"] == 5
        assert keda["spec"]["triggers"][0]["metadata"]["query"] == 'sum(vllm:num_requests_running{namespace="prod",model_name="chat-70b"})'
        assert yaml.safe_load(text_of(viewer.get(url(chat, "autoscaler/hpa/"))))["spec"]["maxReplicas"] == 9
        assert viewer.get(url(chat, "autoscaler/json/")).json()["plan"]["headline"].startswith("Capacity runs out")

    def test_where_nothing_can_be_followed_it_says_so(self, team: Team, viewer: Client) -> None:
        row = make_deployment("vision", team=team, system="triton")
        make_plan_run(row, result=make_result(now=NOON))
        done = viewer.get(url(row, "autoscaler/keda/"), follow=True)
        assert "does not tell how many requests run" in toasts(done)[0]
        assert viewer.get(url(row, "autoscaler/json/")).status_code == 200

    def test_without_a_plan_there_is_nothing_to_download(self, team: Team, viewer: Client) -> None:
        row = make_deployment("vision", team=team, system="vllm")
        assert "nothing to export" in toasts(viewer.get(url(row, "autoscaler/hpa/"), follow=True))[0]


class TestGroups:
    def test_a_group_is_planned_in_accelerators_and_seen_by_who_sees_all_of_it(
        self, chat: Deployment, team: Team, editor: Client, viewer: Client
    ) -> None:
        done = editor.post(
            "/scenarios/new/", {"name": "Assist models", "members": [chat.pk], "horizon_days": "90", "growth": ""}, follow=True
        )
        made = Scenario.objects.get()
        page = text_of(done)
        assert made.scope == "group" and made.plan.result["unit"] == "accelerators"
        assert "Who is in it?" in page and f'href="{url(chat)}"' in page and "accelerators" in page
        assert "Assist models" in text_of(viewer.get("/plans/"))
        assert client_of(make_member(make_team("rival"))).get(f"/scenarios/{made.pk}/").status_code == 404

    def test_a_cluster_is_an_admins_and_waits_for_the_worker(self, chat: Deployment, editor: Client) -> None:
        told = {"name": "All of it", "cluster": str(chat.cluster_id), "horizon_days": "90"}
        assert editor.post("/scenarios/new/", told).status_code == 422  # no such field for an editor: nothing is chosen
        admin = client_of(make_admin())
        page = text_of(admin.post("/scenarios/new/", told, follow=True))
        made = Scenario.objects.get()
        assert made.scope == "cluster" and "The plan is next in line" in page
        assert Turn.objects.get(subject=f"scenario:{made.pk}").due_at == NOON

    def test_a_group_of_nothing_is_refused(self, editor: Client) -> None:
        answer = editor.post("/scenarios/new/", {"name": "Empty", "horizon_days": "90"})
        assert answer.status_code == 422 and "Choose at least one deployment" in text_of(answer)


class TestKnownByHand:
    def test_what_people_know_is_set_audited_and_undone(self, chat: Deployment, editor: Client) -> None:
        done = editor.post(url(chat, "settings/"), {"lead_time_days": "21", "startup_minutes": "6", "slots": "4"}, follow=True)
        row = PlanSettings.objects.get()
        assert (row.lead_time_days, row.startup_seconds, row.slots, row.set_by) == (21.0, 360.0, 4, "ed@example.com")
        assert "lead time 21 days" in text_of(done) and AuditEvent.objects.filter(action="plan_settings.change").exists()
        editor.post(undo_of(done))
        assert PlanSettings.objects.get().lead_time_days is None

    def test_what_cannot_be_is_said(self, chat: Deployment, editor: Client) -> None:
        answer = editor.post(url(chat, "settings/"), {"least_replicas": "9", "most_replicas": "3"})
        assert answer.status_code == 422 and "The most must be at least the least (9), got 3." in text_of(answer)


class TestMaking:
    def test_a_page_that_waits_comes_anew_once_the_plan_stands(self, team: Team, editor: Client) -> None:
        row = make_deployment("chat", team=team)
        editor.post(url(row, "make/"))
        waiting = editor.get(url(row, "making/"), headers={"HX-Request": "true"})
        assert "next in line" in text_of(waiting) and "HX-Refresh" not in waiting
        make_plan_run(row, result=make_result(now=NOON + timedelta(seconds=5)))
        assert editor.get(url(row, "making/"), headers={"HX-Request": "true"})["HX-Refresh"] == "true"

    @pytest.mark.parametrize("door", ["page", "bulk", "remove", "undo", "api", "api-remove"])
    def test_an_slo_changed_through_any_door_makes_its_plan_due_and_the_page_says_so(self, team: Team, door: str) -> None:
        row = make_served("chat", team=team)
        client, pk = client_of(make_admin()), row.pk
        undo = undo_of(client.post(f"/deployments/{pk}/slo/", PROMISE | {"threshold_seconds": "0.7"}, follow=True))
        cost = make_cost(hourly_rate=2.0, certainty="measured")
        make_plan_run(row, result=make_result(now=NOON - timedelta(minutes=5), cost=cost))
        Turn.objects.update_or_create(job="plan", subject=f"deployment:{pk}", defaults={"due_at": NOON + timedelta(hours=18)})
        assert "made again" not in text_of(client.get(url(row)))
        {
            "page": lambda: client.post(f"/deployments/{pk}/slo/", PROMISE),
            "bulk": lambda: client.post("/slos/set/", PROMISE | {"deployment": [pk], "same": "1"}),
            "remove": lambda: client.post(f"/deployments/{pk}/slo/remove/"),
            "undo": lambda: client.post(undo),
            "api": lambda: Api(make_admin("api@example.com")).ok(f"deployments/{pk}/slo", method="put", body=SLO),
            "api-remove": lambda: Api(make_admin("api@example.com")).ok(f"deployments/{pk}/slo", method="delete", status=204),
        }[door]()
        assert Turn.objects.get(job="plan", subject=f"deployment:{pk}").due_at == NOON
        page = text_of(client.get(url(row)))
        assert "The plan is being made again: the SLO changed" in page and "Until then the one before stands here." in page

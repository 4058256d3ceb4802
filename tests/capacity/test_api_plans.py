"""Plans, forecasts and what limits a deployment, by the API: read as stored, made on demand, with the settings people give."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from django.utils import timezone

from capacity.analysis import plan_whatif
from capacity.analysis.plan_records import record_json
from capacity.analysis.plan_whatif import grounds_forget
from capacity.models import ForecastRun, PlannedEvent, PlanRun, PlanSettings, SaturationRun, Scenario, Turn
from monitoring.models import AuditEvent, Deployment, Role, Team
from tests.capacity.api_client import Api, key_api
from tests.capacity.fit_world import make_served
from tests.capacity.plan_builders import make_empty_result, make_plan_run, make_result
from tests.factories import make_deployment, make_member, make_team
from tests.telemetry import NOON

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 21, 2, tzinfo=UTC)


@pytest.fixture
def team() -> Team:
    return make_team("Search")


@pytest.fixture
def chat(team: Team) -> Deployment:
    return make_deployment("chat", team=team)


def viewer(team: Team) -> Api:
    return Api(make_member(team))


def editor(team: Team) -> Api:
    return Api(make_member(team, role=Role.EDITOR))


def make_forecast(deployment: Deployment, **fields: Any) -> ForecastRun:
    plain = {
        "quantity": "requests_per_second",
        "horizon": "day",
        "start_at": NOW,
        "step_seconds": 3600.0,
        "levels": [0.05, 0.5, 0.95],
        "quantiles": [8.0, 9.0, 10.0, 11.0, 13.0, 14.0],
        "method": "blend",
        "trained_from": NOW - timedelta(days=60),
        "trained_until": NOW,
        "backtest": {
            "origins": 12,
            "mase": 0.6,
            "weighted_loss": 0.5,
            "coverage_90": 0.9,
            "above_99": None,
            "method_errors": [["weekly", 1.25], ["blend", None]],
            "actuals": {name: [1.0, None] for name in ("times", "actual", "median", "lower", "upper")},
        },
    }
    return ForecastRun.objects.create(deployment=deployment, **plain | fields)


class TestPlan:
    def test_the_newest_is_told_as_it_is_stored(self, team: Team, chat: Deployment) -> None:
        make_plan_run(chat, result=make_result())
        found = viewer(team).ok(f"deployments/{chat.pk}/plan")
        assert (found["deployment"], found["scenario"], found["replicas_needed"], found["runs_out_on"]) == (chat.pk, None, 8, "2026-12-08")
        assert (found["cost_per_month"], found["currency"], found["lost_minutes_risk"]) == ("67802.40", "USD", 1310.0)
        assert found["verdict"] == "breaks" and found["headline"] == found["result"]["headline"]
        assert found["headline"].startswith("Capacity runs out on Tue 8 Dec")
        assert found["result"]["curve"]["points"][0]["replicas"] == 5

    def test_fields_added_since_it_was_stored_have_their_default(self, team: Team, chat: Deployment) -> None:
        stored = record_json(make_empty_result())
        del stored["saturation"], stored["assumptions"]
        PlanRun.objects.create(deployment=chat, result=stored, refusal="30 h of history, 336 h are needed.")
        result = viewer(team).ok(f"deployments/{chat.pk}/plan")["result"]
        assert (result["saturation"], result["assumptions"], result["demand"]) == ("", [], None)
        assert "have 30 h" in result["gaps"]["curve"]

    def test_without_one_it_says_how_to_get_it(self, team: Team, chat: Deployment) -> None:
        assert "POST makes one next" in viewer(team).refused(f"deployments/{chat.pk}/plan", status=404)["detail"]

    def test_an_editor_has_it_made_next(self, team: Team, chat: Deployment) -> None:
        answer = editor(team).ok(f"deployments/{chat.pk}/plan", method="post", status=202)
        turn = Turn.objects.get(job="plan", subject=f"deployment:{chat.pk}")
        assert answer["made_at"] is None and turn.due_at.isoformat().replace("+00:00", "Z") == answer["due_at"]
        Turn.objects.update(due_at=NOW + timedelta(days=9999))
        editor(team).ok(f"deployments/{chat.pk}/plan", method="post", status=202)
        assert Turn.objects.get().due_at <= turn.due_at + timedelta(minutes=5)
        assert AuditEvent.objects.filter(action="plan.make").count() == 2
        for api, status in ((viewer(team), 403), (key_api(team=team), 403), (editor(make_team("Rival")), 404)):
            api.refused(f"deployments/{chat.pk}/plan", method="post", status=status)

    def test_the_list_has_who_runs_out_first_at_the_top(self, team: Team, chat: Deployment) -> None:
        late, never = make_deployment("late", team=team), make_deployment("never", team=team)
        make_plan_run(never, result=make_result(run_out=None))
        make_plan_run(late, runs_out_early_on="2027-01-01")
        make_plan_run(chat)
        make_plan_run(make_deployment("theirs", team=make_team("Rival")))
        make_plan_run(None, scenario=Scenario.objects.create(name="Launch", deployment=chat), runs_out_early_on=None)
        api = viewer(team)
        assert [row["deployment"] for row in api.ok("plans?base=true")["results"]] == [chat.pk, late.pk, never.pk]
        assert api.ok("plans")["count"] == 4
        assert [row["deployment"] for row in api.ok("plans?runs_out_before=2026-12-31")["results"]] == [chat.pk]
        assert [row["deployment"] for row in api.ok("plans?base=false&scope=deployment")["results"]] == [None]

    def test_a_list_asks_the_database_as_often_for_one_plan_as_for_ten(
        self, team: Team, chat: Deployment, django_assert_max_num_queries: Any
    ) -> None:
        api = viewer(team)
        for n in range(10):
            make_plan_run(make_deployment(f"model-{n}", team=team))
        api.ok("plans")
        with django_assert_max_num_queries(10):
            assert api.ok("plans")["count"] == 10

    def test_that_of_a_scenario_is_seen_by_who_sees_the_scenario(self, team: Team, chat: Deployment) -> None:
        row = Scenario.objects.create(name="Launch", deployment=chat)
        assert "no plan yet" in viewer(team).refused(f"scenarios/{row.pk}/plan", status=404)["detail"]
        make_plan_run(None, scenario=row)
        assert viewer(team).ok(f"scenarios/{row.pk}/plan")["result"]["verdict"] == "breaks"
        assert viewer(team).refused(f"scenarios/{row.pk + 1}/plan", status=404)
        viewer(make_team("Rival")).refused(f"scenarios/{row.pk}/plan", status=404)


class TestSettings:
    def test_they_are_set_and_given_back(self, team: Team, chat: Deployment) -> None:
        address = f"deployments/{chat.pk}/plan-settings"
        assert set(viewer(team).ok(address).values()) == {None, ""}
        found = editor(team).ok(address, method="patch", body={"lead_time_days": 21, "most_replicas": 12})
        assert (found["lead_time_days"], found["most_replicas"], found["slots"]) == (21.0, 12, None)
        assert editor(team).ok(address, method="patch", body={"lead_time_days": None})["lead_time_days"] is None
        assert viewer(team).ok(address)["most_replicas"] == 12

    def test_what_is_wrong_is_said_by_field_and_nothing_is_kept(self, team: Team, chat: Deployment) -> None:
        address = f"deployments/{chat.pk}/plan-settings"
        problem = editor(team).refused(address, method="patch", status=400, body={"slots": -4, "lead_time_days": 9999})
        assert {error["pointer"] for error in problem["errors"]} == {"#/slots", "#/lead_time_days"}
        for api, status in ((viewer(team), 403), (key_api(team=team), 403), (editor(make_team("Rival")), 404)):
            api.refused(address, method="patch", status=status, body={"slots": 4})
        assert not PlanSettings.objects.exists()


class TestForecasts:
    def test_each_horizon_with_its_quantiles_and_its_backtest(self, team: Team, chat: Deployment) -> None:
        make_forecast(chat)
        make_forecast(chat, horizon="hour", quantity="tokens_per_second")
        (found,) = viewer(team).ok(f"deployments/{chat.pk}/forecasts")
        assert found["quantiles"] == {"0.05": [8.0, 9.0], "0.5": [10.0, 11.0], "0.95": [13.0, 14.0]}
        assert found["times"] == [NOW.timestamp(), NOW.timestamp() + 3600]
        assert (found["backtest"]["coverage_90"], found["backtest"]["above_99"]) == (0.9, None)
        assert found["backtest"]["method_errors"] == {"weekly": 1.25, "blend": None}
        assert found["backtest"]["actuals"]["actual"] == [1.0, None]
        (other,) = viewer(team).ok(f"deployments/{chat.pk}/forecasts?quantity=tokens_per_second&horizon=hour")
        assert other["horizon"] == "hour"

    def test_a_thin_week_is_withheld_with_its_sentence(self, team: Team, chat: Deployment) -> None:
        note = "7-day forecast needs 2 weekly cycles (336 h), have 180 h."
        make_forecast(chat, horizon="week", flags=["thin"], note=note)
        (found,) = viewer(team).ok(f"deployments/{chat.pk}/forecasts")
        assert (found["times"], found["quantiles"], found["backtest"], found["sentence"]) == ([], {}, None, note)

    def test_a_refusal_is_told(self, team: Team, chat: Deployment) -> None:
        make_forecast(chat, quantiles=[], levels=[], refusal="No data: have 0, need 24.", backtest={})
        (found,) = viewer(team).ok(f"deployments/{chat.pk}/forecasts?horizon=day")
        assert (found["times"], found["sentence"]) == ([], "No data: have 0, need 24.")

    def test_wrong_questions_and_other_teams_are_refused(self, team: Team, chat: Deployment) -> None:
        viewer(team).refused(f"deployments/{chat.pk}/forecasts?horizon=decade", status=400)
        viewer(make_team("Rival")).refused(f"deployments/{chat.pk}/forecasts", status=404)
        assert viewer(team).ok(f"deployments/{chat.pk}/forecasts") == []


class TestSaturation:
    def test_what_limits_it_with_the_evidence(self, team: Team, chat: Deployment) -> None:
        address = f"deployments/{chat.pk}/saturation"
        assert "was not judged yet" in viewer(team).refused(address, status=404)["detail"]
        window = {"window_start": NOW - timedelta(days=7), "window_end": NOW}
        verdicts = {"peaks": {"limit": "kv_cache", "evidence": [{"text": "KV cache 96 %"}]}}
        SaturationRun.objects.create(deployment=chat, limit="kv_cache", sentence="KV cache.", verdicts=verdicts, **window)
        found = viewer(team).ok(address)
        assert (found["limit"], found["limit_now"], found["sentence"], found["verdicts"]) == ("kv_cache", "", "KV cache.", verdicts)
        viewer(make_team("Rival")).refused(address, status=404)


class TestWhatIf:
    @pytest.fixture(autouse=True)
    def at_noon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The door asks at its own clock; what it asks is answered as at noon."""
        grounds_forget()
        real = plan_whatif.ground_kept
        monkeypatch.setattr(plan_whatif, "ground_kept", lambda deployment, *, now: real(deployment, now=NOON))

    def test_assumptions_are_answered_and_nothing_is_stored(self, team: Team) -> None:
        chat = make_served(team=team, days=15.0)
        address = f"deployments/{chat.pk}/plan/what-if"
        plain = key_api(team=team).ok(address, method="post", body={"horizon_days": 30})
        assert plain["demand"] is not None and plain["capacity"]["replicas_now"] == 4
        event = {"kind": "launch", "start_at": (timezone.now() + timedelta(days=2)).isoformat(), "factor": 3}
        grown = viewer(team).ok(
            address, method="post", body={"horizon_days": 30, "replicas": 3, "slo_threshold_seconds": 0.1, "events": [event]}
        )
        assert "0.10 s" in grown["gaps"]["curve"]
        assert [each["title"] for each in grown["assumptions"] if each["kind"] == "launch"] == ["Assumed"]
        assert not Scenario.objects.exists() and not PlanRun.objects.exists() and not PlannedEvent.objects.exists()

    def test_what_cannot_be_assumed_is_said_where_it_stands(self, team: Team, chat: Deployment) -> None:
        past = {"kind": "launch", "start_at": "2026-01-01T00:00:00Z", "end_at": "2026-01-02T00:00:00Z", "factor": 3}
        address = f"deployments/{chat.pk}/plan/what-if"
        problem = viewer(team).refused(address, method="post", status=400, body={"events": [past]})
        assert problem["errors"][0]["pointer"] == "#/events/0/end_at" and "It is over since" in problem["errors"][0]["detail"]
        problem = viewer(team).refused(address, method="post", status=400, body={"replicas": -1})
        assert problem["errors"][0]["pointer"] == "#/replicas"
        other = Scenario.objects.create(name="of another", deployment=make_deployment("code", team=team))
        viewer(team).refused(address, method="post", status=404, body={"scenario": other.pk})
        viewer(make_team("Rival")).refused(address, method="post", status=404, body={})

    def test_without_data_it_says_so_in_the_plan(self, team: Team, chat: Deployment) -> None:
        found = viewer(team).ok(f"deployments/{chat.pk}/plan/what-if", method="post", body={})
        assert (found["verdict"], found["demand"]) == ("unknown", None) and "No requests per second are stored" in found["headline"]


class TestExport:
    def test_each_form_is_a_file(self, team: Team) -> None:
        chat = make_deployment("chat", team=team, system="vllm", namespace="prod")
        make_plan_run(chat)
        api = key_api(team=team)
        for form, kind in (("hpa", "HorizontalPodAutoscaler"), ("keda", "ScaledObject")):
            answer = api.call("get", f"deployments/{chat.pk}/plan/export?format={form}")
            assert answer.status_code == 200 and answer["Content-Type"].startswith("application/yaml")
            assert yaml.safe_load(answer.content)["kind"] == kind
            assert answer["Content-Disposition"] == f'attachment; filename="deployment-{chat.pk}-{form}.yaml"'
        found = api.ok(f"deployments/{chat.pk}/plan/export?format=json")
        assert found["plan"]["verdict"] == "breaks"

    def test_where_there_is_nothing_to_write_it_says_why(self, team: Team, chat: Deployment) -> None:
        address = f"deployments/{chat.pk}/plan/export"
        assert "no plan yet" in viewer(team).refused(address, status=404)["detail"]
        run = make_plan_run(chat)
        assert "Which server runs it is not known" in viewer(team).refused(address, status=409)["detail"]
        assert viewer(team).ok(f"{address}?format=json")["plan"]["horizon_days"] == 90
        run.delete()
        Deployment.objects.filter(pk=chat.pk).update(system="vllm")
        make_plan_run(chat, result=make_empty_result())
        assert "nothing to export yet" in viewer(team).refused(f"{address}?format=hpa", status=409)["detail"]
        viewer(team).refused(f"{address}?format=nomad", status=400)
        viewer(make_team("Rival")).refused(address, status=404)

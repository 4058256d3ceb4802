"""Scenarios, planned events and settings of plans: what may be, what is refused and in which words, and nothing stored half."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from capacity.analysis.scenarios import (
    MOST_EVENTS,
    MOST_SCENARIOS,
    ScenarioError,
    Subject,
    event_change,
    event_create,
    event_delete,
    scenario_change,
    scenario_choose,
    scenario_clone,
    scenario_create,
    scenario_delete,
    scenario_values,
    settings_change,
)
from capacity.demo import demo_remove
from capacity.models import PlannedEvent, PlanSettings, Scenario, Scope, Turn
from monitoring.models import Cluster, Deployment
from tests.factories import make_cluster, make_deployment, make_team

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LAUNCH = {"kind": "launch", "name": "Nordwind launch", "start_at": "2026-12-08T09:00:00+00:00", "factor": 3}


def made(deployment: Deployment, **fields: Any) -> Scenario:
    return scenario_create(Subject(deployment=deployment), {"name": "Launch"} | fields, by="eve@example.com", now=NOW)


def refusal(call: Any, *args: Any, **kwargs: Any) -> dict[str, str]:
    with pytest.raises(ScenarioError) as caught:
        call(*args, **kwargs)
    return caught.value.problems


class TestScenario:
    def test_it_is_kept_with_what_was_given_and_the_rest_as_it_is(self) -> None:
        chat = make_deployment("chat")
        row = made(chat, growth_per_month="0.1", replicas="", by_hour="on", horizon_days="180", hourly_rate="2.5")
        kept = Scenario.objects.get()
        assert (kept.pk, kept.scope, kept.deployment, kept.created_by) == (row.pk, Scope.DEPLOYMENT, chat, "eve@example.com")
        assert (kept.growth_per_month, kept.replicas, kept.by_hour, kept.horizon_days, str(kept.hourly_rate)) == (
            0.1,
            None,
            True,
            180,
            "2.500000",
        )
        assert (kept.speed_ratio, kept.lead_time_days, kept.chosen) == (1.0, None, False)

    @pytest.mark.parametrize(
        ("field", "value", "sentence"),
        [
            ("name", " ", "Enter a name, e.g. Launch in December."),
            ("name", "x" * 121, "At most 120 characters, got 121."),
            ("horizon_days", 0, "It must be from 1 to 400 days, got 0."),
            ("horizon_days", "90.5", "It must be a whole number, got '90.5'."),
            ("growth_per_month", -1, "It must be from -0.95 to 10, got -1."),
            ("growth_per_month", "much", "'much' is not a number."),
            ("replicas", -2, "It must be from 1 to 10,000, got -2."),
            ("replicas", True, "True is not a number."),
            ("slo_threshold_seconds", 0, "It must be above 0 and at most 3,600 seconds, got 0."),
            ("startup_seconds", float("nan"), "nan is not a number."),
            ("lead_time_days", 1e9, "It must be from 0 to 730 days, got 1000000000.0."),
            ("speed_ratio", 0, "It must be from 0.01 to 100, got 0."),
            ("hourly_rate", "-1", "It must be above 0 and at most 100,000, got '-1'."),
            ("hourly_rate", "free", "'free' is not a number. Enter one like 3.99."),
            ("note", "a\x00b", "A null character cannot be kept; take it out."),
            ("colour", "red", "A scenario has no colour;"),
        ],
    )
    def test_what_cannot_be_is_said_and_nothing_is_kept(self, field: str, value: Any, sentence: str) -> None:
        problems = refusal(made, make_deployment(), **{field: value})
        assert problems[field].startswith(sentence)
        assert not Scenario.objects.exists()

    def test_a_floor_by_hour_and_a_fixed_number_exclude_each_other(self) -> None:
        assert "leave replicas empty, got 4" in refusal(made, make_deployment(), replicas=4, by_hour=True)["replicas"]

    def test_a_name_stands_once_beside_those_of_the_same_deployment(self) -> None:
        chat = make_deployment("chat")
        made(chat)
        assert refusal(made, chat, name="LAUNCH") == {"name": "There is a scenario called LAUNCH already. Choose another name."}
        made(make_deployment("code"))
        assert Scenario.objects.count() == 2

    def test_a_change_keeps_what_is_not_given(self) -> None:
        row = made(make_deployment(), growth_per_month=0.1, replicas=4)
        scenario_change(row, {"replicas": None, "by_hour": True}, by="x", now=NOW + timedelta(hours=1))
        kept = Scenario.objects.get()
        assert (kept.name, kept.growth_per_month, kept.replicas, kept.by_hour) == ("Launch", 0.1, None, True)
        assert (kept.created_at, kept.updated_at) == (NOW, NOW + timedelta(hours=1))

    def test_a_refused_change_changes_nothing(self) -> None:
        row = made(make_deployment(), replicas=4)
        assert set(refusal(scenario_change, row, {"replicas": 6, "horizon_days": 0}, by="x", now=NOW)) == {"horizon_days"}
        assert (Scenario.objects.get().replicas, row.replicas) == (4, 4)

    def test_a_clone_has_its_own_name_and_events_and_is_not_chosen(self) -> None:
        row = made(make_deployment(), replicas=4)
        event_create(row, LAUNCH, by="x", now=NOW)
        scenario_choose(row, now=NOW)
        first, second = (scenario_clone(row, by="bob", now=NOW) for _ in range(2))
        assert (first.name, second.name, first.replicas, first.chosen) == ("Launch copy", "Launch copy 2", 4, False)
        scenario_delete(row)
        assert list(first.planned_events.values_list("name", "factor")) == [("Nordwind launch", 3.0)]
        assert PlannedEvent.objects.count() == 2

    def test_one_of_a_deployment_is_chosen(self) -> None:
        chat = make_deployment("chat")
        first, second, other = made(chat), made(chat, name="Calm"), made(make_deployment("code"))
        for row in (first, other, second):
            scenario_choose(row, now=NOW)
        assert set(Scenario.objects.filter(chosen=True)) == {second, other}
        scenario_choose(second, chosen=False, now=NOW)
        assert set(Scenario.objects.filter(chosen=True)) == {other}

    def test_there_are_at_most_so_many(self) -> None:
        chat = make_deployment("chat")
        Scenario.objects.bulk_create(Scenario(name=str(n), deployment=chat) for n in range(MOST_SCENARIOS))
        assert "50 scenarios already" in refusal(made, chat)[""]

    def test_values_of_a_what_if_need_no_name_and_save_nothing(self) -> None:
        row = scenario_values({"growth_per_month": 0.2})
        assert (row.growth_per_month, row.horizon_days, row.pk) == (0.2, 90, None)
        assert not Scenario.objects.exists()


class TestWhoSees:
    def seen(self, *deployments: Deployment, clusters: Any = None) -> set[str]:
        rows = Deployment.objects.filter(pk__in=[each.pk for each in deployments])
        whole = clusters if clusters is not None else Cluster.objects.none()
        return set(Scenario.objects.of_deployments(rows, clusters=whole).values_list("name", flat=True))

    def test_a_group_is_seen_by_who_sees_all_of_it(self) -> None:
        chat, code = make_deployment("chat"), make_deployment("code")
        scenario_create(Subject(members=[chat, code]), {"name": "both"}, by="x", now=NOW)
        assert self.seen(chat) == self.seen() == set()
        assert self.seen(chat, code) == {"both"}

    def test_a_group_without_members_is_nobodys(self) -> None:
        Scenario.objects.create(name="empty", scope=Scope.GROUP)
        assert self.seen(make_deployment()) == set()

    def test_a_cluster_is_seen_by_who_sees_the_whole_of_it(self) -> None:
        chat = make_deployment("chat", cluster=make_cluster("eu"))
        scenario_create(Subject(cluster=chat.cluster), {"name": "eu"}, by="x", now=NOW)
        assert self.seen(chat) == set()
        assert self.seen(clusters=Cluster.objects.all()) == {"eu"}

    def test_events_and_their_scenarios_have_the_same_readers(self) -> None:
        chat, code = make_deployment("chat"), make_deployment("code")
        group = scenario_create(Subject(members=[chat, code]), {"name": "both"}, by="x", now=NOW)
        for owner in (chat, code, group):
            event_create(owner, LAUNCH | {"name": owner.name}, by="x", now=NOW)
        rows = PlannedEvent.objects.of_deployments(Deployment.objects.filter(pk=chat.pk), clusters=Cluster.objects.none())
        assert [row.name for row in rows] == ["chat"]
        rows = PlannedEvent.objects.of_deployments(Deployment.objects.all(), clusters=Cluster.objects.none())
        assert sorted(row.name for row in rows) == ["both", "chat", "code"]


class TestGroup:
    def test_it_belongs_to_the_team_all_members_share(self) -> None:
        team = make_team("Search")
        chat, code, other = make_deployment("chat", team=team), make_deployment("code", team=team), make_deployment("other")
        row = scenario_create(Subject(members=[chat, code]), {"name": "both"}, by="x", now=NOW)
        assert (row.team, set(row.members.all())) == (team, {chat, code})
        changed = scenario_change(row, {}, members=[chat, other], by="x", now=NOW)
        assert (changed.team, set(changed.members.all())) == (None, {chat, other})

    def test_it_has_members(self) -> None:
        assert "got 0" in refusal(scenario_create, Subject(), {"name": "none"}, by="x", now=NOW)["members"]
        row = made(make_deployment())
        assert "Only a group" in refusal(scenario_change, row, {}, members=[make_deployment("b")], by="x", now=NOW)["members"]

    def test_a_clone_has_the_same_members(self) -> None:
        chat, code = make_deployment("chat"), make_deployment("code")
        row = scenario_create(Subject(members=[chat, code]), {"name": "both"}, by="x", now=NOW)
        assert set(scenario_clone(row, name="again", by="x", now=NOW).members.all()) == {chat, code}

    def test_one_of_the_demo_fleet_goes_with_it(self) -> None:
        chat = make_deployment("chat", cluster=make_cluster("demo", demo=True))
        scenario_create(Subject(members=[chat]), {"name": "demo"}, by="x", now=NOW)
        scenario_create(Subject(members=[chat, make_deployment("own")]), {"name": "mixed"}, by="x", now=NOW)
        demo_remove()
        assert list(Scenario.objects.values_list("name", flat=True)) == ["mixed"]


class TestEvent:
    def test_it_is_of_a_deployment_or_of_one_scenario(self) -> None:
        chat = make_deployment("chat")
        row = made(chat)
        assert event_create(chat, LAUNCH, by="x", now=NOW).deployment == chat
        assert event_create(row, LAUNCH, by="x", now=NOW + timedelta(hours=2)).scenario == row
        row.refresh_from_db()
        assert row.updated_at == NOW + timedelta(hours=2)

    @pytest.mark.parametrize(
        ("fields", "field", "sentence"),
        [
            ({"start_at": "2026-11-01T09:00", "end_at": "2026-11-02T09:00"}, "end_at", "It is over since 2026-11-02 09:00 UTC."),
            ({"end_at": "2026-12-08T09:00Z"}, "end_at", "It must end after it begins (2026-12-08 09:00 UTC), got 2026-12-08 09:00 UTC."),
            ({"start_at": None}, "start_at", "Enter when it begins"),
            ({"start_at": "soon"}, "start_at", "'soon' is not a time. Enter one like 2026-12-08T09:00."),
            ({"start_at": "0001-01-01T00:00+14:00"}, "start_at", "A time lies between the years 2000 and 2100, got 1."),
            ({"start_at": "2029-01-01"}, "start_at", "It begins on 2029-01-01 00:00 UTC; plans look 400 days ahead."),
            ({"start_at": "2024-01-01"}, "start_at", "It began on 2024-01-01 00:00 UTC, over 400 days ago"),
            ({"factor": -1}, "factor", "It must be from 0 to 1,000, got -1."),
            ({"factor": "inf"}, "factor", "'inf' is not a number."),
            ({"added_requests_per_second": -5}, "added_requests_per_second", "It must be from 0 to 1,000,000 requests per second, got -5."),
            ({"factor": None}, "factor", "It would change nothing"),
            ({"factor": 1}, "factor", "It would change nothing"),
            ({"kind": "party"}, "kind", "It must be one of launch, customer, maintenance, holiday, got 'party'."),
            ({"kind": "maintenance"}, "end_at", "A maintenance ends"),
            ({"name": ""}, "name", "Enter a name"),
            ({"owner": 3}, "owner", "An event has no owner"),
        ],
    )
    def test_what_cannot_be_is_said_and_nothing_is_kept(self, fields: dict[str, Any], field: str, sentence: str) -> None:
        problems = refusal(event_create, make_deployment(), LAUNCH | fields, by="x", now=NOW)
        assert problems[field].startswith(sentence)
        assert not PlannedEvent.objects.exists()

    def test_one_that_runs_now_is_fine(self) -> None:
        row = event_create(make_deployment(), LAUNCH | {"start_at": "2026-11-20", "end_at": "2026-11-30"}, by="x", now=NOW)
        assert row.end_at == datetime(2026, 11, 30, tzinfo=UTC)

    def test_a_time_without_a_zone_is_the_readers(self) -> None:
        with timezone.override("Europe/Berlin"):
            row = event_create(make_deployment(), LAUNCH | {"start_at": "2026-12-08T09:00"}, by="x", now=NOW)
        assert row.start_at == datetime(2026, 12, 8, 8, tzinfo=UTC)

    def test_a_maintenance_stops_all_and_a_holiday_lasts_a_day(self) -> None:
        chat = make_deployment("chat")
        window = {"kind": "maintenance", "factor": None, "end_at": "2026-12-08T11:00Z"}
        assert event_create(chat, LAUNCH | window, by="x", now=NOW).factor == 0.0
        holiday = event_create(chat, LAUNCH | {"kind": "holiday", "factor": None}, by="x", now=NOW)
        assert (holiday.factor, holiday.end_at) == (None, datetime(2026, 12, 9, 9, tzinfo=UTC))

    def test_a_change_keeps_what_is_not_given_and_is_checked_as_a_whole(self) -> None:
        row = event_create(make_deployment(), LAUNCH, by="x", now=NOW)
        event_change(row, {"end_at": "2026-12-10T00:00Z"}, by="bob", now=NOW)
        kept = PlannedEvent.objects.get()
        assert (kept.factor, kept.end_at, kept.set_by) == (3.0, datetime(2026, 12, 10, tzinfo=UTC), "bob")
        assert set(refusal(event_change, kept, {"start_at": "2026-12-11T00:00Z"}, by="x", now=NOW)) == {"end_at"}

    def test_a_deleted_one_makes_its_scenario_newer(self) -> None:
        row = made(make_deployment())
        event = event_create(row, LAUNCH, by="x", now=NOW)
        event_delete(event, now=NOW + timedelta(days=1))
        assert (Scenario.objects.get().updated_at, PlannedEvent.objects.count()) == (NOW + timedelta(days=1), 0)

    def test_there_are_at_most_so_many(self) -> None:
        chat = make_deployment("chat")
        PlannedEvent.objects.bulk_create(PlannedEvent(deployment=chat, name=str(n), start_at=NOW, factor=2) for n in range(MOST_EVENTS))
        assert "50 planned events already" in refusal(event_create, chat, LAUNCH, by="x", now=NOW)[""]


class TestPlannedNext:
    def due(self) -> set[str]:
        found = set(Turn.objects.filter(job="plan", due_at__lte=NOW).values_list("subject", flat=True))
        Turn.objects.update(due_at=NOW + timedelta(days=1))
        return found

    def test_what_rests_on_a_change_is_planned_next(self) -> None:
        chat = make_deployment("chat")
        own = f"deployment:{chat.pk}"
        row = made(chat)
        assert self.due() == {own}
        scenario_change(row, {"replicas": 3}, by="x", now=NOW)
        assert self.due() == {own}
        event = event_create(row, LAUNCH, by="x", now=NOW)
        assert self.due() == {own}
        event_change(event, {"factor": 2}, by="x", now=NOW)
        assert self.due() == {own}
        event_delete(event, now=NOW)
        assert self.due() == {own}
        event_create(chat, LAUNCH, by="x", now=NOW)
        assert self.due() == {own}
        settings_change(chat, {"slots": 4}, by="x", now=NOW)
        assert self.due() == {own}

    def test_a_group_has_a_turn_of_its_own(self) -> None:
        row = scenario_create(Subject(members=[make_deployment("chat")]), {"name": "group"}, by="x", now=NOW)
        assert self.due() == {f"scenario:{row.pk}"}

    def test_a_refused_change_makes_nothing_due(self) -> None:
        refusal(settings_change, make_deployment("chat"), {"slots": -1}, by="x", now=NOW)
        assert self.due() == set()


class TestSettings:
    def test_what_is_given_is_kept_and_null_gives_it_back(self) -> None:
        chat = make_deployment("chat")
        settings_change(chat, {"lead_time_days": "14", "slots": 8}, by="eve", now=NOW)
        row = settings_change(chat, {"slots": None, "most_replicas": 12}, by="bob", now=NOW)
        assert PlanSettings.objects.get() == row
        assert (row.lead_time_days, row.slots, row.most_replicas, row.set_by) == (14.0, None, 12, "bob")

    def test_what_cannot_be_is_said_and_nothing_is_kept(self) -> None:
        chat = make_deployment("chat")
        problems = refusal(settings_change, chat, {"slots": 0, "least_replicas": 5, "most_replicas": 3, "gpus": 1}, by="x", now=NOW)
        assert set(problems) == {"slots", "most_replicas", "gpus"}
        assert problems["most_replicas"] == "The most must be at least the least (5), got 3."
        assert not PlanSettings.objects.exists()

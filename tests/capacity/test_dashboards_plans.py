"""The list of plans and the page of one, by Django's client: what it says, what is missing, who may, queries."""

import math
import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from capacity.analysis.plan_records import Capacity, Holding, PlanResult, Risk, Step
from capacity.analysis.plan_store import plan_store
from capacity.dashboards.plans_notes import NOTES
from capacity.dashboards.plans_parts import needed_tile
from capacity.models import PlanRun, Scenario, SupplyOrder
from monitoring.models import Deployment
from tests.capacity.fit_world import make_served
from tests.capacity.pages import client_of, queries, text_of
from tests.capacity.plan_builders import make_curve, make_empty_result, make_floor, make_plan_run, make_result, make_run_out
from tests.factories import make_admin, make_deployment, make_member, make_team

pytestmark = pytest.mark.django_db
PATH = "/plans/"


def planned(name: str, *, days: float | None = 17, **fields: object) -> Deployment:
    """A deployment whose capacity runs out in so many days, as planned last night."""
    now = timezone.now()
    row = make_deployment(name, **fields)
    out = (
        make_run_out(now=now, days=days) if days is not None else make_run_out(now=now, median_time=None, early_time=None, order_time=None)
    )
    make_plan_run(row, result=make_result(now=now, run_out=out, verdict="breaks" if days is not None else "holds"))
    return row


def stored(result: PlanResult) -> PlanRun:
    return make_plan_run(make_deployment("chat-70b"), result=result)


class TestList:
    def test_with_nothing_it_says_what_would_stand_there(self) -> None:
        page = text_of(client_of(make_admin()).get(PATH))
        assert "No deployment that serves is known yet" in page and "Nothing to plan yet" in page

    def test_what_runs_out_first_stands_first_and_what_holds_last(self) -> None:
        for name, days in (("holds", None), ("late", 60.0), ("soon", 4.0)):
            planned(name, days=days)
        make_deployment("unplanned")
        page = text_of(client_of(make_admin()).get(PATH))
        places = [page.index(f"<b>{name}</b>") for name in ("soon", "late", "holds", "unplanned")]
        assert places == sorted(places)
        assert "1 of 4 deployments runs out within 30 days" in page and "not in sight" in page and "No plan yet" in page

    def test_a_filter_and_a_search_narrow_it_and_the_csv(self) -> None:
        planned("chat-70b")
        planned("asr-whisper", days=None)
        client = client_of(make_admin())
        page = text_of(client.get(f"{PATH}?show=soon"))
        assert "chat-70b" in page and "<b>asr-whisper</b>" not in page
        lines = text_of(client.get("/plans.csv?q=whisper")).splitlines()
        assert len(lines) == 2 and lines[1].startswith("asr-whisper,") and "Holds" in lines[1]
        assert "Nothing matches this filter" in text_of(client.get(f"{PATH}?q=zzz"))

    def test_a_team_sees_its_own_only(self) -> None:
        team = make_team("search")
        planned("mine", team=team)
        planned("theirs", team=make_team("rival"))
        client = client_of(make_member(team))
        for path in (PATH, "/plans.csv"):
            assert "mine" in (page := text_of(client.get(path))) and "theirs" not in page

    def test_an_old_plan_is_told_as_old_and_one_that_cannot_tell_says_why(self) -> None:
        old = planned("old")
        PlanRun.objects.filter(deployment=old).update(made_at=timezone.now() - timedelta(days=3))
        make_plan_run(make_deployment("young"), result=make_empty_result())
        page = text_of(client_of(make_admin()).get(PATH))
        assert '<span class="warn">' in page and "Cannot tell" in page and "30 h of history, 336 h are needed" in page

    def test_what_breaks_although_no_load_explains_it_is_not_told_as_holding(self) -> None:
        never = make_run_out(median_time=None, early_time=None, order_time=None)
        broken = make_result(now=timezone.now(), run_out=never, verdict="breaks", headline="The SLO is broken now, at 19.4 req/s.")
        make_plan_run(make_deployment("chat-70b"), result=broken)
        client = client_of(make_admin())
        page = text_of(client.get(PATH))
        assert "Breaks now" in page and "The SLO is broken now, at 19.4 req/s." in page
        assert "<b>chat-70b</b>" not in text_of(client.get(f"{PATH}?show=holds"))

    def test_it_asks_a_fixed_number_of_queries(self) -> None:
        client = client_of(make_admin())
        planned("chat-1")
        few = queries(client, PATH)
        for number in range(2, 9):
            planned(f"chat-{number}")
        assert queries(client, PATH) == few <= 14


class TestPage:
    def test_a_whole_plan_answers_each_question(self) -> None:
        risk = Risk(1310.0, 202.0, None, "Doing nothing loses about 1,310 SLO minutes in 90 days; the budget is 606.", 9.0)
        run = stored(make_result(now=timezone.now(), risk=risk))
        page = text_of(client_of(make_admin()).get(f"{PATH}{run.deployment_id}/"))
        for words in (
            "Capacity runs out on Tue 8 Dec when the Nordwind launch starts.",
            "When does demand outgrow capacity?",
            "How many replicas at the peak?",
            "7 miss the SLO by 140 ms",
            "Until 00:00 UTC today the plan would have lost 31 SLO minutes, what ran lost 1,310.",
            "each 00:00 UTC",
            "Told in minutes",
            "5 to 8",
            "Doing nothing loses about 1,310 SLO minutes",
            "KV cache at its peaks",
            "67,802",
            "USD/month",
        ):
            assert words in page, words

    def test_the_plan_itself_says_what_it_would_lose(self) -> None:
        run = stored(make_result(now=timezone.now(), risk=Risk(1310.0, 202.0, None, "Lost.", 9.0)))
        page = text_of(client_of(make_admin()).get(f"{PATH}{run.deployment_id}/"))
        row = page[page.index("as demand asks for it") :].split("</tr>")[0]
        assert '<td class="n" data-k="min lost">9</td>' in row

    def test_one_reason_for_all_that_is_missing_is_said_once_and_leads_to_where_it_is_mended(self) -> None:
        why = "No latency SLO is set, so no number of replicas can be told to hold it."
        gaps = dict.fromkeys(("capacity", "run_out", "curve", "floor", "replayed", "risk"), why)
        bare = make_result(now=timezone.now(), headline=why, verdict="unknown", gaps=gaps, **dict.fromkeys(gaps))
        run = stored(bare)
        page = text_of(client_of(make_admin()).get(f"{PATH}{run.deployment_id}/"))
        assert page.count(f"{why}</p>") == 2  # the headline, and what cannot be told
        assert f'href="/deployments/{run.deployment_id}/slo/">Set an SLO</a>' in page and "When does demand outgrow capacity?" in page

    def test_a_single_replica_is_a_replica(self) -> None:
        one = Capacity(1.0, Holding(1.0, 5.0, None, None), (), (Step(timezone.now().timestamp(), 1.0, 5.0),), "replayed", "Held.", "")
        bare = make_result(now=timezone.now(), capacity=one, curve=make_curve(needed=1), floor=make_floor(replicas=(1,) * 24))
        run = stored(bare)
        page = text_of(client_of(make_admin()).get(f"{PATH}{run.deployment_id}/"))
        assert not re.search(r"\b1( <[^>]*>)? ?(<[^>]*>)?replicas", page) and "1 replica" in page

    def test_what_is_on_order_for_its_cluster_is_said_and_not_counted(self) -> None:
        row = make_served("chat-70b")
        make_plan_run(row, result=make_result(now=timezone.now()))
        client, path = client_of(make_admin()), f"{PATH}{row.pk}/"
        assert "On the way to" not in text_of(client.get(path))
        day = timezone.now().date() + timedelta(days=9)
        SupplyOrder.objects.create(cluster=row.cluster, accelerator_model="H100", accelerators=8, arrives_on=day)
        SupplyOrder.objects.create(cluster=row.cluster, accelerator_model="H100", accelerators=1)
        SupplyOrder.objects.create(cluster=row.cluster, accelerator_model="L4", accelerators=4, arrives_on=day)
        page = text_of(client.get(path))
        told = f"On the way to {row.cluster.name}: {day.day} {day:%b}: 8 H100 on order arrive; 1 accelerator without a day."
        assert told in page and "Not counted here" in page

    def test_each_missing_section_shows_its_sentence(self) -> None:
        names = ("demand", "curve", "floor", "replayed", "risk")
        run = stored(make_empty_result(now=timezone.now(), gaps={name: f"Because of {name}." for name in names}))
        page = text_of(client_of(make_admin()).get(f"{PATH}{run.deployment_id}/"))
        for name in names:
            assert f"Because of {name}." in page

    def test_without_a_plan_an_editor_can_have_it_made_and_a_viewer_is_told_who_can(self) -> None:
        team = make_team("search")
        row = make_deployment("chat-70b", team=team)
        viewer, editor = client_of(make_member(team)), client_of(make_member(team, role="editor"))
        assert "An editor of the team can make it at once." in text_of(viewer.get(f"{PATH}{row.pk}/"))
        assert "Make it now" in text_of(editor.get(f"{PATH}{row.pk}/"))
        assert viewer.post(f"{PATH}{row.pk}/make/").status_code == 403
        assert "The plan is next in line" in text_of(editor.post(f"{PATH}{row.pk}/make/", follow=True))

    def test_tables_and_csv_hold_the_same_numbers(self) -> None:
        run = stored(make_result(now=timezone.now()))
        client = client_of(make_admin())
        lines = text_of(client.get(f"{PATH}{run.deployment_id}/replicas.csv")).splitlines()
        assert lines[0].startswith("replicas,utilisation [ratio],p50 [seconds]") and lines[4].startswith("8,0.8,")
        assert "0.61 s" in text_of(client.get(f"{PATH}{run.deployment_id}/replicas/table/"))
        days = text_of(client.get(f"{PATH}{run.deployment_id}/demand.csv")).splitlines()
        assert days[0] == "day,came [req/s],expected [req/s],without events [req/s],capacity [req/s],80 % low [req/s],80 % high [req/s]"
        assert len(days) == 1 + 60 + 90 and days[1].split(",")[1] == ""  # the first day was not measured

    def test_it_asks_a_fixed_number_of_queries(self) -> None:
        run = stored(make_result(now=timezone.now()))
        assert queries(client_of(make_admin()), f"{PATH}{run.deployment_id}/") <= 20


class TestGroupRow:
    def test_accelerators_needed_are_the_sum_that_is_ordered_for(self) -> None:
        group = Scenario.objects.create(name="Both", scope="group")
        group.members.add(make_deployment("chat-70b"))
        result = make_result(now=timezone.now(), unit="accelerators", curve=None, floor=None, replayed=None)
        run = plan_store(result, scenario=group)
        high = max(result.demand.quantiles[result.demand.levels.index(0.9)])  # type: ignore[union-attr]
        assert run.replicas_needed == math.ceil(high)
        page = text_of(client_of(make_admin()).get(PATH))
        assert f"6 → <b>{run.replicas_needed}</b>" in page
        tile = needed_tile(result)
        assert str(run.replicas_needed) in tile.value and "by the median" in tile.note


class TestNotes:
    @pytest.mark.parametrize("slug", NOTES)
    def test_every_note_names_a_section_of_the_docs(self, slug: str) -> None:
        assert f"\n## {NOTES[slug].section}\n" in (Path(__file__).parents[2] / "docs" / "plans.md").read_text()

"""The fit gate: yes or no with reasons, by command and API alike; a no where it cannot be told, a sentence where it was asked wrongly."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from capacity.analysis import fit as gate
from capacity.analysis.fit import Asked, FitError, asked_read, fit_check
from capacity.analysis.plan_whatif import grounds_forget
from capacity.management.commands import fit as command
from capacity.models import PlanSettings
from monitoring.catalog.records import Entity
from monitoring.ingest import rows_ingest
from monitoring.models import Accelerator, Deployment, DeploymentState, Slo, Version
from tests.capacity.api_client import Api, key_api
from tests.capacity.fit_world import H100, NOW, REPLICAS, SLOTS, make_served, served
from tests.factories import make_cluster, make_deployment, make_member, make_team
from tests.telemetry import make_rows

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    grounds_forget()


def known_slots(deployment: Deployment, **fields: Any) -> Deployment:
    """Where it breaks is known: so many requests at once in a replica."""
    PlanSettings.objects.create(deployment=deployment, slots=SLOTS, **fields)
    return deployment


def idle(count: int) -> None:
    """So many of the accelerators nobody holds are measured, and idle."""
    free = Accelerator.objects.filter(placements__isnull=True).order_by("pk")[:count]
    for card in free:
        rows = make_rows([-1800, -1200, -600], Entity.ACCELERATOR, ids=card.pk, gpu_utilization_ratio=0.0)
        assert not rows_ingest(rows, overwrite=True, now=NOW).rejected


class TestAnswer:
    def test_what_runs_holds_the_rate_it_had(self) -> None:
        chat = known_slots(make_served())
        found = fit_check(chat, Asked(50.0), now=NOW)
        assert found.fits and found.known and found.replicas_needed is not None and found.replicas_needed <= REPLICAS
        assert found.rate_held_now is not None and found.rate_held_now >= 50.0
        assert found.predicted_seconds is not None and found.predicted_seconds <= 0.8
        assert (found.replicas_running, found.replicas_allowed, found.accelerators_each) == (4.0, 4, 1.0)
        assert (found.currency, found.cost_per_month) == ("USD", found.replicas_needed * 2 * 730)
        assert found.sentence == f"Yes: {found.replicas_needed} replicas for 50 req/s, 4 run, 4 can run."
        # The same from the settings and the hardware: three times the rate needs more than runs.
        more = fit_check(chat, Asked(150.0), now=NOW)
        assert more.known and not more.fits and more.replicas_needed is not None and more.replicas_needed > REPLICAS
        assert more.accelerators_free == 0 and f"need {more.replicas_needed - 4} {H100}; 0 of 4 in test are free." in " ".join(more.reasons)
        assert more.sentence.startswith("No: ") and "cannot tell" not in more.sentence

    def test_more_load_never_needs_fewer_replicas_and_far_beyond_its_past_it_is_in_proportion(self) -> None:
        chat = known_slots(make_served())
        needed = [fit_check(chat, Asked(rate), now=NOW).replicas_needed or 0 for rate in (10.0, 60.0, 400.0, 1_000_000.0)]
        assert needed == sorted(needed) and needed[0] < needed[-1]
        each = needed[-1] / 1_000_000.0
        assert 0.22 / SLOTS <= each <= 0.22 / SLOTS * 1.6  # a replica cannot serve faster than all its slots busy
        assert fit_check(chat, Asked(1_000_000.0), now=NOW).predicted_seconds is None

    def test_room_is_what_settings_allow_and_free_accelerators_hold(self) -> None:
        chat = known_slots(make_served(cards=12), most_replicas=20)
        idle(6)
        found = fit_check(chat, Asked(150.0), now=NOW)
        assert found.fits and found.accelerators_free == 6 and found.replicas_allowed == 10
        assert "Its plan settings allow 20 replicas." in found.reasons
        far = fit_check(chat, Asked(450.0), now=NOW)
        assert far.replicas_needed is not None and far.replicas_needed > 10 and not far.fits
        # Eight more cards, of which two are not measured: whether they are free is not known.
        assert far.known is (far.replicas_needed > 12) and "of 2 it is not known" in " ".join(far.reasons)
        PlanSettings.objects.update(most_replicas=5)
        grounds_forget()
        tight = fit_check(chat, Asked(250.0), now=NOW)
        assert not tight.fits and tight.known and tight.replicas_allowed == 5

    def test_another_threshold_and_percentile_can_be_asked(self) -> None:
        chat = known_slots(make_served())
        short = fit_check(chat, Asked(50.0, threshold_seconds=0.1), now=NOW)
        assert short.known and not short.fits and short.replicas_needed is None
        assert short.sentence.startswith("No: no number of replicas can hold the SLO, request duration p95 within 0.10 s: also where ")
        assert "nobody waits it is 0.40 s" in short.sentence
        strict = fit_check(chat, Asked(50.0, percentile=0.99), now=NOW)
        assert (strict.percentile, strict.threshold_seconds) == (0.99, 0.8)
        assert (strict.replicas_needed or 0) >= (fit_check(chat, Asked(50.0), now=NOW).replicas_needed or 0)

    def test_where_it_breaks_was_never_seen(self) -> None:
        found = fit_check(make_served(), Asked(500.0), now=NOW)
        assert not found.fits and not found.known
        assert "cannot tell, where it breaks was never seen" in found.sentence and "at most" in found.sentence


class TestCannotTell:
    def test_too_little_traffic_is_told_in_numbers(self) -> None:
        found = fit_check(make_served(days=40 / 288), Asked(50.0), now=NOW)
        assert (found.fits, found.known) == (False, False)
        assert found.sentence == "No: cannot tell, not enough data: have 40, need 288 five-minute steps with traffic."

    def test_a_deployment_that_never_had_a_request(self) -> None:
        found = fit_check(make_deployment("new"), Asked(50.0), now=NOW)
        assert found.sentence == "No: cannot tell, no data: have 0, need 288 five-minute steps with traffic."
        assert found.replicas_needed is None and found.reasons

    def test_without_an_slo_it_says_what_to_give(self) -> None:
        chat = known_slots(make_served())
        Slo.objects.all().delete()
        assert "no latency SLO is set. Set one, or say which to hold (--slo" in fit_check(chat, Asked(50.0), now=NOW).sentence
        asked = fit_check(chat, Asked(50.0, threshold_seconds=0.8), now=NOW)
        assert asked.fits and (asked.slo_kind, asked.percentile) == ("end to end", 0.95)


class TestVersion:
    def test_a_version_that_never_served_or_hardly_did_counts_as_fast_as_now(self) -> None:
        chat = known_slots(make_served())
        plain = fit_check(chat, Asked(50.0), now=NOW)
        new = fit_check(chat, Asked(50.0, version="v9"), now=NOW)
        assert new.replicas_needed == plain.replicas_needed
        assert "Version v9 never served here: sized as if it were as fast as what serves now." in new.reasons

    def test_one_that_is_slower_needs_more(self) -> None:
        chat = known_slots(make_served(), most_replicas=50)
        Accelerator.objects.all().delete()
        slow = Version.objects.create(deployment=chat, name="v2")
        served(chat, days=0.25, version=slow.pk, stretch=2.0)
        grounds_forget()
        plain, other = (fit_check(chat, Asked(100.0, threshold_seconds=3.0, version=name), now=NOW) for name in ("", "v2"))
        assert (other.replicas_needed or 0) > (plain.replicas_needed or 0)
        assert any("times as fast as what serves now" in reason for reason in other.reasons)


class TestAsked:
    @pytest.mark.parametrize(
        ("fields", "name", "sentence"),
        [
            ({}, "requests_per_second", "Say at how many requests per second, e.g. 200."),
            ({"requests_per_second": -5}, "requests_per_second", "It must be above 0 and at most 1,000,000 requests per second, got -5."),
            ({"requests_per_second": "nan"}, "requests_per_second", "'nan' is not a number."),
            (
                {"requests_per_second": 5, "slo_threshold_seconds": 0},
                "slo_threshold_seconds",
                "It must be above 0 and at most 3,600 seconds",
            ),
            ({"requests_per_second": 5, "percentile": 95}, "percentile", "It must be from 0.5 to 0.999, got 95."),
        ],
    )
    def test_what_cannot_be_asked_is_said_by_field(self, fields: dict[str, object], name: str, sentence: str) -> None:
        with pytest.raises(FitError) as caught:
            asked_read(fields)
        assert caught.value.problems[name].startswith(sentence)


class TestCommand:
    @pytest.fixture(autouse=True)
    def at_noon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(command.timezone, "now", lambda: NOW)

    def said(self, *words: str) -> tuple[int, str]:
        out = StringIO()
        try:
            call_command("fit", *words, stdout=out)
        except SystemExit as end:
            return int(str(end.code)), out.getvalue()
        return 0, out.getvalue()

    def test_yes_is_status_0_and_no_is_1(self) -> None:
        known_slots(make_served())
        status, text = self.said("chat", "--rps", "50")
        assert status == 0 and text.startswith("chat: Yes: ") and "\n- 4 replicas hold " in text
        status, text = self.said("test/chat", "--rps=150", "--slo=0.8", "--percentile=0.9", "--version=v9", "--json")
        answer = json.loads(text)
        assert status == 1 and answer["name"] == "chat" and answer["fits"] is False and answer["percentile"] == 0.9

    def test_too_little_data_is_status_1(self) -> None:
        make_deployment("new")
        status, text = self.said("new", "--rps", "5")
        assert status == 1 and text.startswith("new: No: cannot tell, no data: have 0, need 288")

    def test_a_wrong_question_is_status_2(self) -> None:
        first = make_deployment("chat")
        make_deployment("chat", cluster=make_cluster("eu"), workload="chat-eu")
        make_deployment("gone", state=DeploymentState.ARCHIVED)
        for words, told in (
            (("chat", "--rps", "5"), "More than one deployment is called 'chat': say cluster/name or the id of one"),
            (("gone", "--rps", "5"), "There is no active deployment 'gone'"),
            ((str(first.pk), "--rps", "-5"), "--rps: It must be above 0"),
            ((str(first.pk), "--rps", "5", "--percentile", "95"), "--percentile: It must be from 0.5 to 0.999"),
        ):
            with pytest.raises(CommandError) as caught:
                call_command("fit", *words)
            assert caught.value.returncode == 2 and told in str(caught.value)


class TestApi:
    @pytest.fixture(autouse=True)
    def at_noon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The door asks at its own clock; what it asks is answered as at noon."""
        real = gate.ground_kept
        monkeypatch.setattr(gate, "ground_kept", lambda deployment, *, now: real(deployment, now=NOW))

    def test_it_says_the_same_as_the_engine_to_everybody_who_sees_the_deployment(self) -> None:
        team = make_team("Search")
        chat = known_slots(make_served(team=team))
        direct = fit_check(chat, Asked(50.0), now=NOW)
        reader = key_api(team=team)
        posted = reader.ok(f"deployments/{chat.pk}/fit", method="post", body={"requests_per_second": 50})
        assert posted == reader.ok(f"deployments/{chat.pk}/fit?requests_per_second=50")
        assert (posted["fits"], posted["sentence"], posted["replicas_needed"]) == (True, direct.sentence, direct.replicas_needed)
        Api(make_member(make_team("Rival"))).refused(f"deployments/{chat.pk}/fit?requests_per_second=50", status=404)

    def test_a_deployment_without_enough_data_gets_a_no_not_an_error(self) -> None:
        team = make_team("Search")
        new = make_deployment("new", team=team)
        found = key_api(team=team).ok(f"deployments/{new.pk}/fit", method="post", body={"requests_per_second": 5})
        assert (found["fits"], found["known"], found["replicas_needed"]) == (False, False, None)
        assert "have 0, need 288" in found["sentence"]

    def test_a_wrong_question_is_a_problem_with_a_pointer_or_a_parameter(self) -> None:
        team = make_team("Search")
        address = f"deployments/{make_deployment('new', team=team).pk}/fit"
        problem = key_api(team=team).refused(address, method="post", status=400, body={"requests_per_second": -5})
        assert problem["errors"][0]["pointer"] == "#/requests_per_second"
        problem = key_api(team=team).refused(f"{address}?requests_per_second=-5", status=400)
        assert problem["errors"][0]["parameter"] == "requests_per_second"
        key_api(team=team).refused(address, status=400)

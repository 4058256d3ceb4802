"""Fleet: worst first, found, filtered, exported, in a fixed number of queries, and never another team's."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from capacity.dashboards import triage
from capacity.dashboards.loads import load_bar, load_of, ratio_of
from capacity.dashboards.sparks import spark
from capacity.models import DeploymentStatus, Verdict
from monitoring.catalog.records import Entity
from monitoring.models import Deployment, DeploymentState, Event, EventKind, Slo
from monitoring.series import Line, Lines
from monitoring.store import rows_write
from tests.factories import (
    make_accelerator,
    make_admin,
    make_cluster,
    make_deployment,
    make_member,
    make_node,
    make_placement,
    make_replica,
    make_team,
)
from tests.telemetry import at, make_rows, store_clear

pytestmark = pytest.mark.django_db


def judged(name: str, verdict: Verdict, **fields: object) -> Deployment:
    row = make_deployment(name, **fields)
    DeploymentStatus.objects.create(
        deployment=row, verdict=verdict, as_of=timezone.now(), text=f"{name} says so.", latency=1, percentile=0.95
    )
    return row


def fleet_of(size: int) -> None:
    cluster = make_cluster()
    rows = Deployment.objects.bulk_create(
        Deployment(cluster=cluster, namespace="n", workload=f"w{i}", model_name="m", name=f"model-{i:04}") for i in range(size)
    )
    DeploymentStatus.objects.bulk_create(
        DeploymentStatus(deployment=row, verdict=Verdict.OK, as_of=timezone.now(), latency=1 + i % 3, percentile=0.95, limit_ratio=0.4)
        for i, row in enumerate(rows)
    )
    Slo.objects.bulk_create(Slo(deployment=row, latency=1, threshold_seconds=1.0) for row in rows)
    node = make_node(cluster=cluster)
    for row in rows[:20]:
        make_placement(make_replica(row), accelerator=make_accelerator(node))


def queries_for(client: Client, path: str) -> int:
    client.get(path)  # the session and the actor are warm
    with CaptureQueriesContext(connection) as captured:
        assert client.get(path).status_code == 200
    return len(captured)


def names_in(page: str, *names: str) -> list[str]:
    table = page[page.index("<table") :]
    return sorted(names, key=table.index)


def test_the_worst_come_first(client: Client) -> None:
    for name, verdict in (("fine", Verdict.OK), ("broken", Verdict.BREAKS), ("silent", Verdict.NO_DATA), ("warned", Verdict.WARNING)):
        judged(name, verdict)
    client.force_login(make_admin())
    page = client.get("/").content.decode()
    assert names_in(page, "fine", "broken", "silent", "warned") == ["broken", "warned", "silent", "fine"]
    assert "1 of 4 deployments breaks its SLO" in page


def test_a_column_sorts_both_ways(client: Client) -> None:
    for name, rate in (("quiet-one", 1.0), ("loud-one", 50.0)):
        row = judged(name, Verdict.OK)
        DeploymentStatus.objects.filter(deployment=row).update(requests_per_second=rate)
    client.force_login(make_admin())
    assert names_in(client.get("/?sort=-requests").content.decode(), "quiet-one", "loud-one") == ["loud-one", "quiet-one"]
    assert names_in(client.get("/?sort=requests").content.decode(), "quiet-one", "loud-one") == ["quiet-one", "loud-one"]


def test_search_and_chips_narrow_the_table(client: Client) -> None:
    judged("chat-70b", Verdict.BREAKS)
    judged("embed-e5", Verdict.OK)
    judged("old-one", Verdict.OK, state=DeploymentState.ARCHIVED)
    client.force_login(make_admin())
    table = client.get("/?q=chat").content.decode().split("<table")[1]
    assert "chat-70b" in table
    assert "embed-e5" not in table
    assert "old-one" in client.get("/?show=archived").content.decode()
    assert "embed-e5" not in client.get("/?show=breaks").content.decode().split("<table")[1]


def test_the_number_of_queries_does_not_grow_with_the_fleet(client: Client) -> None:
    client.force_login(make_admin())
    fleet_of(3)
    few = queries_for(client, "/")
    fleet_of(150)
    assert queries_for(client, "/") == few
    fleet_of(300)
    assert queries_for(client, "/") <= few
    assert few <= 45


def test_a_large_fleet_adds_up_its_tiles_after_the_page(client: Client) -> None:
    fleet_of(201)
    client.force_login(make_admin())
    page = client.get("/").content.decode()
    assert 'hx-get="/fleet/tiles/' in page
    assert "SLO met now" not in page
    assert "SLO met now" in client.get("/fleet/tiles/", headers={"HX-Request": "true"}).content.decode()


def test_the_number_of_queries_of_accelerators_does_not_grow(client: Client) -> None:
    client.force_login(make_admin())
    fleet_of(3)
    few = queries_for(client, "/accelerators/")
    fleet_of(60)
    assert queries_for(client, "/accelerators/") == few


def test_a_team_sees_its_own_and_nothing_of_another(client: Client) -> None:
    ours, theirs = make_team(), make_team()
    judged("our-model", Verdict.OK, team=ours)
    foreign = judged("their-model", Verdict.BREAKS, team=theirs)
    Event.objects.create(deployment=foreign, kind=EventKind.DEPLOY, at=timezone.now(), title="their secret", dedup_key="x")
    client.force_login(make_member(ours))
    for path in ("/", "/fleet.csv", "/accelerators/", "/?q=their", "/?show=breaks"):
        page = client.get(path).content.decode()
        assert "their-model" not in page
        assert "their secret" not in page
    for path in ("", "panels/latency/table/", "panels/latency.csv", "panels/power/"):
        assert client.get(f"/deployments/{foreign.pk}/{path}", headers={"HX-Request": "true"}).status_code == 404


def test_a_shared_accelerator_shows_others_without_a_name(client: Client) -> None:
    ours, theirs = make_team(), make_team()
    mine, foreign = judged("our-model", Verdict.OK, team=ours), judged("their-model", Verdict.OK, team=theirs)
    card = make_accelerator(make_node())
    make_placement(make_replica(mine), accelerator=card, share=0.5)
    make_placement(make_replica(foreign), accelerator=card, share=0.5)
    client.force_login(make_member(ours))
    for path in ("/accelerators/", f"/accelerators/{card.pk}/", f"/nodes/{card.node_id}/"):
        page = client.get(path).content.decode()
        assert "our-model" in page
        assert "others" in page
        assert "their-model" not in page


def test_csv_has_units_in_its_header_and_no_formula(client: Client) -> None:
    judged("=cmd()", Verdict.OK)
    client.force_login(make_admin())
    reply = client.get("/fleet.csv")
    rows = list(csv.reader(io.StringIO(reply.content.decode())))
    assert "requests [req/s]" in rows[0]
    assert rows[1][0] == "'=cmd()"
    assert len(rows[1]) == len(rows[0])


def test_an_empty_install_says_what_to_do(client: Client) -> None:
    client.force_login(make_admin())
    assert "Connect the Prometheus you have" in client.get("/").content.decode()
    client.force_login(make_member(make_team()))
    assert "an admin of this install" in client.get("/").content.decode()


def test_a_range_that_cannot_be_read_is_named_and_the_page_still_stands(client: Client) -> None:
    judged("chat-70b", Verdict.OK)
    client.force_login(make_admin())
    page = client.get("/?from=yesterdayish").content.decode()
    assert "yesterdayish" in page
    assert "chat-70b" in page


def course(*values: float) -> Lines:
    array = np.array(values)
    line = Line(np.arange(array.size, dtype=np.float64), array, array, array, "ratio")
    return Lines(60.0, "5m", None, {"dram_active_ratio": line})


def test_the_headroom_bar_shows_the_typical_load_and_its_p95() -> None:
    load = load_of(ratio_of([course(*np.linspace(0.0, 0.8, 21)), course(*np.linspace(0.2, 1.0, 21))], "dram_active_ratio", ""))
    assert load is not None
    assert load.typical == pytest.approx(0.5)
    assert load.high == pytest.approx(0.86)
    assert "typical 50 %, high 86 % of the ceiling" in load_bar(load, 0.4)


def test_what_is_full_now_shows_as_full_whatever_the_day_was_like() -> None:
    assert "typical 50 %, high 98 % of the ceiling" in load_bar(load_of(np.full(48, 0.5)), 0.98)


def test_gaps_are_no_load() -> None:
    assert load_of(np.array([np.nan, 0.6, np.nan])) == (0.6, 0.6)
    assert load_of(np.full(3, np.nan)) is None
    assert np.isnan(ratio_of([course(np.nan, 0.6)], "dram_active_ratio", "")[0])


def test_what_lies_above_the_limit_is_red_also_right_after_a_gap() -> None:
    over = '<polyline class="over" points="{}"'
    assert 'class="over"' not in spark(np.array([1.0, 2.0, 1.0]), label="x", limit=3.0)
    assert over.format("0.0,12.0 40.5,3.0") in spark(np.array([1.0, 2.0, 1.0]), label="x", limit=1.5, top=2.0)
    after_a_gap = spark(np.array([1.0, np.nan, 2.0, 2.0, 1.0]), label="x", limit=1.5, top=2.0)
    assert over.format("40.5,3.0 60.8,3.0") in after_a_gap


def test_what_burns_says_how_long_once(client: Client) -> None:
    row = judged("chat", Verdict.BREAKS)
    DeploymentStatus.objects.filter(deployment=row).update(text="First token p95 2.24 s, SLO 0.80 s, for 31 min. KV cache 98 %.")
    client.force_login(make_admin())
    page = client.get("/").content.decode()
    assert "<p>First token p95 2.24 s, SLO 0.80 s. KV cache 98 %.</p>" in page
    assert page.count("31 min") == 1


@pytest.mark.django_db(transaction=True)
def test_how_busy_a_window_was_that_is_over_is_read_once_a_minute() -> None:
    rows_write(make_rows([60, 60], Entity.ACCELERATOR, ids=[1, 2], gpu_utilization_ratio=[0.25, 0.5]), overwrite=True)
    window = {"start": at(0), "end": at(3600)}

    def asked(*ids: int) -> tuple[dict[int, float], bool]:
        with CaptureQueriesContext(connection) as seen:
            found = triage.busy_means(list(ids), **window)
        return found, len(seen) > 0

    try:
        assert asked(1, 2, 3) == ({1: 0.25, 2: 0.5}, True)
        assert asked(2) == ({2: 0.5}, False)
        assert asked(2, 4) == ({2: 0.5}, True)
        kept = triage.BUSY_KEPT[at(0), at(3600)]
        triage.BUSY_KEPT[at(0), at(3600)] = replace(kept, until=kept.until - triage.KEPT_SECONDS)
        assert asked(2) == ({2: 0.5}, True)
    finally:
        triage.BUSY_KEPT.clear()
        store_clear()

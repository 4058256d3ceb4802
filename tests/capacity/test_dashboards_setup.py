"""Setup, sources and imports, by Django's client."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from capacity.models import DemoRun
from monitoring.models import (
    AllowedAddress,
    AuditEvent,
    ChunkState,
    Cluster,
    Deployment,
    ImportChunk,
    ImportRun,
    Role,
    RunState,
    Source,
    SourceState,
)
from tests.capacity.pages import client_of, queries, text_of, toasts, undo_of
from tests.factories import make_admin, make_cluster, make_deployment, make_member, make_source, make_team
from tests.servers.processes import free_port

pytestmark = pytest.mark.django_db
NEW = {"name": "prod-eu", "cluster_name": "prod-eu", "auth": "none", "step_seconds": "60"}


def closed_port() -> int:
    """A port among those the client takes on which nothing listens."""
    return free_port(low=9100, high=9999)


def make_import(source: Source, *, states: str = "swr", state: str = RunState.RUNNING) -> ImportRun:
    """One chunk a day, newest first: s stored, p partial, e empty, f failed, r running, w waiting."""
    names = {"s": "stored", "p": "partial", "e": "empty", "f": "failed", "r": "running", "w": "waiting"}
    end = timezone.now().replace(hour=12, minute=0, second=0, microsecond=0)
    run = ImportRun.objects.create(
        source=source, days=len(states), end_at=end, state=state, created_at=timezone.now() - timedelta(minutes=5)
    )
    for number, letter in enumerate(states):
        start = end - timedelta(days=number + 1)
        ImportChunk.objects.create(run=run, start_at=start, end_at=start + timedelta(days=1), state=names[letter], samples=1000)
    return run


class TestWhoMay:
    PAGES = {  # path -> status for (viewer, editor, team admin, foreign, install admin)
        "/setup/": (403, 403, 403, 403, 200),
        "/setup/live/": (403, 403, 403, 403, 200),
        "/setup/demo/remove/": (403, 403, 403, 403, 200),
        "/sources/": (403, 403, 403, 403, 200),
        "/sources/new/": (403, 403, 403, 403, 200),
        "/sources/{source}/": (403, 403, 403, 403, 200),
        "/sources/{source}/live/": (403, 403, 403, 403, 200),
        "/sources/{source}/edit/": (403, 403, 403, 403, 200),
        "/sources/{source}/delete/": (403, 403, 403, 403, 200),
        "/deployments/{deployment}/edit/": (403, 200, 200, 404, 200),
        "/deployments/{deployment}/merge/search/": (403, 200, 200, 404, 200),
        "/deployments/{deployment}/slo/": (403, 200, 200, 404, 200),
        "/deployments/{deployment}/slo/preview/": (403, 200, 200, 404, 200),
        "/deployments/hidden/": (200, 200, 200, 200, 200),
        "/slos/": (200, 200, 200, 200, 200),
    }

    @pytest.mark.parametrize("path", list(PAGES))
    def test_each_role_gets_what_the_table_says(self, path: str) -> None:
        team, other = make_team(), make_team()
        source, deployment = make_source(), make_deployment(team=team)
        people = [make_member(team, role=role) for role in (Role.VIEWER, Role.EDITOR, Role.ADMIN)]
        people += [make_member(other, role=Role.ADMIN), make_admin()]
        address = path.format(source=source.pk, deployment=deployment.pk)
        assert tuple(client_of(person).get(address).status_code for person in people) == self.PAGES[path]

    def test_a_viewer_changes_nothing_by_any_door(self) -> None:
        team = make_team()
        deployment, source = make_deployment(team=team), make_source()
        run = make_import(source)
        client = client_of(make_member(team))
        doors = [f"/deployments/{deployment.pk}/{end}/" for end in ("edit", "archive", "ignore", "merge", "events", "slo", "slo/remove")]
        doors += [f"/sources/{source.pk}/{end}/" for end in ("edit", "test", "import", "pause", "delete")]
        doors += [f"/imports/{run.pk}/pause/", "/sources/new/", "/setup/demo/load/", "/setup/demo/removal/"]
        assert {path: client.post(path).status_code for path in doors} == dict.fromkeys(doors, 403)
        assert not AuditEvent.objects.exists()


class TestSetup:
    def test_an_empty_install_says_what_comes_first(self) -> None:
        text = text_of(client_of(make_admin()).get("/setup/"))
        assert "0 of 8 done" in text
        assert "Next: Prometheus reachable" in text
        assert "Load the demo fleet" in text

    def test_a_reached_source_ticks_and_names_what_was_found(self) -> None:
        systems = [
            {"slug": "vllm", "name": "vLLM", "version": "0.33", "entities": "4 deployments", "signals_found": 14, "signals_total": 14}
        ]
        finding = {"ok": True, "history_days": 31, "deployments": 4, "systems": systems, "not_found": []}
        make_source("prod-eu", state=SourceState.OK, finding=finding)
        text = text_of(client_of(make_admin()).get("/setup/"))
        assert "prod-eu, 31 days of history, 4 deployments found" in text
        assert "14 of 14 signals" in text
        assert "Import 28 days" in text

    def test_a_broken_source_stands_before_a_healthy_one(self) -> None:
        make_source("down-one", state=SourceState.DOWN, state_text="Nothing listens there.")
        make_source("fine-one", state=SourceState.OK)
        assert "down-one: Nothing listens there." in text_of(client_of(make_admin()).get("/setup/"))

    def test_a_running_import_offers_pause_and_the_time_left(self) -> None:
        make_import(make_source(state=SourceState.OK), states="sswww")
        text = text_of(client_of(make_admin()).get("/setup/"))
        assert "2 of 5 days, about 7 min left" in text
        assert "Pause" in text

    def test_nothing_is_sent_while_nothing_changed(self) -> None:
        client = client_of(make_admin())
        checklist = client.get("/setup/").context["checklist"]
        assert client.get(f"/setup/live/?seen={checklist.seen}&states={checklist.states}").status_code == 204

    def test_only_a_change_of_state_is_read_aloud(self) -> None:
        source = make_source(state=SourceState.OK)
        run = make_import(source, states="swww")
        client = client_of(make_admin())
        before = client.get("/setup/").context["checklist"]
        ImportChunk.objects.filter(pk=run.chunks.filter(state=ChunkState.WAITING).first().pk).update(state=ChunkState.STORED)
        progress = client.get(f"/setup/live/?seen={before.seen}&states={before.states}")
        assert "setup-spoken" not in text_of(progress)
        run.chunks.update(state=ChunkState.STORED)
        ImportRun.objects.update(state=RunState.DONE)
        done = client.get(f"/setup/live/?seen={before.seen}&states={before.states}")
        assert "setup-spoken" in text_of(done)

    def test_the_number_of_queries_does_not_grow(self) -> None:
        client = client_of(make_admin())
        source = make_source(state=SourceState.OK)
        make_import(source, states="sw")
        few = queries(client, "/setup/")
        for _ in range(10):
            make_deployment()
            make_source()
        run = ImportRun.objects.get()
        run.source = Source.objects.latest("pk")
        run.save()
        assert queries(client, "/setup/") == few

    def test_the_demo_fleet_is_wished_for_once(self) -> None:
        client = client_of(make_admin())
        client.post("/setup/demo/load/")
        response = client.post("/setup/demo/load/", follow=True)
        assert list(DemoRun.objects.values_list("action", "state")) == [("load", "waiting")]
        assert "already" in " ".join(toasts(response))

    def test_progress_of_the_demo_fleet_is_shown(self) -> None:
        DemoRun.objects.create(action="load", state="running", progress_ratio=0.4, text="11 of 28 days")
        text = text_of(client_of(make_admin()).get("/setup/"))
        assert "11 of 28 days" in text
        assert 'aria-valuenow="40"' in text

    def test_a_failed_demo_says_why(self) -> None:
        DemoRun.objects.create(action="load", state="failed", error="The disk is full.", finished_at=timezone.now())
        assert "The disk is full." in text_of(client_of(make_admin()).get("/setup/"))

    def test_removal_names_the_clusters_and_asks(self) -> None:
        make_cluster("demo-eu", demo=True)
        client = client_of(make_admin())
        assert "Remove the demo fleet" in text_of(client.get("/setup/"))
        assert "demo-eu" in text_of(client.get("/setup/demo/remove/"))
        client.post("/setup/demo/removal/")
        assert DemoRun.objects.get().action == "remove"


class TestSourceForm:
    def post(self, client: Client, **fields: str) -> Any:
        return client.post("/sources/new/", NEW | fields)

    def test_a_private_address_is_allowed_in_place_by_an_admin(self) -> None:
        client, port = client_of(make_admin()), closed_port()
        url = f"http://127.0.0.1:{port}"
        first = self.post(client, url=url, test="1")
        assert f"Allow 127.0.0.1:{port}" in text_of(first)
        assert not Source.objects.exists()
        second = self.post(client, url=url, allow=f"127.0.0.1:{port}")
        assert "Allow 127.0.0.1" not in text_of(second)
        assert list(AllowedAddress.objects.values_list("network", "port")) == [("127.0.0.1/32", port)]
        assert AuditEvent.objects.filter(action="address.allow").count() == 1

    def test_a_metadata_address_is_never_allowed(self) -> None:
        response = self.post(client_of(make_admin()), url="http://169.254.169.254", allow="169.254.169.254:80")
        assert not AllowedAddress.objects.exists()
        assert "metadata" in " ".join(toasts(response))

    def test_a_test_stores_nothing(self) -> None:
        self.post(client_of(make_admin()), url=f"http://127.0.0.1:{closed_port()}", test="1")
        assert not Source.objects.exists()
        assert not Cluster.objects.exists()

    def test_htmx_gets_the_panel_alone(self) -> None:
        client = client_of(make_admin())
        response = client.post("/sources/new/", NEW | {"url": "http://127.0.0.1:9", "test": "1"}, headers={"HX-Request": "true"})
        assert response.status_code == 200
        assert "<html" not in text_of(response)
        assert "Test did not get through" in text_of(response)

    @pytest.mark.parametrize(
        ("fields", "sentence"),
        [
            ({"url": "ftp://a.example.com"}, "Only http and https"),
            ({"url": "http://me:pw@a.example.com"}, "Leave user and password out"),
            ({"auth": "bearer"}, "Enter the token"),
            ({"auth": "basic"}, "Enter the user name"),
            ({"auth": "header", "new_secret": "x"}, "Enter the name of the header"),
            ({"selector": "cluster=prod"}, "not a list of label matchers"),
            ({"tls_ca": "hello"}, "No certificate can be read"),
        ],
    )
    def test_each_mistake_has_its_sentence(self, fields: dict[str, str], sentence: str) -> None:
        response = self.post(client_of(make_admin()), **({"url": "http://a.example.com"} | fields))
        assert response.status_code == 422
        assert sentence in text_of(response)

    def test_a_page_pasted_from_the_browser_becomes_the_base_address(self) -> None:
        port = closed_port()
        self.post(client_of(make_admin()), url=f"http://127.0.0.1:{port}/prom/graph?g0.expr=up", save="1")
        assert Source.objects.get().url == f"http://127.0.0.1:{port}/prom"

    def test_a_secret_is_kept_encrypted_and_shown_by_its_tail(self) -> None:
        client = client_of(make_admin())
        self.post(client, url="http://127.0.0.1:9", auth="bearer", new_secret="tok-1234567890abcd", save="1")
        source = Source.objects.get()
        assert "1234567890" not in source.secret
        page = text_of(client.get(f"/sources/{source.pk}/edit/"))
        assert "abcd" in page
        assert "1234567890" not in page
        assert not any("1234567890" in str(event.after) for event in AuditEvent.objects.all())

    def test_an_edit_without_a_new_secret_keeps_the_old_one(self) -> None:
        client = client_of(make_admin())
        self.post(client, url="http://127.0.0.1:9", auth="bearer", new_secret="tok-1234567890abcd", save="1")
        source = Source.objects.get()
        client.post(f"/sources/{source.pk}/edit/", NEW | {"url": source.url, "auth": "bearer", "name": "renamed", "save": "1"})
        former, source = source.secret, Source.objects.get()
        assert (source.name, source.secret) == ("renamed", former)


class TestSourcePage:
    def test_one_cell_a_day_says_what_became_of_it(self) -> None:
        source = make_source(state=SourceState.OK)
        make_import(source, states="spefrw")
        response = client_of(make_admin()).get(f"/sources/{source.pk}/")
        assert [day.mark for day in response.context["facts"].days] == ["", "busy", "fail", "miss", "part", "done"]
        assert "3 days not stored in full" in text_of(response)

    def test_pause_resume_and_retry(self) -> None:
        source = make_source()
        run = make_import(source, states="sfw")
        client = client_of(make_admin())
        states = []
        for verb in ("pause", "resume", "retry"):
            client.post(f"/imports/{run.pk}/{verb}/")
            run.refresh_from_db()
            states.append(run.state)
        assert states == [RunState.PAUSED, RunState.RUNNING, RunState.RUNNING]
        assert not run.chunks.filter(state=ChunkState.FAILED).exists()

    def test_a_retry_opens_a_finished_run_again(self) -> None:
        run = make_import(make_source(), states="sf", state=RunState.DONE)
        client_of(make_admin()).post(f"/imports/{run.pk}/retry/")
        run.refresh_from_db()
        assert run.state == RunState.RUNNING

    def test_a_second_import_is_refused_while_one_runs(self) -> None:
        source = make_source()
        make_import(source)
        response = client_of(make_admin()).post(f"/sources/{source.pk}/import/", {"days": 7}, follow=True)
        assert "running already" in toasts(response)[0]
        assert ImportRun.objects.count() == 1

    def test_an_import_of_n_days_plans_n_days(self) -> None:
        source = make_source(scrape_interval_seconds=15.0)
        client_of(make_admin()).post(f"/sources/{source.pk}/import/", {"days": 7})
        assert ImportRun.objects.get().chunks.count() == 7

    def test_polling_pauses_and_undo_lets_it_go_on(self) -> None:
        source = make_source()
        client = client_of(make_admin())
        response = client.post(f"/sources/{source.pk}/pause/", follow=True)
        source.refresh_from_db()
        assert source.enabled is False
        client.post(undo_of(response))
        source.refresh_from_db()
        assert source.enabled is True

    def test_removal_says_what_goes_and_what_stays(self) -> None:
        source = make_source("prod-eu")
        deployment = make_deployment(cluster=source.cluster)
        client = client_of(make_admin())
        assert "1 deployment of test and their history stay" in text_of(client.get(f"/sources/{source.pk}/delete/"))
        client.post(f"/sources/{source.pk}/delete/")
        assert not Source.objects.exists()
        assert Deployment.objects.filter(pk=deployment.pk).exists()

    def test_an_allowed_address_is_taken_off_the_list(self) -> None:
        row = AllowedAddress.objects.create(network="10.0.0.5/32", port=9090)
        client = client_of(make_admin())
        assert "10.0.0.5/32" in text_of(client.get("/sources/"))
        client.post(f"/sources/allowed/{row.pk}/remove/")
        assert not AllowedAddress.objects.exists()

    def test_the_list_needs_the_same_queries_for_many_sources(self) -> None:
        client = client_of(make_admin())
        make_source()
        few = queries(client, "/sources/")
        for _ in range(10):
            make_source()
        assert queries(client, "/sources/") == few

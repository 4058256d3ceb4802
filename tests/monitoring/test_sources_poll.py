"""The poll cycle against a real Prometheus: watermark, back-fill, leases, partial answers, states and their sentences."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from django.db import connection

from monitoring.access.secrets import secret_encrypt
from monitoring.models import AllowedAddress, Auth, Cluster, Deployment, ImportRun, RunState, Source, SourceState
from monitoring.sources import (
    Polled,
    chunk_run,
    import_claim,
    import_pause,
    import_resume,
    import_start,
    source_poll,
    source_test,
    sources_due,
)
from monitoring.sources.layout import Laid
from monitoring.sources.lease import LEASE
from monitoring.sources.poll import MOST_PARTIAL, laid_store
from monitoring.store import Written
from tests.servers.faults import Fault, FaultProxy, only
from tests.servers.fleet import fleet_write
from tests.servers.processes import free_port
from tests.servers.prometheus import PrometheusServer

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("poll")]
STEP, SCRAPE = 60, 15.0
MINUTE = timedelta(minutes=1)


@dataclass
class Planted:
    server: PrometheusServer
    end: float

    def at(self, minutes: float) -> datetime:
        """So many minutes after the end of what was planted (negative: before)."""
        return datetime.fromtimestamp(self.end, tz=UTC) + minutes * MINUTE


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planted]:
    folder = tmp_path_factory.mktemp("poll")
    end = time.time() // 120 * 120
    truth = fleet_write(folder, end=end, days=0.125, step=SCRAPE)
    server = PrometheusServer(folder / "prometheus")
    server.backfill(truth.files)
    with server:
        yield Planted(server, end)


def source_make(url: str, *, allow: bool = True, **fields: object) -> Source:
    if allow:
        AllowedAddress.objects.get_or_create(network="127.0.0.0/8", port=None)
    cluster, _ = Cluster.objects.get_or_create(name="polled")
    count = Source.objects.count()
    given = {"step_seconds": STEP, "next_poll_at": datetime(2026, 1, 1, tzinfo=UTC), **fields}
    return Source.objects.create(name=f"source {count}", url=url, cluster=cluster, **given)


def poll(source: Source, now: datetime) -> Polled:
    Source.objects.filter(pk=source.pk).update(next_poll_at=now)
    polled = source_poll(source, now=now, owner="test")
    assert polled is not None
    source.refresh_from_db()
    return polled


def minutes_stored(model: str) -> list[float]:
    """The instants with a request rate of a model, in minutes."""
    pk = Deployment.objects.get(model_name=model).pk
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT extract(epoch FROM time) / 60 FROM deployment_sample"
            " WHERE deployment_id = %s AND requests_per_second IS NOT NULL ORDER BY 1",
            [pk],
        )
        return [float(row[0]) for row in cursor.fetchall()]


def rows_stored() -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM deployment_sample ORDER BY deployment_id, version_id, time")
        return list(cursor.fetchall())


def test_the_first_cycle_begins_a_quarter_of_an_hour_ago_and_ends_two_scrapes_ago(planted: Planted) -> None:
    source = source_make(planted.server.url)
    polled = poll(source, planted.at(0))
    assert (polled.state, polled.text, source.state) == (SourceState.OK, "", SourceState.OK)
    assert source.scrape_interval_seconds == SCRAPE
    assert source.watermark == planted.at(-1)
    assert minutes_stored("qwen-coder-7b") == [planted.end / 60 - back for back in range(14, 0, -1)]


def test_the_next_cycle_goes_on_and_the_steps_asked_again_change_nothing(planted: Planted) -> None:
    source = source_make(planted.server.url)
    poll(source, planted.at(-10))
    before = rows_stored()
    polled = poll(source, planted.at(-9))
    assert source.watermark == planted.at(-10)
    assert set(before) <= set(rows_stored())
    assert polled.written.written > 0 and polled.written.unchanged > polled.written.written


def test_an_hour_away_is_an_hour_of_back_fill_and_no_hole(planted: Planted, tmp_path: Path) -> None:
    proxy = FaultProxy(planted.server.url, lambda path, words: None)
    source = source_make(proxy.url)
    with proxy:
        poll(source, planted.at(-40))
    for minutes in (-39, -38):
        polled = poll(source, planted.at(minutes))
        assert (polled.state, source.watermark) == (SourceState.DOWN, planted.at(-41))
    assert source.state_since == planted.at(-39) or source.state_since > planted.at(-39)
    with FaultProxy(planted.server.url, lambda path, words: None) as back:
        Source.objects.filter(pk=source.pk).update(url=back.url)
        polled = poll(source, planted.at(0))
    assert (polled.state, source.failures, source.watermark) == (SourceState.OK, 0, planted.at(-1))
    stored = minutes_stored("qwen-coder-7b")
    after = [minute for minute in stored if minute > planted.end / 60 - 40]
    assert np.diff(after).max() == 1.0 and len(after) == 39


def test_a_long_absence_is_read_in_several_passes(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_make(planted.server.url, watermark=planted.at(-35))
    monkeypatch.setattr("monitoring.sources.poll.MOST_STEPS", 10)
    poll(source, planted.at(0))
    assert source.watermark == planted.at(-1)
    assert len(minutes_stored("qwen-coder-7b")) == 37  # the last three steps up to the watermark are asked again


def test_a_source_is_due_when_its_time_has_come_and_nobody_has_it(planted: Planted) -> None:
    now = planted.at(0)
    due = source_make(planted.server.url, next_poll_at=now)
    source_make(planted.server.url, next_poll_at=now + MINUTE)
    source_make(planted.server.url, next_poll_at=now, enabled=False)
    source_make(planted.server.url, next_poll_at=now, demo=True)
    source_make(planted.server.url, next_poll_at=now, state=SourceState.PAUSED)
    source_make(planted.server.url, next_poll_at=now, lease_until=now + MINUTE)
    dead = source_make(planted.server.url, next_poll_at=now, lease_until=now - MINUTE)
    assert {source.pk for source in sources_due(now=now)} == {due.pk, dead.pk}


def test_a_leased_source_is_not_polled_until_the_lease_runs_out(planted: Planted) -> None:
    now = planted.at(0)
    source = source_make(planted.server.url, lease_owner="other/1", lease_until=now + LEASE)
    assert source_poll(source, now=now, owner="test") is None
    assert source_poll(source, now=now + LEASE, owner="test") is not None


@pytest.mark.django_db(transaction=True)
def test_two_pollers_at_once_poll_once(planted: Planted) -> None:
    source = source_make(planted.server.url)
    results: list[Polled | None] = []

    def run() -> None:
        results.append(source_poll(source, now=planted.at(0), owner="test"))
        connection.close()

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(result is not None for result in results) == 1


def test_a_poller_that_lost_its_lease_does_not_move_the_watermark(planted: Planted, monkeypatch: pytest.MonkeyPatch) -> None:
    source = source_make(planted.server.url)

    def stored_while_stolen(laid: Laid, *, now: datetime) -> Written:
        Source.objects.filter(pk=source.pk).update(lease_owner="thief")
        return laid_store(laid, now=now)

    monkeypatch.setattr("monitoring.sources.poll.laid_store", stored_while_stolen)
    polled = poll(source, planted.at(0))
    assert "another worker" in polled.text
    assert (source.watermark, source.lease_owner) == (None, "thief")


def failing(*words: str, status: int = 400) -> object:
    body = b'{"status":"error","errorType":"bad_data","error":"no such thing"}'
    return lambda path, asked: Fault(status, body) if "query_range" in path and all(word in asked for word in words) else None


def test_a_series_that_fails_is_asked_again_and_the_others_are_stored(planted: Planted) -> None:
    proxy = FaultProxy(planted.server.url, failing("vllm:request_success_total"))  # type: ignore[arg-type]
    with proxy:
        source = source_make(proxy.url)
        polled = poll(source, planted.at(-5))
        assert (polled.state, source.watermark, source.failures) == (SourceState.SLOW, None, 1)
        assert "vLLM vllm:request_success_total" in polled.text and "asked again" in polled.text
        assert minutes_stored("qwen-coder-7b") == []
        assert rows_stored()
        proxy.rule = lambda path, words: None
        poll(source, planted.at(-4))
    assert source.state == SourceState.OK
    assert len(minutes_stored("qwen-coder-7b")) == 14


def test_a_series_that_fails_for_ever_does_not_hold_the_others_for_ever(planted: Planted) -> None:
    with FaultProxy(planted.server.url, failing("vllm:request_success_total")) as proxy:  # type: ignore[arg-type]
        source = source_make(proxy.url, failures=MOST_PARTIAL)
        poll(source, planted.at(-5))
    assert source.watermark == planted.at(-6)


# States


def source_tested(url: str, now: datetime, **fields: object) -> Source:
    source = source_make(url, **fields)
    found = source_test(source, now=now)
    assert source.state == found.state
    return source


def test_a_private_address_is_blocked_until_an_admin_allows_it(planted: Planted) -> None:
    now = planted.at(0)
    source = source_tested(planted.server.url, now, allow=False)
    assert (source.state, source.finding["ok"]) == (SourceState.WRONG, False)
    assert source.finding["block"] == {"address": "127.0.0.1", "port": planted.server.port}
    AllowedAddress.objects.create(network="127.0.0.1/32", port=planted.server.port)
    assert source_test(source, now=now).ok


def test_nothing_that_listens_is_down(planted: Planted) -> None:
    source = source_tested(f"http://127.0.0.1:{free_port(low=9100, high=9999)}", planted.at(0))
    assert (source.state, source.state_since) == (SourceState.DOWN, planted.at(0))
    assert source.finding["block"] is None and source.state_text.endswith(".")


PAGE = Fault(200, b"<html><title>Welcome to nginx</title></html>", {"Content-Type": "text/html"})
ANSWERS = [
    (PAGE, SourceState.WRONG, "not like a Prometheus"),
    (Fault(401, b"no"), SourceState.WRONG, "refuses the login (HTTP 401)"),
    (Fault(403, b"no"), SourceState.WRONG, "refuses the login (HTTP 403)"),
    (Fault(302, b"", {"Location": "https://sso.example.com/"}), SourceState.WRONG, "sends us on to https://sso.example.com/"),
    (Fault(404, b"404 page not found"), SourceState.WRONG, "check the path"),
    (Fault(503, b"busy", {"Retry-After": "90"}), SourceState.SLOW, "asked again later"),
    (Fault(500, b"oops"), SourceState.SLOW, "asked again later"),
]


@pytest.mark.parametrize(("fault", "state", "words"), ANSWERS)
def test_each_wrong_answer_has_its_state_and_sentence(planted: Planted, fault: Fault, state: SourceState, words: str) -> None:
    with only(fault) as server:
        source = source_tested(server.url, planted.at(0))
    assert (source.state, source.finding["ok"]) == (state, False)
    assert words in source.state_text


def test_a_busy_source_is_left_alone_as_long_as_it_asks(planted: Planted) -> None:
    with only(Fault(503, b"busy", {"Retry-After": "90"})) as server:
        source = source_make(server.url)
        poll(source, planted.at(0))
    assert timedelta(seconds=89) < source.next_poll_at - planted.at(0) < timedelta(seconds=95)


def test_a_dead_source_is_tried_at_least_each_minute(planted: Planted) -> None:
    source = source_make(f"http://127.0.0.1:{free_port(low=9100, high=9999)}", failures=50)
    poll(source, planted.at(0))
    assert timedelta(seconds=59) < source.next_poll_at - planted.at(0) < timedelta(seconds=65)


def test_a_prometheus_that_knows_no_model_server_is_empty(planted: Planted, tmp_path: Path) -> None:
    with PrometheusServer(tmp_path / "empty") as server:
        source = source_tested(server.url, planted.at(0))
        assert (source.state, source.finding["ok"]) == (SourceState.EMPTY, False)
        assert "not one series" in source.state_text
        poll(source, planted.at(0))
    assert source.state == SourceState.EMPTY


def test_a_selector_that_cannot_be_read_is_a_sentence(planted: Planted) -> None:
    source = source_tested(planted.server.url, planted.at(0), selector="cluster=prod")
    assert source.state == SourceState.WRONG and "is no label matcher" in source.state_text


@pytest.mark.parametrize(
    ("auth", "fields", "header"),
    [
        (Auth.BEARER, {}, ("authorization", "Bearer s3cret")),
        (Auth.BASIC, {"username": "me"}, ("authorization", "Basic bWU6czNjcmV0")),
        (Auth.HEADER, {"header_name": "X-Scope-OrgID"}, ("x-scope-orgid", "s3cret")),
    ],
)
def test_each_kind_of_login_is_sent(planted: Planted, auth: str, fields: dict[str, str], header: tuple[str, str]) -> None:
    source = source_make(planted.server.url, auth=auth, secret=secret_encrypt("s3cret"), **fields)
    assert source_test(source, now=planted.at(0)).ok  # Prometheus itself ignores them
    assert header[1] not in str(source.finding)


# Import


def import_run(source: Source, now: datetime) -> ImportRun:
    run = ImportRun.objects.get(source=source)
    while chunk := import_claim(now=now, owner="test"):
        chunk_run(chunk, now=now, owner="test")
    run.refresh_from_db()
    return run


def test_an_import_ends_where_polling_goes_on(planted: Planted) -> None:
    source = source_make(planted.server.url)
    run = import_start(source, days=3, user=None, now=planted.at(0))
    source.refresh_from_db()
    assert source.watermark == run.end_at
    chunks = list(run.chunks.order_by("start_at"))
    assert len(chunks) == 3 and chunks[-1].end_at == run.end_at
    assert all(one.end_at == two.start_at for one, two in zip(chunks, chunks[1:], strict=False))


def test_a_second_import_joins_the_open_one(planted: Planted) -> None:
    source = source_make(planted.server.url)
    assert import_start(source, days=3, user=None, now=planted.at(0)) == import_start(source, days=9, user=None, now=planted.at(0))


def test_no_more_than_two_chunks_of_a_source_run_at_once(planted: Planted) -> None:
    import_start(source_make(planted.server.url), days=4, user=None, now=planted.at(0))
    claimed = [import_claim(now=planted.at(0), owner="test") for _ in range(3)]
    assert [chunk is not None for chunk in claimed] == [True, True, False]
    assert claimed[0] and claimed[1] and claimed[0].start_at > claimed[1].start_at


def test_a_paused_import_begins_no_chunk_until_it_is_resumed(planted: Planted) -> None:
    run = import_start(source_make(planted.server.url), days=4, user=None, now=planted.at(0))
    assert import_pause(run)
    assert import_claim(now=planted.at(0), owner="test") is None
    assert import_resume(run) and not import_resume(run)
    assert import_claim(now=planted.at(0), owner="test") is not None


def test_a_source_that_has_too_much_for_one_query_is_asked_in_halves(planted: Planted) -> None:
    limit = b'{"status":"error","errorType":"execution","error":"query processing would load too many samples"}'

    def rule(path: str, words: str) -> Fault | None:
        long = "query_range" in path and span_of(words) > 2.5 * 3600
        return Fault(422, limit) if long else None

    with FaultProxy(planted.server.url, rule) as proxy:
        source = source_make(proxy.url)
        import_start(source, days=1, user=None, now=planted.at(0))
        run = import_run(source, planted.at(0))
    assert run.state == RunState.DONE and run.slowdowns >= 6
    assert len(minutes_stored("qwen-coder-7b")) > 120


def span_of(words: str) -> float:
    pairs = dict(part.split("=", 1) for part in words.replace(" ", "&").split("&") if part.startswith(("start=", "end=")))
    return float(pairs["end"]) - float(pairs["start"])


def test_a_busy_source_delays_a_chunk_and_is_said_to_slow_the_import(planted: Planted) -> None:
    with FaultProxy(planted.server.url, lambda path, words: Fault(429, b"slow", {"Retry-After": "30"})) as proxy:
        source = source_make(proxy.url)
        import_start(source, days=1, user=None, now=planted.at(0))
        run = import_run(source, planted.at(0))
        chunk = run.chunks.get()
        assert (run.state, run.slowdowns, chunk.state) == (RunState.RUNNING, 1, "waiting")
        assert "no room for the query" in run.slowdown_text
        assert import_claim(now=planted.at(0.4), owner="test") is None
        proxy.rule = lambda path, words: None
        assert import_run(source, planted.at(1)).state == RunState.DONE


def test_days_without_data_are_said_to_be_empty(planted: Planted) -> None:
    source = source_make(planted.server.url)
    import_start(source, days=2, user=None, now=planted.at(0))
    run = import_run(source, planted.at(0))
    assert [chunk.state for chunk in run.chunks.order_by("-start_at")] == ["stored", "empty"]

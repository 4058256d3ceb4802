"""The client: answers as arrays, errors as sentences, engines that lack an endpoint, and a real Prometheus."""

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import pytest

from monitoring.http import AddressBlocked, Allowed, HttpRefused
from monitoring.prometheus import (
    BadQuery,
    BadReply,
    Overloaded,
    Prometheus,
    PrometheusError,
    Refused,
    Unreachable,
    buckets_split,
    chunks,
)
from monitoring.prometheus.matrix import answer_read, range_matrix
from tests.servers.bodies import gauge_history
from tests.servers.loopback import Handler, Server, serving
from tests.servers.prometheus import PrometheusServer

END = 1_795_300_200.0


def client(server: Server, **options: Any) -> Prometheus:
    return Prometheus(server.url, allowed=(Allowed("127.0.0.1/32", server.port),), **options)


def success(data: object, **extra: object) -> bytes:
    return json.dumps({"status": "success", "data": data, **extra}).encode()


def failure(text: str, kind: str = "bad_data") -> bytes:
    return json.dumps({"status": "error", "errorType": kind, "error": text}).encode()


def answering(status: int, body: bytes, **headers: str) -> Any:
    return serving(lambda handler: handler.reply(status, body, headers))


def rows(*series: tuple[dict[str, str], list[list[object]]]) -> dict[str, object]:
    return {"resultType": "matrix", "result": [{"metric": labels, "values": values} for labels, values in series]}


def test_a_range_lies_on_one_grid_with_gaps() -> None:
    data = rows(({"a": "1"}, [[100, "1"], [120, "2.5"]]), ({"a": "2"}, [[110, "NaN"], [120, "+Inf"]]), ({"a": "3"}, []))
    with answering(200, success(data)) as server:
        found = client(server).query_range("up", start=100, end=120, step=10)
    assert found.labels == [{"a": "1"}, {"a": "2"}, {"a": "3"}]
    assert found.times.tolist() == [100, 110, 120]
    np.testing.assert_array_equal(found.values, [[1, math.nan, 2.5], [math.nan] * 3, [math.nan] * 3])


def test_a_range_asks_by_post_and_by_get_where_post_is_refused() -> None:
    def only_get(handler: Handler) -> None:
        handler.reply(405 if handler.command == "POST" else 200, success(rows()))

    with serving(only_get) as server:
        assert client(server).query_range("up", start=0, end=10, step=10).labels == []
        assert [seen.method for seen in server.seen] == ["POST", "GET"]


def test_an_instant_is_one_column() -> None:
    data = {"resultType": "vector", "result": [{"metric": {"a": "1"}, "value": [5, "7"]}]}
    with answering(200, success(data)) as server:
        found = client(server).query("up", at=5)
    assert (found.labels, found.times.tolist(), found.values.tolist()) == ([{"a": "1"}], [5], [[7]])


def test_a_scalar_is_one_number() -> None:
    with answering(200, success({"resultType": "scalar", "result": [5, "7"]})) as server:
        assert client(server).query("7", at=5).values.tolist() == [[7]]


@pytest.mark.parametrize("extra", [{"warnings": ["partial response: store-2 is away"]}, {"isPartial": True}])
def test_a_partial_answer_is_marked(extra: dict[str, object]) -> None:
    with answering(200, success(rows(), **extra)) as server:
        assert client(server).query_range("up", start=0, end=0, step=1).partial


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (401, b"", Refused, "password"),
        (403, b"", Refused, "password"),
        (400, failure("parse error"), BadQuery, "parse error"),
        (422, failure("many-to-many matching", "execution"), BadQuery, "many-to-many"),
        (422, failure("query processing would load too many samples", "execution"), Overloaded, "too many samples"),
        (429, b"", Overloaded, "again later"),
        (503, failure("query timed out", "timeout"), Overloaded, "timed out"),
        (500, b"boom", Overloaded, "failed inside"),
        (404, b"404 page not found", BadReply, "check the path"),
        (200, b"<html>hello</html>", BadReply, "not like a Prometheus"),
        (200, b'{"status": "green"}', BadReply, "not like a Prometheus"),
        (302, b"", BadReply, "final address"),
    ],
)
def test_each_failure_is_a_sentence_of_its_kind(status: int, body: bytes, kind: type[PrometheusError], words: str) -> None:
    with answering(status, body) as server, pytest.raises(kind, match=words):
        client(server).query("up", at=0)


def test_it_passes_on_how_long_to_wait() -> None:
    with answering(429, b"", **{"Retry-After": "17"}) as server, pytest.raises(Overloaded) as caught:
        client(server).query("up", at=0)
    assert caught.value.retry_after_seconds == 17


def test_no_answer_keeps_its_cause() -> None:
    with answering(200, b"") as server:
        pass
    with pytest.raises(Unreachable) as caught:
        client(server).query("up", at=0)
    assert isinstance(caught.value.cause, HttpRefused)
    with pytest.raises(Unreachable) as blocked:
        Prometheus("http://10.0.0.5:9090").query("up", at=0)
    assert isinstance(blocked.value.cause, AddressBlocked)


def test_each_way_to_log_in() -> None:
    with answering(200, success(rows())) as server:
        client(server, username="u", password="p").query("up", at=0)
        client(server, bearer="token").query("up", at=0)
        client(server, headers={"X-Scope-OrgID": "team"}).query("up", at=0)
    headers = [seen.headers for seen in server.seen]
    assert [one.get("Authorization") for one in headers] == ["Basic dTpw", "Bearer token", None]
    assert headers[2]["X-Scope-OrgID"] == "team"


def test_secrets_do_not_show() -> None:
    shown = repr(Prometheus("http://a", password="word", bearer="token", headers={"X": "key"}))
    assert not any(secret in shown for secret in ("word", "token", "key"))


@pytest.mark.parametrize(("start", "end", "step"), [(0, 11_000, 1), (10, 0, 1), (0, 1, 0)])
def test_a_range_of_too_many_points_is_not_even_asked(start: float, end: float, step: float) -> None:
    with pytest.raises((ValueError, ZeroDivisionError)):
        Prometheus("http://a").query_range("up", start=start, end=end, step=step)


def test_chunks_cover_the_span_once_newest_first() -> None:
    assert list(chunks(start=0, end=100, step=10, points=4)) == [(70, 100), (30, 60), (0, 20)]
    assert list(chunks(start=0, end=0, step=10, points=4)) == [(0, 0)]
    assert list(chunks(start=10, end=0, step=10, points=4)) == []


def test_an_engine_without_names_is_asked_by_a_query() -> None:
    vector = {"resultType": "vector", "result": [{"metric": {"__name__": "up"}, "value": [5, "1"]}]}

    def respond(handler: Handler) -> None:
        listing = handler.path.startswith("/api/v1/label")
        handler.reply(404 if listing else 200, b"" if listing else success(vector))

    with serving(respond) as server:
        assert client(server, selector='a="b"').names(end=5) == {"up"}
    assert b"group+by" in server.seen[-1].body


def test_an_engine_that_limits_the_length_of_queries_is_asked_for_less() -> None:
    def respond(handler: Handler) -> None:
        asked = parse_qs(handler.server.seen[-1].body.decode())
        start, end, step = (float(asked[name][0]) for name in ("start", "end", "step"))
        if end - start > 31 * 86400:
            return handler.reply(422, failure("the query time range exceeds the limit", "execution"))
        first = max(start, END - 12.3 * 86400)
        times = [start + step * at for at in range(int((end - start) / step) + 1)]
        return handler.reply(200, success(rows(({}, [[at, "1"] for at in times if at >= first]))))

    with serving(respond) as server:
        found = client(server).oldest("up", now=END)
    assert found == pytest.approx(END - 12.3 * 86400, abs=3600)


def test_missing_side_endpoints_are_no_error() -> None:
    with answering(404, b"not here") as server:
        asked = client(server)
        assert (asked.buildinfo().version, asked.metadata("up")) == ("", [])


def test_buckets_become_counts_between_bounds() -> None:
    data = rows(
        ({"m": "a", "le": "+Inf"}, [[0, "10"], [10, "4"]]),
        ({"m": "a", "le": "100"}, [[0, "6"]]),
        ({"m": "a", "le": "20"}, [[0, "7"]]),  # crossed by an uneven scrape
        ({"m": "b", "le": "20"}, [[0, "1"]]),  # without +Inf
    )
    matrix = range_matrix(answer_read(success(data)), start=0, end=20, step=10)
    (found,) = buckets_split(matrix, scale=0.001)
    assert (found.labels, found.bounds) == ({"m": "a"}, (0.02, 0.1))
    np.testing.assert_array_equal(found.counts, [[7, 0, 3], [0, 0, 4], [math.nan] * 3])


def test_many_series_are_read_quickly() -> None:
    """150,000 series of 2 points: the whole answer of a large fleet. The limit is ten times what it took when written."""
    one = '{"metric":{"pod":"p%d","namespace":"n","model_name":"m"},"values":[[100,"1.5"],[160,"2.5"]]}'
    body = '{"status":"success","data":{"resultType":"matrix","result":[' + ",".join(one % at for at in range(150_000)) + "]}}"
    started = time.process_time()
    found = range_matrix(answer_read(body.encode()), start=100, end=160, step=60)
    seconds = time.process_time() - started
    assert found.values.shape == (150_000, 2)
    assert seconds < 6.0
    print(f"{len(body) / 1e6:.0f} MB, 150,000 series in {seconds:.2f} s CPU")


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """40 days of one metric each 30 s in the last day and each 4 minutes before, another one of one day."""
    folder: Path = tmp_path_factory.mktemp("history")
    coarse = [END - 40 * 86400 + 240 * at for at in range(39 * 360)]
    fine = [END - 86400 + 30 * at for at in range(2881)]
    with (folder / "history.om").open("w") as file:
        file.writelines(gauge_history("old", {"cluster": "a"}, value=1, times=coarse + fine))
        file.writelines(gauge_history("young", {"cluster": 'odd"\\{}'}, value=1, times=fine))
        file.write("# EOF\n")
    server = PrometheusServer(folder / "prometheus")
    server.backfill([folder / "history.om"])
    with server:
        yield Prometheus(server.url, allowed=(Allowed("127.0.0.0/8"),))


def narrowed(history: Prometheus, selector: str) -> Prometheus:
    return Prometheus(history.url, allowed=history.allowed, selector=selector)


def test_a_real_prometheus_tells_its_version(history: Prometheus) -> None:
    build = history.buildinfo()
    assert build.product == "Prometheus"
    assert build.version[0].isdigit()


def test_names_are_those_of_the_selector_and_span(history: Prometheus) -> None:
    assert history.names() >= {"old", "young"}
    assert narrowed(history, 'cluster="a"').names() == {"old"}
    assert narrowed(history, 'cluster="odd\\"\\\\{}"').names(start=END - 3600, end=END) == {"young"}


def test_the_age_of_a_metric_is_found_within_an_hour(history: Prometheus) -> None:
    old, young = history.oldest("old", now=END), history.oldest("young", now=END)
    assert old == pytest.approx(END - 40 * 86400, abs=3600)
    assert young == pytest.approx(END - 86400, abs=3600)
    assert history.oldest("nothing", now=END) is None


def test_the_scrape_interval_is_measured(history: Prometheus) -> None:
    assert history.scrape_interval("old", at=END) == 30
    assert history.scrape_interval("old", at=END - 2 * 86400) == pytest.approx(240)
    assert history.scrape_interval("nothing", at=END) is None


def test_odd_label_values_come_back_as_they_are(history: Prometheus) -> None:
    found = history.query("young", at=END)
    assert found.labels[0]["cluster"] == 'odd"\\{}'


def test_a_wrong_expression_is_the_servers_sentence(history: Prometheus) -> None:
    with pytest.raises(BadQuery, match="parse error"):
        history.query("sum(", at=END)

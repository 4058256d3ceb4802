"""The main job end to end: `make up`, a real Prometheus with 28 days of history and live servers, the numbers compared.

Headroom runs as its own supervisor starts it and is used through its API only. Prometheus is reached through a proxy
that can go away while Prometheus goes on scraping: then it has data for the time in which Headroom saw nothing.
"""

import csv
import hashlib
import http.cookiejar
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import yaml

from tests.servers.faults import FaultProxy
from tests.servers.fleet import Truth, fleet_write
from tests.servers.load import load_run
from tests.servers.model_servers import ModelServer, bentoml_server, kserve_server, node_exporter
from tests.servers.processes import free_port, wait_until
from tests.servers.prometheus import PrometheusServer
from tests.servers.real_plans import (
    BY_FORMULA,
    GPUS_EACH,
    HORIZONS,
    LAUNCH_FACTOR,
    LAUNCHED,
    NODE_PRICE,
    SLO_SECONDS,
    STEADY,
    Asked,
    are_made,
    at_level,
    moment,
    plan_of,
    plans_ask,
)

pytestmark = pytest.mark.xdist_group("real_input")
ROOT = Path(__file__).resolve().parents[2]
SCRAPE, STEP, DAYS = 5.0, 15, 28
AWAY_SECONDS = 120.0
KEY = "hr_rw_realinpt_" + "k" * 43


@dataclass
class Headroom:
    """A running install, used as a client uses it."""

    data: Path
    port: int
    process: subprocess.Popen[str]

    def call(self, path: str, body: object = None, *, method: str = "") -> Any:
        return json.loads(self.text(path, body, method=method))

    def text(self, path: str, body: object = None, *, method: str = "") -> str:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/v1/{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"},
            method=method or ("GET" if body is None else "POST"),
        )
        with urllib.request.urlopen(request, timeout=60) as reply:
            return str(reply.read().decode())

    def deployment(self, model: str) -> int:
        found = [one for one in self.call("deployments?limit=200")["results"] if one["model_name"] == model]
        assert len(found) == 1, found
        return int(found[0]["id"])

    def line(self, model: str, column: str, *, start: float, end: float, points: int = 500) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
        query = urllib.parse.urlencode({"columns": column, "from": f"{start:.0f}000", "to": f"{end:.0f}000", "points": points})
        found = self.call(f"deployments/{self.deployment(model)}/series?{query}")["columns"][column]
        values = np.array([np.nan if value is None else value for value in found["mean"]], dtype=float)
        return np.array(found["times"], dtype=float), values

    def quantile(self, model: str, quantile: float, *, start: float, end: float) -> float:
        query = urllib.parse.urlencode({"from": f"{start:.0f}000", "to": f"{end:.0f}000", "points": 1, "quantiles": quantile})
        found = self.call(f"deployments/{self.deployment(model)}/latency?{query}")
        return float(found["quantiles"][f"{quantile:g}"][0])


class Person:
    """A browser without a screen: signs in with what `make up` printed, opens pages."""

    def __init__(self, headroom: Headroom) -> None:
        self.base = f"http://127.0.0.1:{headroom.port}"
        self.jar = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.jar))
        page = self.open("/accounts/login/")
        token = page.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
        password = (headroom.data / "secrets" / "admin_password").read_text().strip()
        form = {"csrfmiddlewaretoken": token, "login": "admin@localhost", "password": password}
        self.open("/accounts/login/", urllib.parse.urlencode(form).encode())

    def open(self, path: str, body: bytes | None = None) -> str:
        with self.opener.open(self.base + path, body, timeout=60) as reply:
            return str(reply.read().decode())


def headroom_start(data: Path) -> Headroom:
    port = free_port()
    environment = {"PATH": "/usr/bin:/bin", "HEADROOM_DATA": str(data), "PORT": str(port)}
    words = [sys.executable, "-m", "capacity.supervisor", "up"]
    process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    said = ""
    for line in process.stdout:
        said += line
        if line.startswith("  Stop"):
            break
    else:
        raise AssertionError(f"it did not start:\n{said}")
    with psycopg.connect((data / "secrets" / "database_url").read_text(), autocommit=True) as database:
        database.execute(
            "INSERT INTO monitoring_key (name, prefix, secret_digest, scope, created_at) VALUES ('test', %s, %s, 'admin', now())",
            [KEY.split("_")[2], hashlib.sha256(KEY.encode()).hexdigest()],
        )
    return Headroom(data, port, process)


@dataclass
class World:
    truth: Truth
    prometheus: PrometheusServer
    headroom: Headroom
    servers: dict[str, ModelServer]
    source: int
    finding: dict[str, Any]
    run: dict[str, Any]
    away: tuple[float, float]
    loaded: tuple[float, float]  # an even load is under way, and polled
    asked: Asked

    def plan(self, model: str) -> dict[str, Any]:
        return dict(plan_of(self.headroom.call, self.asked.ids[model])["result"])

    def value(self, expr: str) -> float:
        found = self.prometheus.value(expr)
        assert found is not None, expr
        return found


def history_make(folder: Path) -> tuple[Truth, PrometheusServer]:
    truth = fleet_write(folder, end=time.time() // 120 * 120, days=DAYS)
    prometheus = PrometheusServer(folder / "prometheus", scrape_seconds=SCRAPE)
    prometheus.backfill(truth.files)
    return truth, prometheus


def source_connect(headroom: Headroom, url: str) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """What a newcomer does: add the source, test it, import four weeks."""
    port = int(url.rpartition(":")[2])
    body = {"name": "real", "url": url, "cluster": "real", "step_seconds": STEP}
    source = int(headroom.call("sources", body)["id"])
    finding = headroom.call(f"sources/{source}/test", {})["finding"]
    if not finding["ok"]:
        assert finding["block"] == {"address": "127.0.0.1", "port": port}
        headroom.call("allowed-addresses", {"network": "127.0.0.1/32", "port": port, "reason": "the test"})
        finding = headroom.call(f"sources/{source}/test", {})["finding"]
    return source, finding, headroom.call(f"sources/{source}/import", {"days": DAYS})


@contextmanager
def load_goes_on(servers: list[ModelServer]) -> Iterator[None]:
    enough = threading.Event()
    pace = {"per_second": 8.0, "seconds": 900.0, "enough": enough}
    threads = [
        threading.Thread(target=load_run, args=(one.url,), kwargs={"good": one.good, "bad": one.bad, **pace}, daemon=True)
        for one in servers
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        enough.set()
        for thread in threads:
            thread.join()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("real")
    os.chmod(folder.parent, 0o755)
    with ExitStack() as stack:
        truth, prometheus = history_make(folder)
        servers = {one.system: one for one in (stack.enter_context(kserve_server(folder)), stack.enter_context(bentoml_server(folder)))}
        prometheus.targets = [stack.enter_context(node_exporter(folder)), *(one.target for one in servers.values())]
        stack.enter_context(prometheus)
        proxy = stack.enter_context(FaultProxy(prometheus.url, lambda path, words: None))
        headroom = headroom_start(folder / "data")
        stack.callback(headroom_stop, headroom)
        for name in ("request_predict_seconds_count", "bentoml_service_request_total", "node_load1"):
            prometheus.wait_for_value(f"count_over_time({name}[1m]) > 3", seconds=60)
        source, finding, run = source_connect(headroom, proxy.url)
        with load_goes_on(list(servers.values())):
            loaded = time.time()
            look_until(lambda: headroom.call(f"imports/{run['id']}")["state"] == "done", seconds=420, what="the import")
            away = time.time()
            proxy.__exit__(None, None, None)  # nothing listens there now
            look_until(lambda: headroom.call(f"imports/{run['id']}")["rolled_up_at"], seconds=300, what="the rollups of it")
            asked = plans_ask(headroom.call)  # made meanwhile
            time.sleep(
                max(0.0, away + AWAY_SECONDS - time.time())
            )  # real minutes: the processes of the supervisor live by the machine's clock
            proxy.__enter__()
            back = time.time()
            look_until(lambda: watermark(headroom, source) > back + 30 + STEP, seconds=120, what="the poll to catch up")
            seen = watermark(headroom, source)
        run = headroom.call(f"imports/{run['id']}")
        look_until(lambda: are_made(headroom.call, asked), seconds=240, what="the plans and forecasts")
        yield World(truth, prometheus, headroom, servers, source, finding, run, (away, back), (loaded, seen), asked)


def look_until(is_so: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Look each second: the API counts how often it is asked."""

    def look() -> bool:
        time.sleep(1)
        return is_so()

    wait_until(look, seconds=seconds, what=what)


def watermark(headroom: Headroom, source: int) -> float:
    at = headroom.call(f"sources/{source}")["watermark"]
    return float(np.datetime64(at.removesuffix("Z")).astype("datetime64[ms]").astype(float)) / 1000 if at else 0.0


def headroom_stop(headroom: Headroom) -> None:
    headroom.process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        headroom.process.wait(20)
    if headroom.process.poll() is None:
        headroom.process.kill()


def test_the_finding_names_systems_history_and_deployments(world: World) -> None:
    found = world.finding
    assert found["ok"] and found["deployments"] >= 6
    assert {one["slug"] for one in found["systems"]} >= {"vllm", "triton", "kserve", "bentoml", "dcgm_exporter", "node_exporter"}
    assert found["history_days"] == pytest.approx(DAYS, abs=0.5)


def test_it_discovers_the_planted_fleet_and_the_live_servers(world: World) -> None:
    found = {one["model_name"] for one in world.headroom.call("deployments?limit=200")["results"]}
    planted = {one.model for one in world.truth.deployments}
    assert found == planted | {one.model for one in world.servers.values()}


def test_four_weeks_are_imported(world: World) -> None:
    assert (world.run["state"], world.run["error"]) == ("done", "")
    start = float(world.truth.times[0])
    _, values = world.headroom.line("llama-3.1-8b", "requests_per_second", start=start, end=float(world.truth.times[-1]), points=28 * 24)
    assert np.isfinite(values).mean() > 0.98  # less the planted gap of three hours


@pytest.mark.parametrize("days_ago", [0.2, 3.0, 12.0, 26.0])
def test_rates_of_the_history_equal_promql(world: World, days_ago: float) -> None:
    end = (time.time() - days_ago * 86400) // 21600 * 21600
    _, values = world.headroom.line("llama-3.1-8b", "requests_per_second", start=end - 21600, end=end, points=6)
    expr = f'sum(rate(vllm:request_success_total{{model_name="llama-3.1-8b"}}[6h] @ {end:.0f}))'
    assert np.nanmean(values) == pytest.approx(world.value(expr), rel=0.01)


@pytest.mark.parametrize("days_ago", [0.2, 3.0, 26.0])
def test_percentiles_of_the_history_equal_promql(world: World, days_ago: float) -> None:
    end = (time.time() - days_ago * 86400) // 21600 * 21600
    found = world.headroom.quantile("llama-3.1-8b", 0.95, start=end - 21600, end=end)
    bucket = f'sum by (le) (rate(vllm:e2e_request_latency_seconds_bucket{{model_name="llama-3.1-8b"}}[6h] @ {end:.0f}))'
    assert found == pytest.approx(world.value(f"histogram_quantile(0.95, {bucket})"), rel=0.02)


# What the counters themselves gained. increase() guesses at both ends: a scrape there that came 3 s late moves it by 1.5 %.
LIVE = {
    "kserve": "sum(request_predict_seconds_count @ {e}) - sum(request_predict_seconds_count @ {s})",
    "bentoml": "sum(bentoml_service_request_total @ {e}) - sum(bentoml_service_request_total @ {s})",
}


@pytest.mark.parametrize("system", LIVE)
def test_live_requests_equal_promql_outage_included(world: World, system: str) -> None:
    start, end = ((moment // STEP) * STEP for moment in (world.loaded[0] + 30, world.loaded[1]))
    _, values = world.headroom.line(world.servers[system].model, "requests_per_second", start=start, end=end)
    direct = world.value(LIVE[system].format(s=round(start), e=round(end)))
    assert np.nanmean(values) * (end - start) == pytest.approx(direct, rel=0.01)


@pytest.mark.parametrize("system", LIVE)
def test_there_is_no_hole_where_prometheus_was_away(world: World, system: str) -> None:
    start, end = ((moment // STEP) * STEP for moment in (world.away[0] - 30, world.away[1] + 30))
    times, values = world.headroom.line(world.servers[system].model, "requests_per_second", start=start, end=end)
    assert world.away[1] - world.away[0] >= AWAY_SECONDS
    assert np.isfinite(values).all() and len(values) == (end - start) / STEP
    assert np.diff(times).max() == STEP


def test_the_page_shows_the_numbers_of_promql(world: World) -> None:
    person = Person(world.headroom)
    page = f"/deployments/{world.headroom.deployment('resnet50')}/"
    assert "resnet50" in person.open(page)
    end = (time.time() - 5 * 86400) // 21600 * 21600
    shown = person.open(f"{page}panels/traffic.csv?from={end - 21600:.0f}000&to={end:.0f}000")
    rows = list(csv.DictReader(io.StringIO(shown)))
    column = next(name for name in rows[0] if name.endswith("[req/s]"))
    mean = np.mean([float(row[column]) for row in rows if row[column]])
    expr = f'sum(rate({{__name__=~"nv_inference_request_(success|failure)",model="resnet50"}}[6h] @ {end:.0f}))'
    assert mean == pytest.approx(world.value(expr), rel=0.01)


def test_the_node_is_this_machine(world: World) -> None:
    here = os.uname().nodename  # it stands in cluster "local" as well: its own agent
    nodes = [one for one in world.headroom.call("nodes?limit=100")["results"] if (one["name"], one["cluster"]) == (here, "real")]
    assert len(nodes) == 1
    end = time.time() // 60 * 60 - 60
    query = urllib.parse.urlencode({"columns": "cpu_cores", "from": f"{end - 300:.0f}000", "to": f"{end:.0f}000"})
    found = world.headroom.call(f"nodes/{nodes[0]['id']}/series?{query}")["columns"]["cpu_cores"]["mean"]
    assert {value for value in found if value is not None} == {float(os.cpu_count() or 0)}


def test_the_source_is_reachable_again(world: World) -> None:
    found = world.headroom.call(f"sources/{world.source}")
    assert (found["state"], found["failures"]) == ("ok", 0)


class TestPlans:
    """Of history that Headroom brought in itself: nothing is planted in its tables."""

    def test_the_plan_has_every_section(self, world: World) -> None:
        plan = world.plan(LAUNCHED)
        assert plan["gaps"] == {} and plan["verdict"] == "breaks"
        demand, curve = plan["demand"], plan["curve"]
        assert demand["history_days"] == pytest.approx(28.0, abs=1.5 / 24)  # its first hour is a begun one
        assert len(demand["times"]) == 91
        assert (np.diff(np.array(demand["quantiles"]), axis=0) >= 0).all()
        assert curve["slo_seconds"] == SLO_SECONDS[LAUNCHED]
        assert next(point for point in curve["points"] if point["replicas"] == curve["needed"])["holds"]
        assert len(plan["floor"]["replicas"]) == 168 and plan["floor"]["most"] == curve["needed"]

    @pytest.mark.parametrize("days_ago", [0, 3, 10, 19, 25])
    def test_busiest_hours_equal_promql(self, world: World, days_ago: int) -> None:
        demand = world.plan(LAUNCHED)["demand"]
        start, rate = demand["past_times"][-1 - days_ago], demand["past_rates"][-1 - days_ago]
        hours = f'sum(rate(vllm:request_success_total{{model_name="{LAUNCHED}"}}[1h]))'
        assert rate == pytest.approx(world.value(f"max_over_time(({hours})[23h:1h] @ {start + 86400:.0f})"), rel=0.01)

    def test_the_days_to_come_go_on_from_those_that_came(self, world: World) -> None:
        demand = world.plan(LAUNCHED)["demand"]
        came = np.array([np.nan if rate is None else rate for rate in demand["past_rates"]], dtype=float)[-7:]
        weekdays = [time.gmtime(start).tm_wday for start in demand["past_times"][-7:]]
        coming = {time.gmtime(start).tm_wday: rate for start, rate in zip(demand["times"][1:8], at_level(demand, 0.5)[1:8], strict=True)}
        assert [coming[day] for day in weekdays] == pytest.approx(came.tolist(), rel=0.1)  # it repeats by the week

    def test_it_runs_out_on_the_day_of_the_launch(self, world: World) -> None:
        plan, stored = world.plan(LAUNCHED), plan_of(world.headroom.call, world.asked.ids[LAUNCHED])
        out, demand = plan["run_out"], plan["demand"]
        ahead = demand["times"].index(out["median_time"])
        assert 0 <= out["median_time"] - world.asked.launch < 4 * 86400  # a launch on a weekend fills the working day after it
        assert (out["without_events_time"], out["cause"]) == (None, "the Nordwind launch")
        assert at_level(demand, 0.5)[ahead] == pytest.approx(LAUNCH_FACTOR * demand["plain_median"][ahead], rel=0.01)
        assert out["order_time"] == out["early_time"] - (out["lead_time_days"] + out["approval_days"]) * 86400
        assert moment(f"{stored['runs_out_on']}T00:00:00Z") == out["median_time"]
        assert moment(f"{stored['order_by']}T00:00:00Z") == out["order_time"]
        assert plan["capacity"]["replicas_now"] + out["replicas_to_order"] >= plan["curve"]["needed"]

    def test_where_nothing_runs_out_it_says_so(self, world: World) -> None:
        plan = world.plan(STEADY)
        assert plan["run_out"]["median_time"] is None and plan["run_out"]["order_time"] is None and plan["run_out"]["known"]
        assert plan["run_out"]["sentence"].startswith("Demand stays below what 1 replica holds")
        assert plan["headline"] == "Capacity holds for 90 days."

    def test_the_bill_is_replicas_times_price_times_730(self, world: World) -> None:
        plan = world.plan(LAUNCHED)
        cost, rate = plan["cost"], NODE_PRICE / GPUS_EACH  # a replica has one GPU of the two of its node
        assert (cost["currency"], cost["hourly_rate"], cost["certainty"]) == ("USD", rate, "measured")
        assert cost["now_per_month"] == pytest.approx(2 * rate * 730)
        assert cost["plan_per_month"] == pytest.approx(plan["curve"]["needed"] * rate * 730)

    def test_the_backtest_replays_each_policy_on_what_came(self, world: World) -> None:
        replayed = world.plan(LAUNCHED)["replayed"]
        policies = {policy["key"]: policy for policy in replayed["policies"]}
        assert set(policies) == {"ran", "static", "hpa70", "plan", "clairvoyant"} and replayed["days"] == 14.0
        assert policies["ran"]["replica_hours"] == pytest.approx(2 * replayed["minutes"] / 60, rel=0.01)
        assert policies["ran"]["measured"] and policies["ran"]["lost_minutes"] <= replayed["budget_minutes"]
        for policy in policies.values():
            assert policy["cost"] == pytest.approx(policy["replica_hours"] * NODE_PRICE / GPUS_EACH)
        assert policies["plan"]["lost_minutes"] <= policies["hpa70"]["lost_minutes"] + 1.0

    @pytest.mark.parametrize("horizon", HORIZONS)
    def test_forecasts_are_learned_from_the_import(self, world: World, horizon: str) -> None:
        found = world.headroom.call(f"deployments/{world.asked.ids[LAUNCHED]}/forecasts?horizon={horizon}")[0]
        assert moment(found["trained_until"]) - moment(found["trained_from"]) > 26 * 86400
        assert (np.diff(np.array(list(found["quantiles"].values())), axis=0) >= 0).all()
        assert found["backtest"]["origins"] > 0

    def test_keda_follows_what_this_prometheus_has(self, world: World) -> None:
        made = yaml.safe_load(world.headroom.text(f"deployments/{world.asked.ids[LAUNCHED]}/plan/export?format=keda"))
        assert (made["kind"], made["spec"]["scaleTargetRef"]["name"]) == ("ScaledObject", "llama-chat")
        asked = next(one["metadata"]["query"] for one in made["spec"]["triggers"] if one["type"] == "prometheus")
        truth = world.truth.deployment(LAUNCHED)
        end = float(world.truth.times[-1])
        assert "vllm:num_requests_running" in asked
        assert world.value(f"last_over_time(({asked})[4m:1m] @ {end:.0f})") == truth.running[-1]

    def test_an_hpa_follows_it_too(self, world: World) -> None:
        made = yaml.safe_load(world.headroom.text(f"deployments/{world.asked.ids[LAUNCHED]}/plan/export?format=hpa"))
        assert made["spec"]["metrics"][0]["pods"]["metric"]["name"] == "vllm:num_requests_running"
        assert made["spec"]["maxReplicas"] == world.plan(LAUNCHED)["floor"]["most"]

    def test_a_server_without_histograms_is_sized_by_formula_and_says_so(self, world: World) -> None:
        plan = world.plan(BY_FORMULA)
        assert plan["capacity"]["basis"] == plan["curve"]["basis"] == "formula"
        assert "Only the mean duration is known" in plan["curve"]["sentence"]
        with pytest.raises(urllib.error.HTTPError) as refused:
            world.headroom.text(f"deployments/{world.asked.ids[BY_FORMULA]}/plan/export?format=keda")
        assert refused.value.code == 409 and "does not tell how many requests run" in refused.value.read().decode()

    def test_the_page_shows_it(self, world: World) -> None:
        plan, person = world.plan(LAUNCHED), Person(world.headroom)
        page = person.open(f"/plans/{world.asked.ids[LAUNCHED]}/")
        for words in (
            plan["headline"],
            plan["run_out"]["sentence"],
            "Nordwind launch",
            "Would it have held?",
            "Clairvoyant",
            "ScaledObject",
        ):
            assert words in page, words
        assert f"{plan['cost']['plan_per_month']:,.0f}" in page
        shown = list(csv.DictReader(io.StringIO(person.open(f"/plans/{world.asked.ids[LAUNCHED]}/demand.csv"))))
        assert len(shown) >= len(plan["demand"]["times"])
        assert plan_of(world.headroom.call, world.asked.ids[STEADY])["headline"] in person.open(f"/plans/{world.asked.ids[STEADY]}/")

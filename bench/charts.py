"""Charts and fleet percentiles: the same samples in Headroom's tables and in Prometheus, read in turn."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.peer import Floats, Peer, lines_of
from bench.timing import Timing, progress, timed
from monitoring.catalog.records import Entity, Latency
from monitoring.retention import partitions_pack
from monitoring.rollups import rollups_fill
from monitoring.series import histograms_merge, latency_totals, lines_load
from monitoring.store import Histograms, Rows, histograms_write, rows_write
from monitoring.store.watermarks import moment
from tests.telemetry import store_clear

DAYS, STEP = 30, 15.0
ACCELERATORS = 4
DEPLOYMENTS, LATENCY_STEP = 100, 60.0
BOUNDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
POINTS = 1000  # at most
CHART_STEP = 2700.0  # which 30 days in at most 1,000 points make: 960 points of 45 minutes, asked of both
RUNS, TOGETHER = 20, 5


@dataclass(frozen=True)
class Reading:
    """One question, asked of both, with the answers."""

    question: str
    headroom: Timing
    prometheus: Timing
    answers: str
    limit: float | None  # a must: at most this times the peer
    singly: tuple[Timing, Timing]  # ours and theirs, each run right after one of the other

    @property
    def ratio(self) -> float:
        return self.headroom.median / self.prometheus.median

    @property
    def ratio_singly(self) -> float:
        ours, theirs = self.singly
        return ours.median / theirs.median

    @property
    def held(self) -> bool:
        """Both ways of measuring must hold: the reader does not choose."""
        return self.limit is None or max(self.ratio, self.ratio_singly) <= self.limit


@dataclass(frozen=True)
class Planted:
    """The samples: power of some accelerators over 30 days, latency histograms of some deployments over one."""

    end: float
    times: Floats
    watts: Floats  # (accelerators, times)
    minutes: Floats
    counts: Floats  # (deployments, minutes, buckets)


def plant(seed: int, *, end: float) -> Planted:
    rng = np.random.default_rng(seed)
    size = int(DAYS * 86400 / STEP)
    times = end - STEP * np.arange(size, dtype=np.float64)[::-1]
    day = 350 + 150 * np.sin(times / 86400 * 2 * np.pi)
    watts = np.round(day + rng.normal(0, 20, (ACCELERATORS, size)), 2)
    minutes = end - LATENCY_STEP * np.arange(1440, dtype=np.float64)[::-1]
    shape = np.diff(np.concatenate(([0.0], 1 - np.exp(-np.array(BOUNDS)), [1.0])))
    rates = rng.uniform(20, 200, (DEPLOYMENTS, 1, 1)) * shape
    return Planted(end, times, watts, minutes, rng.poisson(rates, (DEPLOYMENTS, 1440, len(shape))).astype(np.float64))


def headroom_fill(planted: Planted) -> None:
    """Raw samples as a sender would leave them, then the rollups; nothing is written into a rollup directly."""
    ids, size = np.arange(1, ACCELERATORS + 1), len(planted.times)
    for part in np.array_split(np.arange(size), DAYS):
        watts = planted.watts[:, part].ravel()
        rows_write(
            Rows(Entity.ACCELERATOR, np.repeat(ids, len(part)), np.tile(planted.times[part], len(ids)), {"power_watts": watts}),
            overwrite=False,
        )
    numbers = np.repeat(np.arange(1, DEPLOYMENTS + 1), 1440)
    counted = planted.counts.reshape(-1, len(BOUNDS) + 1)
    none = np.full(len(numbers), np.nan)
    histograms_write(
        Histograms(Latency.REQUEST_DURATION, numbers, np.zeros_like(numbers), np.tile(planted.minutes, DEPLOYMENTS), BOUNDS, counted, none)
    )
    while "more to do" in rollups_fill(now=moment(planted.end + 60)):
        pass
    partitions_pack(now=moment(planted.end))  # as the hourly job does


def gauges(planted: Planted) -> Iterator[str]:
    for number, watts in enumerate(planted.watts, start=1):
        yield from lines_of(f'bench_power_watts{{accelerator="{number}"}}', planted.times, watts)
    yield "# EOF\n"


def buckets(planted: Planted) -> Iterator[str]:
    before = np.concatenate(([planted.minutes[0] - LATENCY_STEP], planted.minutes))
    for number, counts in enumerate(planted.counts, start=1):
        climbed = np.cumsum(np.vstack((np.zeros(counts.shape[1]), counts)).cumsum(axis=0), axis=1)
        for bucket, bound in enumerate([*BOUNDS, np.inf]):
            name = f'bench_duration_seconds_bucket{{deployment="{number}",le="{"+Inf" if np.isinf(bound) else bound}"}}'
            yield from lines_of(name, before, climbed[:, bucket])
    yield "# EOF\n"


def prometheus_fill(planted: Planted, peer: Peer, folder: Path) -> None:
    text = folder / "bench.om"
    for lines in (gauges, buckets):
        with text.open("w") as file:
            file.writelines(lines(planted))
        peer.fill(text)
    text.unlink()
    peer.start()


def chart_read(planted: Planted, peer: Peer) -> Reading:
    end, start, step = planted.end, planted.end - DAYS * 86400, CHART_STEP

    def ours() -> Floats:
        lines = lines_load(Entity.ACCELERATOR, 3, ["power_watts"], start=moment(start), end=moment(end), points=POINTS)
        line = lines.columns["power_watts"]
        return np.stack((line.mean, line.low, line.high))

    def theirs() -> Floats:
        folds = ("avg", "min", "max")
        replies = [
            peer.query_range(f'{fold}_over_time(bench_power_watts{{accelerator="3"}}[{step:.0f}s])', start=start + step, end=end, step=step)
            for fold in folds
        ]
        return np.array([[float(value) for _, value in reply[0]["values"]] for reply in replies])

    mine, other = ours(), theirs()
    timings = timed(ours, theirs, runs=RUNS, together=TOGETHER)
    singly = timed(ours, theirs, runs=RUNS)
    answers = f"{mine.shape[1]} and {other.shape[1]} points; mean {np.nanmean(mine[0]):.2f} and {other[0].mean():.2f} W, "
    answers += f"least {np.nanmin(mine[1]):.2f} and {other[1].min():.2f}, greatest {np.nanmax(mine[2]):.2f} and {other[2].max():.2f}"
    return Reading("30-day chart, mean, min and max", *timings, answers, limit=0.1, singly=(singly[0], singly[1]))


def fleet_read(planted: Planted, peer: Peer) -> Reading:
    end = planted.end
    ids = range(1, DEPLOYMENTS + 1)

    def ours() -> float:
        totals = latency_totals(ids, Latency.REQUEST_DURATION, start=moment(end - 86400), end=moment(end))
        return histograms_merge(list(totals.values())).quantile(0.95).seconds

    def theirs() -> float:
        # A day and a scrape, or `increase` would extrapolate the first minute.
        reply = peer.query(f"histogram_quantile(0.95, sum by (le) (increase(bench_duration_seconds_bucket[{86400 + 60}s])))", at=end)
        return float(reply[0]["value"][1])

    timings = timed(ours, theirs, runs=RUNS, together=TOGETHER)
    singly = timed(ours, theirs, runs=RUNS)
    answers = f"{ours():.4f} and {theirs():.4f} s of {planted.counts.sum():,.0f} requests"
    return Reading(f"p95 of 24 h over {DEPLOYMENTS} deployments", *timings, answers, limit=None, singly=(singly[0], singly[1]))


def table(seed: int) -> tuple[list[str], bool]:
    folder = Path(tempfile.mkdtemp(prefix="headroom-bench-"))
    peer = Peer(folder)
    store_clear()
    try:
        planted = plant(seed, end=time.time() // 21600 * 21600)
        progress("writing and rolling up")
        headroom_fill(planted)
        progress("back-filling Prometheus")
        prometheus_fill(planted, peer, folder)
        progress("reading")
        readings = [chart_read(planted, peer), fleet_read(planted, peer)]
    finally:
        peer.stop()
        shutil.rmtree(folder, ignore_errors=True)
    rows = [
        f"| {row.question} | {row.headroom.median:.1f} | {row.prometheus.median:.1f} | **{row.ratio:.3f}** | {row.ratio_singly:.3f} |"
        f" {f'<= {row.limit}' if row.limit else '-'} | {row.answers} |"
        for row in readings
    ]
    head = [
        "| question | Headroom, ms | Prometheus, ms | ratio | ratio, singly | must | answers, Headroom and Prometheus |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    sentence = (
        f"{ACCELERATORS} accelerators, {DAYS} days at {STEP:g} s, and {DEPLOYMENTS} deployments,"
        f" {len(BOUNDS) + 1} buckets each {LATENCY_STEP:g} s for a day; medians of {RUNS} runs, {TOGETHER} in a row, in turn."
        " Singly: each run right after one of the other, with the processor's caches full of the other's work."
    )
    return [sentence, "", *head, *rows, ""], all(row.held for row in readings)
